"""Fit a forecaster to a series: its last linear layer, a LoRA adapter, or all weights.

Training uses windows of the series. How much of the learned change is applied, from none to all of
it, is chosen on the last windows, which are held out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ..adapters.lora import LowRank, Rank, install
from ..errors import BadInput
from ..training.loop import train
from ..training.session import Plan, Session
from ..training.state import generator_for
from ..types import Monitor
from .forecasters import History, NetworkForecaster

FloatArray = NDArray[np.float64]
Method = Literal["linear", "lora", "full"]

_RATES: Mapping[Method, float] = {"linear": 2e-3, "lora": 1e-3, "full": 3e-4}
_BATCH = 32
_HELD = 0.2  # share of the history whose windows are held out
_HELD_WINDOWS = 48  # number of held-out windows
_LEAST = 16  # values before a window
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the learned change


@dataclass(frozen=True, slots=True)
class Tuned:
    """Result of fitting.

    Attributes:
        method: how it was fitted.
        parameters: number of trained parameters.
        share: of the learned change that is applied; 0 leaves the frozen model as it was.
        before: mean loss of the held-out windows with the frozen model.
        after: the same with the applied share.
        weights: of the trained parameters, by name; empty with `lora`.
        steer: the LoRA adapter, with `lora`; it is installed in the network.
    """

    method: Method
    parameters: int
    share: float
    before: float
    after: float
    weights: Mapping[str, Tensor]
    steer: LowRank | None = None

    def describe(self) -> str:
        """Return a one-line summary."""
        return (
            f"{self.method}: {self.parameters:,} numbers learned, loss of held-out windows "
            f"{self.before:.4f} -> {self.after:.4f} with {self.share:.0%} of what was learned"
        )


class _Task:
    """Windows of one history; see `training.session.Task`."""

    def __init__(
        self,
        model: NetworkForecaster,
        history: History,
        parameters: Mapping[str, nn.Parameter],
        ends: tuple[int, int],
        leads: int,
        seed: int,
    ) -> None:
        self._model, self._history, self._parameters = model, history, parameters
        self._ends, self._leads, self._seed = ends, leads, seed

    def parameters(self) -> Mapping[str, nn.Parameter]:
        return self._parameters

    def batch(self, first: int, count: int) -> list[int]:
        return [
            int(np.random.default_rng([self._seed, number]).integers(*self._ends))
            for number in range(first, first + count)
        ]

    def loss(
        self,
        batch: list[int],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.losses(batch).mean(), {}

    def losses(self, ends: list[int]) -> Float[Tensor, " b"]:
        one = self._history
        cut = [History(one.values[:end], one.season, one.second) for end in ends]
        after = np.stack([one.values[end : end + self._leads] for end in ends])
        batch = self._model.prepare(cut, self._leads)
        target = torch.as_tensor(after, dtype=torch.float32, device=self._model.device)
        return self._model.loss(batch, target)


@dataclass(frozen=True, slots=True)
class Fitting:
    """How to fit a forecaster.

    Attributes:
        method: which parameters are trained.
        leads: values ahead that it is trained to forecast.
        steps: of the optimizer.
        rank: hyperparameters of the LoRA adapter.
        seed: for the order of windows and the initialization.
    """

    method: Method
    leads: int
    steps: int
    rank: Rank
    seed: int


def tune(
    model: NetworkForecaster, history: History, how: Fitting, folder: Path, monitor: Monitor
) -> Tuned:
    """Fit a forecaster to a history, all of which may be used; its network is modified.

    Args:
        model: the forecaster to fit.
        history: its values and seasons.
        how: see `Fitting`.
        folder: for checkpoints.
        monitor: for progress.

    Raises:
        BadInput: the history is too short.
        Diverged: the loss is no longer finite.
    """
    leads, method, seed = min(how.leads, model.most), how.method, how.seed
    first, held, last = _windows(history, leads)
    generator = generator_for(seed, 0, model.device)
    steer, parameters = _parameters(model, method, how.rank, generator)
    frozen = {name: one.detach().clone() for name, one in parameters.items()}
    # windows that end `leads` before the first held-out one share no target with it
    task = _Task(model, history, parameters, (first, held - leads), leads, seed)
    windows = np.unique(np.linspace(held, last, _HELD_WINDOWS).astype(int)).tolist()
    warm = min(20, how.steps // 4 + 1)
    plan = Plan(how.steps, _BATCH, _RATES[method], warm_up=warm, average_decay=0.98)
    session = Session(folder, {"method": method, "leads": leads, "seed": seed}, seed)
    outcome = train(task, plan, session, monitor)
    found = {}
    for share in _SHARES:
        _put(parameters, frozen, outcome.average, share, steer)
        with torch.no_grad():
            loss = float(task.losses(windows).mean())
            found[share] = loss if math.isfinite(loss) else math.inf
    best = min(found, key=lambda share: (found[share], share))
    weights = _put(parameters, frozen, outcome.average, best, steer)
    model.network.requires_grad_(False)
    return Tuned(
        method=method,
        parameters=sum(one.numel() for one in parameters.values()),
        share=best,
        before=found[0.0],
        after=found[best],
        weights={} if steer is not None else weights,
        steer=steer,
    )


def _windows(history: History, leads: int) -> tuple[int, int, int]:
    last = len(history.values) - leads
    first = max(_LEAST, min(2 * history.season, last // 2))
    held = last - max(1, round(_HELD * (last - first)))
    if held - leads <= first + 1:
        raise BadInput(
            f"a history of {len(history.values):,} values is too short to fit {leads} values "
            "ahead.",
            f"It takes some {4 * leads + 2 * first:,}; forecast zero-shot instead.",
        )
    return first, held, last


def _parameters(
    model: NetworkForecaster, method: Method, rank: Rank, generator: torch.Generator
) -> tuple[LowRank | None, dict[str, nn.Parameter]]:
    if method == "lora":
        steer = install(model.network, rank, generator, model.fingerprint)
        return steer, steer.parameters()
    model.network.requires_grad_(False)
    chosen = {
        name: one
        for name, one in model.network.named_parameters()
        if method == "full" or name.startswith(tuple(f"{head}." for head in model.heads))
    }
    for one in chosen.values():
        one.requires_grad_(True)
    return None, chosen


def _put(
    parameters: Mapping[str, nn.Parameter],
    frozen: Mapping[str, Tensor],
    learned: Mapping[str, Tensor],
    share: float,
    steer: LowRank | None,
) -> dict[str, Tensor]:
    """Apply a share of the learned change and return the resulting weights."""
    if steer is not None:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(learned[name])
        steer.scale = share
        return {}
    weights = {n: torch.lerp(frozen[n], learned[n], share) for n in parameters}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(frozen[name] if share == 0 else weights[name])
    return frozen if share == 0 else weights  # type: ignore[return-value]
