"""Selection of table columns for a model: those named, or those of a suitable type."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np

from ..errors import BadInput, few
from .dataset import Kind, packed_image
from .documents.formats import is_image_path
from .tables import AS_FOUND, Reading, Table, is_missing, is_number
from .tables.header import counts_rows, is_code, is_date, is_identifier, is_key

Missing = Literal["ask", "drop", "learn"]
KIND_WORDS: dict[Kind, str] = {
    "text": "texts",
    "image": "images",
    "series": "series of numbers",
    "row": "tables of numbers",
}


def image_models(option: str) -> str:
    """Return what to pass with this option for images."""
    return (
        f"for photographs {option} imagenet (graft models fetch imagenet, 18 MB), for Blocks "
        f"scenes {option} builtin/blocks-clip"
    )


_READERS: dict[Kind, str] = {
    "text": "--model builtin/minilm, or the folder of another text encoder",
    "image": f"{image_models('--model')}, or the folder of an image model (CLIP, ViT, ...)",
    "series": "--model FOLDER of PatchTST or TimesFM",
    "row": "--model none",
}
_MOSTLY = 0.9  # share of image extensions among the values of a column of image paths
_HALF = 0.5  # share of numbers in a numeric column; rows with others are left out
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Request for what to read from a table.

    Attributes:
        reads: kinds of items that the model takes.
        target: name of the label column; None for one of the usual names.
        content: columns to read; empty for all others of a suitable type.
        reading: options that the user gave for parsing tables.
        missing: how to treat rows whose label is a word that may stand for a missing label.
        numbers: those of `content` that hold the numbers of rows, if known.
    """

    reads: frozenset[Kind]
    target: str | None = None
    content: tuple[str, ...] = ()
    reading: Reading = AS_FOUND
    missing: Missing = "ask"
    numbers: tuple[str, ...] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All named columns."""
        return (*self.content, *(() if self.target is None else (self.target,)))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns that are read.

    Attributes:
        kind: kind of item that they hold.
        names: of the columns, in their order.
        note: message to the user about the choice; empty if there is none.
        numbers: for rows, those of `names` that hold numbers.
    """

    kind: Kind
    names: tuple[str, ...]
    note: str = ""
    numbers: tuple[str, ...] = ()


def choose_columns(table: Table, requested: ColumnChoice, target: str | None) -> Chosen:
    """Choose the kind of item for the model to read, and its columns.

    Raises:
        BadInput: a named column is not there or of another type, or none can be read.
    """
    if requested.content:
        return _as_named(table, requested)
    others = [name for name in table.columns if name != target]
    found = _Sorted(table, others, target=target if target in table.columns else None)
    kinds: tuple[Kind, ...] = ("image", "row", "text", "series")
    for kind in kinds:
        if kind in requested.reads and (names := found.of(kind)):
            if kind == "row":
                return _as_row(table, found, found.words, found.series, target)
            note = _note(table, found, kind, names)
            return Chosen(kind, tuple(names), note)
    raise _nothing(table, found, requested, target)


def is_image_cell(value: Any) -> bool:
    """Whether a cell holds an image, or the path of one."""
    path = value.get("path") if isinstance(value, dict) else value
    named = isinstance(path, str) and is_image_path(path)
    return named or packed_image(value, Path(), "") is not None


def unread(source: str, kind: Kind, requested: ColumnChoice) -> BadInput:
    """Return the error for data of a kind that the model does not read."""
    return BadInput(
        f"{source} holds {KIND_WORDS[kind]}, which the model does not read. It reads "
        f"{' and '.join(KIND_WORDS[read] for read in sorted(requested.reads))}.",
        f"Fit {KIND_WORDS[kind]} on a model that reads them: {_READERS[kind]}.",
    )


def number_of(column: str, cell: Any) -> float | str:
    """Return a cell as a float32 number, or the reason why it is not one."""
    if is_number(cell):
        value = float(cell)
        if math.isfinite(value) and abs(value) <= _LARGEST:
            return value
        return f"{column} is {str(cell).strip()}, which is not a finite number of 32 bits."
    if is_missing(cell):
        return f"{column} is empty."
    return f"{column} is {_short(cell)}, which is not a number."


class _Sorted:
    """Columns grouped by their content."""

    def __init__(
        self, table: Table, names: Sequence[str], by_itself: bool = True, target: str | None = None
    ) -> None:
        labels = None if target is None else list(table.column(target))
        self.series: list[str] = []
        self.words: list[str] = []
        self.pictures: list[str] = []
        self.others: dict[str, str] = {}  # why a column is in none of these
        self.running: list[str] = []  # row numbers, or a ramp among other columns
        for name in names:
            if by_itself and labels is not None and _is_renamed(table.column(name), labels):
                self.others[name] = "the same as the labels"
                continue
            values = [v for v in table.numbers(name) if not is_missing(v)]
            self._sort(name, values, by_itself)
        if by_itself and len(self.words) > 1:
            for name in [name for name in self.words if is_code(table.column(name))]:
                self.words.remove(name)
                self.others[name] = "identifiers"
        if len(self.running) == 1 and len(self.series) > 1:
            self.series.remove(self.running[0])
            self.others[self.running[0]] = "numbers that count rows"

    def of(self, kind: Kind) -> list[str]:
        """Return the columns of a kind; for images only the first, as a row has one image."""
        if kind == "row":
            return [*self.words, *self.series] if self.series else []
        return {"image": self.pictures[:1], "text": self.words, "series": self.series}[kind]

    def reasons(self, read: Sequence[str]) -> dict[str, str]:
        """Return the content of each column that is not read, by name."""
        held = {"numbers": self.series, "text": self.words, "images": self.pictures}
        found = {name: words for words, names in held.items() for name in names}
        return {name: why for name, why in (found | self.others).items() if name not in read}

    def _sort(self, name: str, values: Sequence[Any], by_itself: bool) -> None:
        numbers = sum(map(is_number, values))
        if not values:
            self.others[name] = "empty"
        elif by_itself and is_date(name, values):
            self.others[name] = "dates"
        elif by_itself and (is_identifier(name, values) or is_key(name, values)):
            self.others[name] = "identifiers"
        elif numbers >= _HALF * len(values):
            self.series.append(name)
            if by_itself and counts_rows(values):
                self.running.append(name)
        elif sum(map(is_image_cell, values)) >= _MOSTLY * len(values):
            self.pictures.append(name)
        elif not all(isinstance(value, str) for value in values):
            self.others[name] = "neither text nor numbers"
        else:
            self.words.append(name)


