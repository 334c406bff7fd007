"""Image decoding: sizes are checked before decoding, and conversions are counted."""

import io
import os
import re
import warnings
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .. import files, limits
from ..errors import BadFile, LimitExceeded
from ..text_safety import listed
from .documents.document import Document
from .raw import open_regular, read_bytes, sha256

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

    from ..types import Monitor


FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
NAMED_FORMATS = ", ".join(FORMATS) + ", HEIC, AVIF"
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
_TAIL = 1 << 16  # bytes at the end of a file that are searched for its end marker
_WHITE = (255, 255, 255)
_ORIENTATION = 0x0112  # EXIF tag
_SAME = 3  # levels by which renderings of sRGB itself differ
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of color profiles, and Pillow's modes
_GRAY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")


TRANSPARENT = "transparent, on white"  # note of an image


class OpenedImage(NamedTuple):
    """An image as it was read.

    Attributes:
        image: its first frame, upright, in RGB with 8 bits per channel.
        notes: conversions, such as "transparent, on white"; empty for an image read as stored.
        sha256: of the decoded bytes; empty if they were not hashed.
    """

    image: "Image"
    notes: tuple[str, ...] = ()
    sha256: str = ""


class ImageNotes:
    """Counts of image conversions by kind, for reports."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, notes: Iterable[str]) -> None:
        """Count the notes of one image."""
        self.counts.update(re.sub(r"of [\d,]+ frames", "of several frames", one) for one in notes)

    def lines(self) -> list[str]:
        """Return one line for a report, or none if all images were read as stored."""
        return [f"images converted in reading: {listed(self.counts)}"] if self.counts else []

    def report(self, monitor: "Monitor") -> None:
        """Report the conversions to the user, if there are any."""
        for line in self.lines():
            monitor.note(line)


def image_document(path: str, content: bytes) -> Document:
    """Check that an image can be decoded; its document has no text."""
    name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes
    decode_image(BytesIO(content), name)
    return Document(path, "image", "", ())


def open_image(path: str, *, depth: bool = False) -> OpenedImage:
    """Read and decode the first frame of an image, upright, in RGB with 8 bits a channel.

    Transparent parts are shown on white. Images with more than 8 bits per channel are scaled by
    the number of bits in use, floats by their range; nothing is clipped.

    Args:
        path: the file.
        depth: whether it is a depth map: 16-bit values up to 20,000 are then millimeters, with 0
            for
            a missing value, and become a map in which near is bright.

    Raises:
        BadFile: not an image of a known format, or a damaged one.
        LimitExceeded: too many bytes or pixels; nothing was decoded.
    """
    content = read_bytes(path, limits.IMAGE_FILE)
    name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes
    return decode_image(BytesIO(content), name, depth=depth)._replace(sha256=sha256(content))


def read_image(path: str, notes: ImageNotes | None = None) -> "Image":
    """Decode an image as `open_image` does, and count its conversions in `notes`."""
    name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes
    with open_regular(path, limits.IMAGE_FILE) as file:
        opened = decode_image(file, name)
    if notes is not None:
        notes.add(opened.notes)
    return opened.image


def decode_image(file: BufferedReader | BytesIO, name: str, *, depth: bool = False) -> OpenedImage:
    """Decode an open file of at most `limits.IMAGE_FILE` bytes; see `open_image`."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        # an image with odd metadata is still an image, and a bomb is stopped below
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=_formats_for(file, name)) as image:
                require_image_size(name, *image.size)
                notes = _notes_of_bits(image)
                image.load()
                require_image_size(name, *image.size)
                ImageOps.exif_transpose(image, in_place=True)
                shown = _to_srgb(image, depth, notes)
                return OpenedImage(shown, (*notes, *_notes_of_frames(image)))
        except (LimitExceeded, BadFile):
            raise
        except Image.DecompressionBombError as error:
            raise LimitExceeded(
                f"{name!r} has more than {limits.IMAGE_PIXELS:,} pixels.", "Scale it down."
            ) from error
        except Exception as error:  # decoders raise almost any exception on damaged bytes
            raise _unreadable(file, name, error) from error


