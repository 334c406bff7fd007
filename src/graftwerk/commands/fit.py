"""`graft fit`, `predict`, `eval fit` and `compare`: pre-trained models on labelled data."""

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import files, folders
from ..adapters.linear_head import HeadScores, probabilities
from ..data.labels import stands_for_none
from ..data.load import read_examples
from ..data.tables import is_table, reading_of
from ..data.targets import Targets, same_targets
from ..errors import BadInput, UnknownName
from ..finetune.problem import LEFT_OUT, more_left_out, tell_converted
from ..finetune.results import (
    FitComparison,
    FitEvaluation,
    FitResult,
    LoraTrainResult,
    Prediction,
    Predictions,
)
from ..finetune.saved import (
    Saved,
    describe_fit,
    open_fit,
    read_inputs,
    require_free,
    short,
    training_location,
)
from ..finetune.scoring import Scores, score
from ..library.fitting import fit_problem, note_out_of_distribution, problem_of, require_options
from ..requests.finetune import Compare, EvalFit, Fit, Predict
from ..types import Monitor
from .lora import as_lora_train, run_lora_train

_CONFUSIONS = 5


def run_eval_fit(request: EvalFit, monitor: Monitor) -> FitEvaluation:
    """Measure.

    Raises:
        BadInput: the data have labels that were not learned, or nothing new is among them.
        WrongBase: the frozen model is another one.
    """
    begin = time.perf_counter()
    saved = open_fit(request.fit, request.model, request.device)
    requested = replace(
        saved.requested,
        target=request.target or saved.requested.target,
        content=tuple(request.content) or saved.requested.content,
    )
    learned_words = any(map(stands_for_none, saved.head.labels))
    requested = replace(
        requested,
        reading=reading_of(request),
        missing="learn" if learned_words and request.missing == "ask" else request.missing,
    )
    if not is_table(request.data):
        requested = replace(requested, target=None, content=())
    examples = read_examples(request.data, requested)
    targets = same_targets(examples, saved.task, saved.head.labels)
    for note in (*examples.notes, *targets.notes):
        monitor.note(note)
    tell_converted(examples, monitor)
    new = [n for n, key in enumerate(examples.keys) if short(key) not in saved.learned]
    if not new:
        raise BadInput(
            f"{request.fit} has learned from every example of {request.data}.",
            "Name data that it has not seen.",
        )
    monitor.start("predicting", len(new))
    scores = saved.scores([examples.items[n] for n in new], monitor.advance)
    retained = replace(targets, values=targets.values[new])
    return FitEvaluation(
        fit=str(request.fit),
        how=saved.bundle.kind,
        score=score(scores, retained.values, saved.task, request.seed),
        per_class=_per_class(scores, retained),
        confusions=_confusions(scores, retained),
        learned=len(examples) - len(new),
        left_out=list(examples.refused[:LEFT_OUT]),
        tables=list(examples.tables),
        notes=[*examples.notes, *targets.notes, *more_left_out(examples)],
        seconds=time.perf_counter() - begin,
    )


def _per_class(scores: Scores, targets: Targets) -> dict[str, float]:
    if targets.task == "number":
        return {}
    found = {}
    predicted = scores.argmax(axis=1)
    for number, label in enumerate(targets.labels):
        if targets.task == "class":
            held, right = targets.values == number, predicted == number
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
    pairs = [divmod(int(location), count) for location in order if table.flat[location]]
    return [
        f"{targets.labels[true]} taken for {targets.labels[predicted]}: {table[true, predicted]}"
        for true, predicted in pairs
    ]


def run_fit(request: Fit, monitor: Monitor) -> FitResult | LoraTrainResult:
    """Fit, measure on the test examples, write the folder.

    Raises:
        BadInput: data, labels or model cannot be used as given.
        Damaged: a weight file is damaged.
        Diverged: a training's loss is not finite any more; the best state before it is kept.
        Cancelled: stopped by the user; a training's last step is kept.
        NoRoom: something cannot be written.
    """
    if request.task in {"generate", "write"}:
        return run_lora_train(as_lora_train(request), monitor)
    begin = time.perf_counter()
    out = request.out.absolute()
    inputs = (request.data, request.test, request.model)
    folders.require_outside(inputs, out)
    require_free(out)
    training = training_location(out)  # what a run that was stopped goes on from
    folders.require_outside(inputs, training)
    require_options(request)
    problem, made, tried = fit_problem(problem_of(request, monitor), request, training, monitor)
    size = describe_fit(problem, made).save(out)
    folders.remove(training)
    return FitResult(
        out=str(request.out),
        how=made.how,
        model=problem.base.name,
        data=problem.facts,
        score=made.test_score,
        tried=list(tried),
        parameters=made.parameters,
        bytes=size,
        seconds=time.perf_counter() - begin,
    )


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
    read = read_inputs(request.inputs, saved, reading_of(request))
    names, items = read.names, read.items
    for note in (*read.tables, *read.notes):
        monitor.note(note)
    monitor.start("predicting", len(items))
    unusual: list[int] = []
    scores = saved.scores(items, monitor.advance, unusual.append)
    note_out_of_distribution(sum(unusual), len(items), saved.base.name, monitor)
    predictions = predict(saved, names, scores)
    if request.out is not None:
        write = _as_csv if request.out.suffix == ".csv" else _as_json_lines
        files.write_text(request.out, write(predictions))
    return Predictions(
        out=None if request.out is None else str(request.out),
        predictions=predictions,
        tables=list(read.tables),
        notes=list(read.notes),
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


def run_compare(request: Compare, monitor: Monitor) -> FitComparison:
    """Fit in every way, measure each on the same test examples, draw and recommend.

    Raises as `library.comparing.carry_out` does.
    """
    from ..library.comparing import carry_out

    return carry_out(request, monitor).report
