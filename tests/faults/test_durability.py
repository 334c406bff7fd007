"""What a power cut would lose, seen in the order of calls: data, names, folder.

SIGKILL leaves what the kernel has not written yet, so no test that kills sees a missing fsync.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graftwerk import files, folders
from graftwerk.errors import Damaged, NoRoom
from graftwerk.search.database import connect
from graftwerk.training import state
from graftwerk.training.state import Facts

ROOT = Path(__file__).parents[2]


class Recorder:
    """Notes fsync, rename and exchange in their order; can make one of them fail."""

    def __init__(self, monkeypatch):
        self.events = []
        self.fail_at = None
        self._wrap(
            monkeypatch, os, "fsync", lambda fd: (str(Path(f"/proc/self/fd/{fd}").readlink()),)
        )
        for name in ("rename", "replace"):
            self._wrap(monkeypatch, os, name, lambda one, two: (str(one), str(two)), "rename")
        self._wrap(monkeypatch, files, "exchange", lambda one, two: (str(one), str(two)))

    def _wrap(self, monkeypatch, module, name, describe, shown=None):
        real = getattr(module, name)

        def call(*arguments, **options):
            if len(self.events) == self.fail_at:
                self.fail_at = None
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.events.append((shown or name, *describe(*arguments)))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    def at(self, *event):
        """Place of the event; each of its words stands in what was recorded."""
        found = [
            location
            for location, one in enumerate(self.events)
            if len(one) == len(event) and all(a in b for a, b in zip(event, one, strict=True))
        ]
        assert found, (event, self.events)
        return found[0]


@pytest.fixture
def recorder(monkeypatch):
    return Recorder(monkeypatch)


def test_a_file_then_its_name_then_the_folder(recorder, tmp_path):
    files.write_bytes(tmp_path / "a.json", b"content")
    assert [event[0] for event in recorder.events] == ["fsync", "rename", "fsync"]
    assert recorder.at("fsync", ".a.json.") == 0
    assert recorder.events[1][2] == str(tmp_path / "a.json")
    assert recorder.events[2][1] == str(tmp_path)


def write_folder(target, content):
    with folders.working_folder(target, lambda _: True) as working:
        (working / "inner").mkdir()
        files.write_plain(working / "inner" / "b", content)
        files.write_plain(working / "a", content)


def held(target):
    return {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("can_exchange", [True, False])
def test_every_file_of_a_folder_then_its_names(tmp_path, monkeypatch, former, can_exchange):
    target = tmp_path / "target"
    if former:
        write_folder(target, b"old")
    recorder = Recorder(monkeypatch)
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    write_folder(target, b"new")
    exchanged = former and can_exchange
    if exchanged:
        named = recorder.at("exchange", "/new", str(target))
    else:
        named = recorder.at("rename", "/new", str(target))
    for location in ("/new/a", "/new/inner/b", "/new/inner"):
        assert recorder.at("fsync", location) < named
    synced = [event[1] for event in recorder.events[:named]]
    assert any(path.endswith("/new") for path in synced)
    after = [event[1:] for event in recorder.events[named + 1 :]]
    assert (str(tmp_path),) in after
    assert held(target) == {"a": b"new", "b": b"new"}
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_the_old_or_the_new_one_wherever_a_step_fails(
    tmp_path, monkeypatch, number, can_exchange
):
    target = tmp_path / "target"
    write_folder(target, b"old")
    recorder = Recorder(monkeypatch)
    recorder.fail_at = number
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    try:
        write_folder(target, b"new")
    except NoRoom as error:
        assert str(target) in str(error)
    else:
        assert recorder.fail_at is not None  # there are fewer steps
    assert held(target) in ({"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"})
    monkeypatch.undo()
    write_folder(target, b"third")
    assert held(target) == {"a": b"third", "b": b"third"}
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("number", range(3))
def test_a_file_is_the_old_or_the_new_one_wherever_a_step_fails(recorder, tmp_path, number):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    recorder.fail_at = number
    with pytest.raises(NoRoom, match=r"a\.json"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == (b"new" if number == 2 else b"old")
    assert os.listdir(tmp_path) == ["a.json"]


def facts(step):
    return Facts(step=step, configuration={}, loss=1.0, counters={})


def save(folder, step):
    state.save(folder, {"network": {"w": torch.full((4,), float(step))}}, facts(step))


def test_a_checkpoint_is_on_the_disk_before_older_ones_go(recorder, tmp_path, monkeypatch):
    removed = []
    real = state._remove_unneeded

    def remove(folder):
        removed.append(len(recorder.events))
        real(folder)

    monkeypatch.setattr(state, "_remove_unneeded", remove)
    save(tmp_path / "checkpoints", 1)
    [named] = [
        location
        for location, event in enumerate(recorder.events)
        if event[0] == "rename" and event[2] == str(tmp_path / "checkpoints" / "step-00000001")
    ]
    for name in ("network.safetensors", "manifest.json"):
        assert recorder.at("fsync", f"/new/{name}") < named
    assert recorder.events[named + 1] == ("fsync", str(tmp_path / "checkpoints"))
    assert removed[0] > named + 1


def test_what_the_disk_did_not_keep_is_noticed_and_nothing_older_goes(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 3):
        save(folder, step)
    before = sorted(path.name for path in folder.glob("step-*"))
    real = folders._put

    def put(staging: Path, target: Path) -> None:
        real(staging, target)
        weights = target / "network.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)

    monkeypatch.setattr(folders, "_put", put)
    with pytest.raises(Damaged, match="is not what was written"):
        save(folder, 4)
    assert set(before) <= {path.name for path in folder.glob("step-*")}


def test_the_index_waits_for_the_disk(tmp_path):
    (tmp_path / "index.db").touch()
    connection = connect(tmp_path / "index.db")
    [(level,)] = connection.execute("PRAGMA synchronous").fetchall()
    connection.close()
    assert level == 2  # FULL


TRACED = "fsync,fdatasync,rename,renameat,renameat2,unlink"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_an_add_is_on_the_disk_when_it_ends(tmp_path):
    """Below Python: SQLite's own calls, of a process that indexes one file."""
    (tmp_path / "a.md").write_text("The vault opens at nine.")
    script = "from tests.faults.driver import child, patch; import json, sys; patch(); child(json.loads(sys.argv[1]))"
    task = {"verb": "add", "paths": [str(tmp_path / "a.md")], "index": str(tmp_path / "index")}
    command = ["strace", "-f", "-y", "-o", str(tmp_path / "calls"), "-e", f"trace={TRACED}"]
    command += [sys.executable, "-c", script, json.dumps(task | {"report": str(tmp_path / "out")})]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except PermissionError:
        pytest.skip("may not trace")
    if "PTRACE" in done.stderr:
        pytest.skip("may not trace")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "calls").read_text().splitlines()
    synced = [line for line in lines if "sync(" in line and "/index/" in line]
    named = [line for line in lines if "sync(" in line and "-wal>" in line]
    assert synced and named, lines
