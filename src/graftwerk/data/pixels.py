"""Conversion between Pillow images, arrays of bytes, and tensors of values from 0 to 1."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor


def to_values(levels: UInt8[np.ndarray, "b y x 3"]) -> Float[Tensor, "b 3 y x"]:
    """Convert bytes to values from 0 to 1, channels first."""
    # a copy, as arrays from Pillow are not writable and PyTorch warns about them
    return torch.from_numpy(np.array(levels, order="C")).permute(0, 3, 1, 2).float() / 255


def to_levels(values: Float[Tensor, "b k y x"]) -> UInt8[np.ndarray, "b y x k"]:
    """Convert values from 0 to 1 to the nearest bytes, channels last."""
    levels = (values * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.ascontiguousarray(levels.cpu().numpy())


def to_images(levels: UInt8[np.ndarray, "b y x k"]) -> list[Image.Image]:
    """Convert arrays to images; arrays with one channel become gray images."""
    return [Image.fromarray(row[..., 0] if row.shape[-1] == 1 else row) for row in levels]


def stack(images: Sequence[Image.Image]) -> UInt8[np.ndarray, "b y x 3"]:
    """Stack images of equal size, in RGB."""
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


def fit(image: Image.Image, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """Center-crop an image to the aspect ratio of a size, and scale it to that size."""
    size = (width, height)
    return np.asarray(ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS))


def stretch(
    images: Sequence[Image.Image], size: tuple[int, int], crop: bool = False
) -> UInt8[np.ndarray, "b y x 3"]:
    """Scale images to one width and height; center-crop them first, or ignore aspect ratios."""
    rows, how = [image.convert("RGB") for image in images], Image.Resampling.BICUBIC
    if crop:
        return stack([row if row.size == size else ImageOps.fit(row, size, how) for row in rows])
    return stack([row if row.size == size else row.resize(size, how) for row in rows])
