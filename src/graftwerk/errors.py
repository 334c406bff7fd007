"""Errors for people: what was received, what is allowed, what to do.

GraftError              base class; the command line and the server catch only this one
├── BadInput            the caller can fix it                       exit 2, HTTP 422
│   ├── BadValue        a field of a request does not take this value
│   ├── BadFile         a file or folder cannot be used as given
│   ├── LimitExceeded   larger than a limit of `limits.py`
│   ├── UnknownName     a name that is not in a closed list
│   └── WrongBase       a steer or index made on another frozen model
├── Failure             the request was fine, the work was not       exit 1, HTTP 500
│   ├── Busy            another process holds the lock               HTTP 503
│   ├── Damaged         stored data does not match its hash
│   ├── Diverged        a training's loss is not finite any more
│   ├── NoRoom          the disk is full or not writable             HTTP 507
│   └── WriterFailed    a writer (language model) gave no whole reply HTTP 502
└── Cancelled           a signal came; what was finished is kept     exit 130, HTTP 499
                        (Ctrl-C; of SIGTERM the command line makes 143)
"""

import errno
import keyword
import math
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import ClassVar

_SHOWN = 80  # characters of a refused value
_NAMED, _NAMED_BESIDE = 60, 12  # names of a closed list; beside a guess


def few(names: Iterable[str], count: int = 5) -> str:
    """Return the first of many names, and how many more there are."""
    listed = [*names]
    more = f" and {len(listed) - count:,} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def shown(value: object) -> str:
    """Return a refused object in a few words.

    >>> shown("abc"), shown(range(3))
    ("'abc'", 'range(0, 3)')
    """
    shape, text = getattr(value, "shape", None), repr(value)
    if shape is not None:
        return f"a {type(value).__name__} of shape {list(shape)}"
    return text if len(text) <= _SHOWN else f"a {type(value).__name__}"


# a quotation or a command, which stay as they are, or an option
_OPTION = re.compile(
    r"""(?:`[^`]*`|'[^']*'|"[^"]*"|\b(?:graft|pip) [^,;`]*?(?=$|(?<!\.\.)[.,;:)](?:\s|$)))"""
    r"|(?<![\w-])--(?P<off>no-)?(?P<name>[a-z][a-z0-9-]*)"
)
_OF_THE_COMMAND_LINE = frozenset({"yes", "json", "quiet", "debug", "help"})