def _formats_for(file: BufferedReader | BytesIO, name: str) -> tuple[str, ...]:
    """Return the formats to try; HEIC and AVIF are recognized by their first bytes.

    These two need more than Pillow.
    """
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp":
        return FORMATS
    if head[8:12] in _AVIF:
        from PIL import features

        if features.check("avif"):
            return ("AVIF",)
        raise BadFile(
            f"{name!r} is an AVIF image, and the installed Pillow does not read AVIF.",
            "Run: pip install -U 'pillow>=11.3'; or save the image as PNG or JPEG.",
        )
    if head[8:12] in _HEIC:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise BadFile(
                f"{name!r} is a HEIC image, which needs the package pillow-heif.",
                "Run: pip install 'graftwerk[heif]'; or save the image as PNG or JPEG.",
            ) from error
        register_heif_opener()
        return ("HEIF",)
    return FORMATS


def _notes_of_bits(image: "Image") -> list[str]:
    """Return a note if Pillow keeps only the high bytes of 16-bit colors.

    Only an image that is not loaded yet shows that.
    """
    packed = [str(tile.args) for tile in getattr(image, "tile", ())]
    deep = image.mode in ("RGB", "RGBA", "LA", "CMYK") and any(";16" in args for args in packed)
    return ["16 bits scaled to 8"] if deep else []


def _notes_of_frames(image: "Image") -> list[str]:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is damaged, but later frames are not read
        return ["first of several frames"]
    return [f"first of {frames:,} frames"] if frames > 1 else []


def _to_srgb(image: "Image", depth: bool, notes: list[str]) -> "Image":
    """Convert to RGB by the color profile of an image; values of a depth map are not colors."""
    profile = image.info.get("icc_profile")
    shown = _to_rgb(image, depth, notes)
    if depth or image.mode == "LAB" or not isinstance(profile, bytes) or not profile:
        return shown
    from PIL.ImageCms import PyCMSError

    try:
        mode, transform = _transform(profile)
        ink, gray = image.mode == "CMYK", image.mode in _GRAY
        if {"CMYK": not ink, "RGB": ink, "L": not gray}[mode]:
            raise ValueError("the profile describes other channels")
        source = image if ink else shown.convert(mode)
        colors = shown if transform is None else transform.apply(source)
    except (OSError, PyCMSError, LookupError, ValueError):
        notes.append("color profile not applied")
        return shown
    if transform is not None:
        del colors.info["icc_profile"]
        notes.append("color profile to sRGB")
    return colors


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> "tuple[str, ImageCmsTransform | None]":
    """Return the mode that a color profile describes, and its transform; None if it is sRGB."""
    from PIL import Image as Images
    from PIL import ImageChops, ImageCms

    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    mode = _SPACES[source.profile.xcolor_space]
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    transform = ImageCms.ImageCmsTransform(source, target, mode, "RGB")
    if mode == "CMYK":
        return mode, transform
    levels = [n * 17 for n in range(16)]
    cube = bytes(level for r in levels for g in levels for b in levels for level in (r, g, b))
    colors = Images.frombytes("RGB", (16, 256), cube).convert(mode)
    apart = ImageChops.difference(transform.apply(colors), colors.convert("RGB"))
    same = max(apart.tobytes()) <= _SAME
    return mode, None if same else transform


def _to_rgb(image: "Image", depth: bool, notes: list[str]) -> "Image":
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        holes = image.info.get("transparency")
        gray, found = to_8_bits(image, depth, holes if isinstance(holes, int) else None)
        notes += found
        return gray.convert("RGB")
    if image.mode in ("CMYK", "LAB", "HSV", "YCbCr"):
        notes.append(f"{image.mode} to RGB")
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image.convert("RGB")
    alpha = _alpha_of(image)
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    from PIL import Image as Images

    notes.append(TRANSPARENT)
    shown = Images.new("RGB", image.size, _WHITE)
    shown.paste(_colors_of(image), mask=alpha)
    return shown


