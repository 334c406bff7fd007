"""Adapt a policy to episodes: its last layer, a LoRA adapter, or all weights above the encoder."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from ..adapters import tuned
from ..adapters.tuned import Fitting, Method, Tuned
from ..errors import BadInput
from ..training.session import Plan
from ..types import Monitor
from .episodes import Episodes
from .network import LAYERS, PolicyModel, PolicyNetwork

KIND = "policy"  # of what is saved
RATES: Mapping[Method, float] = {"linear": 3e-3, "lora": 5e-3, "full": 1e-3}
_HELD = 0.2  # share of the episodes that are held out


class Cloning:
    """Behaviour cloning on feature maps and states; see `training.session.Task`.

    Args:
        network: predicts the actions.
        parameters: those that are trained.
        maps: of the encoder, in half precision.
        states: of the robot.
        actions: to be predicted.
        seed: of the order.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        parameters: Mapping[str, nn.Parameter],
        maps: Tensor,
        states: Tensor,
        actions: Tensor,
        seed: int,
    ) -> None:
        self._network, self._parameters, self._seed = network, parameters, seed
        self._maps, self._states, self._actions = maps, states, actions

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The trained weights."""
        return self._parameters

    def batch(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        """Numbers of frames, drawn with replacement."""
        generator = np.random.default_rng([self._seed, first])
        return generator.integers(0, len(self._states), count)

    def loss(
        self,
        batch: Int64[np.ndarray, " n"],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of the predicted actions, in units of their standard deviation."""
        rows, device = torch.from_numpy(batch), self._network.action_std.device
        given = (self._maps, self._states, self._actions)
        return self._network.loss(*(one[rows].float().to(device) for one in given)), {}

    def error(self) -> float:
        """Return the mean distance between predicted and recorded actions."""
        with torch.no_grad():
            device = self._network.action_std.device
            found = self._network(self._maps.float().to(device), self._states.to(device))
        return float((found.cpu() - self._actions).norm(dim=1).mean())


@dataclass(frozen=True, slots=True)
class Adapted:
    """A policy adapted to episodes.

    Attributes:
        tuned: what was learned; its losses are mean distances of held-out actions.
        episodes: learned from.
        held: held out.
        frames: learned from.
        mean: the held-out distance of always taking the mean action.
    """

    tuned: Tuned
    episodes: int
    held: int
    frames: int
    mean: float


def adapt(model: PolicyModel, data: Episodes, how: Fitting, what: str, monitor: Monitor) -> Adapted:
    """Adapt a policy, whose network is modified; the encoder stays as it is.

    Args:
        model: the policy.
        data: episodes of the same robot.
        how: see `Fitting`.
        what: name of the data, for messages.
        monitor: for progress.

    Raises:
        BadInput: the episodes are of another robot, or too few.
        Diverged: the loss is no longer finite.
    """
    model.require_episodes(data, what)
    numbers = np.unique(data.episode)
    if len(numbers) < 2:
        raise BadInput(
            f"{what} has one episode.", "Record at least 2: one is held out, to measure."
        )
    held = np.isin(data.episode, numbers[-max(1, round(_HELD * len(numbers))) :])
    monitor.start("looking")
    maps = model.eyes.maps(data.images)
    states, actions = torch.from_numpy(data.states), torch.from_numpy(data.actions)

    def task(rows: Tensor, parameters: Mapping[str, nn.Parameter]) -> Cloning:
        given = (maps[rows], states[rows], actions[rows])
        return Cloning(model.network, parameters, *given, how.seed)

    learned, left = torch.from_numpy(~held), torch.from_numpy(held)
    measured = task(left, {})
    how = replace(how, rank=replace(how.rank, targets=LAYERS), about={"frames": int((~held).sum())})
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as folder:
        training = Path(folder) / "training"
        found = tuned.tune(
            model, how, lambda trained: task(learned, trained), measured.error, training, monitor
        )
    away = actions[left] - actions[learned].mean(dim=0)
    return Adapted(
        tuned=found,
        episodes=len(np.unique(data.episode[~held])),
        held=len(np.unique(data.episode[held])),
        frames=int((~held).sum()),
        mean=float(away.norm(dim=1).mean()),
    )


def plan_of(method: Method, steps: int, batch: int, rate: float | None) -> Plan:
    """Return the hyperparameters of an adaptation."""
    peak = RATES[method] if rate is None else rate
    return Plan(steps, batch, peak, warm_up=min(20, steps // 4 + 1), average_decay=0.98)
