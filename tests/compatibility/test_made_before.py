"""What the version before made opens and repeats: an index, a fit, an image with its request.

The files were made by `graft index add`, `graft fit --how linear` and `graft generate --steps 4` of the
commit before the source was laid out in rooms.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import graftwerk as gw

MADE = Path(__file__).parent / "made_by_0.1"


def test_an_index_is_searched_and_verified(tmp_path):
    shutil.copytree(MADE / "index", tmp_path / "index")
    index = gw.Index(tmp_path / "index")
    [hit] = index.search("foosball", k=1)
    assert hit.text == "Foosball may be played during the lunch break, between 12:00 and 13:30."
    assert (hit.line, hit.heading, hit.marks) == (3, "Play", ((0, 8),))
    assert (hit.vector_rank, hit.text_rank) == (1, 1)
    assert hit.score == pytest.approx(1.0)  # of two passages: one standard deviation by cosine
    assert hit.similarity == pytest.approx(0.568296, abs=1e-4)
    check = index.verify()
    assert check.sound and check.passages == 2


def test_a_fit_predicts_the_same():
    fit = gw.load(MADE / "fit")
    text = ["The goalkeeper saved the day"]
    assert list(fit.predict(text)) == ["sport"]
    chances = dict(zip(fit.classes_, fit.predict_proba(text)[0], strict=True))
    assert chances["sport"] == pytest.approx(0.6515910, abs=1e-4)


def test_an_image_of_the_decoder_before_is_repeated_where_its_model_is_named(tmp_path):
    """The decoder of builtin/blocks now makes images twice as large of the same latents."""
    request = gw.Generate(from_=MADE / "red-cube.png", out=tmp_path / "again")
    with pytest.raises(gw.errors.WrongBase, match="pass `model` builtin/blocks"):
        gw.run(request)
    named = gw.Generate(from_=MADE / "red-cube.png", out=tmp_path / "again", model="builtin/blocks")
    [image] = gw.run(named).pictures
    before, again = (Image.open(path) for path in (MADE / "red-cube.png", image.path))
    assert (before.size, again.size) == ((64, 64), (128, 128))
    before, again = np.asarray(before), np.asarray(again.reduce(2))
    difference = np.abs(before.astype(int) - again)
    assert 0 < difference.mean() < 4 and np.median(difference) <= 3
