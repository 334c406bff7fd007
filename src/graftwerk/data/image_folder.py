"""Folders of pictures with captions and labels, in Hugging Face's ImageFolder form.

Either `metadata.jsonl` beside the pictures, in the folder itself or in folders of it, one JSON
object a line with `file_name`; or one folder for each label; or pictures alone.

A handful of pictures with captions: what a diffusion model is taught from.

`metadata.jsonl` beside pictures: their captions and conditions, as ImageFolder has them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded
from . import raw
from .documents.formats import is_image_path
from .images import read_image
from .tables import json_objects

if TYPE_CHECKING:
    from PIL.Image import Image


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
    for number, content in json_objects(table):
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


_NAMED = 5  # pictures that an error lists


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures that were read.

    Attributes:
        pictures: in RGB.
        captions: of each.
        paths: of each.
        conditions: file of each one's condition, where a table names it.
        left_out: files that could not be read, and why.
    """

    pictures: "tuple[Image, ...]"
    captions: tuple[str, ...]
    paths: tuple[Path, ...]
    conditions: tuple[Path | None, ...]
    left_out: Mapping[str, str]


def read_captioned(folder: Path, caption: str | None) -> Shown:
    """Read the pictures of a folder with their captions; what cannot be read is left out.

    Captions come from a `metadata.jsonl` beside the pictures (ImageFolder: `file_name` and one of
    `caption`, `text`, `prompt`), or from `NAME.txt` beside `NAME.png`, or are `caption` for all.

    Raises:
        BadInput: no picture, no caption for some of them, or a folder that is none.
        BadFile: a row of a table names a file that is not there, or has no caption.
        LimitExceeded: too many pictures.
    """
    if not folder.is_dir():
        raise BadFile(f"{folder} is not a folder.", "Name a folder of pictures.")
    rows = read_tables(folder)
    maps = {row.condition for row in rows.values()}
    found = [path for path in _pictures(folder) if path not in maps]
    if len(found) > limits.TAUGHT_PICTURES:
        raise LimitExceeded(
            f"{folder} has {len(found):,} pictures; at most {limits.TAUGHT_PICTURES:,} are read.",
            "Choose some of them.",
        )
    captions = _captions(found, rows, caption)
    pictures, kept, left_out = [], [], {}
    for path in found:
        try:
            pictures.append(read_image(str(path)))
            kept.append(path)
        except BadInput as error:
            left_out[str(path.relative_to(folder))] = error.message
    if not kept:
        first = f" The first: {next(iter(left_out.values()))}" if left_out else ""
        raise BadInput(
            f"{folder} holds no picture that can be read.{first}",
            "Name a folder with .png, .jpg or .webp files.",
        )
    conditions = tuple(rows[path].condition if path in rows else None for path in kept)
    texts = tuple(captions[path] for path in kept)
    return Shown(tuple(pictures), texts, tuple(kept), conditions, left_out)


def _pictures(folder: Path) -> Iterator[Path]:
    """Every picture below a folder, in a fixed order; the maps of a rendered world are none."""
    for place, inner, names in os.walk(folder):
        rendered = (Path(place) / "scenes").is_dir() and (Path(place) / "train").is_dir()
        inner[:] = sorted(
            n for n in inner if not n.startswith(".") and not (rendered and n == "conditions")
        )
        for name in sorted(names):
            if is_image_path(name) and not name.startswith("."):
                yield Path(place) / name


def _captions(paths: list[Path], rows: Mapping[Path, Row], caption: str | None) -> dict[Path, str]:
    if caption is not None:
        return dict.fromkeys(paths, caption.strip())
    found = {}
    for path in paths:
        text, beside = None, path.with_suffix(".txt")
        if path in rows:
            text = _caption_in(rows[path])
        elif beside.is_file():
            text = raw.decode(raw.read_bytes(str(beside), limits.TEXT_FILE), beside.name)
        if text is not None and text.strip():
            found[path] = " ".join(text.split())
    without = [path.name for path in paths if path not in found]
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        raise BadInput(
            f"{len(without)} of {len(paths)} pictures have no caption: "
            f"{', '.join(without[:_NAMED])}{more}.",
            f"Write NAME.txt beside NAME.png, a {METADATA}, or give one caption for all with "
            "--caption.",
        )
    return found


def _caption_in(row: Row) -> str:
    if row.caption is None:
        raise BadFile(
            f"{row.place} has no caption.",
            f"Columns: file_name and one of {', '.join(CAPTIONS)}; or give --caption.",
        )
    return row.caption


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
    for line, row in json_objects(path):
        yield _read_row(path, row, f"{path}, line {line}")


def _read_row(path: Path, row: Mapping[str, Any], where: str) -> LabelledPicture:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise BadFile(f"{where}: {str(row)[:80]!r} has no file_name.", _FORM)
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
