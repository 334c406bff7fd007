"""The causal check of a linear probe: move along its direction, generate, and measure what changed.

The measurements do not use the model that generated the images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

from ..blocks.judge import Judgement, load_judge
from ..blocks.perception import load_perception
from ..blocks.scene import KINDS
from ..data.pixels import to_levels
from ..metrics.intervals import normal_margin
from ..models.hub import builtin_folder
from .locations import Location

if TYPE_CHECKING:
    from PIL.Image import Image


Measured = Mapping[str, Float64[np.ndarray, " n"]]
Measure = Callable[[UInt8[np.ndarray, "n h w 3"]], Measured]
NAMES = ("horizontal", "vertical", "area", "brightness")
JUDGED = ("kind", "colour", "ground", "time")
_APART = 40.0  # levels of 255 by which an object's colour differs from its row's
_LEAST = 0.004  # share of an image that an object covers at least


class ByColour:
    """Locates the object by colour: the pixels that differ most from the rest of their row.

    Sky and ground vary between rows but hardly within one, and a single object covers less than
    half of a row, so the median of a row is its background.
    """

    name = "colour against the row's median"

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Measured:
        """Return the object's center and area as fractions of the image, and the brightness."""
        values = images.astype(np.float64)
        background = np.median(values, axis=2, keepdims=True)
        return _of_masks(images, np.abs(values - background).max(axis=3) > _APART)


class ByPerception:
    """Locates the object by the segmentation of a perception model."""

    name = "perception model"

    def __init__(self, folder: Path, device: str) -> None:
        self._eyes = load_perception(folder, device)
        classes = list(self._eyes.network.config["classes"])
        self._things = [number for number, name in enumerate(classes) if name in KINDS]

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Measured:
        """Measure the same quantities as `ByColour`."""
        seen = np.stack([one.classes for one in self._eyes.look(images)])
        return _of_masks(images, np.isin(seen, self._things))


class WithWords:
    """Adds categories such as `time=night`, as classified by `builtin/blocks-judge`, to a measure.

    Args:
        measure: for all numeric quantities.
        words: names of `JUDGED` categories; each is 1 if it is present, else 0.
        device: where the judge runs.
    """

    def __init__(self, measure: Measure, words: Sequence[str], device: str) -> None:
        self._measure, self._words = measure, words
        self._judge = load_judge(builtin_folder("builtin/blocks-judge"), device)

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> Measured:
        """Kind and colour are NaN for an image without an object."""
        predicted = [_words_of(judgement) for judgement in self._judge.judge(images)]
        found = dict(self._measure(images))
        for name in self._words:
            target, word = name.split("=", 1)
            found[name] = np.array(
                [float(one[target] == word) if target in one else np.nan for one in predicted]
            )
        return found


def _words_of(judgement: Judgement) -> dict[str, str]:
    whole = {"ground": judgement.ground, "time": judgement.time}
    if not judgement.objects:
        return whole
    first = judgement.objects[0]
    return whole | {"kind": first.kind, "colour": first.colour}


def _of_masks(images: UInt8[np.ndarray, "n h w 3"], masks: Bool[np.ndarray, "n h w"]) -> Measured:
    """Measure the object's pixels; NaN if there are too few."""
    count, height, width = masks.shape
    area = masks.reshape(count, -1).mean(axis=1)
    total = np.where(area > _LEAST, masks.sum(axis=(1, 2)), np.nan)
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return {
        "horizontal": (masks.sum(axis=1) @ across) / total,
        "vertical": (masks.sum(axis=2) @ down) / total,
        "area": np.where(area > _LEAST, area, np.nan),
        "brightness": images.reshape(count, -1).mean(axis=1) / 255,
    }


STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # standard deviations of the number
_SHOWN = 4  # images that the image of a direction has
_ENLARGED = 96  # pixels of a side at least, in it

ImageBatch = UInt8[np.ndarray, "n h w 3"]


@dataclass(frozen=True, slots=True)
class Effect:
    """Change of a measured quantity, in its standard deviations, for a shift by one.

    Attributes:
        value: mean over the images.
        margin: half the width of its 95 % interval.
        count: images in which it could be measured at all steps.
    """

    value: float
    margin: float
    count: int


def draw_along(
    location: Location, images: Float[Tensor, "b k y x"], direction: Float64[np.ndarray, " d"]
) -> list[ImageBatch]:
    """Generate the images at each of `STEPS` along a direction."""
    change = torch.from_numpy(direction)
    return [in_color(location.draw(images, step * change)) for step in STEPS]


def effects_of(
    sampled: Sequence[ImageBatch], measure: Measure, spreads: Mapping[str, float]
) -> dict[str, Effect]:
    """Return the slope over the steps of every quantity that can be measured.

    Args:
        sampled: images of each step.
        measure: measures images.
        spreads: standard deviation of each quantity over unchanged images.
    """
    seen = [measure(images) for images in sampled]
    steps = np.array(STEPS)
    effects = {}
    for name, deviation in spreads.items():
        values = np.stack([one[name] for one in seen])  # steps by images
        whole = values[:, np.isfinite(values).all(axis=0)]
        slopes = steps @ (whole - whole.mean(axis=0)) / (steps @ steps) / deviation
        count = whole.shape[1]
        margin = normal_margin(slopes) if count > 1 else 0.0
        effects[name] = Effect(float(slopes.mean()) if count else 0.0, margin, count)
    return effects


def row_image(sampled: Sequence[ImageBatch]) -> "Image":
    """Return a contact sheet of a few images, each in a row from the lowest step to the highest."""
    from PIL import Image

    rows = [
        np.concatenate(list(row), axis=1)
        for row in zip(*(p[:_SHOWN] for p in sampled), strict=True)
    ]
    pixels = np.concatenate(rows, axis=0)
    factor = max(1, -(-_ENLARGED // sampled[0].shape[1]))
    size = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def in_color(images: Float[Tensor, "b k y x"]) -> ImageBatch:
    """Convert values from 0 to 1 to bytes, and gray to RGB."""
    levels = to_levels(images)
    return np.repeat(levels, 3, axis=3) if levels.shape[3] == 1 else levels
