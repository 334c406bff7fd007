"""What is familiar to an encoder: learned, kept beside it, read again."""

import json

import numpy as np
import pytest
from PIL import Image

import graftwerk as gw
from graftwerk.errors import BadInput, Damaged
from graftwerk.models.encoders import load_encoder
from graftwerk.models.image_encoder import encode_and_compare
from graftwerk.models.ood import (
    FILE_NAME,
    least_images,
    load_familiar,
    make_familiar,
    measure_familiar,
    save_familiar,
)


def gradients(count, seed=0):
    """Images that are all of one kind: a ramp between two colors."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, 16)[:, None, None] * np.ones((1, 16, 1))
    ends = generator.integers(0, 256, (count, 2, 3))
    return [Image.fromarray((a + ramp * (b.astype(float) - a)).astype(np.uint8)) for a, b in ends]


@pytest.fixture
def folder(write_vision):
    return write_vision("clip")


@pytest.fixture
def familiar(folder):
    encoder = load_encoder(str(folder), device="cpu")
    assert encoder.familiar is None
    counted = []
    found = make_familiar(encoder, gradients(300), 0.05, counted.append)
    assert sum(counted) == 300
    return found


def test_it_travels_with_the_encoder(folder, familiar):
    before = load_encoder(str(folder), device="cpu").fingerprint
    save_familiar(folder, familiar)
    encoder = load_encoder(str(folder), device="cpu")
    assert encoder.fingerprint == before, "indexes made before stay valid"
    again = encoder.familiar
    assert again is not None
    assert (again.sample, again.held_out, again.false_alarm_rate) == (200, 100, 0.05)
    images = gradients(40, seed=1)
    vectors, distances = encode_and_compare(encoder, images)
    np.testing.assert_array_equal(vectors, encoder.encode_images(images))
    states = encoder.examine(images).states
    np.testing.assert_array_equal(distances, familiar.distances(states))
    assert (distances > 1).mean() < 0.25
    vectors, distances = encode_and_compare(encoder, [])
    assert (vectors.shape, distances.shape) == ((0, 8), (0,))


def test_noise_is_not_familiar(folder, familiar):
    generator = np.random.default_rng(2)
    noise = [Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(40)]
    encoder = load_encoder(str(folder), device="cpu")
    usual = gradients(200, seed=5)
    assert (familiar.distances(encoder.examine(noise).states) > 1).all()
    assert (familiar.distances(encoder.examine(usual).states) > 1).mean() < 0.12


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "vit", "resnet"])
def test_the_state_is_the_mean_of_the_middle_layer(write_vision, kind):
    import torch
    import transformers

    from graftwerk.models.image_encoder import IMAGE_MODELS

    folder = write_vision(kind)
    encoder = load_encoder(str(folder), device="cpu")
    images = gradients(3)
    network = getattr(transformers, IMAGE_MODELS[kind].network).from_pretrained(folder)
    network = getattr(network, "vision_model", network).eval()
    with torch.inference_mode():
        hidden = network(**encoder.prepare(images), output_hidden_states=True).hidden_states
    middle = hidden[len(hidden) // 2]
    expected = middle.mean(dim=(2, 3)) if kind == "resnet" else middle.mean(dim=1)
    states = encoder.examine(images).states
    assert states.shape == (3, encoder.width)
    np.testing.assert_allclose(states, expected.numpy(), atol=1e-5)


def test_a_public_encoder_learns_it(write_vision):
    folder = write_vision("vit")
    gw.load_encoder(str(folder), device="cpu").learn_familiar(gradients(300))
    assert load_encoder(str(folder), device="cpu").familiar.held_out >= 99
    with pytest.raises(BadInput, match="reads no images"):
        gw.load_encoder("builtin/minilm").learn_familiar(gradients(2))


def test_every_layer_has_it(write_vision):
    """Its state is that of the middle layer, whichever layer the vectors come from."""
    folder = write_vision("vit")
    images = gradients(20, seed=1)
    encoder = load_encoder(str(folder), device="cpu")
    save_familiar(folder, make_familiar(encoder, gradients(300), 0.05))
    _, distances = encode_and_compare(load_encoder(str(folder), device="cpu"), images)
    for layer in (1, "all"):
        vectors, found = encode_and_compare(
            load_encoder(str(folder), layer=layer, device="cpu"), images
        )
        np.testing.assert_array_equal(found, distances)
        assert len(vectors) == 20


def test_other_weights_do_not_take_it(folder, familiar, caplog):
    save_familiar(folder, familiar)
    assert load_familiar(folder, familiar.fingerprint) is not None
    assert caplog.text == ""
    assert load_familiar(folder, "another") is None
    assert "made for other weights" in caplog.text


def test_another_format_is_not_taken_for_this_one(folder, familiar, caplog, monkeypatch):
    monkeypatch.setattr("graftwerk.models.ood._FORMAT", 2)
    save_familiar(folder, familiar)
    monkeypatch.undo()
    assert load_familiar(folder, familiar.fingerprint) is None
    assert "is of format 2" in caplog.text


def test_encoders_without_it_say_nothing(folder):
    encoder = load_encoder(str(folder), device="cpu")
    vectors, distances = encode_and_compare(encoder, gradients(2))
    assert distances is None
    np.testing.assert_array_equal(vectors, encoder.encode_images(gradients(2)))


def test_damage_is_named(folder, familiar):
    save_familiar(folder, familiar)
    path = folder / FILE_NAME
    content = path.read_bytes()
    generator = np.random.default_rng(3)
    for _ in range(200):
        flipped = bytearray(content)
        flipped[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(flipped)
        try:
            found = load_familiar(folder, familiar.fingerprint)
        except Damaged as error:
            assert FILE_NAME in str(error)
        else:  # white space between the fields says nothing
            assert found is not None and found.limit == familiar.limit
            assert json.loads(bytes(flipped)) == json.loads(content)
    for cut in (0, 1, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:cut])
        with pytest.raises(Damaged):
            load_familiar(folder, familiar.fingerprint)
    path.write_text("[]")
    with pytest.raises(Damaged):
        load_encoder(str(folder), device="cpu")


def test_too_few_images(folder):
    encoder = load_encoder(str(folder), device="cpu")
    assert (encoder.width, least_images(16, 0.01)) == (16, 297)
    assert least_images(1000, 0.01) == 3000
    with pytest.raises(BadInput, match=r"296 images are too few.*at least 297"):
        make_familiar(encoder, gradients(296))
    assert make_familiar(encoder, gradients(297)).held_out == 99


def test_equal_images():
    states = np.tile(np.eye(4, dtype=np.float32)[0], (400, 1))
    with pytest.raises(BadInput, match="all images are equal"):
        measure_familiar(states, "x", 0.01)


def test_the_order_of_the_images_does_not_matter_much():
    """Sorted images must not put one kind into the sample and another into the limit."""
    generator = np.random.default_rng(4)
    vectors = generator.standard_normal((900, 5)).astype(np.float32)
    vectors[450:] += 5
    found = measure_familiar(vectors, "x", 0.01)
    assert (found.distances(vectors) > 1).mean() < 0.03
