"""Segmentation: one colour a class, those of ADE20K where it has the class."""

import numpy as np
from jaxtyping import UInt8

from ...blocks.map_images import PALETTE, draw_segmentation
from ..base import Condition, Pictures, SceneMaps
from ..fidelity import each, mean_iou
from ..palette import ADE20K
from ..perceived import PERCEPTION, perceive

_COLOURS = np.unique(np.array([*PALETTE.values(), *ADE20K, (0, 0, 0)]), axis=0)


def _draw(maps: SceneMaps) -> Pictures:
    return np.stack([draw_segmentation(one) for one in maps.classes])


def _read(pictures: Pictures) -> Pictures:
    return np.stack([draw_segmentation(one) for one in perceive(pictures).classes])


def _problem(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    numbers = finished.astype(np.int64) @ np.array([65_536, 256, 1])
    known = np.isin(numbers, _COLOURS @ np.array([65_536, 256, 1]))
    if known.mean() < 0.95:
        return f"{1 - known.mean():.0%} of its pixels have colours that are no class's"
    if not finished.any():
        return "it is empty, all of it is black"
    return None


CONDITION = Condition(
    "segmentation",
    "segmentation in ADE20K's colours",
    PERCEPTION,
    "mean IoU",
    higher_is_better=True,
    draw=_draw,
    read=_read,
    read_scenes=_read,
    compare=each(mean_iou),
    problem=_problem,
)
