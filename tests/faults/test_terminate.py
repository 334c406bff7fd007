"""SIGTERM in the midst of commands: as Ctrl-C, with exit code 143, and nothing lost or left."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.forking import Forking
from tests.unit.finetune.conftest import sentences, tiny, write_csv  # noqa: F401

from graftwerk.training.loop import Log
from graftwerk.training.state import load_newest

_LONGEST = 120  # seconds that a condition is waited for


@pytest.fixture(scope="module")
def forking():
    forking = Forking("tests.commands")
    yield forking
    forking.close()


@pytest.fixture
def graft(forking, tmp_path):
    """Run a command to its end, or send a signal once a condition holds: (code, err, children)."""
    numbers = iter(range(10_000))

    def run(*arguments, until=None, then=0.0, **environment):
        err = tmp_path / f"err{next(numbers)}"
        pid = forking.start(
            arguments=arguments,
            cwd=str(tmp_path),
            environment=os.environ | environment,
            files=[os.devnull, os.devnull, str(err)],
        )
        children = []
        if until is not None:
            wait_for(lambda: until(pid) or not alive(pid))
            children = children_of(pid)
            time.sleep(then)
            children += children_of(pid)
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(forking.finish())
        wait_for(lambda: not any(map(alive, children)))
        return code, err.read_text(), children

    return run


def wait_for(condition):
    deadline = time.monotonic() + _LONGEST
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def state_of(pid):
    """State and parent of a process; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid):
    state = state_of(pid)
    return state is not None and state[0] not in "ZX"


def children_of(pid):
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [n for n in numbers if (state_of(n) or ("", "0"))[1] == str(pid)]


def temporary(folder):
    """What a command that was killed leaves behind."""
    return [path for path in folder.rglob(".*") if path.name.endswith(".tmp")]


def newest_step(training):
    loaded = load_newest(training / "checkpoints", pytest.fail)
    return loaded[1].step if loaded else 0


def stop_add(graft, tmp_path, then):
    docs = tmp_path / "docs"
    docs.mkdir(exist_ok=True)
    for n in range(40):
        text = "<p>" + f"word{n} stays here. " * 60
        (docs / f"{n:03}.html").write_text(text)
    command = ["index", "add", "docs", "--index", "index"]
    code, err, children = graft(*command, until=children_of, then=then)
    assert graft(*command)[0] == 0
    return code, err, children


def test_index_add(graft, tmp_path):
    code, err, children = stop_add(graft, tmp_path, 0.2)
    assert code == 143, err
    assert "stopped by SIGTERM. What was finished is kept" in err
    assert children  # the worker that parses, ended with its parent
    assert not temporary(tmp_path)


def stop_fit(graft, tmp_path, model, lines):
    texts = write_csv(tmp_path / "texts.csv", sentences(60))
    training = tmp_path / ".fit.training"
    log = Log(training / "log.jsonl")
    command = ["fit", str(texts), "--model", str(model), "--how", "lora", "--out", "fit"]
    command += ["--rank", "2", "--epochs", "40", "--batch", "8", "--patience", "99"]
    code, err, _ = graft(*command, until=lambda _: len(log.read()) >= lines)
    retained = newest_step(training) if code == 143 else None
    logged = log.read()[-1]["step"] if code == 143 else None
    left = temporary(tmp_path)
    again = graft(*command)
    assert again[0] == 0
    return code, err, retained, logged, left, again[1]


def test_fit_lora(graft, tmp_path, tiny):  # noqa: F811
    code, err, retained, logged, left, again = stop_fit(graft, tmp_path, tiny, 5)
    assert code == 143, err
    assert "stopped by SIGTERM" in err and "steps are kept" in err
    assert retained == logged >= 5  # though no checkpoint was due for minutes
    assert not left
    assert f"going on after step {retained}" in again


def stop_generate(graft, tmp_path, then):
    command = ["generate", "a red cube", "--count", "200", "--steps", "3"]
    command += ["--out", "images"]
    code, err, _ = graft(
        *command, until=lambda _: any(tmp_path.glob("images/*-000.png")), then=then
    )
    return code, err, sorted(tmp_path.glob("images/*.png"))


def test_generate(graft, tmp_path):
    from PIL import Image

    code, err, made = stop_generate(graft, tmp_path, 0)
    assert code == 143, err
    assert "stopped by SIGTERM" in err
    assert 1 <= len(made) < 200
    for path in made:
        with Image.open(path) as image:
            image.load()
    assert not temporary(tmp_path)


def test_recipe_while_children_render(graft, tmp_path):
    command = ["recipe", "run", "judge", "--scenes", "20000", "--out", "judge"]
    cache = str(tmp_path / "cache")  # without any scenes
    code, err, children = graft(
        *command, until=children_of, GRAFTWERK_THREADS="2", GRAFTWERK_CACHE=cache
    )
    assert code == 143, err
    assert children, "no process rendered"
    assert not temporary(tmp_path)


def stop_recipe(graft, tmp_path, lines, steps=400):
    log = Log(tmp_path / "judge" / "log.jsonl")
    command = ["recipe", "run", "judge", "--tiny", "--steps", str(steps), "--out", "judge"]
    code, err, _ = graft(*command, until=lambda _: len(log.read()) >= lines)
    retained = newest_step(tmp_path / "judge") if code == 143 else None
    return code, err, retained, log.read()[-1]["step"]


def test_recipe_while_it_trains(graft, tmp_path):
    code, err, retained, logged = stop_recipe(graft, tmp_path, 5)
    assert code == 143, err
    assert "stopped by SIGTERM" in err and "steps are kept" in err
    assert retained == logged >= 5
    assert not temporary(tmp_path)


@pytest.mark.slow
def test_many_moments(graft, tmp_path, tiny):  # noqa: F811
    import shutil

    generator = random.Random(3)
    stopped = 0
    for _ in range(8):
        codes = [
            stop_add(graft, tmp_path, generator.uniform(0, 2))[0],
            stop_fit(graft, tmp_path, tiny, generator.randrange(1, 150))[0],
            stop_generate(graft, tmp_path, generator.uniform(0, 2))[0],
            stop_recipe(graft, tmp_path, generator.randrange(1, 60))[0],
        ]
        assert set(codes) <= {0, 143}
        stopped += codes.count(143)
        assert not temporary(tmp_path)
        for name in ("index", "fit", "images", "judge"):
            shutil.rmtree(tmp_path / name)
    assert stopped >= 16
