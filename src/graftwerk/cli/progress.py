"""Progress on stderr, streamed answers on stdout, and cancellation between steps."""

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import Cancelled
from ..text_safety import printable
from .streams import Stopping, say, writing

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from ..results import Report


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
