"""Files of texts with labels: CSV with a header, or JSON lines, with a column `text`."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, limits
from ..errors import BadFile
from .image_folder import values_of

SUFFIXES = (".csv", ".jsonl")
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


def read_labelled_texts(path: Path) -> list[LabelledText]:
    """Read the rows of a file.

    Raises:
        BadFile: it cannot be read, or a row has no text; the row is named.
        LimitExceeded: the file is too large.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name a CSV or JSON lines file.")
    limits.require_file_size(path, limits.TEXT_FILE, "file of texts")
    try:
        rows = _read_csv(path) if path.suffix.lower() == ".csv" else _read_json_lines(path)
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error.reason}.", "Save it as UTF-8.") from error
    except csv.Error as error:
        raise BadFile(f"{path} is not CSV: {error}.", "Check its quotes.") from error
    return [_text(row, f"{path}, row {number}") for number, row in enumerate(rows, 1)]


def _read_csv(path: Path) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if "text" not in (reader.fieldnames or ()):
            shown = ", ".join(map(str, reader.fieldnames or ()))
            raise BadFile(f"the header of {path} has no column text, but: {shown[:200]}.", _FORM)
        return [{key: value for key, value in row.items() if key} for row in reader]


def _read_json_lines(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(files.parse_json(line))
        except ValueError as error:
            raise BadFile(f"{path}, line {number}: no JSON ({error}).", _FORM) from error
    return rows


def _text(row: Any, where: str) -> LabelledText:
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise BadFile(f"{where}: there is no text.", _FORM)
    return LabelledText(text, values_of(row, {"text"}))
