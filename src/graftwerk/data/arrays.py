"""Items and labels from memory: lists and arrays of texts, images and series.

The meaning of one row of `X`, depending on the model that reads it:

- a string: a text; for a model that reads only images, the path of an image file. For a model that
  reads both (CLIP), a string with the extension of an image file (`.png`, `.jpg`, ...) is a path.
- a `pathlib.Path`: the path of an image file.
- a PIL image, or a uint8 array [h w 3] or [h w]: an image.
- a row of a 2-D array of numbers: a series; without a model ("none") the numbers of a table, where
  NaN stands for a missing one.
- a row of a data frame with columns of texts and of numbers: both, as in a table.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..errors import BadInput, few
from ..text_safety import counted
from ..types import Task
from .columns import KIND_WORDS
from .dataset import ImageArray, Item, Kind, OpenedData, Row
from .documents.formats import is_image_path
from .images import convert_image
from .labels import label_text
from .tables import is_missing, is_number
from .targets import Targets

_PIXELS = np.dtype("uint8")
_LEAVE = "Leave it out, and its label if there is one."


def read_rows(rows: Any, reads: frozenset[Kind]) -> tuple[Kind, list[Item]]:
    """Read the items of `X`.

    Args:
        rows: see the module.
        reads: kinds of items that the model reads.

    Raises:
        BadInput: it is empty, of mixed kinds, or of a kind that the model does not read; the row
            is named.
    """
    if isinstance(rows, str | bytes | Path):
        raise BadInput(f"X is a single {type(rows).__name__}, not a list.", "Pass a list: [x].")
    numbers = _as_series(rows)
    if numbers is not None and "row" in reads and len(numbers):
        for number in np.flatnonzero(np.isinf(numbers).any(axis=1))[:1]:
            raise BadInput(f"X[{number}] holds an infinite number.", "Repair it or leave it out.")
        return "row", [Row(row) for row in numbers]
    if numbers is not None:
        return "series", _series(numbers, reads)
    values = _as_list(rows)
    if not values:
        raise BadInput("X is empty.", "Pass at least one item.")
    items = [_item(f"X[{n}]", value, reads) for n, value in enumerate(values)]
    kinds = [kind for kind, _ in items]
    for number, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise BadInput(
                f"X mixes kinds: X[0] is {_KIND_NAMES[kinds[0]]}, X[{number}] is "
                f"{_KIND_NAMES[kind]}.",
                "Pass items of one kind.",
            )
    return kinds[0], [item for _, item in items]


_KIND_NAMES: dict[Kind, str] = {
    "text": "a text",
    "image": "an image",
    "series": "a series",
    "row": "a row of numbers",
}


def read_labels(labels: Any, count: int) -> list[Any]:
    """Read `y` as plain Python values; rows of a 2-D array become tuples.

    Raises:
        BadInput: it is missing, has another length than `X`, or a label of it is missing or NaN.
    """
    if labels is None:
        raise BadInput("y is missing.", "Pass one label for each item of X.")
    if isinstance(labels, str | bytes):
        raise BadInput(f"y is a single {type(labels).__name__}, not a list.", "Pass a list.")
    array = labels if isinstance(labels, np.ndarray) else None
    if array is not None and array.ndim == 2 and array.shape[1] == 1:
        labels = array[:, 0]  # a column, as from a table with one column
    values = [_plain(value) for value in _as_list(labels)]
    if len(values) != count:
        raise BadInput(
            f"X has {counted(count, 'item')} and y has {counted(len(values), 'label')}.",
            "Pass one label for each item.",
        )
    # an empty tuple is an item for which none of several labels holds
    missing = [n for n, value in enumerate(values) if value != () and is_missing(value)]
    if missing:
        shown = few([f"y[{number}]" for number in missing])
        raise BadInput(
            f"{counted(len(missing), 'label is', 'labels are')} missing or NaN: {shown}.",
            "Leave these items and labels out.",
        )
    return values


def _as_series(rows: Any) -> np.ndarray | None:
    """Return rows of numbers as a 2-D array of float32; None for anything else."""
    if _is_frame(rows):
        rows = rows.to_numpy()
    if not isinstance(rows, np.ndarray):
        first = rows[0] if isinstance(rows, list | tuple) and rows else None
        flat = isinstance(first, np.ndarray) and first.ndim == 1
        if not flat and not isinstance(first, list | tuple):
            return None
        try:
            rows = np.asarray(rows, dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise BadInput(
                "the rows of X are not numbers of one length.",
                "Pass a list of texts or of images, or a 2-D array of numbers.",
            ) from error
    if rows.dtype.kind == "O" and rows.ndim == 2 and all(map(is_number, rows.flat)):
        rows = rows.astype(np.float64)  # as of a data frame with columns of several types
    if rows.dtype.kind not in "fiu" or rows.ndim != 2:
        return None
    return np.ascontiguousarray(rows, dtype=np.float32)


def _is_frame(values: Any) -> bool:
    return hasattr(values, "columns") and hasattr(values, "to_numpy")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a data frame, and those of them that hold numbers."""

    names: tuple[str, ...]
    numbers: tuple[str, ...]


