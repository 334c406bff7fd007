"""A fit that is killed, or whose disk fills up, and the same command again."""

import contextlib
import json
import os
import random
import time

import pytest
from tests.forking import Forking
from tests.unit.finetune.conftest import sentences, tiny, write_csv  # noqa: F401

from graftwerk.training.loop import Log

WEIGHTS = {"lora": "adapter/adapter_model.safetensors", "full": "model/model.safetensors"}


@pytest.fixture(scope="module")
def fitter(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    fitter = Forking("tests.faults.fitter", GRAFTWERK_CACHE=str(cache))
    yield fitter
    fitter.close()


@pytest.fixture
def task(tmp_path, tiny):  # noqa: F811
    """A task for a way and the folder of its result."""
    texts = write_csv(tmp_path / "texts.csv", sentences(60))

    def make(how, out, **changes):
        options = {
            "data": str(texts), "model": str(tiny), "how": how, "out": str(out), "rank": 2,
            "epochs": 4, "batch": 8, "learning_rate": 3e-3, "patience": 50, "device": "cpu",
        }  # fmt: skip
        return {"fit": options | changes, "report": str(tmp_path / "report.json")}

    return make


def result(out, how):
    """What a fit says, byte for byte."""
    names = ("head.safetensors", WEIGHTS[how], "validations.jsonl")
    return [(out / name).read_bytes() for name in names]


def kill_and_compare(fitter, task, tmp_path, how, count, **changes):
    """Kill fits at random steps; gives how many were caught at work."""
    whole = tmp_path / f"whole-{how}"
    assert fitter.run(**task(how, whole, **changes)) == 0
    steps = Log(whole / "log.jsonl").read()[-1]["step"]
    generator, caught = random.Random(how), 0
    for number in range(count):
        out = tmp_path / f"{how}-{number}"
        log = tmp_path / f".{out.name}.training" / "log.jsonl"
        stop = generator.randrange(1, steps)
        child = fitter.start(**task(how, out, **changes))
        while not out.exists() and len(Log(log).read()) < stop:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 9)
        caught += fitter.finish() == 9
        assert fitter.run(**task(how, out, **changes)) == 0
        assert result(out, how) == result(whole, how)
        assert not log.parent.exists()
    return caught


@pytest.mark.parametrize("how", ["lora", "full"])
def test_kill_and_the_same_command_again(fitter, task, tmp_path, how):
    assert kill_and_compare(fitter, task, tmp_path, how, 1) == 1


@pytest.mark.parametrize("how", ["lora", "full"])
def test_kill_and_again_from_least_squares(fitter, task, tmp_path, how):
    """More dimensions than rows, so that the training may start from least squares."""
    assert kill_and_compare(fitter, task, tmp_path, how, 1, layer="all") == 1


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
        assert not list(tmp_path.rglob(".*.tmp"))  # and nothing half is left,
        hidden = {path.name for path in tmp_path.glob(f".{how}*")}
        assert hidden <= {f".{how}.training"}  # but for what the same command goes on from
    assert fitter.run(**task(how, out)) == 0  # with room again
    assert result(out, how) == before


@pytest.mark.parametrize("how", ["lora", "full"])
def test_no_file_may_grow(fitter, task, tmp_path, how):
    fill_and_compare(fitter, task, tmp_path, how, [0.9])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lora", "full"])
def test_no_file_may_grow_beyond_many_sizes(fitter, task, tmp_path, how):
    fill_and_compare(fitter, task, tmp_path, how, [n / 20 for n in range(20)])
