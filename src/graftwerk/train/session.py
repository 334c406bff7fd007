"""One session of a training: where it is kept, how long it may go on, what it came to."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import files, folders
from ..errors import Busy
from .processes import ALONE, Group

if TYPE_CHECKING:
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
