"""One probing study of a model: its images, their known values, and the model's activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..data.images import read_image
from ..data.pixels import fit, to_values
from ..types import Monitor
from .intervene import Effect, ImageBatch, Measure, draw_along, effects_of, in_color, row_image
from .locations import EncoderLayer, Location
from .regression import Features, Fit, Split, directions_of, read_out, shuffled, split_of
from .targets import ProbeTargets

if TYPE_CHECKING:
    from PIL.Image import Image


_BATCH = 32


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
    ) -> "dict[str, tuple[Mapping[str, Effect], Image]]":
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
        found: dict[str, tuple[Mapping[str, Effect], Image]] = {}
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
