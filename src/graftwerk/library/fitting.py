"""Fit a model to labelled data; shared by the public objects and `graft fit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import folders
from ..data.tables import reading_of
from ..errors import BadInput, Diverged
from ..finetune.base_model import Base, open_base
from ..finetune.methods import has_network, make_linear, make_tuned, sweep_layers
from ..finetune.problem import Problem, Source, open_problem
from ..finetune.results import Trial
from ..finetune.saved import TRAINING, Made
from ..models.fetching import offer
from ..requests.finetune import Compare, Fit
from ..types import Monitor

if TYPE_CHECKING:
    from ..finetune.scoring import Settings


_LORA_RATE, _FULL_RATE = 5e-4, 5e-5
_FEW_TESTS = 20
_MINUTES, _FEW_MINUTES = 10.0, 2.0  # of auto, and of auto where no method is named
_FEW_VALIDATED = 30  # validation examples, below which a choice by them is by chance


def problem_of(request: Fit | Compare, monitor: Monitor) -> Problem:
    """Load the model and the data of a request.

    Raises:
        BadInput: data, labels or model cannot be used.
    """
    base = base_of(request)
    problem = open_problem(base, source_of(request), monitor)
    note_data(problem, monitor)
    facts = problem.facts
    if facts.test < _FEW_TESTS:
        monitor.note(
            f"only {facts.test} test examples: the score is unreliable; give more data, or --test"
        )
    note_out_of_distribution(problem.unfamiliar(monitor), len(problem.examples), base.name, monitor)
    return problem


def base_of(request: Fit | Compare) -> Base:
    """Open the model of a request.

    Raises:
        BadInput: the model, its layer or an option that is for a linear head only cannot be used.
    """
    if isinstance(request, Fit) and request.how not in {None, "linear"}:
        if request.sweep:
            raise BadInput("--sweep is for --how linear.", "Leave it out, or name --layer.")
        if request.layer == "all":
            raise BadInput("--layer all is for --how linear.", "Leave it out, or name one layer.")
    return open_base(request.model, request.layer, request.device)


def source_of(request: Fit | Compare) -> Source:
    """Return the data options of a request.

    Raises:
        BadInput: its task has no labelled data.
    """
    task = request.task
    if task == "generate" or task == "write":  # noqa: PLR1714  narrows the type
        raise BadInput(f"--task {task} has no labelled data.", "Use graft fit ... --how lora.")
    return Source(
        data=request.data,
        test=request.test,
        target=request.target,
        content=tuple(request.content),
        task=None if task == "auto" else task,
        test_share=request.test_share,
        validation_share=request.validation_share,
        seed=request.seed,
        balanced=request.balance,
        reading=reading_of(request),
        missing=request.missing,
        numbers=isinstance(request, Fit) and request.how in {None, "linear"},
    )


def note_data(problem: Problem, monitor: Monitor) -> None:
    """Note that class sizes are very different, if they are."""
    imbalance = problem.facts.imbalance
    if imbalance is not None and imbalance >= 3 and not problem.source.balanced:
        monitor.note(
            f"the commonest class has {imbalance:.1f} times the examples of the rarest; "
            "--balance weighs them alike"
        )


def note_out_of_distribution(unusual: int, count: int, model: str, monitor: Monitor) -> None:
    """Note how many images are out of distribution for the frozen model, if any."""
    if unusual:
        monitor.note(
            f"{unusual:,} of {count:,} images are unlike all that {model} was trained on; what "
            f"its features say of them may be unreliable{offer(unusual, count, model)}"
        )


def fit_problem(
    problem: Problem, request: Fit, training: Path, monitor: Monitor
) -> tuple[Problem, Made, Sequence[Trial]]:
    """Fit by the method of a request.

    Args:
        problem: model and data.
        request: method and settings.
        training: folder for the training of a network; a stopped training is resumed.
        monitor: informed about progress.

    Returns:
        The problem, with the layer that a sweep selected; the fit; the settings that were tried.

    Raises:
        BadInput: too few examples to validate on, or a setting cannot be used.
        Diverged: the loss of a training is no longer finite.
        Cancelled: stopped by the user; the last step of a training is saved.
    """
    tried: Sequence[Trial] = ()
    how = request.how or _usual(problem, request)
    if how == "linear" and request.sweep:
        problem, tried = sweep_layers(problem, monitor)
        return problem, make_linear(problem, monitor), tried
    if how == "linear":
        problem = _layered(problem, request)
        return problem, make_linear(problem, monitor), tried
    from ..finetune.auto import candidates, choose, usual
    from ..finetune.run import tune

    folders.claim(training, TRAINING)
    if how == "auto":
        layered = _layered(problem, request)
        hows = ("lora", "full") if request.how else ("lora",)
        minutes = request.minutes or (_MINUTES if request.how else _FEW_MINUTES)
        methods = [settings_of(request, one) for one in hows]
        alone = request.how and request.learning_rate is None and request.rates == 1
        listed = [
            one
            for method in methods
            for one in (usual(method) if alone else candidates(method, request.rates))
        ]
        try:
            made, tried = choose(problem, layered, listed, minutes, training, monitor)
        except (BadInput, Diverged) as error:
            if request.how is not None:
                raise
            monitor.note(f"lora was tried and left out: {error}")
            made = make_linear(layered, monitor)
        return (layered if made.how == "linear" else problem), made, tried
    run = tune(problem, settings_of(request, how), training, monitor)
    return problem, make_tuned(problem, run, training, monitor), tried


def _layered(problem: Problem, request: Fit) -> Problem:
    """Return the problem as a linear head reads it: an image model at all layers, if none is named.

    Its last layer alone has discarded much that separates classes other than its own.
    """
    joined = request.layer is None and problem.base.reads == {"image"}
    return problem.at_layer("all") if joined else problem


def _usual(problem: Problem, request: Fit) -> str:
    """Return the method where none is named: one whose choice the data can support."""
    few = len(problem.split.validation) < _FEW_VALIDATED
    if request.sweep or request.layer == "all" or few or not has_network(problem):
        return "linear"
    return "auto"


def settings_of(request: Fit | Compare, how: str) -> "Settings":
    """Return the fine-tuning settings of a request."""
    from ..finetune.scoring import Settings

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
