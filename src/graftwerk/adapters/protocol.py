"""The contract of all adapters.

An adapter is a small object that adapts a frozen model to a new use. At zero, the adapted model
equals the frozen one exactly; removing it leaves the frozen model as it was; it never changes a
frozen weight; and it refuses another base model by name. `tests/laws/` verifies this for the
public objects.
"""

from typing import Literal, Protocol, TypeVar, runtime_checkable

Socket = Literal["output", "weights", "input", "score", "activations"]
Frozen = TypeVar("Frozen")


@runtime_checkable
class Adapter(Protocol[Frozen]):
    """Adapts a frozen object: `pipe.with_(adapter)` calls `adapter.apply(pipe)`.

    Attributes:
        name: one word, for example `lora`.
        socket: where in the network it acts.
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
        """Whether `apply` changes nothing."""
        ...

    def apply(self, frozen: Frozen) -> Frozen:
        """Return the adapted object; at zero it equals `frozen` exactly."""
        ...

    def remove(self, steered: Frozen) -> Frozen:
        """Undo `apply`: return the object that was passed to it."""
        ...