def _colors_of(image: "Image") -> "Image":
    full = {"RGBa": "RGBA", "La": "LA"}.get(image.mode)
    bare = image.copy() if full is None else image.convert(full)
    bare.info.pop("transparency", None)  # so that the colors are converted unchanged
    return bare.convert("RGB")


def _alpha_of(image: "Image") -> "Image":
    if image.mode in ("RGBa", "La"):
        return image.getchannel("a")
    if image.mode in ("RGBA", "LA"):
        return image.getchannel("A")
    return image.convert("RGBA").getchannel("A")


def _unreadable(file: BufferedReader | BytesIO, name: str, error: Exception) -> BadFile:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return BadFile(f"{name!r} is not a readable image: it is empty.", "Copy it again.")
    if _is_cut_short(file, size, str(error)):
        return BadFile(
            f"{name!r} is not a readable image: it is cut short after {size:,} bytes.",
            "Copy or download the file again.",
        )
    return BadFile(
        f"{name!r} is not a readable image ({type(error).__name__}).", f"Read are: {NAMED_FORMATS}."
    )


def _is_cut_short(file: BufferedReader | BytesIO, size: int, message: str) -> bool:
    """Whether a file that cannot be decoded ends before the end that its format declares."""
    file.seek(0)
    head = file.read(32)
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    tiff: Literal["little", "big"] = "little" if head[:1] == b"I" else "big"
    reported = "truncated" in message
    checks = (
        (head.startswith(b"\x89PNG\r\n\x1a\n"), b"IEND" not in tail),
        (head.startswith(b"\xff\xd8"), b"\xff\xd9" not in tail),
        (head.startswith(b"GIF8"), not tail.rstrip(b"\0").endswith(b";")),
        (head.startswith(b"RIFF"), size < int.from_bytes(head[4:8], "little") + 8),
        (head.startswith(b"BM"), size < int.from_bytes(head[2:6], "little")),
        (head[:4] in (b"II*\0", b"MM\0*"), reported or int.from_bytes(head[4:8], tiff) >= size),
        (head[4:8] == b"ftyp", _end_of_boxes(file, size) > size),
    )
    return next((cut for is_of_format, cut in checks if is_of_format), reported)


def _end_of_boxes(file: BufferedReader | BytesIO, size: int) -> int:
    """Return the offset at which the last box of a HEIC or AVIF file ends."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return size if length == 0 and len(head) >= 8 else size + 1
        end += length
    return end


def convert_image(image: "Image", name: str = "the image", *, depth: bool = False) -> OpenedImage:
    """Convert an image in memory as `open_image` converts files, without modifying it.

    Raises:
        LimitExceeded: it has too many pixels.
    """
    from PIL import ImageOps

    require_image_size(name, *image.size)
    notes: list[str] = []
    turned = image.getexif().get(_ORIENTATION, 1) != 1  # a copy loses the tags of a TIFF
    shown = _to_srgb(ImageOps.exif_transpose(image) if turned else image, depth, notes)
    return OpenedImage(shown, tuple(notes))


def require_image_size(name: str, width: int, height: int) -> None:
    """See that an image is within the limits.

    Raises:
        LimitExceeded: it is not.
    """
    if max(width, height) > limits.IMAGE_SIDE or width * height > limits.IMAGE_PIXELS:
        raise LimitExceeded(
            f"{name!r} has {width:,} x {height:,} pixels; at most {limits.IMAGE_SIDE:,} a side and "
            f"{limits.IMAGE_PIXELS:,} in all are read.",
            "Scale it down.",
        )


def write_image(path: Path, image: "Image", **options: Any) -> None:
    """Write a PNG file atomically.

    Raises:
        NoRoom: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    files.write_bytes(path, buffer.getvalue())


