"""Forecasters: simple baselines, the built-in network, PatchTST and TimesFM of transformers.

All return quantiles of each lead, in the units of the series.

One is fitted to a series by its last linear layer, a LoRA adapter, or all weights. Training uses
windows of the series. How much of the learned change is applied, from none to all of it, is chosen
on the last windows, which are held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from ..adapters import tuned
from ..adapters.lora import Rank
from ..adapters.tuned import Fitting, Method, Tuned
from ..errors import BadInput
from ..models.checkpoint import ModelFolder, fingerprint, open_folder, read_object
from ..models.hub import loading, locate
from ..models.torch_text import read_one_channel
from ..models.trainable import load_own
from ..models.transformers import choose_device, load_network
from ..training.session import Plan
from ..types import Monitor
from .candidates import (
    LEADS,
    LONGEST,
    PATCH,
    drift,
    example,
    seasonal_naive,
    seasonal_scale,
    simple_forecasts,
)
from .network import MODEL_TYPE, QUANTILES, SeriesForecaster, as_inputs, pinball

FloatArray = NDArray[np.float64]
Quantiles = Float[np.ndarray, "b h q"]

_AT_ONCE = 64  # histories per batch
_NORMAL = (-1.2815515655, -0.8416212336, -0.5244005127, -0.2533471031, 0.0)
_Z = np.array([*_NORMAL, *(-z for z in _NORMAL[-2::-1])])  # normal quantiles at QUANTILES


@dataclass(frozen=True, slots=True)
class History:
    """Values up to a forecast origin, and their seasons; 1 for none."""

    values: FloatArray
    season: int = 1
    second: int = 1


@runtime_checkable
class Forecaster(Protocol):
    """A forecaster.

    Attributes:
        levels: of its quantiles; only the median for point forecasts.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def levels(self) -> tuple[float, ...]: ...  # noqa: D102

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """Return quantiles of the next values of each history."""
        ...


class Naive:
    """The last season again; its error grows with the root of the number of seasons ahead."""

    name, levels = "seasonal naive", QUANTILES

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`."""
        ahead = np.arange(leads)
        return np.stack(
            [
                _normal(
                    seasonal_naive(one.values, one.season, leads),
                    _deviation(one.values, one.season) * np.sqrt(1 + ahead // one.season),
                )
                for one in histories
            ]
        )


class Drift:
    """The line through the first and last value, with the errors of a random walk around it."""

    name, levels = "drift", QUANTILES

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`."""
        ahead = np.arange(1, leads + 1)
        found = []
        for one in histories:
            count = max(len(one.values) - 1, 1)
            size = float(np.diff(one.values).std()) if len(one.values) > 2 else 0.0
            found.append(
                _normal(drift(one.values, leads), size * np.sqrt(ahead * (1 + ahead / count)))
            )
        return np.stack(found)


def _deviation(values: FloatArray, season: int) -> float:
    lag = season if len(values) > season else 1
    return (
        float(np.sqrt(np.mean((values[lag:] - values[:-lag]) ** 2))) if len(values) > lag else 0.0
    )


def _normal(center: FloatArray, deviation: FloatArray) -> FloatArray:
    return np.asarray(center[:, None] + deviation[:, None] * _Z)


Inputs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Histories as input of a network; forecasts are `level + scale * output`.

    Attributes:
        unit: of the training loss of each history: its mean change over a season.
    """

    inputs: Inputs
    level: FloatArray
    scale: FloatArray
    unit: FloatArray


