"""One probing study of a model: its images, their known values, and the model's activations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from PIL import Image
from torch import Tensor

from ..blocks.networks import Judgement, load_judge, load_perception
from ..blocks.scene import KINDS
from ..data.images import read_image
from ..diffusion.sampling import fit, to_levels, to_values
from ..metrics.intervals import normal_margin
from ..models.hub import builtin_folder
from ..types import Monitor
from .locations import EncoderLayer, Location
from .targets import Features, Fit, ProbeTargets, Split, directions_of, read_out, shuffled, split_of

_BATCH = 32


Measured = Mapping[str, Float64[np.ndarray, " n"]]
Measure = Callable[[UInt8[np.ndarray, "n h w 3"]], Measured]
NAMES = ("horizontal", "vertical", "area", "brightness")
JUDGED = ("kind", "colour", "ground", "time")
_APART = 40.0  # levels of 255 by which an object's color differs from its row's
_LEAST = 0.004  # share of an image that an object covers at least


class ByColour:
    """Locates the object by colour: the pixels that differ most from the rest of their row.

    Sky and ground vary between rows but hardly within one, and a single object covers less than
    half of a row, so the median of a row is its background.
    """

    name = "color against the row's median"

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
        """Kind and color are NaN for an image without an object."""
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


def row_image(sampled: Sequence[ImageBatch]) -> Image.Image:
    """Return a contact sheet of a few images, each in a row from the lowest step to the highest."""
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


@dataclass(frozen=True)
class Study:
    """Data of a probing study.

    Attributes:
        place: in the model.
        known: target values of each image.
        pictures: values from 0 to 1.
        features: the model's activations.
        split: training and test images.
        seed: of the split, the shuffling and the random weights.
    """

    place: Location | EncoderLayer
    known: ProbeTargets
    pictures: Float[Tensor, "n k y x"]
    features: Features
    split: Split
    seed: int

    def fits(self, monitor: Monitor) -> dict[str, Fit]:
        """Fit the linear probe and its two baselines, by their names in reports."""
        random = read_features(self.place.randomised(self.seed), self.pictures, monitor)
        monitor.start("fitting")
        values, split, seed = self.known.values, self.split, self.seed
        return {
            "model": read_out(self.features, values, split, seed),
            "shuffled": read_out(self.features, shuffled(values, split, seed), split, seed),
            "random": read_out(random, values, split, seed),
        }

    def held_out_images(self, count: int | None = None) -> Float[Tensor, "n k y x"]:
        """Return test images."""
        return self.pictures[torch.from_numpy(self.split.test[:count])]

    def agreement(self, measure: Measure) -> dict[str, float]:
        """Return R2 between measurements and known values on unchanged test images.

        It is that of the best linear fit, since a measurement may see only a part of the object.
        """
        seen = measure(in_color(self.held_out_images()))
        found = {}
        for name, values in seen.items():
            if name in self.known.names:
                requested = self.known.values[self.split.test, self.known.names.index(name)]
                there = np.isfinite(values)
                if there.sum() > 2:
                    found[name] = float(np.corrcoef(values[there], requested[there])[0, 1] ** 2)
        return found

    def moves(
        self, measure: Measure, count: int, monitor: Monitor
    ) -> dict[str, tuple[Mapping[str, Effect], Image.Image]]:
        """Return effects and a contact sheet for the direction of each measurable target.

        The result is empty for an image encoder, which does not generate images.
        """
        if isinstance(self.place, EncoderLayer):
            return {}
        location = self.place
        seen = measure(in_color(self.held_out_images()))
        spreads = {
            name: float(np.nanstd(values))
            for name, values in seen.items()
            if np.isfinite(values).any() and np.nanstd(values) > 0
        }
        requested = [name for name in self.known.names if name in spreads]
        directions = directions_of(self.features, self.known.values, self.split)
        monitor.start("moving", len(requested))
        found: dict[str, tuple[Mapping[str, Effect], Image.Image]] = {}
        for name in requested:
            direction = directions[self.known.names.index(name)]
            sampled = _moved(location, self.held_out_images(count), direction)
            found[name] = (effects_of(sampled, measure, spreads), row_image(sampled))
            monitor.advance()
        return found


def _moved(
    location: Location, images: Float[Tensor, "n k y x"], direction: Float64[np.ndarray, " d"]
) -> list[ImageBatch]:
    parts = [draw_along(location, part, direction) for part in torch.split(images, _BATCH)]
    return [np.concatenate(step) for step in zip(*parts, strict=True)]


def open_study(
    location: Location | EncoderLayer, known: ProbeTargets, count: int, seed: int, monitor: Monitor
) -> Study:
    """Load the first `count` images and compute the model's activations for them."""
    known = ProbeTargets(known.paths[:count], known.names, known.values[:count], known.left_out)
    monitor.start("reading images", len(known.paths))
    rows = []
    for start in range(0, len(known.paths), _BATCH):
        images = tuple(read_image(str(path)) for path in known.paths[start : start + _BATCH])
        rows.append(to_values(np.stack([fit(image, *location.size) for image in images])))
        monitor.advance(len(images))
    pictures = torch.cat(rows)
    features = read_features(location, pictures, monitor)
    return Study(location, known, pictures, features, split_of(len(pictures), seed), seed)


def read_features(
    location: Location | EncoderLayer, images: Float[Tensor, "n k y x"], monitor: Monitor
) -> Features:
    """Compute the model's activations for all images."""
    monitor.start("looking into the model", len(images))
    rows = []
    for part in torch.split(images, _BATCH):
        rows.append(location.read(part).float().cpu().numpy())
        monitor.advance(len(part))
    return np.concatenate(rows)
