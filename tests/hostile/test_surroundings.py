"""Streams, environments, paths and requests that are not as they should be end in a sentence."""

import errno
import io
import os
import subprocess
import sys

import pytest

from graftwerk import errors
from graftwerk.cli import progress
from graftwerk.cli.main import main
from graftwerk.errors import BadFile, BadInput, Failure, error_of_machine
from graftwerk.settings import settings

GRAFT = [sys.executable, "-m", "graftwerk"]


def run(arguments, redirect="", **environment):
    command = " ".join(['"$@"', redirect])
    inherited = dict(os.environ)
    inherited.pop("PYTHONUNBUFFERED", None)  # it would hide a buffer that is never flushed
    return subprocess.run(
        ["bash", "-c", command, "bash", *GRAFT, *arguments],
        capture_output=True,
        text=True,
        env=inherited | environment,
    )


LIST = ["models", "list"]


def test_a_closed_stdout_shows_nothing():
    done = run(LIST, ">&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_streams_closed():
    done = run(LIST, "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", [LIST, [*LIST, "--json"], ["--help"], ["--version"]])
def test_a_full_stdout_is_said(arguments):
    done = run(arguments, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "graft: the result cannot be written to standard output: No space"
    )
    assert done.stderr.count("\n") == 1


def test_a_full_stderr_does_not_lose_the_result():
    done = run(LIST, "2>/dev/full")
    assert (done.returncode, done.stderr) == (0, "")
    assert "builtin/minilm" in done.stdout
    assert run(["models", "info", "builtin/none"], "2>/dev/full").returncode == 2


def test_an_ascii_stdout_gets_escapes():
    done = run(["search", "x", "--index", "größe"], PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2
    assert "gr\\xf6" in done.stderr


def test_an_ascii_stdout_gets_the_whole_result(monkeypatch):
    """Words of a user's own that the encoding of standard output lacks."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    progress.prepare()
    with progress.writing():
        sys.stdout.write("größe 1\n")
    assert written.getvalue() == b"gr\\xf6\\xdfe 1\n"


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1.5", "9" * 5000, "1025", "²", "1_0", "nan"])
def test_threads_that_are_no_number_are_refused(monkeypatch, capsys, value):
    monkeypatch.setenv("GRAFTWERK_THREADS", value)
    settings.cache_clear()
    try:
        assert main(LIST) == 2
        message = capsys.readouterr().err
        assert message.startswith("graft: the variable GRAFTWERK_THREADS is ")
        assert "from 1 to 1,024" in message
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_a_user_without_a_home_is_told_of_the_cache(monkeypatch):
    for name in ("GRAFTWERK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", no_home)
    settings.cache_clear()
    try:
        with pytest.raises(BadInput, match="GRAFTWERK_CACHE"):
            settings()
    finally:
        monkeypatch.undo()
        settings.cache_clear()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, "", "a"), BadFile),
        (OSError(errno.ENAMETOOLONG, "", "a" * 300), BadFile),
        (OSError(errno.EIO, "", b"a\xff"), Failure),
        (OSError(errno.EMFILE, ""), Failure),
        (MemoryError(), Failure),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Failure),
    ],
)
def test_what_the_machine_refuses_is_not_unexpected(error, kind):
    assert type(error_of_machine(error)) is kind


@pytest.mark.parametrize("error", [ValueError("x"), OSError("no number"), RuntimeError("x")])
def test_mistakes_of_the_program_stay_unexpected(error):
    assert errors.error_of_machine(error) is None
