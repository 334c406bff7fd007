"""The law that every adapter keeps.

An adapter is the one small thing that puts a frozen model to a new use. At zero the adapted model
equals the frozen one exactly; removed, it leaves the frozen one as it was; it never changes a
frozen weight; and it refuses another base by name. `tests/laws/` asks this of the public objects.
"""

from typing import Literal, Protocol, TypeVar, runtime_checkable

Socket = Literal["output", "weights", "input", "score", "activations"]
Frozen = TypeVar("Frozen")


@runtime_checkable
class Adapter(Protocol[Frozen]):
    """Something that adapts a frozen thing: `pipe.with_(adapter)` calls `adapter.apply(pipe)`.

    Attributes:
        name: one word, for example `lora`.
        socket: the place of the network where it acts.
    """

    @property
    def name(self) -> str:
        """See the attributes."""
        ...

    @property
    def socket(self) -> Socket:
        """See the attributes."""
        ...

    @property
    def is_zero(self) -> bool:
        """True when `apply` changes nothing."""
        ...

    def apply(self, frozen: Frozen) -> Frozen:
        """Return `frozen` steered; at zero it equals `frozen` exactly."""
        ...

    def remove(self, steered: Frozen) -> Frozen:
        """Undo `apply`: return what was given to it."""
        ...
