"""`graft eval fit`: a fit measured on labelled data that it has not learned from."""

import time
from dataclasses import replace

import numpy as np

from ..adapt.data import is_table, read_examples
from ..adapt.saved import open_fit, short
from ..adapt.scoring import Scores, score
from ..adapt.targets import Targets, same_targets
from ..contracts import Monitor
from ..errors import BadInput
from ..reports import FitEvaluation
from ..requests import EvalFit
from .fitting import left_out, score_report

_CONFUSIONS = 5


def run(request: EvalFit, monitor: Monitor) -> FitEvaluation:
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
