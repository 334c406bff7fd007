"""Batches of images whose noise is their own."""

from dataclasses import fields

import pytest
import torch

from graftwerk.diffusion.guidance import Guidance
from graftwerk.diffusion.noise_schedule import noise_levels
from graftwerk.diffusion.pipeline import DiffusionModel, load_diffusion
from graftwerk.diffusion.sampling import (
    Plan,
    batches,
    contact_sheet,
    decode,
    image_seed,
    sample_batch,
)
from graftwerk.errors import BadInput, Cancelled, Failure, UnknownName
from graftwerk.requests.generate import SAMPLERS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(text_pipeline):
    return load_diffusion(str(text_pipeline), "cpu")


def plan_of(model, sampler="dpmpp_2m", eta=0.0, weight=4.0):
    texts = model.reader.read(["a red cube"])
    return Plan(
        texts=texts,
        away=model.reader.read_nothing(texts),
        guidance=Guidance(weight),
        sampler=sampler,
        eta=eta,
        sigmas=noise_levels(model.noise, 4, "karras", sampler),
        steps=4,
        shape=model.shape(16, 16),
        seed=9,
    )


def test_seeds_differ_and_stay() -> None:
    seeds = {image_seed(seed, number) for seed in (0, 1, 2**62) for number in range(100)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert image_seed(7, 3) == 2530781778362038830  # images of former versions stay theirs


def test_batches_hold_every_image_once() -> None:
    for count, width, height in ((1, 64, 64), (40, 64, 64), (5, 512, 512), (3, 4096, 4096)):
        found = batches(count, width, height, "cpu")
        assert [number for batch in found for number in batch] == list(range(count))
    assert len(batches(40, 64, 64, "cpu")) == 3
    assert len(batches(5, 512, 512, "cpu")) == 5


@pytest.mark.parametrize(("sampler", "eta"), [*((name, 0.0) for name in SAMPLERS), ("ddim", 1.0)])
def test_an_image_depends_on_seed_and_number_alone(model, sampler, eta) -> None:
    plan = plan_of(model, sampler, eta)
    together = sample_batch(model, plan, range(4))
    again = sample_batch(model, plan, range(4))
    assert torch.equal(together, again)
    alone = sample_batch(model, plan, [2])
    # a batch of another size sums in another order
    assert torch.allclose(together[2:3], alone, atol=1e-4 * together.abs().max().item())
    assert not torch.allclose(together[1], together[2], atol=1e-2)


def test_the_caller_may_stop_at_any_step(model) -> None:
    seen = []

    def watch(step):
        seen.append(step.number)
        if step.number == 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sample_batch(model, plan_of(model), [0], watch)
    assert seen == [1, 2]


def test_values_that_are_not_finite(text_pipeline) -> None:
    model = load_diffusion(str(text_pipeline), "cpu")
    model.unet.conv_out.bias[0] = float("nan")
    with pytest.raises(Failure, match="not finite"):
        sample_batch(model, plan_of(model), [0])


def test_unknown_samplers(model) -> None:
    with pytest.raises(UnknownName, match="Did you mean euler"):
        sample_batch(model, plan_of(model, "eulr"), [0])
    with pytest.raises(BadInput, match="takes no eta"):
        sample_batch(model, plan_of(model, "euler", eta=0.5), [0])


def test_images_and_their_sheet(model) -> None:
    images = decode(model, sample_batch(model, plan_of(model), range(5)))
    assert {image.size for image in images} == {(16, 16)}
    assert {image.mode for image in images} == {"RGB"}
    sheet = contact_sheet(images)
    assert sheet.size == (3 * 20 + 4, 2 * 20 + 4)
    assert sheet.crop((24, 4, 40, 20)).tobytes() == images[1].tobytes()
    assert list(sheet.crop((44, 24, 60, 40)).getcolors()) == [(256, (255, 255, 255))]


def test_a_large_sheet_is_made_smaller(model) -> None:
    from PIL import Image

    sheet = contact_sheet([Image.new("L", (3000, 1500))] * 4)
    assert max(sheet.size) <= 4096 + 4
    assert sheet.size[0] == pytest.approx(2 * sheet.size[1], abs=16)


@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "not finite"), (0.3, "a single color"), (2.0, "single")]
)
def test_an_image_that_is_none_is_an_error(model, value, words) -> None:
    class Flat(DiffusionModel):
        def decode(self, drawn):
            decoded = torch.rand(len(drawn), 3, 8, 8)
            decoded[-1] = value
            return decoded.clamp(0, 1)

    flat = Flat(**{field.name: getattr(model, field.name) for field in fields(model)})
    with pytest.raises(Failure, match=words):
        decode(flat, torch.zeros(2, 4, 8, 8))
