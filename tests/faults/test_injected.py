"""EIO and ENOSPC at the calls by which commands write, below Python: nothing lost, nothing half."""

import contextlib
import sqlite3

import pytest
from tests.injecting import can_trace, spread
from tests.soak import INDEX, JOBS, Soak, hidden, result_of

from graftwerk.search.database import DATABASE

pytestmark = pytest.mark.skipif(not can_trace(), reason="needs strace that may trace")
WRITES = ["index add", "fit linear", "control train", "generate"]
FIRST = ["index", "add", *(f"docs/{n:02}.md" for n in (1, 2, 3, 5, 6)), "docs/00.html", *INDEX]
GOES_ON = {"control train"}  # what is finished is not made again


@pytest.fixture(scope="module")
def work():
    work = Soak()
    yield work
    outside = work.counts["files outside"]
    work.close()
    assert not outside + work.counts["files outside"]


def passages(folder):
    with contextlib.closing(sqlite3.connect(folder / "out" / DATABASE)) as connection:
        return set(connection.execute("SELECT text, vector FROM passages").fetchall())


def check_what_is_left(work, job, folder, former):
    """The former result is whole; of an index every file that is in it."""
    if job != "index add":
        left = result_of(folder)
        assert {name: left[name] for name in former} == former
    elif former:
        assert work.run(["index", "verify", *INDEX], folder)[0] == 0
        assert former <= passages(folder)


def inject(work, job, most):
    """Run a job with faults, on nothing and on a former result; gives how many ended it."""
    reference, ended = work.reference(job), 0
    for number, fault in enumerate(spread(reference.calls, most)):
        with work.folder(job) as folder:
            former = {}
            if number % 2 and job not in GOES_ON:
                first = FIRST if job == "index add" else JOBS[job]
                assert work.run(first, folder)[0] == 0
                former = passages(folder) if job == "index add" else result_of(folder)
            code, text, packets = work.injecting.run(JOBS[job], folder, fault)
            assert code in (0, 1, 2), (fault, text)
            assert "unexpected" not in text, (fault, text)
            assert packets == 0
            if code:
                ended += 1
                assert "graft: " in text, fault
                check_what_is_left(work, job, folder, former)
            code, text, _ = work.run(JOBS[job], folder)
            assert code == 0, (fault, text)
            assert result_of(folder) == reference.result, fault
            assert hidden(folder) <= reference.hidden, fault
    return ended


@pytest.mark.parametrize("job", WRITES)
def test_an_error_of_the_disk(work, job):
    inject(work, job, 3)


@pytest.mark.slow
@pytest.mark.parametrize("job", WRITES)
def test_many_errors_of_the_disk(work, job):
    """Four hundred; generate and fit make fewer calls, at each of which there is one."""
    assert inject(work, job, 200) > 0
