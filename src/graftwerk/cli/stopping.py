"""Ctrl-C and SIGTERM: the one handler of signals, for the time of a command.

Ctrl-C comes from a person, SIGTERM from `docker stop`, systemd, Kubernetes or `kill`. Both mean the
same: keep what is finished, clean up, leave. The library installs no handlers; only the command
line does, so that a program that uses Graftwerk decides for itself.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopping:
    """Turns the signals into one cancellation; the former handlers come back at its end.

    The first signal goes to the work, where that has steps and notices it at the next one. All
    others, and the first where nothing notices it, raise `KeyboardInterrupt` on the spot.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._notice: Callable[[], bool] | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self._former = {number: signal.signal(number, self._came) for number in _NAMES}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def cause(self) -> str:
        """What stopped the work, in words; the name of Ctrl-C where nothing did."""
        return _NAMES[signal.Signals(self._received or signal.SIGINT)]

    @property
    def exit_code(self) -> int:
        """128 and the number of the first signal, as a shell has it: 130 or 143."""
        return 128 + (self._received or signal.SIGINT)

    def listen(self, notice: Callable[[], bool] | None) -> None:
        """Tell the first signal to `notice`; true from it means that the work stops by itself."""
        self._notice = notice

    def _came(self, number: int, _frame: FrameType | None) -> None:
        first = self._received is None
        if first:
            self._received = number
        if first and self._notice is not None and self._notice():
            return
        raise KeyboardInterrupt
