"""The interface of a training: the task, the plan, the session and its outcome."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from .. import files, folders
from ..errors import BadInput, Busy

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train together; by default only this one.

    Attributes:
        rank: index of this process; 0 writes the files.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average(self, tensors: "Sequence[torch.Tensor]") -> None:
        """Replace each tensor by its mean over all processes."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, mean in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, flag: bool, device: str) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        import torch
        from torch import distributed

        votes = torch.tensor(float(flag), device=device)
        distributed.all_reduce(votes)
        return bool(votes.item() > 0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()


ALONE = Group()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Join the group that torchrun started this process in; a group of one without torchrun.

    On CUDA each process uses the device of its local rank.

    Args:
        device: `cpu`, `cuda` or `mps`.
    """
    from torch import cuda, distributed

    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    if device == "cuda":
        cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a training session.

    Attributes:
        step: steps done, over all sessions.
        finished: whether all steps are done or the watch ended it; otherwise time ran out.
        loss: mean over the last steps.
        skipped: steps whose gradients were not finite.
        seconds: spent, over all sessions.
        items_per_second: in this session; 0 if there was nothing left to do.
        average: the moving average of the weights, which is the result.
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
    """The default watch: never stop early."""
    return False


@dataclass(frozen=True, slots=True)
class Session:
    """Where a training is stored, and how long it may run now.

    Attributes:
        folder: for log, plot and checkpoints.
        configuration: everything besides the seed that determines the result, as JSON; a different
            one is refused.
        seed: of the order of the data and of all noise.
        minutes: time limit; None to run all steps.
        save_seconds: between two checkpoints.
        group: the processes that train together.
        precision: of the model's arithmetic; weights, moments and average stay in float32.
        watch: called after each step; it may end the training.
        shares: learning-rate multipliers by parameter; default 1.
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
    """Hold an exclusive lock on the folder; the kernel releases it when the process dies.

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
    """A model and its loss, as seen by the training loop.

    A task never uses PyTorch's global random generator (so no dropout), and changes tensors only
    through the gradients of its parameters (so no batch statistics).
    """

    def parameters(self) -> "Mapping[str, torch.nn.Parameter]":
        """All trained parameters by name, on the device where they are trained."""
        ...

    def batch(self, first: int, count: int) -> Any:
        """Items `first` to `first + count` of an infinite stream.

        A pure function of the task's seed; it is called in other threads.
        """
        ...

    def loss(
        self, batch: Any, generator: "torch.Generator"
    ) -> "tuple[torch.Tensor, Mapping[str, torch.Tensor]]":
        """The mean loss over a batch, and metrics to log.

        Args:
            batch: a result of `batch`.
            generator: the only source of noise, on the parameters' device.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Hyperparameters of a training.

    Attributes:
        steps: optimizer steps; the learning rate decays to 0 at the end.
        batch: items per step, over all processes.
        learning_rate: maximum, after the warm-up.
        warm_up: steps of linear warm-up.
        weight_decay: of AdamW, on matrices and kernels only.
        clip_norm: maximum norm of the gradient.
        average_decay: of the moving average of the weights, which is the result.
        accumulate: micro-batches per step (gradient accumulation).
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
        """Return the size of a micro-batch on one process.

        Raises:
            BadInput: the batch cannot be divided evenly.
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
        """Return the learning rate of a step, counted from 0: linear warm-up, then cosine decay."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = min((step - self.warm_up) / max(self.steps - self.warm_up, 1), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def rates_until(self, step: int) -> float:
        """Return the sum of the learning rates of the first `step` steps."""
        warm = min(step, self.warm_up)
        total = self.learning_rate * warm * (warm + 1) / (2 * max(self.warm_up, 1))
        rest = min(step, self.steps) - self.warm_up
        if rest <= 0:
            return total
        half = math.pi / max(self.steps - self.warm_up, 1) / 2
        # Lagrange's sum of cosines, for half a cosine from 1 to 0
        waves = math.sin(half * rest) * math.cos(half * (rest - 1)) / math.sin(half)
        return total + self.learning_rate * 0.5 * (rest + waves)
