"""Half precision: smaller weights, the sampler in float32, and no farther off than diffusers."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests import pipelines

import graftwerk as gw
from graftwerk.adapters.lora import Rank, install
from graftwerk.commands.generate import run_generate
from graftwerk.controlnet.branch import Shape, make_branch, weights_of
from graftwerk.controlnet.checkpoint import write_controlnet
from graftwerk.diffusion.sampling import image_seed
from graftwerk.errors import BadInput, BadValue
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
LOOK = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
GIVEN = {"n": 2, "steps": 6, "seed": 5, "cfg": 3.0, "check": False}


def pixels(images):
    return np.stack([np.asarray(image) for image in images]).astype(float)


def test_bfloat16_is_no_farther_from_float32_than_that_of_diffusers(text_pipeline):
    from diffusers import StableDiffusionPipeline

    options = GIVEN | {"sampler": "model", "cfg": 5.0}
    full, half = (
        gw.Pipeline(text_pipeline, device="cpu", precision=precision)
        for precision in ("float32", "bfloat16")
    )
    theirs = StableDiffusionPipeline.from_pretrained(
        text_pipeline, safety_checker=None, dtype=torch.bfloat16
    )
    theirs.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(image_seed(5, number)) for number in range(2)]
    noise = torch.stack([torch.randn(4, 8, 8, generator=seed) for seed in seeds])
    made = theirs(
        ["a red cube"] * 2, latents=noise.bfloat16(), num_inference_steps=6, guidance_scale=5.0
    )
    expected = pixels(full.generate("a red cube", **options).images)
    ours = np.abs(pixels(half.generate("a red cube", **options).images) - expected).mean()
    assert 0 < ours <= np.abs(pixels(made.images) - expected).mean()
    assert half.fingerprint == full.fingerprint


def test_everything_works_in_bfloat16(text_pipeline, tmp_path):
    base = gw.Pipeline(text_pipeline, device="cpu").steered.frozen
    generator = torch.Generator().manual_seed(4)
    branch = make_branch(base.unet, Shape(base.factor), generator)
    lora = install(base.unet, Rank(2), generator, base.fingerprint)
    with torch.no_grad():
        for weight in [*lora.parameters().values(), *weights_of(branch).values()]:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    lora.save(tmp_path / "lora", base.name, {}, part="unet")
    lora.remove()
    (tmp_path / "branch").mkdir()
    write_controlnet(tmp_path / "branch", branch, base.unet)
    pipe = gw.Pipeline(text_pipeline, device="cpu", precision="bfloat16")
    network = pipe.steered.frozen
    assert {weight.dtype for weight in network.unet.parameters()} == {torch.bfloat16}
    control = gw.ControlNet(tmp_path / "branch", condition="depth")
    unet = pipelines.tiny_unet(block_out_channels=(16, 16), attention_head_dim=4)
    weak = pipelines.write_text_pipeline(tmp_path / "weak", unet=unet)
    for adapter in (
        gw.Lora(tmp_path / "lora"),
        control(LOOK),
        control(LOOK, mask=LOOK),
        gw.Guide(lambda images: -images.mean(dim=(1, 2, 3)), 5.0, reads="images"),
        gw.Autoguide(weak, 0.5),
    ):
        made = pipe.with_(adapter).generate("a red cube", pag=1.0, cfg_rescale=0.5, **GIVEN)
        assert made.latents.dtype == torch.float32
        assert not torch.equal(made.latents, pipe.generate("a red cube", **GIVEN).latents)
    inpainted = pipe.generate("a red cube", init=LOOK, mask=LOOK, strength=0.6, **GIVEN)
    assert inpainted.report.start.outside == 0
    pooled = gw.Pipeline(pipelines.write_xl_pipeline(tmp_path / "xl"), precision="bfloat16")
    assert pooled.generate("a red cube", **GIVEN).latents.isfinite().all()


def test_float16_on_a_cpu_is_refused_and_a_record_says_the_precision(text_pipeline, tmp_path):
    with pytest.raises(BadInput, match="float16 on a CPU"):
        gw.Pipeline(text_pipeline, device="cpu", precision="float16")
    with pytest.raises(BadValue, match="precision"):
        gw.Generate(prompt="", precision="fp8")
    options = {"model": str(text_pipeline), "count": 1, "steps": 3, "device": "cpu"}
    request = gw.Generate(
        prompt="a red cube", precision="bfloat16", out=tmp_path / "one", **options
    )
    made = run_generate(request, Silent()).pictures[0].path
    again = run_generate(gw.Generate(from_=made, out=tmp_path / "two", device="cpu"), Silent())
    with Image.open(made) as one, Image.open(again.pictures[0].path) as two:
        assert one.tobytes() == two.tobytes()
    plain = gw.Generate(prompt="a red cube", out=tmp_path / "three", **options)
    with Image.open(made) as one, Image.open(run_generate(plain, Silent()).pictures[0].path) as two:
        assert one.tobytes() != two.tobytes()
