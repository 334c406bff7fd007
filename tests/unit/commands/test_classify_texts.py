"""`classify` on texts: words, files, tables, standard input; measured where the label is known."""

import csv
import io
import sys

import numpy as np
import pytest
from tests.unit.finetune.conftest import write_csv

from graftwerk.cli.finetune import prediction_lines
from graftwerk.commands import classify
from graftwerk.errors import BadFile, BadInput
from graftwerk.models.zero_shot import TEXT_SCALE, TEXT_TEMPLATES
from graftwerk.requests.models import Classify
from graftwerk.types import Silent

WORDS = ("red", "green", "blue")


class Words:
    """Counts its three words."""

    name, fingerprint, dimension, rescorer = "words", "f", 4, None
    reads = frozenset({"text"})

    def __init__(self):
        self.read = []

    def encode_texts(self, texts, role="document", advance=None):
        self.read += texts
        rows = [[*(text.lower().count(word) for word in WORDS), 0.1] for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_images(self, images, advance=None):
        raise AssertionError("reads texts alone")

    def count_tokens(self, text):
        return len(text)


@pytest.fixture
def encoder(monkeypatch):
    encoder, opened = Words(), []

    def load(name, **options):
        opened.append(name)
        return encoder

    monkeypatch.setattr(classify, "load_encoder", load)
    encoder.opened = opened
    return encoder


def run(*inputs, **options):
    options = {"labels": ["red,green,blue"]} | options
    request = Classify(pictures=list(map(str, inputs)), **options)
    return classify.run_classify(request, Silent())


def test_words_get_the_nearest_label_by_the_default_text_encoder(encoder):
    said = run("a red red house", "blue sea")
    assert [one.label for one in said.predictions] == ["red", "blue"]
    assert encoder.opened == ["builtin/minilm"]
    prompts = [t.replace("{}", label) for label in WORDS for t in TEXT_TEMPLATES]
    assert encoder.read[:6] == prompts
    heads = encoder.encode_texts(list(WORDS))
    cosines = encoder.encode_texts(["blue sea"]) @ heads.T
    powers = np.exp(TEXT_SCALE * cosines[0])
    expected = dict(zip(WORDS, powers / powers.sum(), strict=True))
    assert said.predictions[1].scores == pytest.approx(expected, rel=1e-4)
    assert said.chance == pytest.approx(1 / 3)
    assert said.score is None
    assert "chance 0.333" in said.notes[-1]


def test_a_table_is_measured_beside_its_chance_level_and_joined(tmp_path, encoder):
    rows = [("01", "red red", "Red"), ("02", "green", "GREEN"), ("03", "blue", "red"),
            ("04", "red", "mauve"), ("05", "blue", "")]  # fmt: skip
    path = write_csv(tmp_path / "t.csv", rows, ("id", "text", "colour"))
    said = run(path, target="colour", out=tmp_path / "p.csv", threshold=0.5)
    assert (said.score.value, said.score.count) == (pytest.approx(2 / 3), 3)
    assert [one.count for one in said.details.classes] == [2, 1, 0]
    assert [(one.label, one.predicted) for one in said.details.mistakes] == [("red", "blue")]
    shown = "\n".join(prediction_lines(said))
    assert "guessing among the labels: 0.333" in shown
    assert "1 row has labels that were not learned" in " ".join(said.notes)
    found = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert [(one["id"], one["colour"]) for one in found] == [(r[0], r[2]) for r in rows]
    assert [one["label"] for one in found] == ["red", "green", "blue", "red", "blue"]
    assert {name for name in found[0] if name.startswith("probability_")} == {
        f"probability_{word}" for word in WORDS
    }


def test_files_and_standard_input_are_read(tmp_path, encoder, monkeypatch):
    (tmp_path / "note.txt").write_text("green grass")
    assert [one.label for one in run(tmp_path / "note.txt").predictions] == ["green"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"red\nblue\n")))
    assert [one.label for one in run("-").predictions] == ["red", "blue"]
    assert [one.label for one in run("red", encoder="words").predictions] == ["red"]
    with pytest.raises(BadFile, match=r"'none\.txt' does not exist"):
        run("none.txt", "a red house")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(BadInput, match="a file of another kind"):
        run(tmp_path / "a.pdf", "a red house")


def test_what_does_not_fit_texts_or_images_is_refused(tmp_path, encoder):
    with pytest.raises(BadInput, match="`calibrate` and `calibration` are for images"):
        run("a red house", calibrate=tmp_path)
    with pytest.raises(BadInput, match="`threshold`, `out`: for texts"):
        run(tmp_path, threshold=0.5, out=tmp_path / "p.csv")
