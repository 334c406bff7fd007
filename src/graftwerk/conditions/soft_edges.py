"""Soft edges by HED, holistically-nested edge detection (Xie and Tu 2015), and their thinning."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..models.trainable import load_own
from ..models.transformers import choose_device
from .base import smooth
from .kinds.canny import followed, thin

MODEL_TYPE = "hed"
_BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)  # channels of VGG16
_MEAN = (104.00699, 116.66877, 122.67892)  # blue, green, red, of what it was trained on
_SMOOTHING = 2.0  # pixels, of the ridges' direction
_LOW = 0.5  # of the high threshold, in hysteresis
_LONGEST = 1024  # pixels of a side; larger images are read smaller

Image = UInt8[np.ndarray, "h w 3"]


class Hed(nn.Module):
    """VGG16 with an edge map after each of its blocks, and their weighted mean."""

    def __init__(self, _config: Mapping[str, Any]) -> None:
        super().__init__()
        before = 3
        self.blocks = nn.ModuleList()
        for widths in _BLOCKS:
            layers = nn.ModuleList()
            for width in widths:
                layers.append(nn.Conv2d(before, width, 3, padding=1))
                before = width
            self.blocks.append(layers)
        self.sides = nn.ModuleList([nn.Conv2d(widths[-1], 1, 1) for widths in _BLOCKS])
        self.fuse = nn.Conv2d(len(_BLOCKS), 1, 1)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the probability of an edge; values are blue, green, red from 0 to 255."""
        size, found = x.shape[2:], []
        x = x - x.new_tensor(_MEAN)[:, None, None]
        for number, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True)):
            if number:  # an odd row or column is padded, as in the package's own framework
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            for layer in block.children():
                x = functional.relu(layer(x))
            found.append(functional.interpolate(side(x), size, mode="bilinear"))
        return torch.sigmoid(self.fuse(torch.cat(found, dim=1)))


def load_hed(folder: Path, device: str) -> Callable[[Image], Float64[np.ndarray, "h w"]]:
    """Return the function from an image to the probabilities of an edge.

    Raises:
        BadFile: the weights are missing or of another network.
    """
    location = choose_device(device)
    network = load_own(folder, MODEL_TYPE, Hed).to(location)

    def soft(image: Image) -> Float64[np.ndarray, "h w"]:
        small, longest = image, max(image.shape[:2])
        if longest > _LONGEST:  # its outlines are those of photographs of 481 pixels
            height, width = (round(side * _LONGEST / longest) or 1 for side in image.shape[:2])
            small = np.rint(smooth(image.astype(np.float32), height, width)).astype(np.uint8)
        values = torch.from_numpy(np.ascontiguousarray(small[..., ::-1])).to(location)
        with torch.inference_mode():
            found = network(values.permute(2, 0, 1)[None].float())[0, 0, :, :, None].cpu().numpy()
        if small is not image:
            found = smooth(found, *image.shape[:2])
        edges: np.ndarray = found[..., 0].astype(np.float64)
        return edges

    return soft


def thinned(soft: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Return soft edges one pixel wide: their ridges, by the second derivatives."""
    from scipy.ndimage import gaussian_filter

    def second(down: int, across: int) -> Float64[np.ndarray, "h w"]:
        found: np.ndarray = gaussian_filter(soft, _SMOOTHING, order=(down, across), mode="nearest")
        return found

    across, down, both = second(0, 2), second(2, 0), second(1, 1)
    angle = np.arctan2(2 * both, across - down) / 2 + np.pi / 2  # of the smaller eigenvalue
    smooth = gaussian_filter(soft, 1.0, mode="nearest")  # without ties
    ridges = thin(np.round(smooth, 9)[None], np.cos(angle)[None], np.sin(angle)[None])
    return np.where(ridges[0] > 0, soft, 0.0)


def hed_strength(soft: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Return the highest of 99 thresholds at which a pixel is an edge, for `graft eval edges`."""
    return followed(thinned(soft)[None], _LOW)
