"""What the verbs of labelled data share: requests to problems, facts and scores to reports."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..adapt.base import open_base
from ..adapt.examples import Refused
from ..adapt.problem import Problem, Source, open_problem
from ..adapt.scoring import Score
from ..adapt.split import balance
from ..contracts import Monitor
from ..errors import BadInput
from ..reports import DataFacts, FitScore, LeftOut
from ..requests import Compare, Fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..adapt.settings import Settings

_LORA_RATE, _FULL_RATE = 5e-4, 5e-5
_FEW_TESTS = 20
_LEFT_OUT = 100  # named in a report


def problem_of(request: Fit | Compare, monitor: Monitor) -> Problem:
    """Open the model and the data of a request."""
    task = request.task
    if task == "generate" or task == "write":  # noqa: PLR1714  narrows the type
        raise BadInput(f"--task {task} has no labelled data.", "Use graft fit ... --how lora.")
    base = open_base(request.model, request.layer, request.device)
    source = Source(
        data=request.data,
        test=request.test,
        target=request.target,
        content=tuple(request.content),
        task=None if task == "auto" else task,
        test_share=request.test_share,
        validation_share=request.validation_share,
        seed=request.seed,
        balanced=request.balance,
    )
    problem = open_problem(base, source, monitor)
    facts = facts_of(problem)
    if facts.imbalance is not None and facts.imbalance >= 3 and not request.balance:
        monitor.note(
            f"the commonest class has {facts.imbalance:.1f} times the examples of the rarest; "
            "--balance weighs them alike"
        )
    if facts.test < _FEW_TESTS:
        monitor.note(
            f"only {facts.test} test examples: the score says little; give more data, or --test"
        )
    strange = problem.unfamiliar(monitor)
    note_unfamiliar(strange, len(problem.examples), base.name, monitor)
    return problem


def note_unfamiliar(strange: int, count: int, model: str, monitor: Monitor) -> None:
    """Say that pictures are foreign to the frozen model, where some are."""
    if strange:
        monitor.note(
            f"{strange:,} of {count:,} pictures are unlike all that {model} was trained on; what "
            "its features say of them may mean little"
        )


def facts_of(problem: Problem) -> DataFacts:
    """What the data are."""
    classes = balance(problem.targets, problem.split.learned)
    counts = list(classes.values())
    return DataFacts(
        task=problem.targets.task,
        train=len(problem.split.train),
        validation=len(problem.split.validation),
        test=len(problem.split.test),
        classes=classes,
        imbalance=counts[0] / max(counts[-1], 1) if counts else None,
        copies=problem.split.copies,
        contradictions=problem.split.contradictions,
        leaked=problem.leaked,
        left_out=left_out(problem.examples.refused),
    )


def left_out(refused: "Sequence[Refused]") -> list[LeftOut]:
    """What could not be used, the first hundred."""
    return [LeftOut(name=one.name, reason=one.reason) for one in refused[:_LEFT_OUT]]


def score_report(score: Score) -> FitScore:
    """A score as reports show it."""
    return FitScore(**asdict(score))


def settings_of(request: Fit | Compare, how: str) -> "Settings":
    """How a network is tuned by a request."""
    from ..adapt.settings import Settings

    usual = _LORA_RATE if how == "lora" else _FULL_RATE
    return Settings(
        how=how,
        rank=request.rank,
        alpha=request.alpha,
        dropout=request.dropout,
        lora_plus=request.lora_plus,
        targets=tuple(request.targets),
        top=request.top,
        epochs=request.epochs,
        batch=request.batch,
        learning_rate=request.learning_rate or usual,
        patience=request.patience,
    )