class NetworkForecaster:
    """A forecasting network: base class of the built-in one and those of transformers.

    Attributes:
        heads: paths of the last linear layers of `network`, which the method `linear` trains.
        most: leads that it forecasts in one pass.
    """

    levels: tuple[float, ...] = QUANTILES
    heads: tuple[str, ...] = ("head",)

    def __init__(self, name: str, identity: str, network: nn.Module, device: str) -> None:
        self.name, self.fingerprint, self.device = name, identity, device
        self.network = network.to(device)
        self.most = LEADS

    def prepare(self, histories: Sequence[History], leads: int) -> Batch:
        """Convert histories to the network's input."""
        raise NotImplementedError

    def run(self, inputs: Inputs, leads: int) -> Float[Tensor, "b h q"]:
        """Return quantiles of `leads` or more values, differentiable.

        They are in the units of the batch.
        """
        raise NotImplementedError

    def loss(self, batch: Batch, target: Float[Tensor, "b h"]) -> Float[Tensor, " b"]:
        """Return the quantile loss of each history, in its `unit`."""
        tensor = torch.as_tensor
        device = target.device
        level, scale, unit = (
            tensor(one, dtype=torch.float32, device=device)[:, None]
            for one in (batch.level, batch.scale, batch.unit)
        )
        found = self.run(batch.inputs, target.shape[1])[:, : target.shape[1]]
        units = (found * (scale / unit)[..., None]) + ((level / unit)[..., None])
        return pinball(units, target / unit, self.levels).mean(dim=1)

    def forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        """See `Forecaster`; beyond `most` leads it continues from its own median."""
        parts = [histories[n : n + _AT_ONCE] for n in range(0, len(histories), _AT_ONCE)]
        return np.concatenate([self._forecast(part, leads) for part in parts])

    def _forecast(self, histories: Sequence[History], leads: int) -> Quantiles:
        middle = self.levels.index(0.5)
        done: list[FloatArray] = []
        wider = np.zeros((len(histories), 1, len(self.levels)))
        while (count := sum(block.shape[1] for block in done)) < leads:
            batch = self.prepare(histories, min(leads - count, self.most))
            with torch.inference_mode():
                found = self.run(batch.inputs, min(leads - count, self.most)).double().cpu().numpy()
            block = batch.level[:, None, None] + batch.scale[:, None, None] * found
            block = block[:, : min(leads - count, self.most)]
            center = block[:, :, middle : middle + 1]
            away = block - center
            # quantiles of a network may cross: keep them ordered outward from the median
            away[..., middle:] = np.maximum.accumulate(away[..., middle:], axis=-1)
            away[..., middle::-1] = np.minimum.accumulate(away[..., middle::-1], axis=-1)
            away = np.sign(away) * np.hypot(away, wider)
            wider = away[:, -1:]
            done.append(center + away)
            histories = [
                History(np.concatenate([one.values, new]), one.season, one.second)
                for one, new in zip(histories, center[..., 0], strict=True)
            ]
        return np.concatenate(done, axis=1)