def columns_of(frame: Any) -> Columns | None:
    """Return the columns of a data frame whose names are all strings; None for anything else.

    Raises:
        BadInput: two have one name, or hold neither texts nor numbers.
    """
    names = list(frame.columns) if _is_frame(frame) else []
    if not names or not all(isinstance(name, str) for name in names):
        return None
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"X has two columns named {name!r}.", "Rename one of them.")
    return Columns(tuple(names), tuple(name for name in names if _holds_numbers(frame, name)))


def _cells(frame: Any, name: str) -> list[Any]:
    cells = [
        cell.item() if isinstance(cell, np.generic) else cell for cell in frame[name].to_list()
    ]
    missing = [type(cell).__name__ in {"NAType", "NaTType"} for cell in cells]
    return [None if gone else cell for gone, cell in zip(missing, cells, strict=True)]


def _holds_numbers(frame: Any, name: str) -> bool:
    kinds = {type(cell) for cell in _cells(frame, name) if not is_missing(cell)}
    if kinds <= {int, float, bool}:
        return True
    if kinds == {str}:
        return False
    shown = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise BadInput(
        f"column {name!r} of X holds values of type {shown}.",
        "Columns of texts and of numbers are read; convert it, or leave it out.",
    )


def matching_columns(rows: Any, known: Columns | None) -> Columns | None:
    """Return the columns of `X`, which are those of a fit if it has some, in their order.

    Raises:
        BadInput: they are not.
    """
    given = columns_of(rows)
    if known is None or given is None:
        mixed = known is not None and len(known.names) > max(1, len(known.numbers))
        if known is not None and mixed:
            raise BadInput(
                "X has no column names, and this fit reads columns of texts and numbers.",
                f"Pass a data frame with the columns {', '.join(known.names)}.",
            )
        return given
    if given.names != known.names:
        missing = [name for name in known.names if name not in given.names]
        unseen = [name for name in given.names if name not in known.names]
        parts = (("not seen when it was fitted", unseen), ("that are missing", missing))
        odd = [f"columns {what}: {', '.join(names)}" for what, names in parts if names]
        raise BadInput(
            f"the columns of X are not those of the fit: {'; '.join(odd) or 'another order'}.",
            f"Pass {', '.join(known.names)}, in this order.",
        )
    return known


def read_mixed(
    rows: Any, columns: Columns | None, mixed: frozenset[Kind], reads: frozenset[Kind]
) -> tuple[Kind, list[Item]]:
    """Read the items of `X`; columns of texts, with numbers beside them if a fit is `mixed`."""
    texts = columns is not None and len(columns.numbers) < len(columns.names)
    if columns is not None and (texts or "row" in reads) and "image" not in reads:
        return read_frame(rows, columns, mixed)
    return read_rows(rows, reads)


