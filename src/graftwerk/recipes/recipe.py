"""What every recipe's module has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..contracts import Monitor
from ..train.task import Plan, Task

if TYPE_CHECKING:
    from torch import Tensor

    from ..train.session import Session

SIDE = 64  # of all pictures, in pixels
TRAINING_WORLD, HELD_OUT_WORLD = 1, 2  # seeds of scenes


class Sizes(Protocol):
    """The numbers of a recipe: a frozen dataclass of plain values."""

    @property
    def plan(self) -> Plan:
        """How long and how fast."""
        ...

    @property
    def scenes(self) -> int:
        """Different scenes that it sees."""
        ...


@dataclass(frozen=True)
class Setting:
    """Where a recipe is made.

    Attributes:
        seed: of first weights, order and noise.
        device: `cpu`, `cuda` or `mps`.
        ingredients: folders of finished models that it is made from, by recipe.
        monitor: told about the preparation of data.
    """

    seed: int
    device: str
    ingredients: Mapping[str, Path]
    monitor: Monitor


class Work(Task, Protocol):
    """A task that can save its model."""

    def save(self, folder: Path, weights: "Mapping[str, Tensor]") -> None:
        """Write the model with these weights, in the form of its own library."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A work that measures itself while it is trained."""

    def watcher(self, session: "Session") -> Any:
        """An object whose `watch` is the session's; see `train.session.Watch`."""
        ...


class Recipe(Protocol):
    """The names of a recipe's module.

    Attributes:
        REAL: sizes for use.
        TINY: sizes for tests.
    """

    REAL: Any
    TINY: Any

    def prepare(self, sizes: Any, setting: Setting) -> Work:
        """Make data and network."""
        ...

    def complete(self, folder: Path, setting: Setting) -> None:
        """Add to the stored model what is made with it."""
        ...

    def evaluate(self, folder: Path, count: int, setting: Setting) -> dict[str, float]:
        """Measure a saved model on `count` held-out scenes."""
        ...
