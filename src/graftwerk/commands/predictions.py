"""Predictions as reports, and as files that can be joined with the input tables."""

import csv
import io
import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from .. import files, folders
from ..adapters.linear_head import HeadScores, LinearHead, probabilities
from ..data.dataset import Examples, Kind, key_of
from ..data.load import Rows
from ..data.tables import is_missing
from ..data.tables.numbers import rounded
from ..data.targets import leave_out, same_targets
from ..errors import BadInput, UnknownName
from ..finetune.results import Prediction, Predictions, ScoreDetails
from ..finetune.results import Score as ScoreReport
from ..finetune.saved import short
from ..finetune.scoring import details, score
from ..requests.finetune import Predict
from ..requests.models import Classify
from ..types import Monitor

_SCORES = 10  # labels with a probability in a report; files have all
ENDINGS = (".csv", ".jsonl", ".parquet")
_OWN = ("input", "label", "probability")


def require_out(out: Path | None, inputs: Sequence[str]) -> None:
    """Refuse an output file that cannot be written or is an input, before any computation."""
    if out is None:
        return
    if out.suffix not in ENDINGS:
        raise UnknownName("ending of the output file", out.suffix, list(ENDINGS))
    folders.require_outside(inputs, out)


def of_every_row(rows: Rows, scores: HeadScores) -> Float32[np.ndarray, "rows k"]:
    """Return the scores of all rows, with NaN for rows that cannot be read."""
    whole = np.full((len(rows.names), scores.shape[1]), np.nan, dtype=np.float32)
    whole[rows.read] = scores
    return whole


def report(
    request: Predict | Classify,
    head: LinearHead,
    kind: Kind,
    rows: Rows,
    scores: HeadScores,
    monitor: Monitor,
    begin: float,
    learned_from: Collection[int] = (),
) -> Predictions:
    """Turn scores into predictions, evaluate those with known labels, and write the output file."""
    predictions = _predict(head, rows.names, scores, request.threshold)
    found, made_of, learned, notes = _measure(head, kind, rows, scores, request, learned_from)
    if request.out is not None:
        notes += _write(request.out, predictions, rows, scores, head)
    for note in notes:
        monitor.note(note)
    return Predictions(
        out=None if request.out is None else str(request.out),
        predictions=predictions,
        score=found,
        details=made_of,
        learned=learned,
        abstained=sum(one.abstained for one in predictions),
        tables=list(rows.tables),
        notes=[*rows.notes, *notes],
        seconds=time.perf_counter() - begin,
    )


def _predict(
    head: LinearHead, names: Sequence[str], scores: HeadScores, threshold: float | None = None
) -> list[Prediction]:
    """Convert scores to predictions.

    A class below the threshold is an abstention; every label above it is predicted.
    """
    task, labels = head.task, head.labels
    chances = probabilities(scores, task)
    found = []
    for name, row in zip(names, chances.tolist(), strict=True):
        if math.isnan(row[0]):
            found.append(Prediction(input=name, label="", probability=None, scores={}))
            continue
        if task == "number":
            found.append(Prediction(input=name, label=rounded(row[0]), probability=None, scores={}))
            continue
        by_label = sorted(zip(labels, row, strict=True), key=lambda pair: -pair[1])
        least = 0.5 if threshold is None else threshold
        held = [label for label, chance in by_label if chance > least]
        several = task == "labels"
        abstained = not several and threshold is not None and by_label[0][1] < threshold
        best = ", ".join(held) if several else by_label[0][0]
        found.append(
            Prediction(
                input=name,
                label="" if abstained else best,
                probability=None if several else by_label[0][1],
                scores=dict(by_label[:_SCORES]),
                abstained=abstained,
            )
        )
    return found


