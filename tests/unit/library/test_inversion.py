"""`invert`: targets as objects, images out, nothing written before `save`."""

import json
from pathlib import Path

import numpy as np
import pytest

import graftwerk as gw
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.data.images import read_image
from graftwerk.errors import BadInput, UnknownName

pytestmark = pytest.mark.usefixtures("one_thread")
PHOTO = render(sample_scene(77, 3), 128, 128)


@pytest.fixture(scope="module")
def pipe():
    return gw.Pipeline("builtin/blocks", device="cpu")


def test_it_is_what_the_command_does(pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = gw.invert(pipe, label="red cube", steps=3, count=2, seed=4)
    assert list(tmp_path.iterdir()) == []
    assert len(found) == len(found.images) == len(found.verdicts) == 2
    assert found.losses[-1] < found.losses[0]
    report = gw.run(gw.Invert(to="class=red cube", steps=3, count=2, seed=4, device="cpu"))
    assert report.losses == found.losses
    for path, image in zip(report.pictures, found.images, strict=True):
        assert read_image(path).tobytes() == image.tobytes()
    saved = found.save(tmp_path / "mine")
    assert json.loads(Path(saved.report.losses_file).read_text())["losses"] == found.losses
    assert [one.path for one in saved.verdicts] == saved.report.pictures
    assert read_image(saved.report.film).size == found.film.size
    assert repr(found).startswith("InvertedImages(2, latent to 'class=red cube', loss ")
    assert found._repr_html_().startswith("<img")


def test_an_array_is_a_target_and_a_start(pipe):
    found = gw.invert(pipe, image=PHOTO, start=PHOTO, space="pixel", steps=1, real=None)
    assert found.losses[0] == 0  # it begins where it is to go
    assert np.array_equal(np.asarray(found.images[0]), PHOTO)


def test_the_noise_of_an_image(pipe):
    found = gw.invert(pipe, image=PHOTO, space="noise", sampling_steps=4)
    assert found.losses == [] and found.report.psnr_db is not None
    assert repr(found).endswith("dB)")


def test_what_is_refused(pipe):
    with pytest.raises(BadInput, match="no target"):
        gw.invert(pipe)
    with pytest.raises(BadInput, match="label and text"):
        gw.invert(pipe, label="cone", text="a cone")
    with pytest.raises(UnknownName, match="Did you mean"):
        gw.invert(pipe, label="red cubes")
    with pytest.raises(BadInput, match="out is not an option"):
        gw.invert(pipe, label="cone", out="here")
    with pytest.raises(BadInput, match="steps"):
        gw.invert(pipe, label="cone", steps=0)
    with pytest.raises(BadInput, match="Pass pipe"):
        gw.invert(pipe.with_(gw.ClassGuide("cone", 0.0)), label="cone")