def read_frame(frame: Any, known: Columns, reads: frozenset[Kind]) -> tuple[Kind, list[Item]]:
    """Read the rows of a data frame as those of a table are: texts joined, numbers beside them.

    Raises:
        BadInput: the model does not read them, or a row has nothing in it.
    """
    words = [name for name in known.names if name not in known.numbers]
    needed = {kind for kind, names in (("row", known.numbers), ("text", words)) if names}
    if not needed <= reads:
        raise BadInput(
            f"X has columns of texts ({few(words)})"
            + (" beside numbers" if known.numbers else "")
            + f"; this model and method read {' and '.join(KIND_WORDS[k] for k in sorted(reads))}.",
            "Use a text encoder such as builtin/minilm with method='linear', or leave them out.",
        )
    columns = {name: _cells(frame, name) for name in known.names}
    if not len(frame):
        raise BadInput("X is empty.", "Pass at least one item.")
    items: list[Item] = []
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        cells = dict(zip(known.names, row, strict=True))
        texts = [str(cells[name]).strip() for name in words if not is_missing(cells[name])]
        values = [math.nan if is_missing(cells[n]) else float(cells[n]) for n in known.numbers]
        if not texts and (not values or all(map(math.isnan, values))):
            raise BadInput(f"X[{number}] is empty.", _LEAVE)
        if any(map(math.isinf, values)):
            raise BadInput(f"X[{number}] holds an infinite number.", "Repair it or leave it out.")
        text = "\n".join(texts)
        items.append(Row(np.array(values, dtype=np.float32), text) if known.numbers else text)
    return ("row" if known.numbers else "text"), items


def _series(numbers: np.ndarray, reads: frozenset[Kind]) -> list[Item]:
    if not len(numbers):
        raise BadInput("X is empty.", "Pass at least one item.")
    if "series" not in reads:
        hint = 'Use the model "none" for tables of numbers, or one of series.'
        raise BadInput(_unread("X", "a 2-D array of numbers", reads).message, hint)
    broken = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(broken):
        raise BadInput(
            f"X[{broken[0]}] holds a number that is not finite.", "Repair it or leave it out."
        )
    return list(numbers)


def _as_list(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        if values.ndim == 0:
            raise BadInput("X or y is a single value, not a list.", "Pass a list.")
        if values.ndim == 2 and values.dtype.kind in "OUS" and values.shape[1] == 1:
            values = values[:, 0]
        return list(values)
    if _is_frame(values):
        return _as_list(values.to_numpy())
    if not isinstance(values, Iterable) or isinstance(values, dict):
        raise BadInput(f"{type(values).__name__} is not a list or array.", "Pass a list.")
    return list(values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(_plain(part) for part in value)
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(str, value)))
    return value.item() if isinstance(value, np.generic) else value


