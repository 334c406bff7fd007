"""Images as callers have them: files, Pillow images, arrays and tensors."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from PIL import Image

from ..data.images import read_image, read_image_and_hash
from ..data.raw import sha256
from ..errors import BadInput


@runtime_checkable
class Array(Protocol):
    """A NumPy array, or a tensor of PyTorch."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        ...

    def __array__(self, dtype: Any = None, /) -> np.ndarray: ...


ImageLike: TypeAlias = str | Path | Image.Image | Array


def as_image(given: ImageLike) -> Image.Image:
    """Return an image in RGB.

    Args:
        given: a file, a Pillow image, or an array or tensor [h w] or [h w 3] of whole numbers from
            0 to 255 or of floats from 0 to 1; a tensor may be [3 h w] too.

    Raises:
        BadFile: the file cannot be read.
        BadInput: an array of another shape or range.
    """
    if isinstance(given, str | Path):
        return read_image(str(given))
    if isinstance(given, Image.Image):
        return given.convert("RGB")
    return Image.fromarray(as_bytes(given)).convert("RGB")


def image_and_hash(given: ImageLike) -> tuple[Image.Image, str]:
    """Return an image and the SHA-256 of its file, or of its pixels where it has no file."""
    if isinstance(given, str | Path):
        return read_image_and_hash(str(given))
    image = as_image(given)
    return image, sha256(image.tobytes())


def name_of(given: ImageLike) -> str:
    """What messages call an image."""
    return str(given) if isinstance(given, str | Path) else "the image"


def as_bytes(given: Any) -> np.ndarray:
    """Return an array [h w] or [h w 3] of bytes.

    Raises:
        BadInput: it cannot be one.
    """
    values = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if hasattr(given, "detach") and values.ndim == 3 and values.shape[0] in {1, 3}:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[-1] != 3) or not values.size:
        raise BadInput(
            f"an array of shape {values.shape} is not an image.",
            "Give [height, width] or [height, width, 3].",
        )
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
