"""Images of every family that can be trained: the same vectors as the frozen encoder gives."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.unit.models.conftest import write_vision  # noqa: F401

from graftwerk.data.dataset import OpenedData
from graftwerk.finetune.base_model import open_base
from graftwerk.finetune.tune import encode, inputs_of, load_network
from graftwerk.models.trainable import TruncatedForward

KINDS = ("clip", "siglip", "dinov2", "vit", "resnet")


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return [
        OpenedData(Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)))
        for _ in range(5)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_trainable_and_frozen_agree(write_vision, pictures, kind):  # noqa: F811
    base = open_base(str(write_vision(kind)), None, "cpu")
    frozen = base.encoder()(pictures, lambda count: None)
    trained = encode(load_network(base, "image"), pictures, lambda count: None)
    np.testing.assert_allclose(trained, frozen, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_of_joint_models_agree(write_vision, kind):  # noqa: F811
    base = open_base(str(write_vision(kind)), None, "cpu")
    texts = ["red cat", "a blue cube sits"]
    frozen = base.encoder()(texts, lambda count: None)
    trained = encode(load_network(base, "text"), texts, lambda count: None)
    np.testing.assert_allclose(trained, frozen, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_states_below_the_top_give_the_same_vectors(write_vision, pictures, kind):  # noqa: F811
    base = open_base(str(write_vision(kind)), None, "cpu")
    trainable = load_network(base, "image")
    below = TruncatedForward(trainable, 1)
    inputs = inputs_of(trainable, pictures)
    with torch.no_grad():
        expected = trainable.encode(inputs)
        states = below.states(inputs)
        blank = {name: torch.zeros_like(value) for name, value in inputs.items()}
        with below.skipped():
            found = below.encode(blank, states)
    assert torch.allclose(found, expected, atol=1e-6)
