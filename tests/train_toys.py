"""A toy training, run by tests in this process and in processes that they kill.

`python -m tests.train_toys FOLDER OUT` trains, also under torchrun, and writes each process's
averaged weights; without arguments it trains in children, one for each line of its input.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from tests.forking import serve
from torch import nn

from graftwerk.training.loop import train
from graftwerk.training.session import ALONE, Outcome, Plan, Session, joined
from graftwerk.training.state import generator_for, initialise
from graftwerk.types import Silent

PLAN = Plan(steps=60, batch=8, learning_rate=0.01, warm_up=5, average_decay=0.9)


class Toy:
    """A small network that learns a fixed map from items that their numbers alone decide."""

    def __init__(self, seed: int = 0, bad: frozenset[int] = frozenset(), noise: float = 0.1):
        self.network = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 2))
        initialise(self.network, generator_for(seed, 0, "cpu"))
        self.bad, self.noise = bad, noise

    def parameters(self):
        return dict(self.network.named_parameters())

    def batch(self, first, count):
        rows = [
            np.random.default_rng(number).standard_normal(6)
            for number in range(first, first + count)
        ]
        if any(number in self.bad for number in range(first, first + count)):
            rows[0][0] = np.nan
        return torch.tensor(np.stack(rows), dtype=torch.float32)

    def loss(self, batch, generator):
        target = torch.stack([batch.sum(1), batch[:, 0] * batch[:, 1]], dim=1)
        noise = self.noise * torch.randn(target.shape, generator=generator)
        loss = (self.network(batch) - target - noise).square().mean()
        return loss, {"error": loss.detach().sqrt()}


def run_toy(
    folder: Path, plan: Plan = PLAN, toy: Toy | None = None, monitor=None, group=ALONE, **session
) -> Outcome:
    session = {"save_seconds": 1e9, "configuration": {"toy": 1}} | session
    return train(toy or Toy(), plan, Session(folder, group=group, **session), monitor or Silent())


def weights_of(outcome: Outcome) -> bytes:
    return b"".join(outcome.average[name].numpy().tobytes() for name in sorted(outcome.average))


def train_alone(folder: str, out: str, save_seconds: float) -> None:
    outcome = run_toy(Path(folder), save_seconds=save_seconds)
    Path(out).write_bytes(weights_of(outcome))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:]:
        with joined("cpu") as group:
            outcome = run_toy(Path(sys.argv[1]), toy=Toy(noise=0.0), group=group)
            Path(f"{sys.argv[2]}.{group.rank}").write_bytes(weights_of(outcome))
    else:
        serve(lambda task: train_alone(**task))
