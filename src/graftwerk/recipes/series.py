"""The forecaster of time series, trained on made-up ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..forecast.candidates import LEADS, Example, example, seasonal_naive
from ..forecast.network import MODEL_TYPE, QUANTILES, SeriesForecaster, as_inputs, pinball
from ..forecast.synthetic import synthetic_series
from ..models.trainable import load_own
from ..training.session import Plan
from ..training.state import Loss
from .registry import HELD_OUT_WORLD, TRAINING_WORLD, Setting
from .result import NetworkTask

_LONGEST = 1_100  # values of a history
_WRONG_SEASON, _NO_SEASON = 0.05, 0.07  # shares of series whose season is named wrongly
_JUDGED = 48  # leads that are measured
_FAR = 1e4  # of a target, in units of the mean change over a season


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of the recipe."""

    plan: Plan
    scenes: int
    width: int
    heads: int
    layers: int


REAL = Sizes(
    plan=Plan(steps=8_000, batch=64, learning_rate=1.5e-3, warm_up=300),
    scenes=1_000_000,
    width=128,
    heads=4,
    layers=3,
)
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=16,
    width=16,
    heads=2,
    layers=1,
)


def item(seed: int, world: int, number: int) -> tuple[Example, Float[np.ndarray, " h"], np.ndarray]:
    """One history with what came after it, and what its last season would have said."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(world, number)))
    made = synthetic_series(generator, LEADS, _LONGEST)
    season, second, chance = made.season, made.second, generator.random()
    if chance < _WRONG_SEASON:
        season, second = int(generator.integers(2, 60)), 1
    elif chance < _WRONG_SEASON + _NO_SEASON:
        season, second = 1, 1
    elif second > 1 and generator.random() < 0.3:
        second = 1
    history, after = made.values[:-LEADS], made.values[-LEADS:]
    if np.ptp(history) == 0:
        history = history + generator.normal(size=len(history))
    reported = example(history, season, second)
    naive = (seasonal_naive(history, season, LEADS) - reported.level) / reported.scale
    return reported, np.clip((after - reported.level) / reported.scale, -_FAR, _FAR), naive


class Work(NetworkTask):
    """Quantiles of the values after a history."""

    def __init__(self, sizes: Sizes, setting: Setting) -> None:
        self._sizes = sizes
        config = {
            "model_type": MODEL_TYPE,
            **{name: getattr(sizes, name) for name in ("width", "heads", "layers")},
        }
        super().__init__(SeriesForecaster(config), config, setting)
        self._network.start()

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Series made from their numbers."""
        numbers = [number % self._sizes.scenes for number in range(first, first + count)]
        made = [item(self._setting.seed, TRAINING_WORLD, number) for number in numbers]
        targets = torch.from_numpy(np.stack([target for _, target, _ in made])).float()
        return as_inputs([reported for reported, _, _ in made]) | {"target": targets}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:  # noqa: ARG002
        """The quantile loss, near leads counting more; of each series its logarithm counts."""
        batch = {name: value.to(self._setting.device) for name, value in batch.items()}
        weight = torch.arange(1, LEADS + 1, device=self._setting.device) ** -0.5
        found = pinball(self._network(batch), batch["target"], QUANTILES)
        found = (found * weight / weight.sum()).sum(dim=1)
        return torch.log1p(found).mean(), {"crps": found.detach().median()}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the network in half precision."""
        super().save(folder, {name: tensor.half() for name, tensor in weights.items()})


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Make the network; the series are made as they are needed."""
    return Work(sizes, setting)


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Figures on `count` made-up series that were not trained on, 48 values ahead.

    `mase_percent` is the geometric mean of the model's MASE over that of the seasonal naive
    forecast; `coverage_of_80` the share of values inside the 80 % interval.
    """
    network = load_own(folder, MODEL_TYPE, SeriesForecaster).to(setting.device)
    ratios: list[float] = []
    inside: list[float] = []
    for start in range(0, count, 64):
        numbers = range(start, min(start + 64, count))
        made = [item(setting.seed, HELD_OUT_WORLD, number) for number in numbers]
        with torch.inference_mode():
            inputs = as_inputs([reported for reported, _, _ in made])
            found = network({name: value.to(setting.device) for name, value in inputs.items()})
        ratio, covered = _compare(found.cpu().numpy(), made)
        ratios += ratio
        inside += covered
    return {
        "mase_percent": 100 * float(np.exp(np.mean(ratios))),
        "coverage_of_80": float(np.mean(inside)),
    }


def _compare(
    found: Float[np.ndarray, "b h q"], made: Sequence[tuple[Example, np.ndarray, np.ndarray]]
) -> tuple[list[float], list[float]]:
    """Logarithms of the ratio of both errors, and shares inside the 80 % interval."""
    ratios, inside = [], []
    for quantiles, (_, target, naive) in zip(found[:, :_JUDGED], made, strict=True):
        after, median = target[:_JUDGED], quantiles[:, len(QUANTILES) // 2]
        error, reference = (np.abs(one - after).mean() for one in (median, naive[:_JUDGED]))
        ratios.append(float(np.log(max(error, 1e-3) / max(reference, 1e-3))))
        inside.append(float(((after >= quantiles[:, 0]) & (after <= quantiles[:, -1])).mean()))
    return ratios, inside
