"""Folders of images with captions, labels and conditions, in all supported layouts.

A table (`metadata.jsonl`, `metadata.csv` or `metadata.parquet`, as in Hugging Face's ImageFolder,
or `prompt.json`, as in ControlNet's fill50k) names images of its folder, at any depth; or each
image has its caption in `NAME.txt` or `NAME.caption` beside it; or folder names are the labels.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded, few
from ..files import real_path
from ..text_safety import counted
from . import raw
from .benchmarks import values_of
from .dataset import ImageArray, packed_image
from .documents.formats import is_image_path
from .images import NAMED_FORMATS, ImageNotes, read_image
from .tables import is_missing, read_table

if TYPE_CHECKING:
    from PIL.Image import Image


METADATA = "metadata.jsonl"
FILL50K = "prompt.json"
TABLES = (METADATA, "metadata.csv", "metadata.parquet", FILL50K)  # the first that exists is read
CAPTIONS = ("caption", "text", "prompt")
CAPTION_FILES = (".txt", ".caption")  # beside an image, with the same name
CONDITION = "conditioning_image"
LAYOUT = f"Name a folder with {METADATA} (file_name, caption), or with a folder for each label."
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
_IMAGES = ("file_name", "image", "target")
_CONDITIONS = (CONDITION, f"{CONDITION}_file_name", "source")
_FORM = (
    'Each line is an object such as {"file_name": "a.png", "caption": "a red cube"}, with '
    f'"{CONDITION}": "maps/a.png" if it has one.'
)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Entry of a table for one image.

    Attributes:
        path: the image.
        caption: the first if there are several; None if there is none.
        condition: file of its condition; None if none is named.
        columns: all other cells.
        place: line and table of the entry, for messages.
    """

    path: Path
    caption: str | None
    condition: Path | None
    columns: Mapping[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class ImageTables:
    """The tables of a folder.

    Attributes:
        rows: of all its tables, in their order.
        tables: the files that were read.
        notes: what was skipped or not read literally, one line each.
    """

    rows: tuple[ImageRow, ...]
    tables: tuple[Path, ...]
    notes: tuple[str, ...]


def read_image_tables(path: Path, *, exist: bool = True) -> ImageTables:
    """Read the tables of a folder of images, or one table.

    If a folder has a table, the tables in its subfolders are not read.

    Args:
        path: the folder, or the table.
        exist: whether every named file has to exist.

    Raises:
        BadFile: a table is malformed, or a row names no image, one outside of the folder, or one
            that is not there.
        LimitExceeded: a table is too large.
    """
    if path.is_file():
        return _Reading(path.parent, exist).read([path], [])
    return _Reading(path, exist).read(*_tables_in(path))


def _tables_in(folder: Path) -> tuple[list[Path], list[Path]]:
    found: list[Path] = []
    others: list[Path] = []
    for location, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        tables = [Path(location) / name for name in TABLES if name in names]
        tables = [table for table in tables if table.name != FILL50K or names_images(table)]
        above = any(table.parent in Path(location).parents for table in found)
        found += [] if above else tables[:1]
        others += tables if above else tables[1:]
    return found, others


def names_images(table: Path) -> bool:
    """Whether a file with such a name is a table of images, not of another program."""
    if table.suffix == ".parquet":
        return True
    try:
        if table.suffix == ".csv":
            with raw.open_regular(str(table), limits.DATA_FILE) as file:
                header = file.readline(limits.DATA_TEXT).decode("utf-8-sig", "replace")
            return any(column in header for column in _IMAGES)
        _, first = next(_cells_of(table))
    except (BadInput, StopIteration):
        return False
    return any(column in first for column in _IMAGES)


class _Reading:
    """Reader of the tables of one folder, which counts what is not read literally."""

    def __init__(self, root: Path, exist: bool) -> None:
        self._root, self._exist = root, exist
        self._counts: Counter[str] = Counter()

    def read(self, tables: Sequence[Path], others: Sequence[Path]) -> ImageTables:
        rows = [row for table in tables for row in self._rows(table)]
        notes = [f"{count:,} {what}" for what, count in self._counts.items()]
        if others:
            named = few([str(other.relative_to(self._root)) for other in others])
            notes.append(
                f"{counted(len(others), 'table is', 'tables are')} not read, as {tables[0]} "
                f"counts: {named}"
            )
        return ImageTables(tuple(rows), tuple(tables), tuple(notes))

    def _rows(self, table: Path) -> Iterator[ImageRow]:
        for location, cells in _cells_of(table):
            named = (name for name in _IMAGES if isinstance(cells.get(name), str))
            image = next(named, _IMAGES[0])
            known = _CONDITIONS if image == "target" else _CONDITIONS[:2]
            path = self._file(cells, image, location, table)
            condition = None
            column = next((name for name in known if not is_missing(cells.get(name))), None)
            if column is not None:
                condition = self._file(cells, column, location, table)
            caption = self._caption(cells)
            used = {image, column, *CAPTIONS}
            columns = {name: value for name, value in cells.items() if name not in used}
            yield ImageRow(path, caption, condition, columns, location)

    def read_packed(self, tables: Sequence[Path], caption: str | None) -> "CaptionedImages":
        """Read images whose files are inside Parquet tables, as `datasets` writes them."""
        notes = ImageNotes()
        images, texts, paths, left_out = [], [], [], {}
        conditions: list[Path | ImageArray | None] = []
        rows = [(table, *row) for table in tables for row in _cells_of(table)]
        for table, location, cells in rows:
            row = location.partition(" of ")[0]
            name = f"{table.relative_to(self._root)}, {row}"
            found = {column: packed_image(cell, table, row) for column, cell in cells.items()}
            image = next((found[column] for column in _IMAGES if found.get(column)), None)
            text = self._caption(cells) if caption is None else caption
            if image is None or text is None:
                left_out[name] = f"no {'caption' if image else 'image inside of it'}."
                continue
            try:
                opened = image.decode()
            except BadInput as error:
                left_out[name] = error.message
                continue
            notes.add(opened.notes)
            images.append(opened.image)
            texts.append(" ".join(text.split()))
            paths.append(self._root / name)
            conditions.append(next((found[c] for c in _CONDITIONS if found.get(c)), None))
            if len(images) > limits.TRAINED_IMAGES:
                raise LimitExceeded(
                    f"{self._root} has more than {limits.TRAINED_IMAGES:,} images.",
                    "Choose some of them.",
                )
        if not images:
            raise _nothing_in(self._root, left_out)
        counted = [f"{count:,} {what}" for what, count in self._counts.items()]
        reported = (f"images are read from {len(tables):,} Parquet files", *counted, *notes.lines())
        return CaptionedImages(
            tuple(images), tuple(texts), tuple(paths), tuple(conditions), left_out, reported
        )

    def _caption(self, cells: Mapping[str, Any]) -> str | None:
        for column in CAPTIONS:
            value = cells.get(column)
            several = value if isinstance(value, list | tuple) else ()
            several = [one for one in several if isinstance(one, str)]
            if len(several) > 1:
                self._counts["images have several captions; the first is taken"] += 1
            first = several[0] if several else value
            if isinstance(first, str) and first.strip():
                return first
        return None

    def _file(self, cells: Mapping[str, Any], column: str, location: str, table: Path) -> Path:
        name = cells.get(column)
        if not isinstance(name, str) or not name:
            raise BadFile(
                f"{location} has no {column} that is a file name.",
                f"Columns: file_name, one of {', '.join(CAPTIONS)}, and {CONDITION} if it has one.",
            )
        path = self._inside(name, location, table.parent)
        if path.is_file():
            return path
        for text, base, what in self._other_readings(name, table.parent):
            other = self._inside(text, location, base)
            if other.is_file():
                self._counts[what] += 1
                return other
        if self._exist:
            raise BadFile(
                f"{location} names {name!r} as its {column}, which is not there.",
                f"Names count from {table.parent}. Copy that file, or take the line out.",
            )
        return path

    def _other_readings(self, name: str, beside: Path) -> Iterator[tuple[str, Path, str]]:
        slashed = name.replace("\\", "/")
        if slashed != name:
            yield slashed, beside, r"file names have \ for /"
        if beside != self._root:
            yield slashed, self._root, f"file names count from {self._root}, not from their table"

    def _inside(self, name: str, location: str, base: Path) -> Path:
        """Return the path for a name, starting with the folder.

        Links must not lead out of the folder either.
        """
        start = os.path.relpath(base, self._root)
        whole = os.path.relpath(name, self._root) if os.path.isabs(name) else name  # noqa: PTH117
        inner = os.path.normpath(os.path.join(start, whole))  # noqa: PTH118
        path = self._root / inner
        outside = inner == ".." or inner.startswith(f"..{os.sep}")
        if outside or not real_path(path).is_relative_to(real_path(self._root)):
            raise BadFile(
                f"{location} names {name!r}, which lies outside of {self._root}.",
                "Name the folder that holds both, or bring the conditions with --conditions.",
            )
        return path


def _cells_of(table: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    read = read_table(table)
    for number, location in enumerate(read.places):
        cells = {name: cells[number] for name, cells in read.columns.items()}
        yield f"{location} of {table}", cells


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """Images that were read, with captions.

    Attributes:
        pictures: in RGB.
        captions: of each.
        paths: of each.
        conditions: condition file of each, if a table names it.
        left_out: files that could not be read, with reasons.
        notes: what was skipped or not read literally, one line each.
    """

    pictures: "tuple[Image, ...]"
    captions: tuple[str, ...]
    paths: tuple[Path, ...]
    conditions: tuple[Path | ImageArray | None, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()


def require_images(folder: Path) -> None:
    """Refuse what is not a folder.

    Raises:
        BadFile: it is a file, or missing.
    """
    if not folder.is_dir():
        raise BadFile(f"{folder} is not a folder.", "Name a folder of images.")


def read_captioned(folder: Path, caption: str | None) -> CaptionedImages:
    """Read the images of a folder with their captions; unreadable images are left out.

    Captions come from a table, or from `NAME.txt` or `NAME.caption` beside `NAME.png`, or are
    `caption` for all.

    Raises:
        BadInput: no image, or no caption for some of them.
        BadFile: it is not a folder, or a row of a table names a file that is not there, or has no
            caption.
        LimitExceeded: too many images.
    """
    require_images(folder)
    tables = read_image_tables(folder)
    rows = {row.path: row for row in tables.rows}
    maps = {row.condition for row in rows.values()}
    found = [path for path in _images_in(folder) if path not in maps]
    packed = sorted(folder.rglob("*.parquet"))
    if packed and not found and not tables.rows:
        return _Reading(folder, exist=False).read_packed(packed, caption)
    if len(found) > limits.TRAINED_IMAGES:
        raise LimitExceeded(
            f"{folder} has {counted(len(found), 'image')}; at most {limits.TRAINED_IMAGES:,} are "
            "read.",
            "Choose some of them.",
        )
    guessed: list[str] = []
    captions = _captions(found, rows, caption, guessed)
    notes = ImageNotes()
    images, retained, left_out = [], [], {}
    for path in found:
        try:
            images.append(read_image(str(path), notes))
            retained.append(path)
        except BadInput as error:
            left_out[str(path.relative_to(folder))] = error.message
    if not retained:
        raise _nothing_in(folder, left_out)
    conditions = tuple(rows[path].condition if path in rows else None for path in retained)
    texts = tuple(captions[path] for path in retained)
    reported = (*tables.notes, *notes.lines(), *_guesses(guessed))
    return CaptionedImages(tuple(images), texts, tuple(retained), conditions, left_out, reported)


def _nothing_in(folder: Path, left_out: Mapping[str, str]) -> BadInput:
    first = "".join(f" The first: {name}: {why}" for name, why in [*left_out.items()][:1])
    return BadInput(
        f"{folder} contains no image that can be read.{first}",
        f"Name a folder with image files ({NAMED_FORMATS}), or with Parquet files whose columns "
        f"image, text and {CONDITION} hold them.",
    )


def _images_in(folder: Path) -> Iterator[Path]:
    """Yield every image below a folder in a fixed order.

    The condition maps of a rendered world are left out.
    """
    for location, inner, names in os.walk(folder):
        rendered = (Path(location) / "scenes").is_dir() and (Path(location) / "train").is_dir()
        inner[:] = sorted(
            n for n in inner if not n.startswith(".") and not (rendered and n == "conditions")
        )
        for name in sorted(names):
            if is_image_path(name) and not name.startswith("."):
                yield Path(location) / name


def _captions(
    paths: Sequence[Path], rows: Mapping[Path, ImageRow], caption: str | None, guessed: list[str]
) -> dict[Path, str]:
    if caption is not None:
        return dict.fromkeys(paths, caption.strip())
    found = {}
    for path in paths:
        text = _caption_in(rows[path]) if path in rows else _caption_beside(path, guessed)
        if text is not None and text.strip():
            found[path] = " ".join(text.split())
    without = [path.name for path in paths if path not in found]
    if without:
        raise BadInput(
            f"{len(without)} of {len(paths)} images have no caption: {few(without)}.",
            f"Write NAME.txt or NAME.caption beside NAME.png, or a table ({', '.join(TABLES)}), "
            f"or give one caption for all with --caption. {_FORM} Conditions may also lie in a "
            "folder of their own, outside of this one: --conditions FOLDER.",
        )
    return found


def _caption_beside(path: Path, guessed: list[str]) -> str | None:
    for ending in CAPTION_FILES:
        beside = path.with_suffix(ending)
        if beside.is_file():
            text, found = raw.decode(raw.read_bytes(str(beside), limits.TEXT_FILE), beside.name)
            if found == raw.GUESSED:
                guessed.append(beside.name)
            return " ".join(text.split()) or None
    return None


def _guesses(names: Sequence[str]) -> list[str]:
    return [f"captions ({len(names):,}: {few(names, 3)}): {raw.NOT_UTF8}"] if names else []


def _caption_in(row: ImageRow) -> str:
    if row.caption is None:
        raise BadFile(
            f"{row.place} has no caption.",
            f"Columns: file_name and one of {', '.join(CAPTIONS)}; or give --caption.",
        )
    return row.caption


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with its caption and labels.

    Attributes:
        path: the image.
        caption: description of the image in words; None if there is none.
        values: values by column, for example of `label`; texts and numbers only.
    """

    path: str
    caption: str | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_image_folder(path: Path, note: Callable[[str], None] | None = None) -> list[LabelledImage]:
    """List images with their captions and labels; the image files are not opened.

    Args:
        path: a folder, or its table.
        note: called with each message about what was skipped or not read literally.

    Raises:
        BadFile: nothing of that form is there, or a line is malformed; the line is named.
        LimitExceeded: there are too many images.
    """
    if path.is_file() and path.suffix.lower() not in {Path(name).suffix for name in TABLES}:
        raise BadFile(f"{path} is neither a folder nor a table of images.", _FORM)
    if not path.exists():
        raise BadFile(f"{path} does not exist.", f"Name a folder of images or its {METADATA}.")
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  links in it are not resolved
    tables = read_image_tables(absolute, exist=False)
    found = [
        LabelledImage(str(row.path), row.caption, values_of(row.columns, set()))
        for row in tables.rows
    ]
    guessed: list[str] = []
    if not tables.tables:
        found = list(_labelled_by_folders(absolute, guessed))
    if not found:
        raise BadFile(f"{path} contains no images.", LAYOUT)
    if len(found) > limits.LABELLED_IMAGES:
        raise LimitExceeded(
            f"{path} holds {counted(len(found), 'image')}; at most {limits.LABELLED_IMAGES:,} are "
            "read.",
            "Take a part of them.",
        )
    if note is not None:
        for line in (*tables.notes, *_guesses(guessed)):
            note(line)
    return found


def _labelled_by_folders(root: Path, guessed: list[str]) -> Iterator[LabelledImage]:
    """Yield every file, labeled by its folder; unlabeled files in the root come last.

    If all folders are parts of a split, their subfolders are the labels.
    """
    inside = sorted(one.name for one in root.iterdir() if one.is_dir() and one.name[0] != ".")
    depth = 1 if inside and {name.lower() for name in inside} <= SPLITS else 0
    loose = []
    for location, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        folder = Path(location)
        parts = folder.relative_to(root).parts
        values = {"label": (parts[depth],)} if len(parts) > depth else {}
        pairs = {Path(name).stem for name in names if is_image_path(name)}
        for name in sorted(names):
            sidecar = Path(name).suffix.lower() in CAPTION_FILES and Path(name).stem in pairs
            if not name.startswith(".") and not sidecar:
                caption = _caption_beside(folder / name, guessed) if is_image_path(name) else None
                row = LabelledImage(str(folder / name), caption, values)
                if parts:
                    yield row
                else:
                    loose.append(row)
    yield from loose
