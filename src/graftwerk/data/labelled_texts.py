"""Tables of texts with labels: a column `text`, and others that say something of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded
from .image_folder import values_of
from .tables import AS_FOUND, Reading, is_table_folder, read_table

_FORM = "Each row needs a column `text`; every other column is an attribute, such as `label`."


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and what is said about it.

    Attributes:
        text: the text.
        values: values by column.
    """

    text: str
    values: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """The texts of a table.

    Attributes:
        rows: one a row.
        dialect: how the table is written.
        notes: what a person should know of it.
    """

    rows: list[LabelledText]
    dialect: str
    notes: tuple[str, ...]


def read_labelled_texts(path: Path, reading: Reading = AS_FOUND) -> LabelledTexts:
    """Read the rows of a table.

    Raises:
        BadFile: it cannot be read, or a row has no text; the row is named.
        LimitExceeded: the file is too large.
    """
    if not path.is_file() and not is_table_folder(path):
        raise BadFile(f"{path} is not a file.", "Name a table of texts.")
    if path.is_file():
        limits.require_file_size(path, limits.TEXT_FILE, "file of texts")
    try:
        table = read_table(path, reading, ("text",))
    except (BadFile, LimitExceeded):
        raise
    except BadInput as error:
        raise BadFile(f"{path} has no column text: {error.message}", _FORM) from error
    if "text" not in table.columns:
        shown = ", ".join(map(str, table.columns))
        raise BadFile(f"the header of {path} has no column text, but: {shown[:200]}.", _FORM)
    columns = list(table.columns.items())
    rows = [{name: values[place] for name, values in columns} for place in range(len(table.places))]
    texts = [_text(row, f"{path}, {at}") for row, at in zip(rows, table.places, strict=True)]
    notes = tuple(f"{path.name}: {note}" for note in table.notes)
    return LabelledTexts(texts, f"{path.name}: {table.dialect}", notes)


def _text(row: Mapping[str, Any], where: str) -> LabelledText:
    text = row["text"]
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{where}: there is no text.", _FORM)
    said = {name: value for name, value in row.items() if value is not None}
    return LabelledText(text, values_of(said, {"text"}))
