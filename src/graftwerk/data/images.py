"""Pictures: measured before they are decoded."""

import io
import os
import warnings
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, limits
from ..errors import BadFile, LimitExceeded
from .documents.document import Document
from .raw import open_regular, read_bytes, sha256

if TYPE_CHECKING:
    from PIL.Image import Image


FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def read_picture(path: str, content: bytes) -> Document:
    """Check that a picture can be decoded; its document has no text."""
    decode_image(BytesIO(content), os.path.basename(path))  # noqa: PTH119  a name of any bytes
    return Document(path, "image", "", ())


def read_image(path: str) -> "Image":
    """Decode the first frame of a picture, upright, in RGB.

    Raises:
        BadFile: no picture of a known format, or a damaged one.
        LimitExceeded: too many bytes or pixels; nothing was decoded.
    """
    name = os.path.basename(path)  # noqa: PTH119  a name of any bytes
    with open_regular(path, limits.IMAGE_FILE) as file:
        return decode_image(file, name)


def read_image_and_hash(path: str) -> tuple["Image", str]:
    """Decode a picture as `read_image` does, and the SHA-256 of the bytes that were decoded."""
    content = read_bytes(path, limits.IMAGE_FILE)
    name = os.path.basename(path)  # noqa: PTH119  a name of any bytes
    return decode_image(BytesIO(content), name), sha256(content)


def decode_image(file: BufferedReader | BytesIO, name: str) -> "Image":
    """Decode a picture from an open file of at most `limits.IMAGE_FILE` bytes; see `read_image`."""
    from PIL import Image

    with warnings.catch_warnings():
        # a picture with odd metadata is still a picture, and a bomb is stopped below
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=FORMATS) as image:
                _require_size(name, *image.size)
                image.load()
                _require_size(name, *image.size)
                return as_rgb(image, name)
        except LimitExceeded:
            raise
        except Image.DecompressionBombError as error:
            raise LimitExceeded(
                f"{name!r} has more than {limits.IMAGE_PIXELS:,} pixels.", "Scale it down."
            ) from error
        except Exception as error:  # decoders raise nearly every class on damaged bytes
            raise BadFile(
                f"{name!r} is not a readable picture ({type(error).__name__}).",
                f"Read are: {', '.join(FORMATS)}.",
            ) from error


def as_rgb(image: "Image", name: str) -> "Image":
    """An image in memory as those of files are read: upright, in RGB.

    Raises:
        LimitExceeded: it has too many pixels.
    """
    from PIL import ImageOps

    _require_size(name, *image.size)
    return ImageOps.exif_transpose(image).convert("RGB")


def _require_size(name: str, width: int, height: int) -> None:
    if max(width, height) > limits.IMAGE_SIDE or width * height > limits.IMAGE_PIXELS:
        raise LimitExceeded(
            f"{name!r} has {width:,} x {height:,} pixels; at most {limits.IMAGE_SIDE:,} a side and "
            f"{limits.IMAGE_PIXELS:,} in all are read.",
            "Scale it down.",
        )


def write_image(path: Path, image: "Image", **options: Any) -> None:
    """Write a PNG file, whole or not at all.

    Raises:
        NoRoom: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    files.write_bytes(path, buffer.getvalue())