def in_python(text: str) -> str:
    """Return a message with the command line's options spelled as arguments of Python.

    >>> in_python("Leave --cfg-rescale out, or see: graft generate --help")
    'Leave `cfg_rescale` out, or see: graft generate --help'
    """

    def spelled(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None or name in _OF_THE_COMMAND_LINE:
            return found[0]
        name = name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")
        return f"`{name}=False`" if found["off"] else f"`{name}`"

    return _OPTION.sub(spelled, text)


class GraftError(Exception):
    """Base of every error that graftwerk raises on purpose.

    As a string, it names arguments as Python does; `text` names the command line's options.

    Args:
        message: what was received and why it cannot be used, one sentence.
        hint: what to do about it; shown after the message.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def text(self) -> str:
        """Message and hint, in words of the command line."""
        return f"{self.message} {self.hint}".strip()

    def __str__(self) -> str:
        return in_python(self.text)

    def to_json(self) -> dict[str, str]:
        """Return the error as shown by the `--json` output and the HTTP body."""
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint}


class BadInput(GraftError):
    """The request cannot be carried out as given; the caller can fix it."""

    exit_code = 2
    http_status = 422


class BadValue(BadInput):
    """A field of a request does not take this value.

    Args:
        field: its name in Python.
        value: what was received.
        allowed: a clause that says what is allowed, without a full stop; of a missing field, what
            it is.
        hint: what to do about it.
        missing: whether nothing was received.

    >>> str(BadValue("k", -3, "it must be at least 0", "See: help(graftwerk.Search)"))
    'k -3 is not valid: it must be at least 0. See: help(graftwerk.Search)'
    """

    def __init__(
        self, field: str, value: object, allowed: str, hint: str, *, missing: bool = False
    ) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        self.missing = missing
        super().__init__(self.spelled(field), hint)

    def spelled(self, name: str) -> str:
        """Return the message with another name for the field, such as its command-line option."""
        if self.missing:
            return f"{name} is missing: {self.allowed}."
        try:
            text = repr(self.value) if isinstance(self.value, str) else str(self.value)
        except ValueError:  # a number of more digits than Python writes
            text = "of that many digits"
        if len(text) > _SHOWN:
            text = f"{text[: _SHOWN - 3]}..."
        return f"{name} {text} is not valid: {self.allowed}."


def finite(field: str, value: object, hint: str) -> float:
    """Return a finite number as it is, in Python's own type.

    Raises:
        BadValue: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise BadValue(field, value, "it must be a finite number", hint)
    return float(value)


class BadFile(BadInput):
    """A file or folder is missing, unreadable, of an unknown kind or malformed."""


class LimitExceeded(BadInput):
    """Something is larger than the limits in `graftwerk.limits` allow."""


def guess_of(received: str, names: Iterable[str]) -> str:
    """Return the question which of the nearest names was meant; empty if none is near.

    >>> guess_of("imagnet", ["imagenet", "hed"])
    'Did you mean imagenet? '
    >>> guess_of("canny", ["builtin/blocks-canny", "builtin/blocks-depth"])
    'Did you mean builtin/blocks-canny? '
    >>> guess_of("cat", ["tabby", "tiger cat", "catamaran"])
    'Did you mean tiger cat? '
    """
    names = list(names)
    whole = [name for name in names if received in re.split(r"[\W_]+", name)]
    if whole:
        return f"Did you mean {' or '.join(sorted(whole, key=len)[:3])}? "
    near = get_close_matches(received, names, n=3)
    last = received.rpartition("/")[2]  # names that share only `builtin/` are not near
    near = [name for name in near if get_close_matches(last, [name.rpartition("/")[2]])]
    return f"Did you mean {' or '.join(near)}? " if near else ""


class UnknownName(BadInput):
    """A name that is not in a closed list; the nearest names are offered.

    >>> str(UnknownName("mode", "hybird", ["hybrid", "vector", "text"]))
    "mode 'hybird' is not known. Did you mean hybrid? Allowed: hybrid, vector, text."
    """

    def __init__(self, what: str, received: str, allowed: Iterable[str]) -> None:
        names = list(allowed)
        guess = guess_of(received, names)
        allowed = f"Allowed: {few(names, _NAMED_BESIDE if guess else _NAMED)}."
        super().__init__(f"{what} {received!r} is not known.", guess + allowed)


class WrongBase(BadInput):
    """A steer or an index was made on another frozen model than the one given."""

    def __init__(self, what: str, made_on: str, received: str, hint: str) -> None:
        super().__init__(f"{what} was made on {made_on}, not on {received}.", hint)


class Failure(GraftError):
    """The request was fine; the work failed."""


class Busy(Failure):
    """Another process holds the lock longer than this one waits."""

    http_status = 503


class Damaged(Failure):
    """Stored data does not match its hash or cannot be read."""


class Diverged(Failure):
    """Several steps of a training in a row had a loss or gradients that are not finite."""


class NoRoom(Failure):
    """The disk is full, a quota is reached, or the folder cannot be written."""

    http_status = 507


class WriterFailed(Failure):
    """A language model's server hangs, answers with an error or breaks off."""

    http_status = 502


# The path is of another kind than is needed, or is not open to this user: the caller can fix it.
_OF_PATHS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_OF_PATHS |= {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY, errno.EROFS, errno.ENXIO}


def error_of_machine(error: BaseException) -> GraftError | None:
    """What the system refused, as an error for people; None for a mistake of the program.

    >>> print(error_of_machine(FileNotFoundError(2, "", "a/b")))
    'a/b': No such file or directory. Check the path and its permissions.
    """
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return Failure(
            "there is not enough memory for this.",
            "Ask for less at once, for example a smaller size or batch, or use a larger machine.",
        )
    if not isinstance(error, OSError) or error.errno is None:
        return None
    reason = os.strerror(error.errno)
    if error.filename is None:
        return Failure(f"the system refused a step: {reason}.", "Check disk, memory and limits.")
    name = error.filename2 if error.filename2 is not None else error.filename
    message = f"{os.fsdecode(name) if isinstance(name, bytes) else str(name)!r}: {reason}."
    if error.errno in _OF_PATHS:
        return BadFile(message, "Check the path and its permissions.")
    return Failure(message, "Check the disk, then run it again.")


class Cancelled(GraftError):
    """Stopped by the user; what was finished before is kept."""

    exit_code = 130
    http_status = 499
