"""Adapt a policy to episodes: its last layer, a LoRA adapter, or all weights above the encoder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from ..adapters import tuned
from ..adapters.lora import Rank
from ..adapters.tuned import Fitting, Method, Tuned
from ..errors import BadInput
from ..training.session import Plan
from ..types import Monitor
from .episodes import Episodes
from .network import LAYERS, PolicyModel, PolicyNetwork, look

KIND = "policy"  # of what is saved
RATES: Mapping[Method, float] = {"linear": 3e-3, "lora": 5e-3, "full": 3e-3}
_HELD = 0.2  # share of the episodes that are held out


@dataclass(frozen=True, slots=True, eq=False)
class Cloning:
    """Behavior cloning; see `training.session.Task`.

    Attributes:
        maps: of the encoder, in half precision.
    """

    network: PolicyNetwork
    trained: Mapping[str, nn.Parameter]
    maps: Tensor
    states: Tensor
    actions: Tensor
    seed: int

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The trained weights."""
        return self.trained

    def batch(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        """Numbers of frames, sampled with replacement."""
        return np.random.default_rng([self.seed, first]).integers(0, len(self.states), count)

    def loss(
        self,
        batch: Int64[np.ndarray, " n"],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of the predicted actions."""
        return self.network.loss(*self._rows(torch.from_numpy(batch))), {}

    def error(self) -> float:
        """Return the mean distance between predicted and recorded actions."""
        maps, states, actions = self._rows(torch.arange(len(self.states)))
        with torch.no_grad():
            return float((self.network(maps, states) - actions).norm(dim=1).mean())

    def _rows(self, rows: Tensor) -> list[Tensor]:
        device = self.network.action_std.device
        return [one[rows].float().to(device) for one in (self.maps, self.states, self.actions)]


@dataclass(frozen=True, slots=True)
class Adapted:
    """A policy adapted to episodes.

    Attributes:
        tuned: what was learned; its losses are mean distances of held-out actions.
        mean: the held-out distance of always taking the mean action.
    """

    tuned: Tuned
    episodes: int
    held: int
    frames: int
    mean: float


def fitting(
    method: Method, steps: int, batch: int, rate: float | None, rank: Rank, seed: int
) -> Fitting:
    """Return how to adapt a policy."""
    peak = RATES[method] if rate is None else rate
    plan = Plan(steps, batch, peak, warm_up=min(20, steps // 4 + 1), average_decay=0.98)
    return Fitting(method, plan, replace(rank, targets=LAYERS), seed, {})


def adapt(model: PolicyModel, data: Episodes, how: Fitting, what: str, monitor: Monitor) -> Adapted:
    """Adapt a policy, whose network is modified; the encoder stays as it is.

    Raises:
        BadInput: the episodes are of another robot, or too few.
        Diverged: the loss is no longer finite.
    """
    model.require_episodes(data, what)
    numbers = np.unique(data.episode)
    if len(numbers) < 2:
        raise BadInput(f"{what} has one episode.", "Record at least 2: one is held out to measure.")
    held = max(1, round(_HELD * len(numbers)))
    left = torch.from_numpy(np.isin(data.episode, numbers[-held:]))
    monitor.start("looking")
    maps = look(model.encoder, data.images)
    states, actions = torch.from_numpy(data.states), torch.from_numpy(data.actions)

    def task(rows: Tensor, trained: Mapping[str, nn.Parameter]) -> Cloning:
        given = (maps[rows], states[rows], actions[rows])
        return Cloning(model.network, trained, *given, how.seed)

    error = task(left, {}).error
    found = tuned.tune(model, how, lambda trained: task(~left, trained), error, monitor)
    away = actions[left] - actions[~left].mean(dim=0)
    frames, mean = int((~left).sum()), float(away.norm(dim=1).mean())
    return Adapted(found, len(numbers) - held, held, frames, mean)
