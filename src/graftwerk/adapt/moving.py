"""The causal check of a read-out: move along its direction, draw, and measure what moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from .measuring import Measure
from .places import Place

if TYPE_CHECKING:
    from PIL.Image import Image

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # standard deviations of the number
_SHOWN = 4  # pictures that the image of a direction has
_ENLARGED = 96  # pixels of a side at least, in it

Pictures = UInt8[np.ndarray, "n h w 3"]


@dataclass(frozen=True, slots=True)
class Effect:
    """Change of a measured number for one standard deviation asked for, in its own ones.

    Attributes:
        value: mean over the pictures.
        margin: half the width of its 95 % interval.
        count: pictures in which it could be measured at all steps.
    """

    value: float
    margin: float
    count: int


def draw_along(
    place: Place, pictures: Float[Tensor, "b k y x"], direction: Float64[np.ndarray, " d"]
) -> list[Pictures]:
    """The pictures as the model draws them at each of `STEPS` along a direction."""
    change = torch.from_numpy(direction)
    return [as_bytes(place.draw(pictures, step * change)) for step in STEPS]


def effects_of(
    drawn: Sequence[Pictures], measure: Measure, spreads: Mapping[str, float]
) -> dict[str, Effect]:
    """Slope over the steps of everything that can be measured.

    Args:
        drawn: pictures of each step.
        measure: looks at pictures.
        spreads: standard deviation of each measured number over untouched pictures.
    """
    seen = [measure(pictures) for pictures in drawn]
    steps = np.array(STEPS)
    effects = {}
    for name, spread in spreads.items():
        values = np.stack([one[name] for one in seen])  # steps by pictures
        whole = values[:, np.isfinite(values).all(axis=0)]
        slopes = steps @ (whole - whole.mean(axis=0)) / (steps @ steps) / spread
        count = whole.shape[1]
        margin = 1.96 * float(slopes.std(ddof=1)) / np.sqrt(count) if count > 1 else 0.0
        effects[name] = Effect(float(slopes.mean()) if count else 0.0, float(margin), count)
    return effects


def row_image(drawn: Sequence[Pictures]) -> "Image":
    """A few of the pictures, each in a row from the lowest step to the highest."""
    from PIL import Image

    rows = [
        np.concatenate(list(row), axis=1) for row in zip(*(p[:_SHOWN] for p in drawn), strict=True)
    ]
    pixels = np.concatenate(rows, axis=0)
    factor = max(1, -(-_ENLARGED // drawn[0].shape[1]))
    size = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def as_bytes(pictures: Float[Tensor, "b k y x"]) -> Pictures:
    """Values 0 to 1 as bytes, grey as equal colours."""
    levels = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return np.repeat(levels, 3, axis=3) if levels.shape[3] == 1 else levels
