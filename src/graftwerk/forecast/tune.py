"""Fit a forecaster to a series: its last linear layer, a LoRA adapter, or all weights.

Training uses windows of the series. How much of the learned change is applied, from none to all of
it, is chosen on the last windows, which are held out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..adapters import tuned
from ..adapters.lora import Rank
from ..adapters.tuned import Fitting, Method, Tuned
from ..errors import BadInput
from ..training.session import Plan
from ..types import Monitor
from .forecasters import History, NetworkForecaster

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
            f"a history of {len(history.values):,} values is too short to fit {leads} values "
            "ahead.",
            f"It takes some {4 * leads + 2 * first:,}; forecast zero-shot instead.",
        )
    return first, held, last
