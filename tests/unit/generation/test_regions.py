"""Regional prompts: their laws, what is blended, and their record."""

import numpy as np
import pytest
import torch
from PIL import Image

import graftwerk as gw
from graftwerk.commands.generate import run_generate
from graftwerk.diffusion.img2img import Regions
from graftwerk.diffusion.prompts import TextStates
from graftwerk.errors import BadInput, WrongBase
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 16
WHITE = np.full((SIDE, SIDE), 255, dtype=np.uint8)
LEFT, RIGHT = WHITE.copy(), WHITE.copy()
LEFT[:, SIDE // 2 :], RIGHT[:, : SIDE // 2] = 0, 0
GIVEN = {"n": 2, "steps": 4, "seed": 5, "check": False}


@pytest.fixture(scope="module")
def pipe(text_pipeline):
    return gw.Pipeline(text_pipeline, device="cpu")


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("name", ["pipe", "xl"])
def test_a_full_mask_is_plain_generation(request, pipe, name, cfg):
    if name == "xl":
        pipe = gw.Pipeline(request.getfixturevalue("xl_pipeline"), device="cpu")
    options = GIVEN | {"cfg": cfg, "pag": 1.0}
    plain = pipe.generate("a red cube", **options).latents
    for rest in ("", "a blue cone"):
        found = pipe.generate(rest, regions={"a red cube": WHITE}, **options).latents
        assert torch.equal(found, plain)
    assert torch.equal(pipe.generate("a red cube", regions={}, **options).latents, plain)
    halves = pipe.generate("", regions={"a red cube": LEFT, "a blue cone": RIGHT}, **options)
    assert not torch.allclose(halves.latents, plain, atol=1e-2)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_each_region_has_its_own_prediction(pipe, cfg):
    """One evaluation: each half is what its prompt alone predicts there, guided or not."""
    x, sigma = pipe.noise(2, seed=1), pipe.sigmas(1)[0]
    masks = {"a red cube": LEFT, "a blue cone": RIGHT}
    found = pipe.denoiser("a green sphere", cfg=cfg, regions=masks)(x, sigma)
    halves = [pipe.denoiser(prompt, cfg=cfg)(x, sigma) for prompt in masks]
    torch.testing.assert_close(found[..., :4], halves[0][..., :4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[..., 4:], halves[1][..., 4:], rtol=1e-4, atol=1e-4)
    # and a level for each row
    levels = torch.tensor([sigma, 2.0])
    rows = pipe.denoiser("", cfg=cfg, regions=masks)(x, levels)
    torch.testing.assert_close(rows[:1], found[:1], rtol=1e-4, atol=1e-4)


def test_what_is_left_has_the_first_prompt_and_overlaps_are_shared():
    shares = torch.tensor([[0.5], [0.25], [0.25]]).view(3, 1, 1, 1)
    regions = Regions(TextStates(torch.zeros(3, 1, 1)), shares)

    def network(x, sigma):
        return x * torch.arange(len(x)).view(-1, 1, 1, 1)

    x = torch.ones(1, 1, 1, 2)
    assert torch.equal(regions.wrap(network, away=False)(x, 1.0), 0.75 * x)
    both = regions.wrap(network, away=True)(torch.cat([x, x]), 1.0)
    assert torch.equal(both, torch.cat([0.75 * x, 3 * x]))


def test_a_black_mask_and_a_form_that_is_none_are_refused(pipe):
    with pytest.raises(BadInput, match="black all over"):
        pipe.generate("", regions={"a red cube": 0 * WHITE}, **GIVEN)
    for entry in ("a red cube", "#mask.png", "a red cube#"):
        with pytest.raises(BadInput, match="PROMPT#MASK"):
            run_generate(gw.Generate(prompt="", region=[entry]), Silent())


def test_from_repeats_it_and_notices_another_mask(text_pipeline, tmp_path):
    mask = tmp_path / "left.png"
    Image.fromarray(LEFT).save(mask)
    options = {"model": str(text_pipeline), "count": 1, "steps": 3, "device": "cpu"}
    request = gw.Generate(
        prompt="a blue cone", region=[f"a red cube#{mask}"], out=tmp_path / "one", **options
    )
    made = run_generate(request, Silent()).pictures[0].path
    again = gw.Generate(from_=made, out=tmp_path / "two", device="cpu")
    with Image.open(made) as one, Image.open(run_generate(again, Silent()).pictures[0].path) as two:
        assert one.tobytes() == two.tobytes()
    Image.fromarray(RIGHT).save(mask)
    with pytest.raises(WrongBase, match="`region`"):
        run_generate(again, Silent())
