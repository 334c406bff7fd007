"""Labeled examples: the common result of all data readers, whatever the input format."""

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import files, limits
from ..errors import BadFile, BadInput, LimitExceeded
from ..results import LeftOut
from .images import OpenedImage, decode_image
from .raw import read_bytes
from .tables.numbers import NumberFormat, read_number

if TYPE_CHECKING:
    from PIL.Image import Image


_HEADS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
Kind = Literal["text", "image", "series", "row"]


@dataclass(frozen=True, slots=True)
class ImageArray:
    """Location of an image.

    Attributes:
        path: the file, or the zip or table that contains it.
        member: its name in the zip, or its row; empty for a file.
        packed: its content, if it is a cell of a table.
    """

    path: str
    member: str = ""
    packed: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """The name of the image in messages."""
        return f"{self.path}:{self.member}" if self.member else self.path

    def content(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            BadFile: it cannot be read.
            LimitExceeded: it is larger than an image may be.
        """
        if self.packed or not self.member:
            return self.packed or read_bytes(self.path, limits.IMAGE_FILE)
        return read_member(open_zip(self.path), self.member, limits.IMAGE_FILE)

    def open(self) -> "Image":
        """Return the image, upright and in RGB.

        Raises as `content` does, or if the file is not an image.
        """
        return self.decode().image

    def decode(self, *, depth: bool = False) -> OpenedImage:
        """Return the image as `open` does, with notes of what was converted."""
        return decode_image(io.BytesIO(self.content()), self.name, depth=depth)


def packed_image(cell: Any, table: Path, row: str) -> ImageArray | None:
    """Return the image whose file is inside a cell of Parquet or Arrow; None for other cells.

    A cell is the content of an image file, or a struct of `bytes` and `path`, as in `datasets`.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        return None
    if content is cell and not content.startswith(_HEADS) and content[4:8] != b"ftyp":
        return None
    return ImageArray(str(table), row, content)


@dataclass(frozen=True, slots=True)
class OpenedData:
    """An image in memory."""

    image: Any

    def open(self) -> "Image":
        """Return the image."""
        image: Image = self.image
        return image


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers of a table row, and the text beside them.

    Attributes:
        numbers: float32; NaN for a missing one.
        text: empty if there is none.
    """

    numbers: np.ndarray
    text: str = ""


Item = str | ImageArray | OpenedData | np.ndarray | Row


@dataclass(frozen=True, slots=True)
class Examples:
    """Labeled data as read; rows without a label are already left out.

    Attributes:
        source: file or folder.
        kind: kind of the items.
        items: texts, image locations, or series of float32 [t] each.
        keys: SHA-256 of the content of each.
        labels: values of the target column: a string, a list of strings, or a number.
        names: name of each in messages.
        refused: items that could not be used.
        columns: of a table that the items were read from.
        notes: messages to the user about the choice of columns and how they were read.
        tables: format of the tables that the items come from.
        label_format: format of numeric labels that Python cannot parse as they are.
        converted: conversions on reading images, with the number of images for each.
        numbers: those of `columns` that hold the numbers of rows.
    """

    source: str
    kind: Kind
    items: Sequence[Item]
    keys: Sequence[str]
    labels: Sequence[Any]
    names: Sequence[str]
    refused: tuple[LeftOut, ...] = ()
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    label_format: NumberFormat | None = None
    converted: Mapping[str, int] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()

    def numeric_labels(self) -> Sequence[Any]:
        """Return the labels, with numbers in Python's notation."""
        written = self.label_format
        if written is None:
            return self.labels
        return [read_number(label, written.decimal) for label in self.labels]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the contents in their order; labels are not included."""
        return hashlib.sha256("\n".join([self.kind, *self.keys]).encode()).hexdigest()


def key_of(item: Item) -> str:
    """Return the SHA-256 of an item's content; that of an image in memory is its pixels.

    Raises:
        BadFile: an image cannot be read.
    """
    if isinstance(item, ImageArray):
        content = item.content()
    elif isinstance(item, OpenedData):
        image = item.open()
        content = f"{image.mode} {image.size} ".encode() + image.tobytes()
    elif isinstance(item, Row):
        content = item.numbers.tobytes() + item.text.encode("utf-8", "surrogatepass")
    elif isinstance(item, np.ndarray):
        content = item.tobytes()
    else:
        content = item.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()


def require_some(examples: Examples) -> Examples:
    """Refuse data in which no usable example is left.

    Raises:
        BadInput: says how much was refused, and why the first.
    """
    if len(examples):
        return examples
    first = f"; the first: {examples.refused[0].reason.rstrip('.')}" if examples.refused else ""
    raise BadInput(
        f"{examples.source} has no example that can be used ({len(examples.refused)} left out"
        f"{first}).",
        "Give data with a content and a label in each row.",
    )


@lru_cache(maxsize=4)
def open_zip(path: str) -> zipfile.ZipFile:
    """Return an open zip file, cached for the images that are read one by one.

    Raises:
        BadFile: it is no zip, or has entries that unpack to far more than they hold.
        LimitExceeded: it has too many entries.
    """
    try:
        files.require_regular(Path(path))
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadFile(
            f"{path} is not a zip that can be read: {error}.", "Pack it again."
        ) from error
    if len(archive.filelist) > limits.DATA_ARCHIVE_ENTRIES:
        raise LimitExceeded(
            f"{path} has {len(archive.filelist):,} entries; at most "
            f"{limits.DATA_ARCHIVE_ENTRIES:,} are read.",
            "Split it.",
        )
    return archive


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return the content of one zip entry.

    Raises:
        BadFile: it is damaged or needs a password.
        LimitExceeded: it unpacks to more than `limit` bytes.
    """
    try:
        with archive.open(name) as file:
            content = file.read(limit + 1)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, KeyError) as error:
        raise BadFile(f"{name!r} in the zip cannot be read: {error}.", "Pack it again.") from error
    if len(content) > limit:
        raise LimitExceeded(f"{name!r} in the zip has more than {limit:,} bytes.", "Leave it out.")
    return content


def resolve(path: str | Path) -> Path:
    """Return the absolute path of existing data.

    Raises:
        BadFile: it does not.
    """
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise BadFile(f"data {str(path)!r} does not exist.", "Name a folder, a zip or a table.")
    return found
