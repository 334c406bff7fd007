"""What the verbs of labelled data share: requests to problems, facts and scores to reports.

`graft fit`: labelled data and a frozen model to a classifier or regressor.

`graft predict`: what a fit says about texts, pictures or the rows of a table.

`graft eval fit`: a fit measured on labelled data that it has not learned from.
"""

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import files, folders
from ..adapters.linear_head import HeadScores, probabilities
from ..data.dataset import Refused
from ..data.load import is_table, read_examples
from ..data.split import balance
from ..data.targets import Targets, same_targets
from ..errors import BadInput, UnknownName
from ..finetune.base_model import open_base
from ..finetune.methods import Trial, make_linear, make_tuned, sweep_layers
from ..finetune.problem import Problem, Source, open_problem, tell_converted
from ..finetune.results import (
    DataFacts,
    FitEvaluation,
    FitResult,
    FitScore,
    Prediction,
    Predictions,
    TaughtResult,
    Tried,
)
from ..finetune.saved import (
    TRAINING,
    Made,
    Saved,
    open_fit,
    read_inputs,
    require_free,
    save_fit,
    short,
    training_place,
)
from ..finetune.scoring import Score, Scores, score
from ..requests.finetune import Compare, EvalFit, Fit, Predict
from ..results import LeftOut
from ..types import Monitor
from .lora import teach

if TYPE_CHECKING:
    from ..finetune.settings import Settings


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
        converted=dict(problem.examples.converted),
    )


def left_out(refused: "Sequence[Refused]") -> list[LeftOut]:
    """What could not be used, the first hundred."""
    return [LeftOut(name=one.name, reason=one.reason) for one in refused[:_LEFT_OUT]]


def score_report(score: Score) -> FitScore:
    """A score as reports show it."""
    return FitScore(**asdict(score))


def settings_of(request: Fit | Compare, how: str) -> "Settings":
    """How a network is tuned by a request."""
    from ..finetune.settings import Settings

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


_CONFUSIONS = 5


def run_eval_fit(request: EvalFit, monitor: Monitor) -> FitEvaluation:
    """Measure.

    Raises:
        BadInput: the data have labels that were not learned, or nothing new is among them.
        WrongBase: the frozen model is another one.
    """
    begin = time.perf_counter()
    saved = open_fit(request.fit, request.model, request.device)
    wanted = replace(
        saved.wanted,
        target=request.target or saved.wanted.target,
        content=tuple(request.content) or saved.wanted.content,
    )
    if not is_table(request.data):
        wanted = replace(wanted, target=None, content=())
    examples = read_examples(request.data, wanted)
    for note in examples.notes:
        monitor.note(note)
    tell_converted(examples, monitor)
    targets = same_targets(examples, saved.task, saved.head.labels)
    new = [n for n, key in enumerate(examples.keys) if short(key) not in saved.learned]
    if not new:
        raise BadInput(
            f"{request.fit} has learned from every example of {request.data}.",
            "Name data that it has not seen.",
        )
    monitor.start("predicting", len(new))
    scores = saved.scores([examples.items[n] for n in new], monitor.advance)
    kept = replace(targets, values=targets.values[new])
    return FitEvaluation(
        fit=str(request.fit),
        how=saved.bundle.kind,
        score=score_report(score(scores, kept.values, saved.task, request.seed)),
        per_class=_per_class(scores, kept),
        confusions=_confusions(scores, kept),
        learned=len(examples) - len(new),
        left_out=left_out(examples.refused),
        seconds=time.perf_counter() - begin,
    )


def _per_class(scores: Scores, targets: Targets) -> dict[str, float]:
    if targets.task == "number":
        return {}
    found = {}
    said = scores.argmax(axis=1)
    for number, label in enumerate(targets.labels):
        if targets.task == "class":
            held, right = targets.values == number, said == number
        else:
            held, right = targets.values[:, number] > 0, scores[:, number] > 0
        if held.any():
            found[label] = float(right[held].mean())
    return found


def _confusions(scores: Scores, targets: Targets) -> list[str]:
    if targets.task != "class":
        return []
    count = len(targets.labels)
    table = np.bincount(
        targets.values * count + scores.argmax(axis=1), minlength=count * count
    ).reshape(count, count)
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [divmod(int(place), count) for place in order if table.flat[place]]
    return [
        f"{targets.labels[true]} taken for {targets.labels[said]}: {table[true, said]}"
        for true, said in pairs
    ]


