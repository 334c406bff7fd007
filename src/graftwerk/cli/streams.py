"""Make standard output and error robust: closed, full, broken pipes, or ASCII only.

The result of long work is never lost: characters that the encoding lacks are escaped, and a stream
that cannot be written ends in a one-line error.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TextIO

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
