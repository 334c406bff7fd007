"""Conversion of image inputs: files, Pillow images, arrays and tensors."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from PIL import Image

from ..errors import BadInput, shown
from .images import TRANSPARENT, OpenedImage, convert_image, open_image
from .raw import sha256


@runtime_checkable
class Array(Protocol):
    """A NumPy array or a PyTorch tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        ...

    def __array__(self, dtype: Any = None, /) -> np.ndarray: ...


ImageLike: TypeAlias = str | Path | Image.Image | Array


def as_image(given: ImageLike) -> Image.Image:
    """Return an image in RGB; see `opened`."""
    return opened(given).image


def opened(given: ImageLike, *, depth: bool = False) -> OpenedImage:
    """Return an image in RGB, with notes of what was converted.

    Args:
        given: a file, a Pillow image, or an array or tensor [h w], [h w 3] or [h w 4] (with
            transparency, put on white) of whole numbers from 0 to 255 or of floats from 0 to 1; a
            tensor may be [3 h w] too.
        depth: whether it is a depth map; see `data.images.open_image`.

    Raises:
        BadFile: the file cannot be read.
        BadInput: an array of another shape or range.
    """
    if isinstance(given, str | Path):
        return open_image(str(given), depth=depth)
    if not isinstance(given, Image.Image | Array):
        raise BadInput(
            f"{shown(given)} is not an image.",
            "Pass a path, a Pillow image, or an array [height, width, 3].",
        )
    image = given if isinstance(given, Image.Image) else Image.fromarray(as_bytes(given))
    return convert_image(image, depth=depth)


def opened_mask(given: ImageLike) -> OpenedImage:
    """Return a mask in RGB; integers may be 0 and 1 too.

    Raises:
        BadFile: the file cannot be read.
        BadInput: parts of it are transparent, or an array of another shape or range.
    """
    if isinstance(given, Array):
        numbers: Any = given
        values = _values_of(numbers)
        if values.dtype.kind in "iu" and np.isin(values, (0, 1)).all():
            given = numbers > 0
    found = opened(given)
    if TRANSPARENT in found.notes:
        raise BadInput(
            f"{name_of(given)} is given as a mask, and parts of it are transparent.",
            "Save it without transparency: white where it applies, black elsewhere.",
        )
    return found


def open_and_hash(given: ImageLike) -> OpenedImage:
    """Return an image with the SHA-256 of its file, or of its pixels if it has no file."""
    found = opened(given)
    return found if found.sha256 else found._replace(sha256=sha256(found.image.tobytes()))


def name_of(given: ImageLike) -> str:
    """Return the name of an image in messages."""
    return str(given) if isinstance(given, str | Path) else "the image"


def _values_of(given: Any) -> np.ndarray:
    return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)


def as_bytes(given: Any) -> np.ndarray:
    """Return an array [h w], [h w 3] or [h w 4] of bytes.

    Raises:
        BadInput: it cannot be one.
    """
    values = _values_of(given)
    if hasattr(given, "detach") and values.ndim == 3 and values.shape[0] in {1, 3, 4}:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    colors = values.shape[2:]
    if values.ndim not in {2, 3} or colors not in {(), (3,), (4,)} or not values.size:
        raise BadInput(
            f"an array of shape {values.shape} is not an image.",
            "Give [height, width], [height, width, 3], or 4 with transparency.",
        )
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if np.issubdtype(values.dtype, np.integer):
        low, high, scale = 0, 255, 1
    elif np.issubdtype(values.dtype, np.floating):
        low, high, scale = 0, 1, 255
    else:
        raise BadInput(f"an array of {values.dtype} is not an image.", "Give numbers.")
    if not np.isfinite(values).all() or values.min() < low or values.max() > high:
        raise BadInput(
            f"an image of {values.dtype} has values from {values.min():g} to {values.max():g}.",
            "Give whole numbers from 0 to 255, or floats from 0 to 1.",
        )
    levels: np.ndarray = np.rint(values * scale).astype(np.uint8)
    return levels
