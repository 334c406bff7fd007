"""The built-in pipeline draws in diffusers what `graft generate` draws, from the same noise."""

import numpy as np
import pytest
import torch
from PIL import Image

import graftwerk
from graftwerk.commands import generate
from graftwerk.diffusion.sampling import image_seed
from graftwerk.models.hub import builtin_folder
from graftwerk.types import Silent

PROMPT, STEPS, WEIGHT, SEED = "a red cube and a blue cone on grass", 6, 5.0, 3


@pytest.mark.usefixtures("one_thread")
def test_the_same_image(tmp_path):
    from diffusers import StableDiffusionPipeline

    request = graftwerk.Generate(
        prompt=PROMPT,
        steps=STEPS,
        sampler="ddim",
        schedule="model",
        cfg=WEIGHT,
        seed=SEED,
        out=tmp_path,
    )
    sampled = np.asarray(
        Image.open(generate.run_generate(request, Silent()).pictures[0].path), dtype=int
    )
    pipeline = StableDiffusionPipeline.from_pretrained(builtin_folder("builtin/blocks"))
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(image_seed(SEED, 0))
    shape = (1, pipeline.unet.config.in_channels, 8, 8)
    theirs = pipeline(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=WEIGHT,
        latents=torch.randn(shape, generator=generator),
        width=64,
        height=64,
        output_type="np",
    ).images[0]
    assert np.abs(sampled - np.round(theirs * 255)).max() <= 1  # rounding of the last bits
    assert sampled.std() > 10  # an image
