"""What is trained, and by how much: the two things that the loop is given.

One session of a training: where it is kept, how long it may go on, what it came to.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from .. import files, folders
from ..errors import BadInput, Busy
from .distributed import ALONE, Group

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to.

    Attributes:
        step: steps done, over all sessions.
        finished: whether these are all, or the watch ended it; if not, the time was up.
        loss: mean over the last steps.
        skipped: steps whose gradients were not finite.
        seconds: spent, over all sessions.
        items_per_second: in this session; 0 where there was nothing left to do.
        average: the moving average of the weights: the result.
    """

    step: int
    finished: bool
    loss: float
    skipped: int
    seconds: float
    items_per_second: float
    average: "Mapping[str, Tensor]"


# After each step: steps done and the averaged weights; true ends the training there.
Watch = Callable[[int, "Mapping[str, Tensor]"], bool]


def keep_going(step: int, average: "Mapping[str, Tensor]") -> bool:  # noqa: ARG001
    """Watch nothing."""
    return False


@dataclass(frozen=True, slots=True)
class Session:
    """Where a training is kept, and how long it may go on now.

    Attributes:
        folder: for log, plot and checkpoints.
        configuration: what it is a function of beside the seed, as JSON; another one is refused.
        seed: of the order of the data and of all noise.
        minutes: stop after so long; None: when all steps are done.
        save_seconds: between two checkpoints.
        group: the processes that train together.
        precision: of the model's arithmetic; weights, moments and average stay in float32.
        watch: called after each step; it may end the training.
        shares: of the learning rate, by parameter; 1 where none is named.
    """

    folder: Path
    configuration: Mapping[str, Any]
    seed: int = 0
    minutes: float | None = None
    save_seconds: float = 120.0
    group: Group = ALONE
    precision: Precision = "float32"
    watch: Watch = keep_going
    shares: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def only_writer(session: Session) -> Iterator[None]:
    """Hold the only right to train in the folder; the kernel frees it when its holder dies.

    Raises:
        Busy: another process holds it.
        NoRoom: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    if not session.group.leads:
        yield
        return
    path = session.folder / folders.TRAINING_LOCK
    try:
        session.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path, timeout=0):
            yield
    except Timeout as error:
        raise Busy(
            f"another process trains in {session.folder}.", "Wait for it, or stop it."
        ) from error
    except OSError as error:
        files.raise_write_error(error, path)


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
