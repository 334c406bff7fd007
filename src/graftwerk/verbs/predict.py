"""`graft predict`: what a fit says about texts, pictures or the rows of a table."""

import csv
import io
import json
import time
from collections.abc import Sequence

from .. import files
from ..adapt.inputs import read_inputs
from ..adapt.saved import Saved, open_fit
from ..contracts import Monitor
from ..errors import UnknownName
from ..reports import Prediction, Predictions
from ..requests import Predict
from ..steer.head import Scores, probabilities
from .fitting import note_unfamiliar

_SCORES = 10  # labels whose probability is told


def run(request: Predict, monitor: Monitor) -> Predictions:
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


def predict(saved: Saved, names: Sequence[str], scores: Scores) -> list[Prediction]:
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