def _item(name: str, value: Any, reads: frozenset[Kind]) -> tuple[Kind, Item]:
    from PIL.Image import Image

    if isinstance(value, str):
        is_path = "text" not in reads or ("image" in reads and is_image_path(value))
        return _path(name, value, reads) if is_path else ("text", _text(name, value))
    if isinstance(value, Path):
        return _path(name, str(value), reads)
    pixels = isinstance(value, np.ndarray) and value.dtype == _PIXELS and value.ndim in {2, 3}
    if isinstance(value, Image) or pixels:
        if "image" not in reads:
            raise _unread(name, "an image", reads)
        return "image", OpenedData(_rgb(name, value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise BadInput(f"{name} is missing.", _LEAVE)
    raise _unread(name, f"a value of type {type(value).__name__}", reads)


def _text(name: str, text: str) -> str:
    if not text.strip():
        raise BadInput(f"{name} is an empty text.", _LEAVE)
    return str(text)


def _path(name: str, path: str, reads: frozenset[Kind]) -> tuple[Kind, Item]:
    if "image" not in reads:
        raise _unread(name, f"a path, {path!r}", reads)
    image = ImageArray(str(Path(path).expanduser()))
    image.open()  # refused here, by name, and not in the middle of training
    return "image", image


def _rgb(name: str, value: Any) -> Any:
    from PIL import Image

    try:
        image = Image.fromarray(value) if isinstance(value, np.ndarray) else value
        return convert_image(image, name).image
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"{name} is not an image that can be read: {error}.",
            "Pass PIL images or uint8 arrays of height x width x 3.",
        ) from error


def _unread(name: str, what: str, reads: frozenset[Kind]) -> BadInput:
    words = " and ".join(KIND_WORDS[kind] for kind in sorted(reads))
    return BadInput(f"{name} is {what}; this model reads {words}.", _HINTS[min(reads)])


_HINTS: dict[Kind, str] = {
    "text": "Pass a list of texts.",
    "image": "Pass PIL images, uint8 arrays of height x width x 3, or paths of image files.",
    "series": "Pass a 2-D array of numbers, one series a row.",
    "row": "Pass a 2-D array of numbers; NaN stands for a missing one.",
}


def classes_of(labels: Sequence[Any]) -> tuple[list[Any], Targets]:
    """Return the sorted classes, and the labels encoded as numbers.

    Raises:
        BadInput: one class, mixed types, numbers that are not whole, or names that are the same
            once they are written down.
    """
    several = [isinstance(one, tuple) for one in labels]
    if any(several):
        if not all(several):
            raise BadInput("y mixes single labels and lists of labels.", "Pass lists only.")
        return _several_of(labels)
    types = {type(one) for one in labels}
    if len(types) > 1:
        names = ", ".join(sorted(one.__name__ for one in types))
        raise BadInput(f"y mixes types: {names}.", "Pass labels of one type.")
    if types - {str, int, bool, float}:
        raise BadInput(
            f"y holds labels of type {types.pop().__name__}.",
            "Pass strings, whole numbers or booleans.",
        )
    if any(isinstance(one, float) and not one.is_integer() for one in labels):
        raise BadInput("y holds numbers that are not whole.", "Use Regressor, or pass classes.")
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise BadInput(f"y has one class only, {classes[0]!r}.", "Pass at least two classes.")
    texts = tuple(label_text(one) for one in classes)
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise BadInput(f"two classes are both written {twice!r}.", "Rename one of them.")
    location = {one: number for number, one in enumerate(classes)}
    values = np.array([location[one] for one in labels], dtype=np.int64)
    return classes, Targets("class", texts, values)


def _several_of(labels: Sequence[tuple[Any, ...]]) -> tuple[list[Any], Targets]:
    task: Task = "labels"
    if not any(any(row) for row in labels):
        raise BadInput("no item of y has a label.", "Give some items at least one.")
    if _is_indicator(labels):
        values = np.array(labels, dtype=np.float32)
        columns = list(range(values.shape[1]))
        return columns, Targets(task, tuple(map(str, columns)), values)
    names = sorted({label_text(one) for row in labels for one in row})
    location = {name: number for number, name in enumerate(names)}
    values = np.zeros((len(labels), len(names)), dtype=np.float32)
    for number, row in enumerate(labels):
        values[number, [location[label_text(one)] for one in row]] = 1
    return list(names), Targets(task, tuple(names), values)


def _is_indicator(labels: Sequence[tuple[Any, ...]]) -> bool:
    numbers = all(is_number(one) or isinstance(one, bool) for row in labels for one in row)
    binary = numbers and all(one in {0, 1} for row in labels for one in row)
    return binary and len({len(row) for row in labels}) == 1


def labels_in(label: Any, several: bool) -> list[str]:
    """Return the label names of an item; for a row of 0 and 1, its column numbers."""
    if not several:
        return [label_text(label)]
    row = label if isinstance(label, tuple) else (label,)
    if _is_indicator([row]):
        return [str(number) for number, one in enumerate(row) if one]
    return [label_text(one) for one in row]


def numbers_of(labels: Sequence[Any]) -> Float64[np.ndarray, " n"]:
    """Return the labels as an array of finite numbers.

    Raises:
        BadInput: names the first that is not one, or says that all are the same.
    """
    for number, label in enumerate(labels):
        if isinstance(label, str | bool) or not is_number(label) or not np.isfinite(label):
            raise BadInput(
                f"y[{number}] is {label!r}, which is not a finite number.",
                "Pass numbers, or use Classifier for classes.",
            )
    values = np.array(labels, dtype=np.float64)
    if values.min() == values.max():
        raise BadInput(f"all of y is {values[0]:g}.", "Pass different numbers.")
    return values
