"""The public encoder: texts and images in, unit vectors out."""

import numpy as np
import pytest
from PIL import Image
from tests.support import HashEncoder, Recorder

import graftwerk as gw
from graftwerk.errors import BadInput
from graftwerk.library import encoder as module
from graftwerk.models import encoders


@pytest.fixture
def frozen(monkeypatch):
    frozen = HashEncoder(dimension=8)
    monkeypatch.setattr(encoders, "load_encoder", lambda name, **_: frozen)
    return frozen


@pytest.fixture
def encoder(frozen):
    return gw.load_encoder("test/hash")


def image(colour):
    return Image.new("RGB", (4, 4), colour)


def test_texts_and_images_in_their_order(encoder, frozen, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES", 2)
    items = ["red", image("red"), "blue", *map(image, ("blue", "green", "black", "white"))]
    vectors = encoder.encode(iter(items))
    assert vectors.shape == (7, 8) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[[0, 2]], frozen.encode_texts(["red", "blue"]))
    images = [item for item in items if not isinstance(item, str)]
    np.testing.assert_array_equal(vectors[[1, 3, 4, 5, 6]], frozen.encode_images(images))


def test_one_item_is_one_row(encoder):
    assert encoder.encode("a text").shape == (1, 8)
    assert encoder.encode(image("red")).shape == (1, 8)
    assert encoder.encode([]).shape == (0, 8)
    np.testing.assert_array_equal(encoder.encode("a text"), encoder.encode(["a text"]))


def test_progress_and_role(encoder, frozen):
    recorder = Recorder()
    recorder.start("encoding", 3)
    encoder.encode(["a", "b", image("red")], role="query", monitor=recorder)
    assert recorder.counts == [3]


def test_similarity(encoder):
    items = ["cats", "dogs", image("red")]
    found = encoder.similarity(items, ["dogs", "cats"])
    assert found.shape == (3, 2) and found.dtype == np.float32
    assert found[0, 1] == pytest.approx(1) and found[1, 0] == pytest.approx(1)
    vectors = encoder.encode(items)
    np.testing.assert_allclose(encoder.similarity(5 * vectors, "dogs"), found[:, :1], atol=1e-6)
    with pytest.raises(BadInput, match=r"shape \(3, 4\); those of test/hash have \(n, 8\)"):
        encoder.similarity(vectors[:, :4], vectors)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["a", 3], "item 1 is 3, neither a text nor a PIL image"),
        ([b"bytes"], "item 0 is b'bytes', neither"),
    ],
)
def test_what_cannot_be_encoded(encoder, items, message):
    with pytest.raises(BadInput, match=message):
        encoder.encode(items)


def test_what_it_does_not_read(encoder, frozen):
    frozen.reads = frozenset({"text"})
    with pytest.raises(BadInput, match=r"item 1 is an image, and the encoder .* reads only text"):
        encoder.encode(["a", image("red")])
    assert repr(encoder) == "<Encoder test/hash: text, 8 dimensions>"


def test_arguments_are_checked_before_anything_loads(frozen):
    with pytest.raises(BadInput, match=r"layer 1000 is not valid: it must be at most 256"):
        gw.load_encoder("test/hash", layer=1000)
    with pytest.raises(BadInput, match="encoder '' is not valid"):
        gw.load_encoder("")


def test_the_built_in_one():
    encoder = gw.load_encoder()
    assert (encoder.name, encoder.dimension, encoder.reads) == ("builtin/minilm", 384, {"text"})
    near, far = encoder.similarity("A cat sleeps.", ["A kitten is asleep.", "Taxes are due."])[0]
    assert near > 0.6 > far
