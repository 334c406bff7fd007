"""What the fault tests share: documents, a driver whose children can be killed, comparison."""

import contextlib
import hashlib
import os
import random
import time
from pathlib import Path

import pytest
from tests.forking import Forking

from graftwerk.search.index import open_index


class Driver(Forking):
    """The process of `driver.py`."""

    def __init__(self) -> None:
        super().__init__("tests.faults.driver")

    def run_and_kill(self, seconds: float, **task) -> bool:
        """Kill the child after `seconds`; tells whether it was still at work."""
        child = self.start(**task)
        time.sleep(seconds)
        # the driver has not waited for it when this comes, or the id is not used again so soon
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 9)
        return self.finish() == 9


@pytest.fixture(scope="module")
def driver():
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture
def docs(tmp_path):
    """Sixty files of three passages each."""
    folder = tmp_path / "docs"
    folder.mkdir()
    words = random.Random(0)
    for n in range(60):
        text = "\n\n".join(
            f"# Part {part}\n\n" + " ".join(f"word{words.randrange(900)}" for _ in range(30))
            for part in range(3)
        )
        (folder / f"f{n:02}.md").write_text(text)
    return folder


def state(index: Path) -> dict[str, list[tuple[str, str]]]:
    """Everything that matters in an index, keys left aside: by file, passages and vectors."""
    with open_index(index) as opened, opened.view() as view:
        ids, vectors = view.all_vectors()
        passages = view.passages(ids.tolist())
        found: dict[str, list[tuple[str, str]]] = {path: [] for path in view.files()}
        for key, vector in zip(ids.tolist(), vectors, strict=True):
            digest = hashlib.sha256(vector.tobytes()).hexdigest()
            found[passages[key].path].append((repr(passages[key]), digest))
    return found
