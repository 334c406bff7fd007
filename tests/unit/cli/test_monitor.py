"""A signal once finishes the step, twice leaves."""

import io
import math
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from graftwerk.cli.progress import Stopping, Terminal, course_of
from graftwerk.errors import Cancelled

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@contextmanager
def terminal(**options):
    with Stopping() as stopping, Terminal(**options, stopping=stopping) as monitor:
        yield monitor


@BOTH
def test_first_interrupt_cancels_at_the_next_step(capsys, number) -> None:
    with terminal(quiet=False, streams=True) as monitor:
        monitor.start("work", 3)
        monitor.advance()
        os.kill(os.getpid(), number)
        with pytest.raises(Cancelled, match="kept"):
            monitor.advance()
    assert "once more leaves at once" in capsys.readouterr().err


@BOTH
def test_second_interrupt_leaves_at_once(number) -> None:
    with terminal(quiet=True, streams=True) as monitor:
        monitor.start("work")
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


@BOTH
def test_work_without_steps_is_left_at_once(number) -> None:
    with terminal(quiet=True, streams=True), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_a_swallowed_interrupt_is_noticed_at_the_first_step() -> None:
    with terminal(quiet=True, streams=True) as monitor:
        with suppress(KeyboardInterrupt):  # as Python does in a destructor
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Cancelled, match="SIGTERM"):
            monitor.start("work")


@BOTH
def test_the_handler_is_given_back(number) -> None:
    before = signal.getsignal(number)
    with Stopping():
        assert signal.getsignal(number) != before
        with Terminal(quiet=True, streams=True, stopping=Stopping()):
            pass
    assert signal.getsignal(number) == before


def test_a_thread_sets_no_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: Stopping().__enter__().__exit__(None, None, None)).result()
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_first_signal_decides_the_exit_code() -> None:
    with Stopping() as stopping:
        assert stopping.exit_code == 130
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    assert (stopping.exit_code, stopping.cause) == (143, "SIGTERM")


def test_streaming_and_silence(capsys) -> None:
    with terminal(quiet=True, streams=True) as monitor:
        monitor.note("hidden")
        monitor.stream("a\x1b[31m")
    out = capsys.readouterr()
    assert out.out == "a\\x1b[31m\n\n"
    assert out.err == ""
    with terminal(quiet=False, streams=False) as monitor:
        monitor.stream("not shown")
        assert not monitor.streamed


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_course_of_figures(monkeypatch) -> None:
    screen = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with terminal(quiet=False, streams=False) as monitor:
        monitor.start("training", 3)
        monitor.chart({"condition gap": [0.0, 0.01, 0.07], "fidelity": [math.nan]})
        monitor.advance()
        monitor._live.refresh()
    assert "condition gap  ▁▂█" in screen.getvalue() and "0.07" in screen.getvalue()


def test_figures_need_no_terminal(capsys) -> None:
    with terminal(quiet=False, streams=False) as monitor:
        monitor.chart({"loss": [1.0]})
        monitor.start("training", 3)
        monitor.chart({"loss": [1.0, 2.0]})
        monitor.advance()
    assert capsys.readouterr().err == ""


def test_a_course_is_the_last_values_and_dots_where_there_are_none() -> None:
    assert course_of([0.0, 1.0, math.nan, 0.5]) == "▁█·▅"
    assert course_of([math.nan]) == "·" and course_of([]) == ""
    assert course_of([3.0, 3.0]) == "▁▁"
    assert len(course_of([float(n) for n in range(100)], width=10)) == 10
