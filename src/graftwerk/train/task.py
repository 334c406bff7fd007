"""What is trained, and by how much: the two things that the loop is given."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..errors import BadInput

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Task(Protocol):
    """A model and its loss; the loop knows neither.

    A task draws nothing from PyTorch's global generator, so it has no dropout, and it changes no
    tensor but through the gradients of its parameters, so it has no batch statistics.
    """

    def parameters(self) -> "Mapping[str, torch.nn.Parameter]":
        """Everything that training changes, by name, all on the device where it runs."""
        ...

    def batch(self, first: int, count: int) -> Any:
        """Items `first` to `first + count` of an endless stream.

        A pure function of the seed that the task was made with; it is called in other threads.
        """
        ...

    def loss(
        self, batch: Any, generator: "torch.Generator"
    ) -> "tuple[torch.Tensor, Mapping[str, torch.Tensor]]":
        """The mean loss over a batch, and figures to log beside it.

        Args:
            batch: what `batch` gave.
            generator: the only source of noise, on the parameters' device.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast.

    Attributes:
        steps: optimizer steps; the learning rate comes to 0 at their end.
        batch: items a step, over all processes.
        learning_rate: highest one, after the warm-up.
        warm_up: steps over which the learning rate rises to it.
        weight_decay: of AdamW, on matrices and kernels only.
        clip_norm: longest gradient; a longer one is scaled down to it.
        average_decay: of the moving average of the weights, which is the result.
        accumulate: parts of a batch that go through the model one after the other.
    """

    steps: int
    batch: int
    learning_rate: float
    warm_up: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average_decay: float = 0.999
    accumulate: int = 1

    def part(self, processes: int) -> int:
        """Items that go through the model at once.

        Raises:
            BadInput: the batch cannot be shared out evenly.
        """
        shares = self.accumulate * processes
        if self.batch % shares:
            raise BadInput(
                f"a batch of {self.batch} cannot be shared out among {processes} processes with "
                f"{self.accumulate} parts each.",
                f"Run a number of processes that divides {self.batch // self.accumulate}.",
            )
        return self.batch // shares

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0: linear warm-up, then half a cosine."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = min((step - self.warm_up) / max(self.steps - self.warm_up, 1), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def rates_until(self, step: int) -> float:
        """The sum of the learning rates of the first `step` steps, at most all."""
        warm = min(step, self.warm_up)
        total = self.learning_rate * warm * (warm + 1) / (2 * max(self.warm_up, 1))
        rest = min(step, self.steps) - self.warm_up
        if rest <= 0:
            return total
        half = math.pi / max(self.steps - self.warm_up, 1) / 2
        # Lagrange's sum of cosines, for half a cosine from 1 to 0
        waves = math.sin(half * rest) * math.cos(half * (rest - 1)) / math.sin(half)
        return total + self.learning_rate * 0.5 * (rest + waves)
