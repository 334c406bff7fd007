"""A monitor that remembers, for every test of what is said during a run; a fetched model."""

import json

import numpy as np
import pytest
from PIL import Image

from graftwerk.models import fetching
from graftwerk.settings import settings
from graftwerk.types import Silent


class Listener(Silent):
    """A monitor that keeps what it hears."""

    def __init__(self):
        self.pieces = []
        self.notes = []
        self.shown = []

    def show(self, report):
        self.shown.append(report)

    def stream(self, piece):
        self.pieces.append(piece)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture(autouse=True)
def _nothing_fetched(request, monkeypatch):
    """The models that this machine has fetched decide no test."""
    if "photographs" not in request.fixturenames:
        monkeypatch.setattr("graftwerk.models.encoders.is_fetched", lambda name: False)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Folder of noise, warm or cold, which no Blocks scene is like; a tiny `imagenet` is fetched."""
    from tests.classifiers import write_classifier

    monkeypatch.setenv("GRAFTWERK_CACHE", str(tmp_path / "fetched"))
    settings.cache_clear()
    model = write_classifier(fetching.folder_of("imagenet"), "resnet")
    (model / "graft.json").write_text(json.dumps({"facts": fetching.facts_of("imagenet")}))
    generator = np.random.default_rng(0)
    for number in range(24):
        pixels = generator.integers(0, 90, (24, 24, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += 150
        folder = tmp_path / "photographs" / ("warm", "cold")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    yield tmp_path / "photographs"
    settings.cache_clear()


@pytest.fixture
def scenes(tmp_path):
    """Folder of four Blocks scenes in two classes."""
    from graftwerk.blocks.map_images import write_dataset

    (tmp_path / "blocks").mkdir()
    assert sum(write_dataset(tmp_path / "blocks", 3, 4, 64)) == 4
    for number, path in enumerate(sorted((tmp_path / "blocks" / "train").glob("*.png"))):
        folder = tmp_path / "scenes" / ("one", "two")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"{number}.png")
    return tmp_path / "scenes"
