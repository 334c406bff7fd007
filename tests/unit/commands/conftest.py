"""A small library that commands can open by its folder, made with the fake encoder."""

from pathlib import Path

import pytest

from graftwerk.commands import evaluate
from graftwerk.library import index
from graftwerk.search.qa_pairs import Paragraph, build_index
from graftwerk.types import Silent

TEXTS = (
    "The games room is open all day. Foosball may be played during the lunch break.",
    "Everyone has 28 days of paid leave a year. Unused days lapse in March.",
    "A hotel in Zurich may cost 180 euros a night. Breakfast is refunded too.",
    "The wood store is locked at night. Ask the caretaker for the key.",
)


@pytest.fixture
def encoder(words_encoder, monkeypatch):
    """The fake encoder, which every verb gets whatever name it asks for."""

    def load(name, *, layer=None, device="auto"):
        return words_encoder

    for module in (index, evaluate):
        monkeypatch.setattr(module, "load_encoder", load)
    return words_encoder


@pytest.fixture
def build(tmp_path, encoder):
    """Make an index of texts, one document each; returns its folder."""

    def make(*texts: str) -> Path:
        folder = tmp_path / "index"
        build_index(folder, [Paragraph(text, ()) for text in texts], encoder, None, Silent())
        return folder

    return make


@pytest.fixture
def library(build):
    """Folder of an index of four documents."""
    return build(*TEXTS)
