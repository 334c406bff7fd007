"""From a path to labelled examples of the kind that a model reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..search.readers import is_image_path
from .examples import Examples, Item, Kind, Picture, Refused, key_of, require_some, resolve
from .folders import look_at, read_class_folders
from .tables import Table, find_target, is_missing, is_number, read_table

KIND_WORDS: dict[Kind, str] = {"text": "texts", "image": "pictures", "series": "series of numbers"}
_READERS: dict[Kind, str] = {
    "text": "--model builtin/minilm, or the folder of another text encoder",
    "image": "--model builtin/blocks-clip, or the folder of an image model (CLIP, ViT, ...)",
    "series": "--model FOLDER of PatchTST or TimesFM",
}
_MOSTLY = 0.9  # of the values of a column are what the column is taken for


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read from a table.

    Attributes:
        reads: kinds of items that the model takes.
        target: name of the column of labels; None: one of the usual names.
        content: columns that are read; empty: all others of the fitting type.
    """

    reads: frozenset[Kind]
    target: str | None = None
    content: tuple[str, ...] = ()


def read_examples(path: str | Path, wanted: Wanted) -> Examples:
    """Read labelled data.

    Rows without a label or content, and pictures that cannot be decoded, are left out and named
    in `refused`.

    Raises:
        BadFile: the data do not exist or are malformed.
        BadInput: a column is not there, nothing is left, or the model does not read such data.
        LimitExceeded: they are too large.
    """
    place = resolve(path)
    if place.is_dir() or place.suffix.lower() == ".zip":
        if wanted.target is not None or wanted.content:
            raise BadInput(
                f"{place} is a folder of classes and has no columns.",
                "Leave --target and --content out: the folders' names are the labels.",
            )
        return require_some(_require_read(read_class_folders(place), wanted))
    return require_some(_from_table(read_table(place), wanted))


def read_items(
    path: str | Path, wanted: Wanted, target: str | None
) -> tuple[list[Item], list[str]]:
    """Items of a table without labels, for predictions; and how each is called.

    Raises:
        BadInput: a row has no content, or a column is not there.
    """
    table = read_table(resolve(path))
    inputs = [name for name in wanted.content or table.columns if name != target]
    kind, columns = _content(table, inputs, wanted)
    items: list[Item] = []
    for row, place in enumerate(table.places):
        item = _item(table, kind, columns, row)
        if isinstance(item, Refused):
            raise BadInput(f"{place} of {table.path.name}: {item.reason}", "Mend that row.")
        items.append(item)
    return items, list(table.places)


def _require_read(examples: Examples, wanted: Wanted) -> Examples:
    if examples.kind not in wanted.reads:
        raise _unread(examples.source, examples.kind, wanted)
    return examples


def _unread(source: str, kind: Kind, wanted: Wanted) -> BadInput:
    """The error where data are of a kind that the model does not read."""
    return BadInput(
        f"{source} holds {KIND_WORDS[kind]}, which the model does not read. It reads "
        f"{' and '.join(KIND_WORDS[read] for read in sorted(wanted.reads))}.",
        f"Fit {KIND_WORDS[kind]} on a model that reads them: {_READERS[kind]}.",
    )


def _from_table(table: Table, wanted: Wanted) -> Examples:
    target = find_target(table, wanted.target)
    inputs = [name for name in wanted.content or table.columns if name != target]
    kind, columns = _content(table, inputs, wanted)
    items: list[Item] = []
    keys, labels, names, refused = [], [], [], []
    for row, (place, label) in enumerate(zip(table.places, table.column(target), strict=True)):
        name = f"{place} of {table.path.name}"
        why = "its label is NaN." if is_number(label) else "no label."
        item: Item | Refused = Refused(name, why)
        if not is_missing(label):
            item = _item(table, kind, columns, row)
        found = look_at(item) if isinstance(item, Picture) else item
        if isinstance(item, Refused) or isinstance(found, Refused):
            reason = found.reason if isinstance(found, Refused) else ""
            refused.append(Refused(name, reason))
            continue
        items.append(item)
        keys.append(str(found) if isinstance(item, Picture) else key_of(item))
        labels.append(label)
        names.append(name)
    return Examples(
        str(table.path), kind, items, keys, labels, names, tuple(refused), tuple(columns)
    )


def _content(table: Table, inputs: Sequence[str], wanted: Wanted) -> tuple[Kind, list[str]]:
    """What the model is to read, and from which columns."""
    values = {name: [v for v in table.column(name) if not is_missing(v)] for name in inputs}
    numbers = [name for name, column in values.items() if all(map(is_number, column))]
    words = [n for n, column in values.items() if n not in numbers and _is_text(column)]
    pictures = [name for name in words if _is_pictures(values[name])]
    by_kind: dict[Kind, list[str]] = {
        "image": pictures[:1],
        "text": list(inputs) if wanted.content else [n for n in words if n not in pictures],
        "series": list(inputs) if wanted.content else _series_columns(values),
    }
    kinds: tuple[Kind, ...] = ("image", "text", "series")
    for kind in kinds:
        if kind in wanted.reads and by_kind[kind]:
            return kind, by_kind[kind]
    if pictures:
        raise _unread(table.path.name, "image", wanted)
    raise BadInput(
        f"{table.path.name} has no column of "
        f"{' or '.join(KIND_WORDS[kind] for kind in sorted(wanted.reads))} beside the labels.",
        f"Name columns with --content; there are: {', '.join(table.columns)}.",
    )


def _series_columns(values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Columns of numbers; a few cells that are none cost their rows and not the column."""
    return [
        name
        for name, column in values.items()
        if sum(map(is_number, column)) >= _MOSTLY * len(column) > 0
    ]


def _is_text(column: Sequence[Any]) -> bool:
    return bool(column) and all(isinstance(value, str) for value in column)


def _is_pictures(column: Sequence[Any]) -> bool:
    named = sum(is_image_path(str(value)) for value in column)
    return named >= _MOSTLY * len(column) > 0


def _item(table: Table, kind: Kind, columns: Sequence[str], row: int) -> Item | Refused:
    cells = [table.columns[name][row] for name in columns]
    name = table.places[row]
    if kind == "series":
        return _series(name, columns, cells)
    parts = [str(cell).strip() for cell in cells if not is_missing(cell)]
    if not parts:
        return Refused(name, f"nothing in {', '.join(columns)}.")
    if kind == "text":
        return "\n".join(parts)
    return Picture(str(table.path.parent / parts[0]))


def _series(name: str, columns: Sequence[str], cells: Sequence[Any]) -> Item | Refused:
    for column, cell in zip(columns, cells, strict=True):
        if not is_number(cell) or not np.isfinite(float(cell)):
            return Refused(name, f"{column} holds {cell!r}, which is no finite number.")
    return np.array([float(cell) for cell in cells], dtype=np.float32)
