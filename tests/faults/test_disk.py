"""A disk that fills up: what was stored stays, and the same command finishes with more room."""

import json
import os
import shutil
import subprocess

import pytest
from tests.faults.conftest import state
from tests.faults.test_kill import assert_sound


def test_no_file_may_grow(driver, docs, tmp_path):
    index, answer = tmp_path / "index", tmp_path / "answer.json"
    task = {"verb": "add", "paths": [str(docs)], "index": str(index), "report": str(answer)}
    assert driver.run(**task) == 0
    whole = state(index)
    largest = max(path.stat().st_size for path in index.iterdir())
    shutil.rmtree(index)
    refused = 0
    for limit in [0, 100, *range(20_000, largest + 20_000, largest // 7)]:
        assert driver.run(size_limit=limit, **task) == 0
        outcome = json.loads(answer.read_text())
        if "error" in outcome:
            refused += 1
            assert outcome["error"] == "NoRoom", outcome
            assert str(index) in outcome["message"]
            if index.exists():
                left = state(index)
                assert all(whole[path] == passages for path, passages in left.items())
                assert_sound(index)
        assert driver.run(**task) == 0
        assert "report" in json.loads(answer.read_text())
        assert state(index) == whole
        assert_sound(index)
        shutil.rmtree(index)
    assert refused >= 5


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB, where this process may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(driver, docs, tmp_path, small_disk):
    index, answer = small_disk / "index", tmp_path / "answer.json"
    task = {"verb": "add", "paths": [str(docs)], "index": str(index), "report": str(answer)}
    refused = 0
    ballast = small_disk / "ballast"
    for room in range(0, 2_400_000, 400_000):
        ballast.write_bytes(bytes(12 * 1024 * 1024 - 65_536 - room))
        assert driver.run(**task) == 0
        outcome = json.loads(answer.read_text())
        ballast.unlink()
        if "error" in outcome:
            refused += 1
            assert outcome["error"] == "NoRoom", outcome
            assert str(index) in outcome["message"]
        assert driver.run(**task) == 0
        assert len(state(index)) == 60
        assert_sound(index)
        shutil.rmtree(index)
    assert refused
