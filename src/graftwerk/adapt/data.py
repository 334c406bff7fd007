"""From a path to labelled examples of the kind that a model reads."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .columns import Chosen, Wanted, choose_columns, few, number_of, unread
from .examples import Examples, Item, Picture, Refused, key_of, require_some, resolve
from .folders import look_at, read_class_folders
from .tables import SUFFIXES, Table, find_target, is_missing, is_number, read_table, usual_target


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


def is_table(path: str | Path) -> bool:
    """Whether a path has the ending of a table."""
    return Path(path).suffix.lower() in SUFFIXES


def read_items(
    path: str | Path, wanted: Wanted, target: str | None, note: Callable[[str], None]
) -> tuple[list[Item], list[str]]:
    """Items of a table without labels, for predictions; and how each is called.

    Raises:
        BadInput: a row has no content, or a column is not there.
    """
    table = read_table(resolve(path))
    chosen = choose_columns(table, wanted, target or usual_target(table))
    if chosen.note:
        note(chosen.note)
    items: list[Item] = []
    for row, place in enumerate(table.places):
        item = _item(table, chosen, row)
        if isinstance(item, Refused):
            raise BadInput(f"{place} of {table.path.name}: {item.reason}", "Mend that row.")
        items.append(item)
    return items, list(table.places)


def _require_read(examples: Examples, wanted: Wanted) -> Examples:
    if examples.kind not in wanted.reads:
        raise unread(examples.source, examples.kind, wanted)
    return examples


def _from_table(table: Table, wanted: Wanted) -> Examples:
    target = find_target(table, wanted.target)
    chosen = choose_columns(table, _without(wanted, target), target)
    items: list[Item] = []
    keys, labels, names, refused = [], [], [], []
    for row, (place, label) in enumerate(zip(table.places, table.column(target), strict=True)):
        name = f"{place} of {table.path.name}"
        item: Item | Refused = Refused(name, _no_label(label))
        if not is_missing(label):
            item = _item(table, chosen, row)
        found = look_at(item) if isinstance(item, Picture) else item
        if isinstance(item, Refused) or isinstance(found, Refused):
            reason = found.reason if isinstance(found, Refused) else ""
            refused.append(Refused(name, reason))
            continue
        items.append(item)
        keys.append(str(found) if isinstance(item, Picture) else key_of(item))
        labels.append(label)
        names.append(name)
    notes = (chosen.note,) if chosen.note else ()
    return Examples(
        str(table.path),
        chosen.kind,
        items,
        keys,
        labels,
        names,
        tuple(refused),
        chosen.names,
        notes,
    )


def _without(wanted: Wanted, target: str) -> Wanted:
    """The same without the labels among the columns that are read.

    Raises:
        BadInput: nothing else was named.
    """
    left = tuple(name for name in wanted.content if name != target)
    if wanted.content and not left:
        raise BadInput(
            f"{target!r} is the column of labels and cannot be what is read too.",
            "Name another column with --content or --target.",
        )
    return replace(wanted, content=left)


def _no_label(label: Any) -> str:
    """Why a row has no label."""
    return "its label is NaN, which is no number." if is_number(label) else "no label."


def _item(table: Table, chosen: Chosen, row: int) -> Item | Refused:
    cells = [table.columns[name][row] for name in chosen.names]
    name = table.places[row]
    if chosen.kind == "series":
        return _series(name, chosen.names, cells)
    parts = [str(cell).strip() for cell in cells if not is_missing(cell)]
    if not parts:
        return Refused(name, f"nothing in {few(chosen.names)}.")
    if chosen.kind == "text":
        return "\n".join(parts)
    return Picture(str(table.path.parent / parts[0]))


def _series(name: str, columns: Sequence[str], cells: Sequence[Any]) -> Item | Refused:
    values = []
    for column, cell in zip(columns, cells, strict=True):
        value = number_of(column, cell)
        if isinstance(value, str):
            return Refused(name, value)
        values.append(value)
    return np.array(values, dtype=np.float32)
