"""Ctrl-C and SIGTERM: the only signal handler, active while a command runs.

Ctrl-C comes from a person, SIGTERM from `docker stop`, systemd, Kubernetes or `kill`. Both mean
the same: save what is finished, clean up, exit. The library installs no handlers; only the command
line does, so programs that use Graftwerk decide for themselves.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

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