class SeriesModel(NetworkForecaster):
    """The built-in network: `builtin/series`, or a result of `graft recipe run series`."""

    def prepare(self, histories: Sequence[History], leads: int) -> Batch:
        """See `NetworkForecaster`."""
        count = -(-leads // PATCH) * PATCH
        made = [example(one.values, one.season, one.second, count) for one in histories]
        inputs = {name: value.to(self.device) for name, value in as_inputs(made).items()}
        level, scale = (
            np.array([getattr(one, name) for one in made]) for name in ("level", "scale")
        )
        return Batch(inputs, level, scale, scale)

    def run(self, inputs: Inputs, leads: int) -> Float[Tensor, "b h q"]:  # noqa: ARG002
        """See `NetworkForecaster`."""
        found: Tensor = self.network(inputs)
        return found

    def simple(self, history: History, leads: int) -> FloatArray:
        """Return the simple forecasts that the network weights, [forecasts, leads]."""
        values = history.values[-LONGEST:]
        return simple_forecasts(values, history.season, history.second, leads)


class LibraryModel(NetworkForecaster):
    """PatchTST and TimesFM of the transformers library."""

    def __init__(self, name: str, folder: ModelFolder, device: str) -> None:
        kind = folder.model_type
        network: Any = load_network(folder, FORECASTERS[kind])
        super().__init__(name, fingerprint(folder.path, {}), network, device)
        self.kind, self.config = kind, network.config
        self.most = int(
            self.config.prediction_length if kind == "patchtst" else self.config.horizon_length
        )
        if kind == "patchtst":
            read_one_channel(network)
            self.levels = QUANTILES if network.distribution_output is not None else (0.5,)
        else:
            self.levels = tuple(round(float(level), 6) for level in self.config.quantiles)
            self.heads = _HEADS[kind]
        if 0.5 not in self.levels:
            raise BadInput(
                f"{name} has no median among its quantiles {self.levels}.", "Take another model."
            )

    def prepare(self, histories: Sequence[History], leads: int) -> Batch:  # noqa: ARG002
        """See `NetworkForecaster`."""
        context = int(self.config.context_length)
        rows = [
            torch.as_tensor(one.values[-context:], dtype=torch.float32, device=self.device)
            for one in histories
        ]
        inputs: dict[str, Any] = {"past_values": rows}
        if self.kind == "patchtst":
            values = torch.zeros(len(rows), context, 1, device=self.device)
            seen = torch.zeros_like(values)
            for number, row in enumerate(rows):
                values[number, context - len(row) :, 0] = row
                seen[number, context - len(row) :] = 1
            inputs = {"past_values": values, "past_observed_mask": seen}
        unit = np.array([seasonal_scale(one.values, one.season) or 1.0 for one in histories])
        return Batch(inputs, np.zeros(len(rows)), np.ones(len(rows)), unit)

    def run(self, inputs: Inputs, leads: int) -> Float[Tensor, "b h q"]:  # noqa: ARG002
        """See `NetworkForecaster`."""
        found: Any = self.network(**inputs)
        if self.kind != "patchtst":
            outputs: Tensor = found.full_predictions[..., 1:]
            return outputs
        if len(self.levels) == 1:
            single: Tensor = found.prediction_outputs
            return single
        return _quantiles_of(self._spread(found)).to(self.device)

    def _spread(self, found: Any) -> Any:
        return self.network.distribution_output.distribution(  # type: ignore[union-attr,operator]
            found.prediction_outputs, loc=found.loc, scale=found.scale
        )

    def loss(self, batch: Batch, target: Float[Tensor, "b h"]) -> Float[Tensor, " b"]:
        """Return the negative log-likelihood if the head is a distribution.

        Quantiles of a distribution have no gradient. Other heads use the quantile loss.
        """
        if self.kind == "patchtst" and len(self.levels) > 1:
            spread = self._spread(self.network(**batch.inputs))
            ahead = target.new_zeros(len(target), self.most, 1)
            ahead[:, : target.shape[1], 0] = target
            chance: Tensor = spread.log_prob(ahead)[:, : target.shape[1]]
            return -chance.flatten(1).mean(dim=1)
        return super().loss(batch, target)


def _quantiles_of(spread: Any) -> Float[Tensor, "b h q"]:
    """Return quantiles of a PyTorch distribution over [b h 1], in float64 by SciPy."""
    base, loc, scale = spread, 0.0, 1.0
    if isinstance(spread, torch.distributions.TransformedDistribution):
        base, move = spread.base_dist, spread.transforms[0]
        loc, scale = (_numbers(getattr(move, name)) for name in ("loc", "scale"))
    if isinstance(base, torch.distributions.Independent):
        base = base.base_dist
    levels = np.array(QUANTILES)
    if isinstance(base, torch.distributions.StudentT):
        parts = stats.t(_numbers(base.df), _numbers(base.loc), _numbers(base.scale))
    elif isinstance(base, torch.distributions.Normal):
        parts = stats.norm(_numbers(base.loc), _numbers(base.scale))
    elif isinstance(base, torch.distributions.NegativeBinomial):
        parts = stats.nbinom(_numbers(base.total_count), 1 - _numbers(base.probs))
    else:
        raise BadInput(f"quantiles of {type(base).__name__} are not known.", "Take another model.")
    return torch.from_numpy(np.asarray(parts.ppf(levels)) * scale + loc)


def _numbers(value: Any) -> Any:
    return torch.as_tensor(value).double().cpu().numpy()


FORECASTERS: Mapping[str, str] = {
    "patchtst": "PatchTSTForPrediction",
    "timesfm": "TimesFmModelForPrediction",
    "timesfm2_5": "TimesFm2_5ModelForPrediction",
}


_HEADS: Mapping[str, tuple[str, ...]] = {
    "timesfm": ("horizon_ff_layer.output_layer",),
    "timesfm2_5": (
        "output_projection_point.output_layer",
        "output_projection_quantiles.output_layer",
    ),
}


def open_forecaster(name: str, device: str = "auto") -> NetworkForecaster:
    """Load a forecasting model.

    Raises:
        BadInput: the name, folder or device cannot be used.
        Damaged: a weight file is truncated.
    """
    root: Path = locate(name, "forecaster")
    config = read_object(root / "config.json")
    where = choose_device(device)
    with loading(name):
        if config.get("model_type") == MODEL_TYPE:
            network = load_own(root, MODEL_TYPE, SeriesForecaster)
            return SeriesModel(name, fingerprint(root, {}), network, where)
        folder = open_folder(root)
        if folder.model_type not in FORECASTERS:
            raise BadInput(
                f"{name} is of type {folder.model_type!r}, which does not forecast.",
                "Name builtin/series, or a folder of PatchTST or TimesFM (2.0, 2.5).",
            )
        return LibraryModel(name, folder, where)


KIND = "forecast"  # of what is saved
_RATES: Mapping[Method, float] = {"linear": 2e-3, "lora": 1e-3, "full": 3e-4}
_BATCH = 32
_HELD = 0.2  # share of the history whose windows are held out
_HELD_WINDOWS = 48  # number of held-out windows
_LEAST = 16  # values before a window


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """Windows of one history; see `training.session.Task`."""

    model: NetworkForecaster
    history: History
    trained: Mapping[str, nn.Parameter]
    ends: tuple[int, int]
    leads: int
    seed: int

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return self.trained

    def batch(self, first: int, count: int) -> list[int]:
        return [
            int(np.random.default_rng([self.seed, number]).integers(*self.ends))
            for number in range(first, first + count)
        ]

    def loss(
        self,
        batch: list[int],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.losses(batch).mean(), {}

    def losses(self, ends: list[int]) -> Float[Tensor, " b"]:
        one = self.history
        cut = [History(one.values[:end], one.season, one.second) for end in ends]
        after = np.stack([one.values[end : end + self.leads] for end in ends])
        batch = self.model.prepare(cut, self.leads)
        target = torch.as_tensor(after, dtype=torch.float32, device=self.model.device)
        return self.model.loss(batch, target)


def tune(
    model: NetworkForecaster,
    history: History,
    method: Method,
    leads: int,
    steps: int,
    rank: Rank,
    seed: int,
    monitor: Monitor,
) -> Tuned:
    """Fit a forecaster to a history, all of which may be used; its network is modified.

    Raises:
        BadInput: the history is too short.
        Diverged: the loss is no longer finite.
    """
    leads = min(leads, model.most)
    first, held, last = _windows(history, leads)
    windows = np.unique(np.linspace(held, last, _HELD_WINDOWS).astype(int)).tolist()
    warm = min(20, steps // 4 + 1)
    plan = Plan(steps, _BATCH, _RATES[method], warm_up=warm, average_decay=0.98)

    def make_task(parameters: Mapping[str, nn.Parameter]) -> _Task:
        # windows that end `leads` before the first held-out one share no target with it
        return _Task(model, history, parameters, (first, held - leads), leads, seed)

    def held_out() -> float:
        return float(make_task({}).losses(windows).mean())

    how = Fitting(method, plan, rank, seed, {"leads": leads})
    return tuned.tune(model, how, make_task, held_out, monitor)


def _windows(history: History, leads: int) -> tuple[int, int, int]:
    last = len(history.values) - leads
    first = max(_LEAST, min(2 * history.season, last // 2))
    held = last - max(1, round(_HELD * (last - first)))
    if held - leads <= first + 1:
        raise BadInput(
            f"{len(history.values):,} values, without those that a backtest holds back, are too "
            f"few to fit {leads} values ahead.",
            f"It takes some {4 * leads + 2 * first:,}: lower --origins, or forecast zero-shot.",
        )
    return first, held, last
