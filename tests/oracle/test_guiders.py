"""Rescaled guidance, perturbed attention and autoguidance: diffusers' pipelines, and the formula.

Same weights, same noise: at most 1 of 255 apart.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import pipelines

import graftwerk as gw
from graftwerk.commands.generate import run_generate
from graftwerk.errors import BadInput, UnknownName, WrongBase
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, SEED = 6, 5
LAYERS = [["mid"], ["down_blocks.0"], ["mid", "up_blocks.1"]]


@pytest.fixture(scope="module")
def pipe(text_pipeline):
    return gw.Pipeline(text_pipeline, device="cpu")


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    """A smaller model of the same latents that predicts v."""
    unet = pipelines.tiny_unet(block_out_channels=(16, 16), attention_head_dim=4)
    folder = pipelines.write_text_pipeline(tmp_path_factory.mktemp("weak") / "weak", unet=unet)
    pipelines.write_scheduler(folder, prediction_type="v_prediction")
    return folder


def theirs(kind, folder, pipe, layers=(), **options):
    """Pixels that a pipeline of diffusers makes of our noise."""
    made = kind.from_pretrained(folder, safety_checker=None)
    made.set_progress_bar_config(disable=True)
    if layers:
        made.set_pag_applied_layers(layers)
    sigma = pipe.sigmas(1)[0]
    noise = pipe.noise(2, seed=SEED) / (1 + sigma**2) ** 0.5
    images = made(["a red cube"] * 2, latents=noise, num_inference_steps=STEPS, **options).images
    return np.stack([np.asarray(image) for image in images]).astype(int)


def ours(pipe, **options):
    made = pipe.generate("a red cube", n=2, steps=STEPS, seed=SEED, sampler="model", **options)
    return np.stack([np.asarray(image) for image in made.images]).astype(int)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_rescaled_guidance_is_that_of_diffusers(tmp_path, prediction):
    from diffusers import StableDiffusionPipeline

    folder = pipelines.write_text_pipeline(tmp_path / "pipeline")
    pipelines.write_scheduler(folder, prediction_type=prediction)
    pipe = gw.Pipeline(folder, device="cpu")
    expected = theirs(
        StableDiffusionPipeline, folder, pipe, guidance_scale=7.0, guidance_rescale=0.7
    )
    assert np.abs(ours(pipe, cfg=7.0, cfg_rescale=0.7) - expected).max() <= 1
    assert np.abs(ours(pipe, cfg=7.0) - expected).max() > 5


@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_perturbed_attention_is_that_of_diffusers(text_pipeline, pipe, layers, cfg):
    from diffusers import StableDiffusionPAGPipeline

    rescale = 0.7 if cfg > 1 else 0.0  # diffusers rescales with a prompt's guidance only
    options = {"guidance_scale": cfg, "pag_scale": 12.0, "guidance_rescale": rescale}
    expected = theirs(StableDiffusionPAGPipeline, text_pipeline, pipe, layers, **options)
    found = ours(pipe, cfg=cfg, pag=12.0, pag_layers=layers, cfg_rescale=rescale)
    assert np.abs(found - expected).max() <= 1
    assert np.abs(ours(pipe, cfg=cfg, cfg_rescale=rescale) - expected).max() > 5


def test_layers_are_named_and_other_attention_is_refused(pipe, tmp_path):
    with pytest.raises(UnknownName, match=r"middle.*mid_block"):
        ours(pipe, pag=1.0, pag_layers=["middle"])
    pixels = gw.Pipeline(pipelines.write_pixel_pipeline(tmp_path / "pixels"), device="cpu")
    with pytest.raises(BadInput, match="only the attention of a U-Net"):
        pixels.generate(n=1, steps=2, pag=1.0)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_autoguidance_is_its_formula(pipe, weak, cfg):
    """Karras et al. 2024, equation 4: `D0 + w (D1 - D0)`, where the scale is `w - 1`."""
    x, sigma = 2 * pipe.noise(2, seed=1) / pipe.sigmas(1)[0], 2.0
    guided = pipe.with_(gw.Autoguide(weak, 1.5)).denoiser("a red cube", cfg=cfg)(x, sigma)
    better, worse = (
        one.denoiser("a red cube", cfg=1.0)(x, sigma) for one in (pipe, gw.Pipeline(weak))
    )
    prompted = pipe.denoiser("a red cube", cfg=cfg)(x, sigma)
    expected = worse + 2.5 * (better - worse) + (prompted - better)
    torch.testing.assert_close(guided, expected, rtol=1e-4, atol=1e-5)


def test_a_weaker_model_of_other_latents_is_refused_by_name(pipe, tmp_path):
    other = pipelines.random_network(lambda: pipelines.tiny_vae(), seed=3)
    folder = pipelines.write_text_pipeline(tmp_path / "other", vae=other)
    with pytest.raises(WrongBase) as caught:
        pipe.with_(gw.Autoguide(folder))
    assert str(folder) in str(caught.value) and pipe.name in str(caught.value)


def test_from_repeats_it_and_notices_another_weaker_model(text_pipeline, weak, tmp_path):
    options = {"prompt": "a red cube", "model": str(text_pipeline), "count": 1, "steps": 3}
    options |= {"pag": 2.0, "pag_layers": ["down"], "cfg_rescale": 0.5, "device": "cpu"}
    request = gw.Generate(**options, autoguide=[f"{weak}:0.5"], out=tmp_path / "one")
    made = run_generate(request, Silent()).pictures[0].path
    again = gw.Generate(from_=made, out=tmp_path / "two", device="cpu")
    assert (
        Path(run_generate(again, Silent()).pictures[0].path).read_bytes() == Path(made).read_bytes()
    )
    plain = gw.Generate(**options, out=tmp_path / "three")
    assert pixels(run_generate(plain, Silent()).pictures[0].path) != pixels(made)
    pipelines.write_scheduler(weak, prediction_type="epsilon")
    with pytest.raises(WrongBase, match="`autoguide`"):
        run_generate(again, Silent())


def pixels(path):
    return Image.open(path).tobytes()


def flow_latents(pipe, **options):
    made = pipe.generate("a red cube", n=2, steps=4, seed=SEED, **options)
    return made.latents


@pytest.mark.parametrize("layers", [["blocks.1"], ["blocks.1", "blocks.3"], ["mid"]], ids=str)
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_perturbed_attention_of_sd3_is_that_of_diffusers(tmp_path, layers, cfg):
    """That of diffusers ignores the norms of queries and keys, so here are none."""
    from diffusers import StableDiffusion3PAGPipeline

    network = pipelines.tiny_sd3(dual_attention_layers=(), qk_norm=None)
    folder = pipelines.write_sd3_pipeline(tmp_path / "sd3", transformer=network)
    pipe = gw.Pipeline(folder, device="cpu")
    theirs = StableDiffusion3PAGPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    theirs.set_pag_applied_layers(
        ["blocks.2" if one == "mid" else one for one in layers], theirs._pag_attn_processors
    )
    expected = theirs(
        ["a red cube"] * 2, latents=pipe.noise(2, seed=SEED), num_inference_steps=4,
        guidance_scale=cfg, pag_scale=4.0, output_type="latent",
    ).images  # fmt: skip
    found = flow_latents(pipe, cfg=cfg, pag=4.0, pag_layers=layers)
    assert (found - expected).abs().max() < 1e-3
    assert (flow_latents(pipe, cfg=cfg) - expected).abs().max() > 1e-2
    assert torch.equal(flow_latents(pipe, cfg=cfg, pag=0.0), flow_latents(pipe, cfg=cfg))


def test_perturbed_attention_of_other_transformers(tmp_path, monkeypatch):
    """With norms and dual attention (SD3.5): each location sees itself and the text, literally."""
    pipe = gw.Pipeline(pipelines.write_sd3_pipeline(tmp_path / "sd3"), device="cpu")
    frozen = pipe.steered.frozen
    texts = frozen.reader.read(["a red cube"])
    x, sigma = pipe.noise(1, seed=1), 0.6
    worse = frozen.denoiser(texts).perturb(["blocks.0"])(x, sigma)
    attend, counts = torch.nn.functional.scaled_dot_product_attention, []

    def literally(query, key, value, **_):
        counts.append(query.shape[2])
        if len(counts) > 2:  # the first block calls it twice: with the text and without
            return attend(query, key, value)
        tokens = 16
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        others = torch.ones(tokens, tokens).bool() & ~torch.eye(tokens).bool()
        scores[..., :tokens, :tokens].masked_fill_(others, -torch.inf)
        return scores.softmax(dim=-1) @ value

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", literally)
        expected = frozen.denoiser(texts)(x, sigma)
    assert counts[0] > 16 and counts[1] == 16
    torch.testing.assert_close(worse, expected, atol=1e-5, rtol=1e-5)
    assert (worse - frozen.denoiser(texts)(x, sigma)).abs().max() > 1e-3

    dit = gw.Pipeline(pipelines.write_dit_pipeline(tmp_path / "dit"), device="cpu")
    plain, made = (dit.generate("sphere", n=1, steps=2, pag=pag).latents for pag in (0.0, 3.0))
    assert (plain - made).abs().max() > 1e-2
    flux = gw.Pipeline(pipelines.write_flux_pipeline(tmp_path / "flux"), device="cpu")
    with pytest.raises(BadInput, match="of SD3 and of DiT can be perturbed"):
        flux.generate("a cube", n=1, steps=2, pag=1.0, width=16, height=16)
    with pytest.raises(UnknownName, match=r"blocks\.9"):
        pipe.generate("a cube", n=1, steps=2, pag=1.0, pag_layers=["blocks.9"])
