"""The law that every steer keeps.

A steer is the one small thing that puts a frozen model to a new use. At zero the steered thing
equals the frozen one exactly; taken off, it leaves the frozen one as it was; it never changes a
frozen weight; and it refuses another base by name. `tests/laws/` asks this of all of them.
"""

from typing import Literal, Protocol, TypeVar, runtime_checkable

from ..errors import WrongBase

Socket = Literal["output", "weights", "input", "score", "activations"]
Frozen = TypeVar("Frozen")


@runtime_checkable
class Steer(Protocol[Frozen]):
    """Something that steers a frozen thing: a callable, a module, a prompt maker.

    Attributes:
        name: one word, for example `context`.
        socket: the place of the network where it acts.
        base: fingerprint of the frozen model that it was made on.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def socket(self) -> Socket: ...  # noqa: D102

    @property
    def base(self) -> str: ...  # noqa: D102

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


def require_same_base(what: str, made_on: str, received: str, hint: str) -> None:
    """Refuse a steer that was made on another frozen model.

    Raises:
        WrongBase: `made_on` and `received` differ; the message names both.
    """
    if made_on != received:
        raise WrongBase(what, made_on, received, hint)
