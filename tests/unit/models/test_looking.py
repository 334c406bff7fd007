"""The differentiable image half agrees with the encoder's own."""

import numpy as np
import pytest
import torch
from PIL import Image

from graftwerk.errors import BadInput
from graftwerk.models.encoders import load_encoder
from graftwerk.models.trainable import _preparation, differentiable

pytestmark = pytest.mark.usefixtures("one_thread")


def picture(width, height):
    rows = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows).resize((width, height)).resize((64, 64)).resize((width, height))


@pytest.mark.parametrize(
    ("size", "near"), [((64, 64), 0.99999), ((96, 80), 0.99), ((40, 48), 0.99)]
)
def test_it_agrees_with_the_encoder(size, near):
    encoder = load_encoder("builtin/blocks-clip", device="cpu")
    image = picture(*size)
    values = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
    values.requires_grad_()
    found = differentiable(encoder, "cpu")(values)
    cosine = float(found[0].detach() @ torch.from_numpy(encoder.encode_images([image])[0]))
    assert cosine > near
    found.sum().backward()
    assert values.grad.abs().sum() > 0


def test_a_preparation_that_is_not_known_is_refused():
    with pytest.raises(BadInput, match="pads"):
        _preparation({"do_pad": True}, "fake/encoder")
