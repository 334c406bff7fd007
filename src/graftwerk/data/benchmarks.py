"""Pairs of texts with similarity scores given by people."""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded
from ..text_safety import counted
from .dataset import open_zip, read_member, resolve
from .documents.formats import is_image_path
from .images import decode_image
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
        raise BadFile(f"{path} holds {counted(len(pairs), 'pair')}.", "At least 2 are needed.")
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
            f"{location} of {path} has {counted(len(row), 'column')}.",
            "Each needs 3: text, text, score.",
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


def attributes(rows: Sequence[Mapping[str, tuple[str, ...]]]) -> dict[str, list[tuple[str, ...]]]:
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


_KEY = "boundaries"
ImageArray = UInt8[np.ndarray, "h w 3"]
People = Bool[np.ndarray, "p h w"]


class BoundaryData:
    """Pairs of an image and its boundary file, read one by one.

    Args:
        path: a zip file, or a folder.

    Raises:
        BadFile: there is no such file, or it is no zip.
        BadInput: no image has boundaries beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = resolve(path)
        if self.path.is_dir():
            names = [entry.name for entry in self.path.iterdir() if entry.is_file()]
        else:
            names = [entry.filename for entry in open_zip(str(self.path)).infolist()]
        there = set(names)
        self.names = sorted(
            name for name in names if is_image_path(name) and _beside(name) in there
        )
        if not self.names:
            raise BadInput(
                f"{path} has no image with boundaries beside it.",
                f"Put NAME.npz with the array {_KEY!r} [people height width] beside NAME.jpg.",
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[ImageArray, People]]:
        """Yield images sorted by name, each with the boundaries of every annotator."""
        for name in self.names:
            image = decode_image(io.BytesIO(self._content(name)), name).image
            picture = np.asarray(image)
            people = _boundaries(self._content(_beside(name)), _beside(name))
            if people.shape[1:] != picture.shape[:2]:
                raise BadInput(
                    f"the boundaries of {name} are {people.shape[2]} x {people.shape[1]} pixels, "
                    f"and the image is {picture.shape[1]} x {picture.shape[0]}.",
                    "Draw them at the image's size.",
                )
            yield picture, people

    def _content(self, name: str) -> bytes:
        if self.path.is_dir():
            file = self.path / name
            limits.require_file_size(file, limits.IMAGE_FILE, "file")
            return file.read_bytes()
        return read_member(open_zip(str(self.path)), name, limits.IMAGE_FILE)


def _beside(name: str) -> str:
    return name.rpartition(".")[0] + ".npz"


def _boundaries(content: bytes, name: str) -> People:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = archive.getinfo(f"{_KEY}.npy").file_size
        if size > limits.ZIP_UNPACKED:
            raise LimitExceeded(
                f"{name!r} unpacks to {size:,} bytes; at most {limits.ZIP_UNPACKED:,} are read.",
                "Leave people out.",
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = arrays[_KEY]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(
            f"{name!r} contains no array {_KEY!r} ({type(error).__name__}).",
            "Write it with numpy.savez_compressed(NAME, boundaries=MAPS).",
        ) from error
    if found.ndim != 3 or len(found) == 0 or found.dtype not in (np.bool_, np.uint8):
        raise BadInput(
            f"the boundaries in {name!r} are {found.dtype} of shape {found.shape}.",
            "Give true and false (or 0 and 1) of shape [people height width].",
        )
    boundaries: np.ndarray = found.astype(np.bool_)
    return boundaries
