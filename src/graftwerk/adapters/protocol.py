"""The law that every steer keeps.

A steer is the one small thing that puts a frozen model to a new use. At zero the steered thing
equals the frozen one exactly; taken off, it leaves the frozen one as it was; it never changes a
frozen weight; and it refuses another base by name. `tests/laws/` asks this of all of them.
"""

from typing import Literal, Protocol, TypeVar, runtime_checkable

Socket = Literal["output", "weights", "input", "score", "activations"]
Frozen = TypeVar("Frozen")


@runtime_checkable
class Adapter(Protocol[Frozen]):
    """Something that adapts a frozen thing: a pipeline, a denoiser, a module, a prompt maker.

    Attributes:
        name: one word, for example `context`.
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


@runtime_checkable
class Steer(Adapter[Frozen], Protocol[Frozen]):
    """An adapter that knows which model it was made on.

    Attributes:
        base: fingerprint of the frozen model that it was made on.
    """

    @property
    def base(self) -> str:
        """See the attributes."""
        ...
