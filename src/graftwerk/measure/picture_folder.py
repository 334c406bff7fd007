"""Folders of pictures with captions and labels, in Hugging Face's ImageFolder form.

Either `metadata.jsonl` beside the pictures, in the folder itself or in folders of it, one JSON
object a line with `file_name`; or one folder for each label; or pictures alone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files, limits
from ..errors import BadFile, LimitExceeded

METADATA = "metadata.jsonl"
_CAPTIONS = ("caption", "text")
_FORM = 'Each line is an object such as {"file_name": "a.png", "caption": "a red cube"}.'


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and what is said about it.

    Attributes:
        path: the picture.
        caption: what is on it, in words; None where that is not said.
        values: values by column, for example of `label`; texts and numbers only.
    """

    path: str
    caption: str | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_picture_folder(path: Path) -> list[LabelledPicture]:
    """List pictures with what is said about them; the pictures themselves are not opened.

    Args:
        path: a folder, or its `metadata.jsonl`.

    Raises:
        BadFile: nothing of that form is there, or a line is malformed; the line is named.
        LimitExceeded: there are too many pictures.
    """
    if path.is_file():
        if path.suffix.lower() != ".jsonl":
            raise BadFile(f"{path} is neither a folder nor JSON lines.", _FORM)
        found = list(_read_metadata(path))
    elif path.is_dir():
        tables = _tables(path)
        found = [row for table in tables for row in _read_metadata(table)]
        found = found if tables else [*_class_folders(path), *_files(path, {})]
    else:
        raise BadFile(f"{path} does not exist.", f"Name a folder of pictures or its {METADATA}.")
    if not found:
        raise BadFile(
            f"{path} holds no pictures.",
            f"Name a folder with {METADATA}, as `graft blocks render` writes it, or with a folder "
            "for each label.",
        )
    if len(found) > limits.LABELLED_PICTURES:
        raise LimitExceeded(
            f"{path} holds {len(found):,} pictures; at most {limits.LABELLED_PICTURES:,} are read.",
            "Take a part of them.",
        )
    return found


def _tables(folder: Path) -> list[Path]:
    if (folder / METADATA).is_file():
        return [folder / METADATA]
    return sorted(folder.glob(f"*/{METADATA}"))


def _read_metadata(path: Path) -> Iterator[LabelledPicture]:
    limits.require_file_size(path, limits.JSON_FILE, "metadata file")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error.reason}.", "Save it as UTF-8.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _read_row(path, line, f"{path}, line {number}")


def _read_row(path: Path, line: str, where: str) -> LabelledPicture:
    try:
        row: Any = files.parse_json(line)
    except ValueError as error:
        raise BadFile(f"{where}: no JSON ({error}).", _FORM) from error
    name = row.get("file_name") if isinstance(row, dict) else None
    if not isinstance(name, str) or not name:
        raise BadFile(f"{where}: {line[:80]!r} has no file_name.", _FORM)
    place = os.path.normpath(os.path.join(os.path.abspath(path.parent), name))  # noqa: PTH100, PTH118
    if not place.startswith(os.path.join(os.path.abspath(path.parent), "")):  # noqa: PTH100, PTH118
        raise BadFile(f"{where}: {name!r} leads out of the folder.", "Put the picture into it.")
    captions = [row[key] for key in _CAPTIONS if isinstance(row.get(key), str)]
    return LabelledPicture(
        place, captions[0] if captions else None, values_of(row, {"file_name", *_CAPTIONS})
    )


def values_of(row: Mapping[str, Any], besides: set[str]) -> dict[str, tuple[str, ...]]:
    """Values of the columns of a row: texts, whole numbers, truth values, and lists of these."""
    values = {}
    for key, value in row.items():
        several = [one for one in (value if isinstance(value, list) else [value]) if one != ""]
        if key not in besides and all(isinstance(one, str | int) for one in several):
            values[key] = tuple(str(one) for one in several)
    return values


def _class_folders(folder: Path) -> Iterator[LabelledPicture]:
    for inner in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        if not inner.name.startswith("."):
            yield from _files(inner, {"label": (inner.name,)})


def _files(folder: Path, values: Mapping[str, tuple[str, ...]]) -> Iterator[LabelledPicture]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield LabelledPicture(str(path.absolute()), None, values)


def attributes(
    rows: Sequence[Mapping[str, tuple[str, ...]]],
) -> dict[str, list[tuple[str, ...]]]:
    """Columns whose values several items share, by name; an item may lack one.

    A column of which more than half of the values are different, such as a path, says nothing
    about who belongs together.
    """
    columns: dict[str, list[tuple[str, ...]]] = {}
    for name in sorted({name for row in rows for name in row}):
        values = [row.get(name, ()) for row in rows]
        different = {value for some in values for value in some}
        if 1 < len(different) <= len(rows) / 2:
            columns[name] = values
    return columns
