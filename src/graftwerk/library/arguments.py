"""Arguments of the public objects, checked by the same declarations as those of the commands."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ..errors import BadInput
from ..requests.base import Request, allowed

if TYPE_CHECKING:
    from ..types import Monitor

R = TypeVar("R", bound=Request[Any])
PathArgument = str | os.PathLike[str]
PathArguments = PathArgument | Iterable[PathArgument]
_SHOWN = 80  # characters of a refused value


def checked(kind: type[R], **values: Any) -> R:
    """Return the request that a command would get for these arguments.

    Raises:
        BadInput: one of them is outside its limits.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        shown = repr(first["input"])
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise BadInput(
            f"{name}={shown} is not possible: {allowed(first)}.", "Pass another value."
        ) from error


def path_texts(paths: PathArgument | Iterable[PathArgument]) -> list[str]:
    """One path or several as texts; bytes that are not UTF-8 as surrogate escapes."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in several]


def texts(given: str | Iterable[str]) -> list[str]:
    """One text or several, as a list."""
    return [given] if isinstance(given, str) else list(given)


def or_silent(monitor: "Monitor | None") -> "Monitor":
    """The monitor, or one that reports to nobody."""
    from ..types import Silent

    return monitor if monitor is not None else Silent()
