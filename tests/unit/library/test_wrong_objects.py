"""What is passed in place of an object of this package is refused by a GraftError."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import graftwerk as gw


@pytest.fixture(scope="module")
def pipe():
    return gw.Pipeline("builtin/blocks", device="cpu")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda pipe: pipe.without("style"), "'style' is not an adapter"),
        (lambda pipe: pipe.without(gw.ControlNet("builtin/blocks-canny")), "is not an adapter"),
        (lambda pipe: pipe.encode([]), "no image to encode"),
        (lambda pipe: pipe.decode(torch.zeros(1, 3, 8, 8)), r"Tensor of shape \[1, 3, 8, 8\]"),
        (lambda _: gw.conditions.of_scene("canny", -3), "scene -3"),
        (lambda _: gw.run("generate"), "str is not a request"),
        (lambda _: gw.TextGuide(" ", 3.0), "the sentence of a guide is empty"),
    ],
)
def test_it_is_refused(pipe, call, words):
    with pytest.raises(gw.GraftError, match=words):
        call(pipe)


def test_one_image_is_encoded_as_a_list_of_one(pipe):
    red = Image.new("RGB", (128, 128), "red")
    batch = pipe.encode([red])
    assert torch.equal(pipe.encode(red), batch)
    assert torch.equal(pipe.encode(np.asarray(red)), batch)
    assert torch.equal(pipe.encode(np.asarray(red)[None]), batch)
    assert pipe.decode(batch)[0].size == (128, 128)


UNTYPED = {
    'gw.invert("builtin/blocks", label="red cube")': "Pass gw.Pipeline",
    'gw.train_controlnet("x", "p", condition="canny")': "Pass gw.Pipeline",
    'gw.Guide("abc", 3.0)': "'abc' is not a function",
    'gw.Guide(print, 3.0, reads="pixels")': "reads 'pixels' is not known",
    'gw.guided(print, print, "3")': "scale '3' is not valid",
    "gw.TextGuide(None, 3.0)": "the sentence of a guide is None",
    "gw.ClassGuide(None, 3.0)": "the class of a guide is None",
    'gw.ClassGuide("cat", 3.0, labels="cat")': "Write labels=['cat']",
    "gw.ImageGuide(None, 3.0)": "None is not an image",
    "gw.load(None)": "None is not a path. Give a path.",
    "gw.Lora(3)": "3 is not a path",
    'gw.probe(b"x")': "is not a path",
    'gw.Index([b"x"])': "is not a path. Give a path, or a list of them.",
    'gw.ControlNet("builtin/blocks-canny")(3)': "3 is not an image",
}


def test_other_types_are_refused_where_no_test_checks_types():
    """Types are checked in this process already, by the tests' own hook."""
    code = "import graftwerk as gw\n" + "".join(
        f"try:\n    {call}\nexcept gw.GraftError as error:\n    print(error)\n" for call in UNTYPED
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line, words in zip(done.stdout.splitlines(), UNTYPED.values(), strict=True):
        assert words in line


def test_an_array_with_transparency_is_put_on_white_and_an_interval_may_be_a_pair(pipe):
    clear = np.zeros((64, 64, 4), np.uint8)
    white = np.full((64, 64, 3), 255, np.uint8)
    options = {"n": 1, "steps": 2, "strength": 0.0}
    images = [pipe.generate(init=one, **options).images[0] for one in (clear, white)]
    assert np.array_equal(*map(np.asarray, images))
    pair = pipe.generate("a red cube", n=1, steps=2, cfg_interval=(1, 5)).images[0]
    text = pipe.generate("a red cube", n=1, steps=2, cfg_interval="1:5").images[0]
    assert np.array_equal(np.asarray(pair), np.asarray(text))
