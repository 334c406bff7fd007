"""Ctrl-C once finishes the step, twice leaves."""

import io
import math
import os
import signal
import sys

import pytest

from graftwerk.cli.progress import Terminal, course_of
from graftwerk.errors import Cancelled


def test_first_interrupt_cancels_at_the_next_step(capsys) -> None:
    with Terminal(quiet=False, streams=True) as monitor:
        monitor.start("work", 3)
        monitor.advance()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Cancelled, match="kept"):
            monitor.advance()
    assert "again leaves at once" in capsys.readouterr().err


def test_second_interrupt_leaves_at_once() -> None:
    with Terminal(quiet=True, streams=True) as monitor:
        monitor.start("work")
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_work_without_steps_is_left_at_once() -> None:
    with Terminal(quiet=True, streams=True), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_handler_is_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Terminal(quiet=True, streams=True):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_streaming_and_silence(capsys) -> None:
    with Terminal(quiet=True, streams=True) as monitor:
        monitor.note("hidden")
        monitor.stream("a\x1b[31m")
    out = capsys.readouterr()
    assert out.out == "a\\x1b[31m\n\n"
    assert out.err == ""
    with Terminal(quiet=False, streams=False) as monitor:
        monitor.stream("not shown")
        assert not monitor.streamed


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_course_of_figures(monkeypatch) -> None:
    screen = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(quiet=False, streams=False) as monitor:
        monitor.start("training", 3)
        monitor.chart({"condition gap": [0.0, 0.01, 0.07], "fidelity": [math.nan]})
        monitor.advance()
        monitor._live.refresh()
    assert "condition gap  ▁▂█" in screen.getvalue() and "0.07" in screen.getvalue()


def test_figures_need_no_terminal(capsys) -> None:
    with Terminal(quiet=False, streams=False) as monitor:
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