def _measure(
    head: LinearHead,
    kind: Kind,
    rows: Rows,
    scores: HeadScores,
    request: Predict | Classify,
    learned_from: Collection[int] = (),
) -> tuple[ScoreReport | None, ScoreDetails | None, int, list[str]]:
    """Evaluate predictions on the rows with known labels that were not learned from."""
    items = dict(zip(rows.read, rows.items, strict=True))
    labels = [(n, rows.labels[n]) for n in rows.read]
    known = [n for n, label in labels if label == () or not is_missing(label)]
    if not known:
        return None, None, 0, []
    keys = [key_of(items[n]) for n in known]
    names = [rows.names[n] for n in known]
    examples = Examples(
        "the data",
        kind,
        [items[n] for n in known],
        keys,
        [rows.labels[n] for n in known],
        names,
        label_format=rows.label_format,
    )
    new = leave_out(examples, ["learned" if short(key) in learned_from else "" for key in keys])
    learned = len(examples) - len(new)
    if not len(new):
        return None, None, learned, ["all labeled rows were learned from: they give no score"]
    try:
        retained, targets, _ = same_targets(new, head.task, head.labels)
    except BadInput as error:
        return None, None, learned, [f"no score: {error.message}"]
    location = {name: n for n, name in enumerate(rows.names)}
    some = scores[np.array([location[name] for name in retained.names])]
    found = details(some, targets.values, head.task, head.labels, retained.names, request.threshold)
    measured = score(some, targets.values, head.task, request.seed)
    return measured, found, learned, list(targets.notes)


def _write(
    out: Path, predictions: Sequence[Prediction], rows: Rows, scores: HeadScores, head: LinearHead
) -> list[str]:
    """Write one line per input: its name, its prediction, and every column of its table.

    Returns:
        A note on the table columns that were renamed because a prediction uses their names.
    """
    shares = probabilities(scores, head.task)
    by_label = [
        [None if math.isnan(one) else one for one in column] for column in shares.T.tolist()
    ]
    chances = dict(zip(head.labels, by_label, strict=False))  # empty for a number
    own = [*_OWN, "scores", *(f"probability_{label}" for label in chances)]
    names = _free_names(rows.columns, own)
    table = {names[name]: list(map(_unpacked, cells)) for name, cells in rows.columns.items()}
    given: dict[str, Sequence[Any]] = {
        "input": [one.input for one in predictions],
        "label": [one.label for one in predictions],
        "probability": [one.probability for one in predictions],
    }
    if out.suffix == ".jsonl":
        rows_of = zip(*chances.values(), strict=True) if chances else [()] * len(predictions)
        each = [
            {k: v if v is None else float(rounded(v)) for k, v in zip(chances, row, strict=True)}
            for row in rows_of
        ]
        files.write_text(out, _as_json_lines(given | {"scores": each} | table))
    else:
        of_labels = {f"probability_{name}": column for name, column in chances.items()}
        if out.suffix == ".csv":
            given["probability"] = _shares(given["probability"])
            of_labels = {name: _shares(column) for name, column in of_labels.items()}
            files.write_text(out, _as_csv(given | table | of_labels))
        else:
            files.write_bytes(out, _as_parquet(given | table | of_labels))
    renamed = [f"{old} is {new}" for old, new in names.items() if old != new]
    return [f"columns that were renamed in {out.name}: {', '.join(renamed)}"] if renamed else []


def _shares(values: Sequence[Any]) -> list[Any]:
    return [None if value is None else rounded(value) for value in values]


def _free_names(columns: Iterable[str], taken: Sequence[str]) -> dict[str, str]:
    used, names = {*taken, *columns}, {}
    for name in columns:
        new = name
        while new in taken or (new != name and new in used):
            new = f"given_{new}"
        used.add(new)
        names[name] = new
    return names


def _as_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_cell(cell) for cell in row])
    return buffer.getvalue()


def _unpacked(cell: Any) -> Any:
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
        cell = cell.get("path")
    return f"{len(cell):,} bytes" if isinstance(cell, bytes) else cell


def _cell(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | tuple | dict) else value


def _as_json_lines(columns: Mapping[str, Sequence[Any]]) -> str:
    rows = zip(*columns.values(), strict=True)
    return "".join(
        json.dumps(dict(zip(columns, row, strict=True)), default=str) + "\n" for row in rows
    )


def _as_parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    arrays = {name: _array(values) for name, values in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), buffer)
    return buffer.getvalue()


def _array(values: Sequence[Any]) -> Any:
    """Return a column as an Arrow array; values that have no Arrow type become text."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, UnicodeEncodeError):
        texts = [None if v is None else str(v).encode("utf-8", "replace").decode() for v in values]
        return pyarrow.array(texts, pyarrow.string())
