"""A fit that is killed, or whose disk fills up, and the same command again."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time

import pytest
from tests.unit.adapt.conftest import sentences, tiny, write_csv  # noqa: F401

from graftwerk.train.log import Log

from .conftest import ROOT

WEIGHTS = {"lora": "adapter/adapter_model.safetensors", "full": "model/model.safetensors"}


class Fitter:
    """The process of `fitter.py`."""

    def __init__(self, cache):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fitter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"GRAFTWERK_CACHE": str(cache)},
        )

    def start(self, **task):
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def finish(self):
        return int(self._process.stdout.readline())

    def run(self, **task):
        self.start(**task)
        return self.finish()

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def fitter(tmp_path_factory):
    fitter = Fitter(tmp_path_factory.mktemp("cache"))
    yield fitter
    fitter.close()


@pytest.fixture
def task(tmp_path, tiny):  # noqa: F811
    """A task for a way and the folder of its result."""
    texts = write_csv(tmp_path / "texts.csv", sentences(60))

    def make(how, out):
        options = {
            "data": str(texts), "model": str(tiny), "how": how, "out": str(out), "rank": 2,
            "epochs": 4, "batch": 8, "learning_rate": 3e-3, "patience": 50, "device": "cpu",
        }  # fmt: skip
        return {"fit": options, "report": str(tmp_path / "report.json")}

    return make


def result(out, how):
    """What a fit says, byte for byte."""
    names = ("head.safetensors", WEIGHTS[how], "validations.jsonl")
    return [(out / name).read_bytes() for name in names]


def kill_and_compare(fitter, task, tmp_path, how, count):
    """Kill fits at random steps; gives how many were caught at work."""
    whole = tmp_path / f"whole-{how}"
    assert fitter.run(**task(how, whole)) == 0
    steps = Log(whole / "log.jsonl").read()[-1]["step"]
    generator, caught = random.Random(how), 0
    for number in range(count):
        out = tmp_path / f"{how}-{number}"
        log = tmp_path / f"{out.name}.training" / "log.jsonl"
        stop = generator.randrange(1, steps)
        child = fitter.start(**task(how, out))
        while not out.exists() and len(Log(log).read()) < stop:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 9)
        caught += fitter.finish() == 9
        assert fitter.run(**task(how, out)) == 0
        assert result(out, how) == result(whole, how)
        assert not log.exists()
    return caught


@pytest.mark.parametrize("how", ["lora", "full"])
def test_kill_and_the_same_command_again(fitter, task, tmp_path, how):
    assert kill_and_compare(fitter, task, tmp_path, how, 1) == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lora", "full"])
def test_kill_many_times(fitter, task, tmp_path, how):
    assert kill_and_compare(fitter, task, tmp_path, how, 40) >= 30


def fill_and_compare(fitter, task, tmp_path, how, shares):
    """Let no file grow beyond shares of the largest one."""
    out = tmp_path / how
    assert fitter.run(**task(how, out)) == 0
    before = result(out, how)
    largest = max(path.stat().st_size for path in out.rglob("*") if path.is_file())
    report = tmp_path / "report.json"
    for share in shares:
        report.unlink()
        assert fitter.run(**task(how, out), size_limit=int(share * largest)) == 0
        answer = json.loads(report.read_text())
        assert answer["error"] == "NoRoom", answer
        assert result(out, how) == before  # the former fit is whole
        assert not list(tmp_path.glob(f".{how}*"))  # and nothing half is left
    assert fitter.run(**task(how, out)) == 0  # with room again
    assert result(out, how) == before


@pytest.mark.parametrize("how", ["lora", "full"])
def test_no_file_may_grow(fitter, task, tmp_path, how):
    fill_and_compare(fitter, task, tmp_path, how, [0.9])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lora", "full"])
def test_no_file_may_grow_beyond_many_sizes(fitter, task, tmp_path, how):
    fill_and_compare(fitter, task, tmp_path, how, [n / 20 for n in range(20)])
