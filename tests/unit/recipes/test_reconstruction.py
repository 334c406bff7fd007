"""The losses of the autoencoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from graftwerk.blocks.networks import load_perception
from graftwerk.diffusion.pipeline import load_part
from graftwerk.models.hub import builtin_folder
from graftwerk.recipes import autoencoder
from graftwerk.recipes.autoencoder import Reconstruction, Weights, psnr
from graftwerk.recipes.registry import Setting
from graftwerk.recipes.scenes import Chunks, as_tensors, open_scenes
from graftwerk.types import Silent


@pytest.fixture(scope="module")
def images():
    from graftwerk.blocks.networks import as_input

    rows = open_scenes("pictures", 2, 8, 64, Silent()).rows(torch.arange(4).numpy())
    return as_input(as_tensors(rows)["picture"])


def made(**weights):
    folder = builtin_folder("builtin/blocks-perception")
    perception = load_perception(folder, "cpu").network
    return Reconstruction(Weights(**weights), perception, Setting(0, "cpu", {}, Silent()))


def test_nothing_is_lost_on_equal_images(images):
    loss, figures = made().loss(images, images, 0.0, torch.Generator())
    assert float(loss) == pytest.approx(0, abs=1e-5)
    assert set(figures) == {"error", "features", "psnr_db"}
    assert float(psnr(images, images).min()) > 100


def test_a_blur_costs_more_than_another_brightness_of_the_same_error(images):
    blurred = functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    error = functional.l1_loss(blurred, images)
    darker = images - error
    assert float(functional.l1_loss(darker, images)) == pytest.approx(float(error), rel=1e-3)
    losses = made(edges=0.0)  # so that only the features differ
    assert (
        losses.loss(blurred, images, 0.0, torch.Generator())[0]
        > 1.5 * losses.loss(darker, images, 0.0, torch.Generator())[0]
    )


def test_the_discriminator_comes_late():
    weights = Weights(late=0.4)
    shares = [weights.share(done) for done in (0.0, 0.4, 0.45, 0.5, 1.0)]
    assert shares == pytest.approx([0, 0, 0.5, 1, 1])


def test_each_side_learns_from_its_own_loss(images):
    sampled = (images * 0.9).requires_grad_(True)
    losses = made(edges=0.0, features=0.0)
    parameters = list(losses.parameters().values())

    def gradients(share):
        loss, figures = losses.loss(sampled, images, share, torch.Generator())
        own, *others = torch.autograd.grad(loss, [sampled, *parameters], allow_unused=True)
        return own, others, figures

    alone, untouched, _ = gradients(0.0)
    assert all(gradient is None for gradient in untouched)
    pushed, learned, figures = gradients(1.0)
    assert {"deceived", "discriminator"} <= set(figures)
    # the reconstruction is pushed to be taken for a render, and by nothing that teaches the other
    deceived, _ = losses._compete(sampled, images)
    (expected,) = torch.autograd.grad(deceived, sampled)
    torch.testing.assert_close(pushed - alone, 0.05 * expected, atol=1e-9, rtol=1e-4)
    # the discriminator learns at full rate from the first moment, however small its influence
    _, slightly, _ = gradients(1e-3)
    for gradient, other in zip(learned, slightly, strict=True):
        torch.testing.assert_close(gradient, other)


def test_a_discriminator_learns_to_tell_a_blur(images):
    losses = made()
    blurred = functional.avg_pool2d(images, 3, stride=1, padding=1)
    optimizer = torch.optim.Adam(losses.parameters().values(), lr=2e-3)
    before = losses.loss(blurred, images, 1.0, torch.Generator())[1]["discriminator"]
    for _ in range(30):
        optimizer.zero_grad()
        losses.loss(blurred, images, 1.0, torch.Generator())[0].backward()
        optimizer.step()
    assert losses.loss(blurred, images, 1.0, torch.Generator())[1]["discriminator"] < 0.75 * before


def test_a_decoder_is_saved_part_of_the_way_and_a_whole_network_whole(tmp_path):
    folder = builtin_folder("builtin/blocks-perception")
    setting = Setting(0, "cpu", {"perception": folder}, Silent())
    sizes = replace(autoencoder.TINY, blend=0.25)
    scenes = open_scenes("pictures", 1, 12, 64, Silent())
    latents = Chunks([np.zeros((12, 4, 8, 8), np.float16)])
    for given, share, prefix in ((latents, 0.25, ("decoder.", "post_quant")), (None, 1.0, "")):
        network = autoencoder._network(sizes, setting)
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        work = autoencoder.Work(network, sizes, scenes, given, setting)
        trained = {name: weight + 1.0 for name, weight in work.parameters().items()}
        assert {n for n in before if n.startswith(prefix)} == trained.keys() & before.keys()
        work.save(
            tmp_path / str(share), {name: weight.detach() for name, weight in trained.items()}
        )
        saved = load_part(tmp_path / str(share)).state_dict()
        for name, weight in saved.items():
            torch.testing.assert_close(weight, before[name] + share * (name in trained))
