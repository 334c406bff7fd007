"""Make standard output and error robust: closed, full, broken pipes, or ASCII only.

The result of long work is never lost: characters that the encoding lacks are escaped, and a stream
that cannot be written ends in a one-line error.
"""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from types import FrameType
from typing import Any, TextIO

from ..errors import NoRoom


def prepare() -> None:
    """Make both streams writable; a closed one discards its output."""
    # a descriptor below 3 that is free would be given to the next file that is opened, and what a
    # library prints would be written into it
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor < 3:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def writing() -> Iterator[None]:
    """Flush standard output at the end of the context.

    Raises:
        NoRoom: it cannot be written.
        BrokenPipeError: its reader has exited, as `head` does.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
        raise
    except OSError as error:
        _give_up(sys.stdout)
        reason = os.strerror(error.errno or errno.EIO)
        raise NoRoom(
            f"the result cannot be written to standard output: {reason}.",
            "Files that were made are whole. Send the output elsewhere, and run it again.",
        ) from error


def _give_up(stream: TextIO) -> None:
    """Discard what is still buffered, so that Python does not fail at exit."""
    with suppress(OSError, ValueError):  # not a real file, as under a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """Write a line to standard error; ignore it if that fails."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopping:
    """Turn signals into one cancellation, and restore the previous handlers at the end.

    The first signal is passed to the work if it has steps and can stop at the next one. All
    others, and the first one otherwise, raise `KeyboardInterrupt` immediately.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._notice: Callable[[], bool] | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self._former = {number: signal.signal(number, self._came) for number in _NAMES}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def cause(self) -> str:
        """The name of the signal that stopped the work; Ctrl-C by default."""
        return _NAMES[signal.Signals(self._received or signal.SIGINT)]

    @property
    def exit_code(self) -> int:
        """128 plus the number of the first signal, as in a shell: 130 or 143."""
        return 128 + (self._received or signal.SIGINT)

    def listen(self, notice: Callable[[], bool] | None) -> None:
        """Call `notice` on the first signal; if it returns true, the work stops by itself."""
        self._notice = notice

    def _came(self, number: int, _frame: FrameType | None) -> None:
        first = self._received is None
        if first:
            self._received = number
        if first and self._notice is not None and self._notice():
            return
        raise KeyboardInterrupt
