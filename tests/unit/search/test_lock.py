"""One writer at a time."""

import json
import os
import subprocess
import sys

import pytest

from graftwerk.errors import Busy, NoRoom
from graftwerk.search.database import write_lock

HOLD = """
import sys
from pathlib import Path
from graftwerk.search.database import write_lock
with write_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_it_says_who_and_since_when(tmp_path, holder):
    message = rf"process {holder.pid} \(-c .*\), since 20.*T"
    with pytest.raises(Busy, match=message) as caught, write_lock(tmp_path, seconds=0.1):
        pass
    assert "Wait until it has finished" in caught.value.hint


def test_a_dead_owner_is_no_owner(tmp_path, holder):
    holder.kill()
    holder.wait()
    with write_lock(tmp_path, seconds=0.1):
        pass


def test_one_after_the_other(tmp_path):
    for _ in range(3):
        with write_lock(tmp_path, seconds=0.1):
            assert f'"pid": {os.getpid()}' in (tmp_path / "writer.json").read_text()


def test_a_process_of_the_same_number_is_another(tmp_path):
    """Of another container, or of a time before."""
    owner = {"pid": os.getpid(), "command": "another", "since": "2020-01-01"}
    (tmp_path / "writer.json").write_text(json.dumps(owner))
    with write_lock(tmp_path, seconds=0.1):
        assert json.loads((tmp_path / "writer.json").read_text())["since"] > "2020-01-01"


def test_it_is_let_go_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="broken"), write_lock(tmp_path):
        raise ValueError("broken")
    with write_lock(tmp_path, seconds=0.1):
        pass


def test_an_unreadable_owner_is_another_process(tmp_path, holder):
    (tmp_path / "writer.json").write_bytes(b"\xff{")
    with pytest.raises(Busy, match="another process"), write_lock(tmp_path, seconds=0.1):
        pass


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    import errno

    from filelock import FileLock

    def refuse(self):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(NoRoom, match=r"writer\.lock"), write_lock(tmp_path):
        pass
