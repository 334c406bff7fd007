"""Arguments of the public objects, validated by the same declarations as for commands."""

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
    """Return the request that a command would receive for these arguments.

    Args:
        kind: class of the request.
        hint: what to do about a refused value; default: the hint of the request.
        names: names of arguments that differ from the names of their fields, by field.
        **values: the fields of the request.

    Raises:
        BadValue: a value is out of range.
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
    """Return one or several paths as strings; non-UTF-8 bytes become surrogate escapes."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in several]


def texts(given: str | Iterable[str]) -> list[str]:
    """Return one or several texts as a list."""
    return [given] if isinstance(given, str) else list(given)


def note_unused(
    request: Request[Any], unused: Mapping[str, Iterable[str]], how: str, monitor: "Monitor"
) -> None:
    """Note the given options that have no effect with the method, named by method in `unused`."""
    given = [name for name in unused.get(how, ()) if name in request.model_fields_set]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        monitor.note(f"no effect with --how {how}: {options}")


def or_silent(monitor: "Monitor | None") -> "Monitor":
    """Return the monitor, or a silent one for None."""
    from ..types import Silent

    return monitor if monitor is not None else Silent()
