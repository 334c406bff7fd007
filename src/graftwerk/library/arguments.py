"""Arguments of the public objects, checked by the same declarations as those of the commands."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BadValue
from ..requests.base import Request

if TYPE_CHECKING:
    from ..types import Monitor

R = TypeVar("R", bound=Request[Any])
PathArgument = str | os.PathLike[str]
PathArguments = PathArgument | Iterable[PathArgument]


def checked(
    kind: type[R], /, *, hint: str = "", names: Mapping[str, str] | None = None, **values: Any
) -> R:
    """Return the request that a command would get for these arguments.

    Args:
        kind: the class of the request.
        hint: what to do about a refused value; default: what the request says.
        names: of arguments that have another name than their field, by field.
        **values: its fields.

    Raises:
        BadValue: one of them is outside its limits.
    """
    try:
        return kind(**values)
    except BadValue as error:
        raise BadValue(
            (names or {}).get(error.field, error.field),
            error.value,
            error.allowed,
            hint or error.hint,
            missing=error.missing,
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
