"""Fakes that several folders of tests use."""

import hashlib
from collections import Counter
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from graftwerk.models.language.sentences import content_stems

# on a busy machine, a property is tried slowly, not wrongly
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")
LONG = {
    line
    for line in (Path(__file__).parent / "long.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what tests/long.txt lists: files, tests, or single parameters of a test."""
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        if {name, name.partition("[")[0], name.partition("::")[0]} & LONG:
            item.add_marker(pytest.mark.long)


def pytest_terminal_summary(terminalreporter):
    """Print the sums of what the tests recorded as `counts`: attacks tried, and what came of them."""
    total = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, counts in getattr(report, "user_properties", []):
                total.update(counts if name == "counts" and report.when == "call" else {})
    if total:
        terminalreporter.write_line("; ".join(f"{total[name]:,} {name}" for name in sorted(total)))


class WordsEncoder:
    """A frozen text encoder without weights: texts that share words are near each other."""

    def __init__(self, name="fake/words", salt="", dimension=64):
        self.name = name
        self.dimension = dimension
        self.reads = frozenset({"text"})
        self.rescorer = None
        self.salt = salt
        self.encoded = []

    @property
    def fingerprint(self):
        return hashlib.sha256(f"words {self.salt} {self.dimension}".encode()).hexdigest()

    def encode_texts(self, texts, role="document", advance=None):
        self.encoded.extend(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in content_stems(text) or {""}:
                digest = hashlib.sha256(f"{self.salt}{word}".encode()).digest()
                values = np.frombuffer(digest * (self.dimension // 32), dtype=np.uint8)
                vectors[row] += values.astype(np.float32) - 127.5
        if advance is not None:
            advance(len(texts))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_images(self, images, advance=None):
        raise NotImplementedError

    def count_tokens(self, text):
        return len(text.split())


@pytest.fixture
def words_encoder():
    return WordsEncoder()


@pytest.fixture
def make_words_encoder():
    return WordsEncoder


@pytest.fixture(scope="session")
def commands():
    """Runs `graft` in processes of its own; see `tests.commands`."""
    from tests.commands import Commands

    running = Commands()
    yield running
    running.close()


@pytest.fixture
def one_thread():
    """Networks of this size lose more by several threads than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text_pipeline(tmp_path_factory):
    """Folder of a tiny random `StableDiffusionPipeline`; copy it before changing anything."""
    from tests.pipelines import write_text_pipeline

    return write_text_pipeline(tmp_path_factory.mktemp("pipelines") / "text")


@pytest.fixture(scope="session")
def xl_pipeline(tmp_path_factory):
    """Folder of a tiny random `StableDiffusionXLPipeline`."""
    from tests.pipelines import write_xl_pipeline

    return write_xl_pipeline(tmp_path_factory.mktemp("pipelines") / "xl")


@pytest.fixture(scope="session")
def pixel_pipeline(tmp_path_factory):
    """Folder of a tiny random unconditional `DDPMPipeline`."""
    from tests.pipelines import write_pixel_pipeline

    return write_pixel_pipeline(tmp_path_factory.mktemp("pipelines") / "pixels")


@pytest.fixture(scope="session")
def captioned_images(tmp_path_factory):
    """Folder of eight squares of one color each on another, with captions of four kinds."""
    import json

    from PIL import Image

    words = ["a red cube", "a blue sphere", "a green cone on grass", "a cube and a sphere"]
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    lines = []
    for number in range(8):
        image = np.full((32, 32, 3), generator.integers(0, 100, 3), dtype=np.uint8)
        image[8:24, 4 + number : 20 + number] = generator.integers(150, 255, 3)
        Image.fromarray(image).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "caption": words[number % 4]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder
