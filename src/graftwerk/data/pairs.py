"""Pairs of texts with similarity scores given by people."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded
from .tables import AS_FOUND, Reading, Table, is_number, is_table_folder, read_table

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts and their similarity as judged by people."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class Rows(Generic[Item]):
    """What the rows of a table hold.

    Attributes:
        rows: one item per row.
        dialect: format of the table.
        notes: messages to the user about it.
    """

    rows: list[Item]
    dialect: str
    notes: tuple[str, ...]


def read_pairs(path: Path, reading: Reading = AS_FOUND) -> Rows[Pair]:
    """Read a table of text, text, score, with or without a header.

    Raises:
        BadFile: the file is missing or cannot be decoded, or a row is malformed; it is named.
        LimitExceeded: the file is too large.
    """
    _require_file(path, "table", "text, text, score")
    try:
        table = read_table(path, reading, cells=3)
    except (BadFile, LimitExceeded):
        raise
    except BadInput as error:
        raise BadFile(f"{path} holds 0 pairs.", "At least 2 are needed.") from error
    columns = [table.numbers(name) for name in table.columns]
    rows = zip(zip(*columns, strict=True), table.places, strict=True)
    pairs = [_pair(path, row, location) for row, location in rows]
    if len(pairs) < 2:
        raise BadFile(f"{path} holds {len(pairs)} pairs.", "At least 2 are needed.")
    return _as_rows(pairs, table, _number_notes(table))


def _require_file(path: Path, what: str, content: str) -> None:
    if not path.is_file() and not is_table_folder(path):
        raise BadFile(f"{path} is not a file.", f"Name a table of {content}.")
    if path.is_file():
        limits.require_file_size(path, limits.TEXT_FILE, what)


def _as_rows(items: list[Item], table: Table, more: Sequence[str] = ()) -> Rows[Item]:
    name = table.path.name
    notes = tuple(f"{name}: {note}" for note in (*table.notes, *more))
    return Rows(items, f"{name}: {table.dialect}", notes)


def _number_notes(table: Table) -> list[str]:
    last = list(table.columns)[-1]
    return [table.formats[last].describe(last)] if last in table.formats else []


def _pair(path: Path, row: Sequence[Any], location: str) -> Pair:
    if len(row) != 3:
        raise BadFile(
            f"{location} of {path} has {len(row)} columns.", "Each needs 3: text, text, score."
        )
    if not is_number(row[2]):
        raise BadFile(
            f"{location} of {path} has the score {str(row[2])[:40]!r}.", "A score is a number."
        )
    score = float(row[2])
    if not math.isfinite(score):
        raise BadFile(f"{location} of {path} has the score {row[2]!r}.", "It must be finite.")
    return Pair(str(row[0]), str(row[1]), score)


_FORM = "Each row needs a column `text`; every other column is an attribute, such as `label`."


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with its labels.

    Attributes:
        text: the text.
        values: values by column.
    """

    text: str
    values: Mapping[str, tuple[str, ...]]


def read_labelled_texts(path: Path, reading: Reading = AS_FOUND) -> Rows[LabelledText]:
    """Read the rows of a table as texts with labels.

    Raises:
        BadFile: it cannot be read, or a row has no text; the row is named.
        LimitExceeded: the file is too large.
    """
    _require_file(path, "file of texts", "texts")
    try:
        table = read_table(path, reading, ("text",))
    except (BadFile, LimitExceeded):
        raise
    except BadInput as error:
        raise BadFile(f"{path} has no column text: {error.message}", _FORM) from error
    if "text" not in table.columns:
        shown = ", ".join(map(str, table.columns))
        raise BadFile(f"the header of {path} has no column text, but: {shown[:200]}.", _FORM)
    cells = zip(*table.columns.values(), strict=True)
    rows = [dict(zip(table.columns, row, strict=True)) for row in cells]
    texts = [_text(row, f"{path}, {at}") for row, at in zip(rows, table.places, strict=True)]
    return _as_rows(texts, table)


def _text(row: Mapping[str, Any], where: str) -> LabelledText:
    text = row["text"]
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{where}: there is no text.", _FORM)
    predicted = {name: value for name, value in row.items() if value is not None}
    return LabelledText(text, values_of(predicted, {"text"}))


def values_of(row: Mapping[str, Any], besides: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of a row's columns: texts, integers, booleans, and lists of these."""
    values = {}
    for key, value in row.items():
        several = [one for one in (value if isinstance(value, list) else [value]) if one != ""]
        if key not in besides and all(isinstance(one, str | int) for one in several):
            values[key] = tuple(str(one) for one in several)
    return values


def attributes(
    rows: Sequence[Mapping[str, tuple[str, ...]]],
) -> dict[str, list[tuple[str, ...]]]:
    """Return the columns whose values several items share, by name; an item may lack one.

    A column in which the number of distinct values is more than half the number of items, such as
    a path, does not tell which items belong together.
    """
    columns: dict[str, list[tuple[str, ...]]] = {}
    for name in sorted({name for row in rows for name in row}):
        values = [row.get(name, ()) for row in rows]
        different = {value for some in values for value in some}
        if 1 < len(different) <= len(rows) / 2:
            columns[name] = values
    return columns
