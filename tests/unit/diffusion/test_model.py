"""Loaded pipelines against diffusers' own, on the same weights and noise."""

import shutil

import numpy as np
import pytest
import torch

import graftwerk as gw
from graftwerk.diffusion.guidance import Guidance, compose
from graftwerk.diffusion.noise_schedule import final, initial, noise_levels
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.diffusion.prompts import join
from graftwerk.diffusion.samplers import find_sampler
from graftwerk.errors import BadInput, UnknownName

PROMPT, NEGATIVE = "a red cube on grass", "snow"
STEPS = 6
# Measured: 2e-6 for latents and images; the pipeline writes guidance as u + w (c - u).
TOLERANCE = 2e-5
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def model(text_pipeline):
    return load_diffusion(str(text_pipeline), "cpu")


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def draw(model, start, texts, away, weight, sampler):
    """Latents or pixels of the model's own schedule."""
    sigmas = noise_levels(model.noise, STEPS, "model")
    both = None if away is None else model.denoiser(join(texts, away))
    denoise = compose(model.denoiser(texts), both, Guidance(weight), model.noise.clamp)
    run = find_sampler(sampler, torch.Generator().manual_seed(4))
    with torch.inference_mode():
        return final(run(denoise, initial(start, sigmas[0]), sigmas), sigmas[-1])


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("negative", ["", NEGATIVE])
def test_stable_diffusion(model, text_pipeline, negative) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = quiet(StableDiffusionPipeline.from_pretrained(text_pipeline, safety_checker=None))
    start = noise(2, 4, 8, 8)
    options = {
        "num_inference_steps": STEPS,
        "guidance_scale": 4.0,
        "negative_prompt": negative or None,
        "num_images_per_prompt": 2,
        "latents": start,
        "height": 16,
        "width": 16,
    }
    latents = pipeline(PROMPT, output_type="latent", **options).images
    texts = model.reader.read([PROMPT])
    away = model.reader.read([negative]) if negative else model.reader.read_nothing(texts)
    sampled = draw(model, start, texts, away, 4.0, "ddim")
    assert (sampled - latents).abs().max() <= TOLERANCE * latents.abs().max()
    images = pipeline(PROMPT, output_type="pt", **options).images
    with torch.inference_mode():
        assert (model.decode(sampled) - images).abs().max() <= TOLERANCE


def test_stable_diffusion_xl(xl_pipeline) -> None:
    from diffusers import StableDiffusionXLPipeline

    pipeline = quiet(StableDiffusionXLPipeline.from_pretrained(xl_pipeline, add_watermarker=False))
    model = load_diffusion(str(xl_pipeline), "cpu")
    start = noise(2, 4, 4, 8)
    latents = pipeline(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        num_images_per_prompt=2,
        latents=start,
        height=8,
        width=16,
        output_type="latent",
    ).images
    texts = model.reader.read([PROMPT])
    sampled = draw(model, start, texts, model.reader.read_nothing(texts), 4.0, "euler")
    assert (sampled - latents).abs().max() <= TOLERANCE * latents.abs().max()
    # no prompt is all zeros for this model, a negative prompt is not
    assert not model.reader.read_nothing(texts).states.any()


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_an_empty_prompt_of_xl_is_read_and_moved_away_from_zeros(xl_pipeline, cfg) -> None:
    from diffusers import StableDiffusionXLPipeline

    pipeline = quiet(StableDiffusionXLPipeline.from_pretrained(xl_pipeline, add_watermarker=False))
    ours = gw.Pipeline(xl_pipeline, device="cpu")
    start = ours.noise(1, seed=5) / ours.sigmas(25)[0]
    given = {"num_inference_steps": STEPS, "guidance_scale": cfg, "height": 16, "width": 16}
    theirs = pipeline("", latents=start, **given).images[0]
    options = {"n": 1, "steps": STEPS, "seed": 5, "cfg": cfg, "check": False}
    found = ours.generate("", sampler="model", schedule="model", **options).images[0]
    assert np.abs(np.asarray(theirs).astype(int) - np.asarray(found)).max() <= 1


