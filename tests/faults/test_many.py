"""Many at once: writers lose and double nothing, readers never fail."""

import json
import os
import random
import time

import pytest
from tests.faults.conftest import state
from tests.faults.driver import ENCODERS
from tests.faults.test_kill import assert_sound

from graftwerk.search.index import open_index
from graftwerk.search.query import search

WRITERS = 8


def start_together(driver, tmp_path, tasks):
    """Run tasks at the same time; gives what each answered."""
    answers = [tmp_path / f"answer{n}.json" for n in range(len(tasks))]
    for task, answer in zip(tasks, answers, strict=True):
        driver.start(together=True, report=str(answer), **task)
    deadline = time.monotonic() + 120
    while not all(answer.exists() and answer.read_text() for answer in answers):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [json.loads(answer.read_text()) for answer in answers]


def test_writers_of_the_same_files(driver, docs, tmp_path):
    whole, index = tmp_path / "whole", tmp_path / "index"
    driver.run(verb="add", paths=[str(docs)], index=str(whole))
    task = {"verb": "add", "paths": [str(docs)], "index": str(index)}
    answers = start_together(driver, tmp_path, [task] * WRITERS)
    reports = [answer["report"] for answer in answers]
    assert sum(report["added"] for report in reports) == 60
    for report in reports:
        assert report["added"] + report["unchanged"] == 60
        assert (report["changed"], report["skipped"]) == (0, [])
    assert state(index) == state(whole)
    assert_sound(index)


def test_writers_of_different_files(driver, docs, tmp_path):
    whole, index = tmp_path / "whole", tmp_path / "index"
    driver.run(verb="add", paths=[str(docs)], index=str(whole))
    files = sorted(str(path) for path in docs.iterdir())
    tasks = [
        {"verb": "add", "paths": files[n::WRITERS], "index": str(index)} for n in range(WRITERS)
    ]
    answers = start_together(driver, tmp_path, tasks)
    assert sum(answer["report"]["added"] for answer in answers) == 60
    assert state(index) == state(whole)
    assert_sound(index)


def search_while_others_write(driver, docs, tmp_path, count):
    """Every search sees each file whole and in one version."""
    index, stop = tmp_path / "index", tmp_path / "stop"
    encoder = ENCODERS["builtin/minilm"]
    write_version(docs, 0)
    assert driver.run(verb="add", paths=[str(docs)], index=str(index)) == 0
    writer = os.fork()
    if writer == 0:  # pragma: no cover
        keep_writing(driver, docs, index, stop)
    generator = random.Random(0)
    retained = open_index(index)
    versions = set()
    try:
        for n in range(count):
            opened = retained if n % 2 else open_index(index)
            mode = generator.choice(["hybrid", "vector", "text"])
            outcome = search(opened, encoder, "version part", k=1000, mode=mode)
            seen = {}
            for hit in outcome.hits:
                version, part = hit.text.split()[1:4:2]
                seen.setdefault(hit.path, []).append((version, part))
                versions.add(version)
            for parts in seen.values():
                assert len({version for version, _ in parts}) == 1
                assert sorted(part for _, part in parts) == ["0", "1", "2"]
            if opened is not retained:
                opened.close()
    finally:
        retained.close()
        stop.touch()
        _, status = os.waitpid(writer, 0)
    assert status == 0
    return len(versions)


def write_version(docs, version):
    for n in range(20):
        parts = (f"version {version} part {part} of {n}" for part in range(3))
        (docs / f"f{n:02}.md").write_text(
            "\n\n".join(f"# P{p}\n\n{t}" for p, t in enumerate(parts))
        )


def keep_writing(driver, docs, index, stop):  # pragma: no cover
    status = 1
    try:
        version = 0
        while not stop.exists():
            version += 1
            write_version(docs, version)
            for task in (
                {"verb": "add", "paths": [str(docs)]},
                {"verb": "remove", "paths": [str(docs / f"f{version % 20:02}.md")]},
                {"verb": "rebuild"},
            ):
                if driver.run(index=str(index), **task) != 0:
                    os._exit(2)
        status = 0
    finally:
        os._exit(status)


@pytest.fixture
def few_docs(docs):
    for path in sorted(docs.iterdir())[20:]:
        path.unlink()
    return docs


def test_searches_while_others_write(driver, few_docs, tmp_path):
    assert search_while_others_write(driver, few_docs, tmp_path, 100) >= 2


@pytest.mark.slow
def test_many_searches_while_others_write(driver, few_docs, tmp_path):
    assert search_while_others_write(driver, few_docs, tmp_path, 1000) >= 5
