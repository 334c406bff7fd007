"""Measuring a picture of one object without the model that drew it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from ..blocks.scene import KINDS
from ..frozen.builtin import builtin_folder
from ..frozen.judge import Judgement, load_judge
from ..frozen.perception import load_perception

Measured = Mapping[str, Float64[np.ndarray, " n"]]
Measure = Callable[[UInt8[np.ndarray, "n h w 3"]], Measured]
NAMES = ("horizontal", "vertical", "area", "brightness")
JUDGED = ("kind", "colour", "ground", "time")
_APART = 40.0  # levels of 255 by which an object's colour differs from its row's
_LEAST = 0.004  # share of a picture that an object covers at least


class ByColour:
    """Finds the object as what stands out of its row, by colour alone.

    Sky and ground change from row to row and hardly within one, and an object alone in a scene
    covers less than half of a row, so the median of a row is its background.
    """

    name = "colour against the row's median"

    def __call__(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Measured:
        """Middle and area of the object as shares of the picture, and the picture's brightness."""
        values = pictures.astype(np.float64)
        background = np.median(values, axis=2, keepdims=True)
        return _of_masks(pictures, np.abs(values - background).max(axis=3) > _APART)


class ByPerception:
    """Finds the object by the segmentation of a perception model."""

    name = "perception model"

    def __init__(self, folder: Path, device: str) -> None:
        self._eyes = load_perception(folder, device)
        classes = list(self._eyes.network.config["classes"])
        self._things = [number for number, name in enumerate(classes) if name in KINDS]

    def __call__(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Measured:
        """As `ByColour`."""
        seen = np.stack([one.classes for one in self._eyes.look(pictures)])
        return _of_masks(pictures, np.isin(seen, self._things))


class WithWords:
    """Another measure, and whether `builtin/blocks-judge` says words such as `time=night`.

    Args:
        measure: of what is no word.
        words: names of numbers that are 1 where a word is said, else 0; of `JUDGED`.
        device: where the judge runs.
    """

    def __init__(self, measure: Measure, words: Sequence[str], device: str) -> None:
        self._measure, self._words = measure, words
        self._judge = load_judge(builtin_folder("builtin/blocks-judge"), device)

    def __call__(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Measured:
        """Not a number where kind or colour is asked of a picture without an object."""
        said = [_words_of(judgement) for judgement in self._judge.judge(pictures)]
        found = dict(self._measure(pictures))
        for name in self._words:
            target, word = name.split("=", 1)
            found[name] = np.array(
                [float(one[target] == word) if target in one else np.nan for one in said]
            )
        return found


def _words_of(judgement: Judgement) -> dict[str, str]:
    """What is said of the whole, and of the first object from the left."""
    whole = {"ground": judgement.ground, "time": judgement.time}
    if not judgement.objects:
        return whole
    first = judgement.objects[0]
    return whole | {"kind": first.kind, "colour": first.colour}


def _of_masks(pictures: UInt8[np.ndarray, "n h w 3"], masks: Bool[np.ndarray, "n h w"]) -> Measured:
    """Numbers of the object's pixels; not a number where too few are found."""
    count, height, width = masks.shape
    area = masks.reshape(count, -1).mean(axis=1)
    total = np.where(area > _LEAST, masks.sum(axis=(1, 2)), np.nan)
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return {
        "horizontal": (masks.sum(axis=1) @ across) / total,
        "vertical": (masks.sum(axis=2) @ down) / total,
        "area": np.where(area > _LEAST, area, np.nan),
        "brightness": pictures.reshape(count, -1).mean(axis=1) / 255,
    }