def test_pixels(pixel_pipeline) -> None:
    from diffusers import DDPMPipeline

    pipeline = quiet(DDPMPipeline.from_pretrained(pixel_pipeline))
    model = load_diffusion(str(pixel_pipeline), "cpu")
    theirs = pipeline(
        batch_size=2,
        generator=torch.Generator().manual_seed(5),
        num_inference_steps=STEPS,
        output_type="np",
    ).images
    generator = torch.Generator().manual_seed(5)
    sigmas = noise_levels(model.noise, STEPS, "model")
    start = torch.randn(2, 3, 8, 8, generator=generator)
    denoise = compose(model.denoiser(None), clamp=model.noise.clamp)
    with torch.inference_mode():
        sampled = find_sampler("ddpm", generator)(denoise, initial(start, sigmas[0]), sigmas)
        ours = model.decode(sampled).permute(0, 2, 3, 1).numpy()
    assert abs(ours - theirs).max() <= TOLERANCE


def test_what_a_model_says_of_itself(model, pixel_pipeline) -> None:
    assert (model.channels, model.factor, model.size) == (4, 2, (16, 16))
    assert model.shape(20, 12) == (4, 6, 10)
    pixels = load_diffusion(str(pixel_pipeline), "cpu")
    assert (pixels.channels, pixels.factor, pixels.multiple, pixels.size) == (3, 1, 2, (8, 8))
    assert pixels.reader is None


@pytest.mark.parametrize(("width", "height"), [(17, 16), (16, 1), (15, 15)])
def test_an_impossible_size(model, width, height) -> None:
    with pytest.raises(BadInput, match="multiples of 2"):
        model.shape(width, height)


def test_a_level_for_each_row_is_the_level_of_all(model) -> None:
    denoise = model.denoiser(model.reader.read([PROMPT]))
    x = noise(3, 4, 8, 8)
    with torch.inference_mode():
        each = denoise(x, torch.tensor([0.5, 2.0, 9.0]))
        for row, sigma in enumerate((0.5, 2.0, 9.0)):
            assert torch.allclose(each[row], denoise(x, sigma)[row], atol=1e-5)


def test_rows_belong_to_prompts_in_order(model) -> None:
    first, second = model.reader.read(["a red cube"]), model.reader.read(["a blue cone"])
    x = noise(4, 4, 8, 8)
    with torch.inference_mode():
        found = model.denoiser(join(first, second))(x, 3.0)
        assert torch.allclose(found[:2], model.denoiser(first)(x[:2], 3.0), atol=1e-5)
        assert torch.allclose(found[2:], model.denoiser(second)(x[2:], 3.0), atol=1e-5)
        assert not torch.allclose(found[2:], model.denoiser(first)(x[2:], 3.0), atol=1e-3)
    with pytest.raises(ValueError, match="3 rows for 2 prompts"):
        model.denoiser(join(first, second))(x[:3], 3.0)


def test_gradients_reach_the_input_and_no_weight(model) -> None:
    """Guidance by a gradient needs the one, and the frozen law the other."""
    x = noise(1, 4, 8, 8).requires_grad_()
    model.denoiser(model.reader.read([PROMPT]))(x, 3.0).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert not any(
        p.requires_grad for part in (model.unet, model.decoder) for p in part.parameters()
    )


def test_a_prompt_for_a_model_that_takes_none(model, pixel_pipeline) -> None:
    texts = model.reader.read([PROMPT])
    with pytest.raises(BadInput, match="takes no prompt"):
        load_diffusion(str(pixel_pipeline), "cpu").denoiser(texts)
    with pytest.raises(BadInput, match="needs a prompt"):
        model.denoiser(None)


def test_what_a_prompt_loses(model) -> None:
    assert model.reader.cut_from("") == ""
    assert model.reader.cut_from("a red cube") == ""
    words = ["a red cube and a blue cone on snow"] * 1250
    cut = model.reader.cut_from(" ".join(words))
    assert cut.startswith("blue cone on")  # 14 tokens are read: the model's 16 without marks
    assert len(cut.split()) == 9 * 1250 - 14
    whole, read = (
        model.reader.read([" ".join(words)]),
        model.reader.read([" ".join(words)[: -len(cut)]]),
    )
    assert torch.equal(whole.states, read.states)


def test_built_in_names() -> None:
    assert load_diffusion("builtin/blocks", "cpu").size == (128, 128)
    with pytest.raises(UnknownName, match="Did you mean builtin/blocks"):
        load_diffusion("builtin/block")


def test_loading_leaves_the_global_seed_alone(text_pipeline, tmp_path) -> None:
    state = torch.get_rng_state()
    folder = shutil.copytree(text_pipeline, tmp_path / "copy")
    load_diffusion(str(folder), "cpu")
    assert torch.equal(torch.get_rng_state(), state)
