"""`metadata.jsonl` beside pictures: their captions and conditions, as ImageFolder has them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import BadFile

METADATA = "metadata.jsonl"
CAPTIONS = ("caption", "text", "prompt")
CONDITION = "conditioning_image"


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says of one picture.

    Attributes:
        caption: None where it has none.
        condition: file of its condition; None where it names none.
        place: which line of which table, for messages.
    """

    caption: str | None
    condition: Path | None
    place: str


def read_tables(folder: Path) -> dict[Path, Row]:
    """The rows of every table below a folder, by the pictures that they name.

    Raises:
        BadFile: a row names no file, one that is not there, or one outside of the folder.
    """
    found: dict[Path, Row] = {}
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if METADATA in names:
            found.update(_rows_of(Path(place) / METADATA, folder))
    return found


def _rows_of(table: Path, within: Path) -> Iterator[tuple[Path, Row]]:
    for number, content in enumerate(files.read_json_lines(table), 1):
        place = f"line {number} of {table}"
        picture = _file_of(content, "file_name", place, table.parent, within)
        condition = None
        if content.get(CONDITION) is not None:
            condition = _file_of(content, CONDITION, place, table.parent, within)
        yield picture, Row(_caption_of(content), condition, place)


def _file_of(
    content: Mapping[str, Any], column: str, place: str, folder: Path, within: Path
) -> Path:
    name = content.get(column)
    if not isinstance(name, str) or not name:
        raise BadFile(
            f"{place} has no {column} that is a file name.",
            f"Columns: file_name, one of {', '.join(CAPTIONS)}, and {CONDITION} if it has one.",
        )
    path = folder / name
    if not path.resolve().is_relative_to(within.resolve()):
        raise BadFile(
            f"{place} names {name!r}, which lies outside of {within}.",
            "Name the folder that holds both, or bring the conditions with --conditions.",
        )
    if not path.is_file():
        raise BadFile(
            f"{place} names {name!r} as its {column}, which is not there.",
            "Bring that file, or take the line out.",
        )
    return path


def _caption_of(content: Mapping[str, Any]) -> str | None:
    values = (content.get(column) for column in CAPTIONS)
    return next((value for value in values if isinstance(value, str)), None)
