import numpy as np
import pytest
import torch

from graftwerk.diffusion.sampling import to_images, to_levels, to_values
from graftwerk.generation.authenticity import LIMIT
from graftwerk.generation.realism_measures import _divergence, scale_of, squeezed
from graftwerk.models.encoders import load_encoder
from graftwerk.models.trainable import differentiable
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("builtin/blocks-clip", device="cpu")


@pytest.fixture(scope="module")
def scenes():
    return open_scenes("pictures", 4, 40, 64, Silent()).rows(np.arange(40))["picture"]


def attacked(encoder, images):
    """Change each pixel by at most 8 levels, so that each image looks like another to the encoder.

    The signs of the gradient, Madry et al. 2018.
    """
    look = differentiable(encoder, "cpu")
    own = to_values(images)
    with torch.no_grad():
        wanted = look(own).roll(1, dims=0)
    x = own.clone()
    for _ in range(10):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad((look(x) * wanted).sum(), x)
        moved = x.detach() + 2 / 255 * gradient.sign()
        x = (own + (moved - own).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    return np.stack(to_images(to_levels(x)))


def test_squeezing_finds_changes_that_are_hard_to_see(encoder, scenes):
    scale = scale_of(squeezed(encoder, scenes[:24]))
    changed = attacked(encoder, scenes[24:])
    assert np.abs(changed.astype(int) - scenes[24:]).max() <= 9
    assert (scale.distances(squeezed(encoder, changed)) > LIMIT).mean() >= 0.9
    assert (scale.distances(squeezed(encoder, scenes[24:])) > LIMIT).mean() <= 0.1


def test_the_divergence_of_class_probabilities_in_closed_form():
    p, q = np.array([[0.5, 0.5], [1.0, 1.0]]), np.array([[0.25, 0.75], [1.0, 1.0]])
    found = _divergence(np.log(p), np.log(q))
    assert found == pytest.approx([0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0.0])


def test_real_images_set_the_scale():
    changes = np.linspace(0, 1, 101)
    scale = scale_of(changes)
    assert scale.distances(np.array([scale.limit]))[0] == pytest.approx(1)
    assert (scale.distances(changes) <= 1).mean() == pytest.approx(0.95, abs=0.01)
    flat = scale_of(np.zeros(5))
    assert flat.distances(np.zeros(2)).tolist() == [1, 1]