def _is_renamed(values: Sequence[Any], labels: Sequence[Any]) -> bool:
    """Whether a column equals the labels, or maps one-to-one to a few distinct labels."""
    if list(values) == list(labels):
        return True
    texts = [str(value) for value in labels]
    pairs = set(zip(map(str, values), texts, strict=True))
    few_labels = 1 < len(set(texts)) <= len(texts) // 4
    return few_labels and len(pairs) == len(set(texts)) == len({value for value, _ in pairs})


def _as_row(
    table: Table,
    found: _Sorted,
    words: Sequence[str],
    numbers: Sequence[str],
    target: str | None = None,
) -> Chosen:
    names = tuple(name for name in table.columns if name in {*words, *numbers})
    texts = f"texts from {few(words)} and " if words else ""
    reasons = found.reasons(names)
    left = few(f"{name} ({why})" for name, why in reasons.items())
    count = f"{len(numbers)} columns" if len(numbers) > 1 else "column"
    note = (
        f"{table.path.name}: reading {texts}numbers from {count} {few(numbers)}"
        + (f"; left out: {left}" if left else "")
        + "; --content names others"
    )
    note = ". ".join(filter(None, (note, _forecast_hint(table, reasons.values(), target))))
    return Chosen("row", names, note, numbers=tuple(numbers))


def _as_named(table: Table, requested: ColumnChoice) -> Chosen:
    for name in requested.content:
        table.column(name)
    found = _Sorted(table, requested.content, by_itself=False)
    if "image" in requested.reads and found.pictures:
        others = [name for name in requested.content if name != found.pictures[0]]
        note = f"reading images from {found.pictures[0]}; left out: {few(others)}"
        return Chosen("image", (found.pictures[0],), note if others else "")
    if "row" in requested.reads:
        numbers = found.series if requested.numbers is None else requested.numbers
        words = [name for name in requested.content if name not in numbers]
        if numbers and ("text" in requested.reads or requested.numbers is not None or not words):
            return Chosen("row", requested.content, numbers=tuple(numbers))
    if "text" in requested.reads:
        return Chosen("text", requested.content)
    if "series" in requested.reads and len(found.series) == len(requested.content):
        return Chosen("series", requested.content)
    if found.pictures:
        raise unread(table.path.name, "image", requested)
    raise _nothing(table, found, requested)


def _note(table: Table, found: _Sorted, kind: Kind, names: Sequence[str]) -> str:
    reasons = found.reasons(names)
    joined = kind == "text" and len(names) > 1
    if not reasons and not joined:
        return ""
    count = f"{len(names)} columns" if len(names) > 1 else "column"
    left = few(f"{name} ({why})" for name, why in reasons.items())
    return (
        f"{table.path.name}: reading {KIND_WORDS[kind]} from {count} {few(names)}"
        + (f"; left out: {left}" if left else "")
        + "; --content names others"
    )


def _nothing(
    table: Table, found: _Sorted, requested: ColumnChoice, target: str | None = None
) -> BadInput:
    if found.pictures:
        return unread(table.path.name, "image", requested)
    if requested.content and "series" in requested.reads:
        odd = next(name for name in requested.content if name not in found.series)
        cells = zip(table.places, table.numbers(odd), strict=True)
        found_odd = (
            (location, number_of(odd, cell))
            for location, cell in cells
            if is_missing(cell) or not is_number(cell)
        )
        location, why = next(found_odd)
        return BadInput(
            f"{location} of {table.path.name}: {why}",
            "Write numbers with a point (1.5), or leave that column out of --content.",
        )
    reasons = found.reasons(())
    hint = (
        "Numbers alone are fitted without a pre-trained model: graft fit --how linear; columns are "
        "named with --content; there are: "
        f"{few(list(table.columns))}."
    )
    hint = " ".join(filter(None, (_forecast_hint(table, reasons.values(), target), hint)))
    held = few(f"{name} ({why})" for name, why in reasons.items()) or "no other column"
    return BadInput(
        f"{table.path.name} has no column of "
        f"{' or '.join(KIND_WORDS[kind] for kind in sorted(requested.reads))} beside the labels: "
        f"{held}.",
        hint,
    )


def _forecast_hint(table: Table, reasons: Collection[str], target: str | None) -> str:
    if target is None or "dates" not in reasons or not _is_numeric(table, target):
        return ""
    return (
        f"To forecast {target} in time: graft forecast {quote(str(table.path))} --target "
        f"{quote(target)} --horizon 48."
    )


def _is_numeric(table: Table, name: str) -> bool:
    values = [v for v in table.numbers(name) if not is_missing(v)] if name in table.columns else []
    return bool(values) and all(map(is_number, values))


def _short(cell: Any) -> str:
    shown = repr(cell)
    return shown if len(shown) <= 60 else shown[:57] + "..."