def image_html(image: "Image", text: str) -> str:
    """Return an image as HTML for notebooks, with `text` as its alternative text."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    data = b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


_BITS = (8, 10, 12, 14, 16)  # bit depths of cameras and scanners, in files of 16 or 32 bits
_MILLIMETERS = 20_000  # range of depth cameras; maps of nearness fill their 16 bits
NEARNESS = ("Depth", "nearness")  # text in a PNG of inverse depth, which is not in millimeters
_ROWS = 1 << 22  # pixels scaled at a time
_SAMPLES, _PHOTOMETRIC = 339, 262  # TIFF tags
_UNSIGNED, _WHITE_IS_ZERO = 1, 0


def to_8_bits(image: "Image", depth: bool, clear: int | None) -> "tuple[Image, list[str]]":
    """Scale a deep image to 8 bits.

    Args:
        image: gray with 16 or 32 bits, or floats.
        depth: whether small 16-bit values are millimeters.
        clear: the value of transparent pixels, which become white.

    Returns:
        The image in 8 bits, and notes on how it was scaled.
    """
    from PIL import Image as Images

    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if values.dtype == np.int32 and _first(tags.get(_SAMPLES)) == _UNSIGNED:
        values = values.view(np.uint32)  # Pillow has no such mode, and returns negative values
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    known = values if finite is None or finite.all() else values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if depth and 0 <= low < high and image.mode.startswith("I;16"):
        if image.info.get(NEARNESS[0]) == NEARNESS[1]:
            return Images.fromarray(_nearness(values, 1)), ["16 bits of nearness, 0 as far"]
        if high <= _MILLIMETERS:
            return Images.fromarray(_nearness(values, -1)), ["millimeters to nearness, 0 as far"]
    black, white, note = _range(values, low, high)
    notes = [note]
    levels = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, _ROWS // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64)
        if finite is not None:
            part[~finite[start : start + rows]] = black
        levels[start : start + rows] = np.rint((part - black) * (255 / (white - black)))
    if _first(tags.get(_PHOTOMETRIC)) == _WHITE_IS_ZERO:
        levels = 255 - levels
    if clear is not None:
        levels[values == clear] = 255
        notes += [TRANSPARENT] if (values == clear).any() else []
    return Images.fromarray(levels), notes


def _range(values: np.ndarray, low: float, high: float) -> tuple[float, float, str]:
    """Return the values that become black and white, and a description of the scaling."""
    floats = values.dtype.kind == "f"
    name = "floats" if floats else f"{values.dtype.itemsize * 8} bits"
    if floats and low >= 0 and high <= 1:
        return 0.0, 1.0, "floats scaled to 8 bits"
    if floats and low >= -1 and high <= 1:
        return -1.0, 1.0, "floats scaled to 8 bits"
    whole = not floats or (low.is_integer() and high.is_integer())
    if low >= 0 and whole and high < 1 << 16:
        widened = not floats and bool((values % 257 == 0).all())
        used = 16 if widened else next(bits for bits in _BITS if high < 1 << bits)
        of = "" if used == values.dtype.itemsize * 8 else f" ({used} used)"
        note = "floats scaled to 8 bits" if floats else f"{name}{of} scaled to 8"
        return 0.0, float((1 << used) - 1), note
    if not floats and low >= 0 and high >= 1 << 30:
        full = 32 if values.dtype.kind == "u" else 31
        return 0.0, float((1 << full) - 1), f"{name} scaled to 8"
    return low, max(high, low + 1e-12), f"{name} scaled to 8 by their range"


def _nearness(values: np.ndarray, power: int) -> np.ndarray:
    """Return `values ** power` from 0 (far) to 255 (near); missing values count as far."""
    known = values > 0
    nearness = np.zeros(values.shape)
    nearness[known] = values[known].astype(np.float64) ** power
    low, high = nearness[known].min(), nearness[known].max()
    levels = np.rint(255 * (nearness - low) / max(high - low, 1e-12)).clip(0, 255)
    return np.asarray(levels, dtype=np.uint8)


def _first(tag: Any) -> Any:
    return tag[0] if isinstance(tag, tuple) and tag else tag
