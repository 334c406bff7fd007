"""Ctrl-C once finishes the step, twice leaves."""

import os
import signal

import pytest

from graftwerk.cli.monitor import Terminal
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
