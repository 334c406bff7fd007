"""Progress on stderr, streamed answers on stdout, and cancellation between steps.

Both streams are made robust: closed, full, broken pipes, or ASCII only. The result of long work is
never lost: characters that the encoding lacks are escaped, and a stream that cannot be written ends
in a one-line error.
"""

import errno
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import Cancelled, NoRoom
from ..text_safety import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from ..results import Report


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


_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 48  # characters of a course


def course_of(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return a sparkline of the values, the last ones if there are too many.

    NaN values are shown as dots.
    """
    shown = values[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return "·" * len(shown)
    low, high = min(finite), max(finite)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[round((value - low) * scale)] if math.isfinite(value) else "·" for value in shown
    )


def gauge_table(figures: Mapping[str, Sequence[float]]) -> "Table":
    """Return name, sparkline and last value of each figure."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, values in figures.items():
        last = next((value for value in reversed(values) if math.isfinite(value)), math.nan)
        table.add_row(name, course_of(values), f"{last:.4g}" if math.isfinite(last) else "")
    return table


class Terminal:
    """The command line's monitor.

    Work with steps stops at the next step after the first signal, so finished results are saved;
    the second signal stops at once. Work without steps stops at once.
    """

    def __init__(self, *, quiet: bool, streams: bool, stopping: Stopping) -> None:
        self.streamed = False
        self._quiet = quiet
        self._streams = streams
        self._stopping = stopping
        self._requested_to_stop = False
        self._has_steps = False
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._task: TaskID | None = None
        self._figures: Mapping[str, Sequence[float]] = {}

    def __enter__(self) -> "Terminal":
        self._stopping.listen(self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.listen(None)
        self._close_bar()
        if self.streamed:
            with writing():
                sys.stdout.write("\n\n")

    def _stop(self) -> bool:
        """Record the first signal; return whether the work will stop at its next step."""
        # even without steps: what is raised on the spot may be swallowed, as in a destructor
        self._requested_to_stop = True
        if self._has_steps:
            with suppress(RuntimeError):  # the signal came in the midst of another line
                self.note("stopping after this step; once more leaves at once")
        return self._has_steps

    def start(self, task: str, total: int | None = None) -> None:
        """Show a progress bar for `task` if stderr is a terminal."""
        self._check()
        self._has_steps = True
        self._close_bar()
        if self._quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(task, total=total)
        self._figures = {}
        console = Console(stderr=True)
        self._live = Live(console=console, transient=True, get_renderable=self._view)
        self._live.start()

    def advance(self, count: int = 1) -> None:
        """Advance the bar; raise `Cancelled` after the first signal."""
        self._check()
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)

    def note(self, text: str) -> None:
        """Print a line to stderr."""
        if not self._quiet:
            say(printable(text))

    def stream(self, piece: str) -> None:
        """Print a piece of the answer to stdout as it arrives."""
        self._check()
        if self._streams:
            self._close_bar()
            self.streamed = True
            with writing():
                sys.stdout.write(printable(piece, keep_lines=True))

    def chart(self, figures: Mapping[str, Sequence[float]]) -> None:
        """Show sparklines of the figures above the progress bar."""
        self._figures = figures

    def show(self, report: "Report") -> None:
        """Print a part of the result to stdout."""
        from .show import show

        if self._streams:
            self._close_bar()
            with writing():
                sys.stdout.write("\n\n" if self.streamed else "")
                show(report, streamed=self.streamed)
                sys.stdout.write("\n")
            self.streamed = False

    def _view(self) -> "RenderableType":
        from rich.console import Group

        bar = self._progress.get_renderable() if self._progress is not None else ""
        return Group(gauge_table(self._figures), bar) if self._figures else bar

    def _check(self) -> None:
        if self._requested_to_stop:
            raise Cancelled(
                f"stopped by {self._stopping.cause}.",
                "What was finished is kept. Run a training or an index again to continue it.",
            )

    def _close_bar(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = self._progress = None