def run_fit(request: Fit, monitor: Monitor) -> FitResult | TaughtResult:
    """Fit, measure on the test examples, write the folder.

    Raises:
        BadInput: data, labels or model cannot be used as given.
        Damaged: a weight file is damaged.
        Diverged: a training's loss is not finite any more; the best state before it is kept.
        Cancelled: stopped by the user; a training's last step is kept.
        NoRoom: something cannot be written.
    """
    if request.task in {"generate", "write"}:
        return teach(request, monitor)
    begin = time.perf_counter()
    out = request.out.absolute()
    inputs = (request.data, request.test, request.model)
    folders.require_outside(inputs, out)
    require_free(out)
    training = training_place(out)  # what a run that was stopped goes on from
    folders.require_outside(inputs, training)
    if request.sweep and request.how != "linear":
        raise BadInput("--sweep is for --how linear.", "Leave it out, or name --layer.")
    if request.layer == "all" and request.how != "linear":
        raise BadInput("--layer all is for --how linear.", "Leave it out, or name one layer.")
    problem, made, tried = _make(problem_of(request, monitor), request, training, monitor)
    size = save_fit(out, problem, made)
    folders.remove(training)
    return FitResult(
        out=str(request.out),
        how=made.how,
        model=problem.base.name,
        data=facts_of(problem),
        score=score_report(made.score),
        tried=[
            Tried(name=one.name, score=one.score, seconds=one.seconds, kept=one.kept)
            for one in tried
        ],
        parameters=made.parameters,
        bytes=size,
        seconds=time.perf_counter() - begin,
    )


def _make(
    problem: Problem, request: Fit, training: Path, monitor: Monitor
) -> tuple[Problem, Made, Sequence[Trial]]:
    tried: Sequence[Trial] = ()
    if request.how == "linear":
        if request.sweep:
            problem, tried = sweep_layers(problem, monitor)
        return problem, make_linear(problem, monitor), tried
    from ..finetune.auto import candidates, choose, usual
    from ..finetune.run import tune

    folders.claim(training, TRAINING)

    if request.how == "auto":
        ways = [settings_of(request, how) for how in ("lora", "full")]
        alone = request.learning_rate is None and request.rates == 1
        listed = [
            one for way in ways for one in (usual(way) if alone else candidates(way, request.rates))
        ]
        made, tried = choose(problem, listed, request.minutes, training, monitor)
        return problem, made, tried
    run = tune(problem, settings_of(request, request.how), training, monitor)
    return problem, make_tuned(problem, run, training, monitor), tried


_SCORES = 10  # labels whose probability is told


def run_predict(request: Predict, monitor: Monitor) -> Predictions:
    """Predict for the inputs in their order.

    Raises:
        BadFile: an input or the fit cannot be read.
        BadInput: an input is of a kind that the model does not read.
        WrongBase: the frozen model is another one.
        NoRoom: the file cannot be written.
    """
    begin = time.perf_counter()
    if request.out is not None and request.out.suffix not in {".csv", ".jsonl"}:
        raise UnknownName("ending of the output file", request.out.suffix, [".csv", ".jsonl"])
    saved = open_fit(request.fit, request.model, request.device)
    names, items = read_inputs(request.inputs, saved, monitor.note)
    monitor.start("predicting", len(items))
    strange: list[int] = []
    scores = saved.scores(items, monitor.advance, strange.append)
    note_unfamiliar(sum(strange), len(items), saved.base.name, monitor)
    predictions = predict(saved, names, scores)
    if request.out is not None:
        write = _as_csv if request.out.suffix == ".csv" else _as_json_lines
        files.write_text(request.out, write(predictions))
    return Predictions(
        out=None if request.out is None else str(request.out),
        predictions=predictions,
        seconds=time.perf_counter() - begin,
    )


def predict(saved: Saved, names: Sequence[str], scores: HeadScores) -> list[Prediction]:
    """Scores as predictions."""
    chances = probabilities(scores, saved.task)
    found = []
    for name, row in zip(names, chances.tolist(), strict=True):
        if saved.task == "number":
            found.append(Prediction(input=name, label=f"{row[0]:.6g}", probability=None, scores={}))
            continue
        by_label = sorted(zip(saved.head.labels, row, strict=True), key=lambda pair: -pair[1])
        several = saved.task == "labels"
        held = [label for label, chance in by_label if chance > 0.5]
        found.append(
            Prediction(
                input=name,
                label=", ".join(held) if several else by_label[0][0],
                probability=None if several else by_label[0][1],
                scores=dict(by_label[:_SCORES]),
            )
        )
    return found


def _as_csv(predictions: Sequence[Prediction]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["input", "label", "probability"])
    for one in predictions:
        chance = "" if one.probability is None else f"{one.probability:.6f}"
        writer.writerow([one.input, one.label, chance])
    return buffer.getvalue()


def _as_json_lines(predictions: Sequence[Prediction]) -> str:
    return "".join(json.dumps(one.model_dump()) + "\n" for one in predictions)
