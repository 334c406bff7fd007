"""A training that is killed and run again ends with the same bits."""

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.train_toys import PLAN

from graftwerk.train.checkpoint import load_newest
from graftwerk.train.log import Log

ROOT = Path(__file__).parents[2]


class Trainer:
    """The process of `tests/train_toys.py`, which forks for every training."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.train_toys"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def start(self, folder, out, save_seconds):
        task = {"folder": str(folder), "out": str(out), "save_seconds": save_seconds}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def finish(self):
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def trainer():
    trainer = Trainer()
    yield trainer
    trainer.close()


def steps_logged(folder):
    return len(Log(folder / "log.jsonl").read())


def kill_at(trainer, folder, out, step):
    """Kill a training once it has logged a step; tells whether it was still at work."""
    child = trainer.start(folder, out, save_seconds=0.05)
    while steps_logged(folder) < step and not out.exists():
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, 9)
    return trainer.finish() == 9


def kill_and_compare(trainer, tmp_path, count, seed):
    generator = random.Random(seed)
    assert trainer.start(tmp_path / "whole", tmp_path / "whole.out", 1e9)
    assert trainer.finish() == 0
    expected = (tmp_path / "whole.out").read_bytes()
    caught = 0
    for n in range(count):
        folder, out = tmp_path / f"run{n}", tmp_path / f"run{n}.out"
        for step in sorted(generator.sample(range(1, PLAN.steps), 1 + n % 3)):
            caught += kill_at(trainer, folder, out, step)
            load_newest(folder / "checkpoints", pytest.fail)  # nothing half is ever read
        trainer.start(folder, out, save_seconds=0.05)
        assert trainer.finish() == 0
        assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(expected).digest()
        steps = [entry["step"] for entry in Log(folder / "log.jsonl").read()]
        assert steps == list(range(1, PLAN.steps + 1))
        left = sorted(path.name for path in (folder / "checkpoints").iterdir())
        assert left[-1] == f"step-{PLAN.steps:08d}" and len(left) <= 3
    return caught


def test_kill_and_resume(trainer, tmp_path):
    assert kill_and_compare(trainer, tmp_path, 3, seed=1) >= 3


@pytest.mark.slow
def test_kill_and_resume_many_times(trainer, tmp_path):
    assert kill_and_compare(trainer, tmp_path, 100, seed=2) >= 100
