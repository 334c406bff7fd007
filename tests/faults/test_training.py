"""A training that is killed and run again ends with the same bits."""

import contextlib
import hashlib
import os
import random
import time

import pytest
from tests.forking import Forking
from tests.train_toys import PLAN

from graftwerk.folders import MARKER
from graftwerk.training.loop import Log
from graftwerk.training.state import load_newest


@pytest.fixture(scope="module")
def trainer():
    trainer = Forking("tests.train_toys")
    yield trainer
    trainer.close()


def steps_logged(folder):
    return len(Log(folder / "log.jsonl").read())


def kill_at(trainer, folder, out, step):
    """Kill a training once it has logged a step; tells whether it was still at work."""
    child = trainer.start(folder=str(folder), out=str(out), save_seconds=0.05)
    while steps_logged(folder) < step and not out.exists():
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, 9)
    return trainer.finish() == 9


def kill_and_compare(trainer, tmp_path, count, seed):
    generator = random.Random(seed)
    folder, out = tmp_path / "whole", tmp_path / "whole.out"
    assert trainer.run(folder=str(folder), out=str(out), save_seconds=1e9) == 0
    expected = out.read_bytes()
    caught = 0
    for n in range(count):
        folder, out = tmp_path / f"run{n}", tmp_path / f"run{n}.out"
        for step in sorted(generator.sample(range(1, PLAN.steps), 1 + n % 3)):
            caught += kill_at(trainer, folder, out, step)
            load_newest(folder / "checkpoints", pytest.fail)  # nothing half is ever read
        assert trainer.run(folder=str(folder), out=str(out), save_seconds=0.05) == 0
        assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(expected).digest()
        steps = [entry["step"] for entry in Log(folder / "log.jsonl").read()]
        assert steps == list(range(1, PLAN.steps + 1))
        left = sorted(path.name for path in (folder / "checkpoints").iterdir())
        assert left.pop(0) == MARKER
        assert left[-1] == f"step-{PLAN.steps:08d}" and len(left) <= 3
    return caught


def test_kill_and_resume(trainer, tmp_path):
    assert kill_and_compare(trainer, tmp_path, 3, seed=1) >= 3


@pytest.mark.slow
def test_kill_and_resume_many_times(trainer, tmp_path):
    assert kill_and_compare(trainer, tmp_path, 100, seed=2) >= 100
