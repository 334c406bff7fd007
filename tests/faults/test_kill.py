"""SIGKILL at random moments of add, remove and rebuild."""

import json
import random
import shutil
import time

import pytest
from tests.faults.conftest import state

from graftwerk.commands import search as index_verify
from graftwerk.requests.search import IndexVerify
from graftwerk.types import Silent

VERBS = ("add", "remove", "rebuild", "renew")


def task_of(command, docs, index):
    if command == "renew":
        return {"verb": "rebuild", "encoder": "test/other", "index": str(index)}
    paths = (
        [str(docs)] if command == "add" else [str(docs / f"f{n:02}.md") for n in range(0, 60, 2)]
    )
    return {"verb": command, "paths": paths, "index": str(index)}


def assert_sound(index):
    report = index_verify.run_index_verify(IndexVerify(index=index), Silent())
    assert report.sound, report.damages


def kill_again_and_again(driver, docs, tmp_path, requested, seed):
    """Until `requested` runs were caught before their end, which a busy machine makes rarer."""
    generator = random.Random(seed)
    full, index, log = tmp_path / "full", tmp_path / "index", tmp_path / "log"
    assert driver.run(**task_of("add", docs, full)) == 0
    finished, seconds = {}, {}
    for command in VERBS:
        if command != "add":
            shutil.copytree(full, index)
        begin = time.perf_counter()
        assert driver.run(**task_of(command, docs, index)) == 0
        seconds[command] = time.perf_counter() - begin
        finished[command] = state(index)
        shutil.rmtree(index)
    caught = 0
    for n in range(5 * requested):
        if caught >= requested:
            break
        command = VERBS[n % len(VERBS)]
        log.write_text("")
        before = {}
        if command != "add":
            shutil.copytree(full, index)
            before = state(index)
        task = task_of(command, docs, index)
        delay = generator.uniform(0, 1.1 * seconds[command])
        caught += driver.run_and_kill(delay, log=str(log), **task)
        if (index / "graft.sqlite").exists():
            check_what_is_left(command, index, log, before, finished[command])
        assert driver.run(**task) == 0 or command == "remove"  # nothing may be left to remove
        assert state(index) == finished[command]
        assert_sound(index)
        shutil.rmtree(index)
    return caught


def check_what_is_left(command, index, log, before, after):
    from graftwerk.errors import BadFile

    reported = {json.loads(line) for line in log.read_text().splitlines()}
    try:
        left = state(index)
    except BadFile:  # killed before the tables were made
        assert command == "add" and not reported
        return
    assert_sound(index)
    assert reported <= set(left)
    for path, passages in left.items():  # each file whole, as it was before or is afterwards
        assert passages in (before.get(path), after.get(path))
    if command == "renew":  # in one step
        assert left in (before, after)


def test_kill(driver, docs, tmp_path):
    assert kill_again_and_again(driver, docs, tmp_path, 20, seed=1) == 20


@pytest.mark.slow
def test_kill_many_times(driver, docs, tmp_path):
    assert kill_again_and_again(driver, docs, tmp_path, 150, seed=2) == 150
