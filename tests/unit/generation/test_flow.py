"""Workflows on a model of flow matching, and on one of classes: starts, LoRAs, guides, records."""

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from tests import pipelines

import graftwerk as gw
from graftwerk.commands.generate import run_generate
from graftwerk.diffusion.sampling import image_seed
from graftwerk.errors import BadFile, BadInput, GraftError, UnknownName
from graftwerk.generation.provenance import read_record
from graftwerk.probing.locations import open_location
from graftwerk.types import Silent

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
SIDE, PROMPT = 16, "a red cube"
PHOTO = Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
LEFT = np.zeros((SIDE, SIDE), dtype=np.uint8)
LEFT[:, :8] = 255
GIVEN = {"n": 2, "steps": 5, "seed": 5, "cfg": 3.0, "check": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pipelines.write_sd3_pipeline(tmp_path_factory.mktemp("flow") / "sd3")


@pytest.fixture(scope="module")
def pipe(folder):
    return gw.Pipeline(folder, device="cpu")


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return pipelines.write_dit_pipeline(tmp_path_factory.mktemp("flow") / "dit")


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    return pipelines.write_flux_pipeline(tmp_path_factory.mktemp("flow") / "flux")


def generate(pipe, **options):
    return pipe.generate(PROMPT, **(GIVEN | options))


def pixels(made):
    return np.stack([np.asarray(image) for image in made.images]).astype(int)


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("kind", ["Img2Img", "Inpaint"])
def test_starts_are_those_of_diffusers(tmp_path, kind, strength, monkeypatch) -> None:
    mode = DiagonalGaussianDistribution.mode  # where diffusers samples latents of the image
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, _=None: mode(self))
    vae = pipelines.tiny_vae(16, (16, 16, 16, 16))  # its factor is 8, the one they take masks by
    vae.register_to_config(scaling_factor=1.5, shift_factor=0.06)
    network = pipelines.tiny_sd3(in_channels=16, out_channels=16)
    folder = pipelines.write_sd3_pipeline(tmp_path, vae=vae, transformer=network)
    theirs = getattr(diffusers, f"StableDiffusion3{kind}Pipeline").from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    pipe = gw.Pipeline(folder, device="cpu")
    photo = PHOTO.resize((64, 64), Image.Resampling.BICUBIC)
    given = {"num_inference_steps": 10, "guidance_scale": 3.0, "strength": strength}
    ours = {"init": photo}
    if kind == "Inpaint":
        mask = Image.fromarray(np.kron(LEFT, np.ones((4, 4), np.uint8)))
        given |= {"mask_image": mask, "height": 64, "width": 64}
        ours |= {"mask": mask}
    generator = [torch.Generator().manual_seed(image_seed(5, 0))]
    expected = theirs(
        PROMPT, image=photo, generator=generator, output_type="latent", **given
    ).images
    made = pipe.generate(
        PROMPT, n=1, steps=10, seed=5, cfg=3.0, strength=strength, paste=False, **ours
    )
    assert (made.latents - expected).abs().max() < 1e-3


def test_the_laws_of_a_start(pipe) -> None:
    made = generate(pipe, init=PHOTO, strength=0.0)
    assert (pixels(made) == np.asarray(PHOTO)).all()
    white = np.full((SIDE, SIDE), 255, np.uint8)
    for sampler in (None, "heun", "dpmpp_2m", "ddpm"):
        plain = generate(pipe, sampler=sampler)
        assert torch.equal(
            generate(pipe, init=PHOTO, mask=white, sampler=sampler).latents, plain.latents
        )
        half = generate(pipe, init=PHOTO, mask=LEFT, sampler=sampler)
        assert half.report.start.outside == 0 and half.report.start.changed > 0
        assert torch.equal(half.latents[:1, ..., 4:], pipe.encode([PHOTO])[..., 4:])


def test_by_hand_it_is_the_same(pipe) -> None:
    denoise, sigmas = pipe.denoiser(PROMPT, cfg=3.0, steps=5), pipe.sigmas(5)
    assert sigmas[0] == 1.0 and sigmas[-1] == 0.0
    x = gw.samplers.euler(denoise, pipe.noise(2, seed=5), sigmas)
    assert torch.equal(x, generate(pipe).latents)
    mask = torch.from_numpy(LEFT[::2, ::2] > 0)[None, None]
    clean, noise = pipe.encode([PHOTO]), pipe.noise(1, seed=5)
    masked = gw.inpainted(denoise, clean, mask, noise, flows=True)
    x = gw.samplers.euler(masked, (1 - sigmas[2]) * clean + sigmas[2] * noise, sigmas[2:])
    made = generate(pipe, init=PHOTO, strength=0.6, mask=LEFT, n=1)
    assert (x - made.latents)[..., :4].abs().max() < 1e-5


def test_a_lora_of_diffusers_is_diffusers(folder, pipe, tmp_path) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    theirs = diffusers.StableDiffusion3Pipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    targets = ["attn.to_q", "attn.add_k_proj", "ff.net.2", "attn.to_out.0"]
    theirs.transformer.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    generator = torch.Generator().manual_seed(2)
    for name, weight in theirs.transformer.named_parameters():
        if "lora_B" in name:
            weight.data = 0.2 * torch.randn(weight.shape, generator=generator)
    layers = get_peft_model_state_dict(theirs.transformer)
    theirs.save_lora_weights(tmp_path, transformer_lora_layers=layers)
    again = diffusers.StableDiffusion3Pipeline.from_pretrained(folder)
    again.set_progress_bar_config(disable=True)
    again.load_lora_weights(tmp_path)
    asked = {"num_inference_steps": 5, "guidance_scale": 3.0, "output_type": "latent"}
    expected = again(PROMPT, latents=pipe.noise(1, seed=5), height=16, width=16, **asked).images
    made = generate(pipe.with_(gw.Lora(tmp_path)), n=1)
    assert (made.latents - expected).abs().max() < 1e-3
    assert (made.latents - generate(pipe, n=1).latents).abs().max() > 0.01


def test_a_lora_is_trained_on_a_transformer(folder, captioned_images, tmp_path) -> None:
    gw.run(
        gw.LoraTrain(
            task="generate", model=str(folder), data=captioned_images, out=tmp_path / "l", steps=4, device="cpu",
        )
    )  # fmt: skip
    pipe = gw.Pipeline(folder, device="cpu")
    steered = pipe.with_(gw.Lora(tmp_path / "l"))
    assert not torch.equal(generate(steered).latents, generate(pipe).latents)


def ask(folder, out, **changes):
    given = {"model": str(folder), "steps": 3, "count": 2, "seed": 5, "out": out}
    return gw.Generate(**(given | {"prompt": PROMPT} | changes))


@pytest.mark.parametrize("kind", ["sd3", "dit", "flux"])
def test_the_command_its_record_and_its_repeat(folder, classes, flux, kind, tmp_path) -> None:
    model = {"sd3": folder, "dit": classes, "flux": flux}[kind]
    size = {"width": 16, "height": 16} if kind == "flux" else {}
    prompt = "sphere" if kind == "dit" else PROMPT
    report = run_generate(ask(model, tmp_path / "out", prompt=prompt, **size), Silent())
    assert (report.width, report.height) == (16, 16)
    assert report.sampler == ("dpmpp_2m" if kind == "dit" else "euler")
    origin = Path(report.pictures[1].path)
    record = read_record(origin).request
    assert record.schedule == ("karras" if kind == "dit" else "model")
    assert record.cfg == (3.5 if kind == "flux" else 5.0)
    again = run_generate(gw.Generate(from_=origin, out=tmp_path / "again"), Silent())
    assert Path(again.pictures[0].path).read_bytes() == origin.read_bytes()


def test_models_info(folder, classes, flux) -> None:
    for name, predicts, draws in (
        (folder, "flow", "16 x 16 pixels, 1/2 latents"),
        (classes, "epsilon", "16 x 16 pixels, 1/2 latents"),
        (flux, "flow", "256 x 256 pixels, 1/2 latents"),
    ):
        card = gw.run(gw.ModelsInfo(name=str(name), device="cpu"))
        assert card.kind == "diffusion pipeline" and card.reads == ["text"]
        assert (card.details["predicts"], card.details["draws"]) == (predicts, draws)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "karras"}, "trained by flow matching"),
        ({"sampler": "tcd"}, "'tcd' is not for flow matching"),
        ({"sampler": "model", "eta": 0.5}, "'model' with eta 0.5"),
        ({"width": 18}, "multiples of 4"),
        ({"width": 68}, "more than .* has positions for"),
        ({"guide": ["class=red cube:3"], "guide_interval": "0.1:1"}, "`guide_interval` counts"),
    ],
)
def test_what_is_refused(folder, tmp_path, options, message) -> None:
    with pytest.raises(BadInput, match=message):
        run_generate(ask(folder, tmp_path / "out", **options), Silent())
    assert not (tmp_path / "out").exists()


def test_what_the_others_refuse(classes, flux, tmp_path) -> None:
    with pytest.raises(UnknownName, match=r"'cubes' is not known\. Did you mean cube"):
        run_generate(ask(classes, tmp_path / "out", prompt="cubes"), Silent())
    with pytest.raises(UnknownName, match="'1000' is not known"):
        run_generate(ask(classes, tmp_path / "out", prompt="1000"), Silent())
    with pytest.raises(BadInput, match="generates squares, not 16 x 8"):
        run_generate(ask(classes, tmp_path / "out", prompt="7", height=8), Silent())
    with pytest.raises(BadInput, match="takes no `negative`"):
        run_generate(ask(flux, tmp_path / "out", negative="a cone"), Silent())


def test_what_needs_a_u_net(folder, classes, captioned_images, tmp_path) -> None:
    with pytest.raises(BadInput, match="not a U-Net"):
        open_location(str(classes), "middle", 0.5, "cpu")
    assert open_location(str(folder), "latent", 0.5, "cpu").model is None
    request = gw.ControlAblation(
        data=captioned_images, model=str(folder), condition="canny", out=tmp_path / "a", steps=2
    )
    with pytest.raises(BadInput, match="has no skip connections"):
        gw.run(request)


def change(file, **changes) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler", {"invert_sigmas": True}, "sets invert_sigmas"),
        ("scheduler", {"sigma_data": 0.5}, "sets sigma_data, which is not known here"),
        ("scheduler", {"_class_name": "DDIMScheduler"}, "'DDIMScheduler', which is not known here for"),
        ("scheduler", {"use_karras_sigmas": True, "use_beta_sigmas": True}, "makes no sense"),
        ("scheduler", {"time_shift_type": "cubic"}, "makes no sense"),
        ("scheduler", {"shift": -1.0}, "makes no sense"),
        ("scheduler", {"use_dynamic_shifting": True, "max_image_seq_len": 256}, "makes no sense"),
        ("index", {"text_encoder": [None, None]}, "names no text_encoder"),
        ("index", {"transformer": ["diffusers", "FluxTransformer2DModel"]}, "not a SD3"),
        ("index", {"text_encoder_3": ["transformers", "CLIPTextModel"]}, "as text_encoder_3"),
        ("index", {"text_encoder_2": ["transformers", "T5EncoderModel"]}, "not a CLIPTextModelWith"),
        ("transformer", {"pooled_projection_dim": 20}, "do not fit"),
        ("transformer", {"num_layers": 5}, "do not fit"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(folder, tmp_path, file, changes, message) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy")
    path = {"index": "model_index.json", "scheduler": "scheduler/scheduler_config.json"}.get(
        file, f"{file}/config.json"
    )
    change(copied / path, **changes)
    with pytest.raises(BadFile, match=message):
        gw.Pipeline(copied, device="cpu")


def test_a_tokenizer_without_its_file_is_refused(folder, tmp_path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy")
    (copied / "tokenizer_3" / "tokenizer.json").unlink()
    with pytest.raises(GraftError, match=r"tokenizer_3 has no tokenizer\.json"):
        gw.Pipeline(copied, device="cpu")


def test_a_dit_of_2023(classes, tmp_path) -> None:
    """Their folders name the class that diffusers had before."""
    copied = shutil.copytree(classes, tmp_path / "copy")
    change(copied / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    change(copied / "transformer" / "config.json", _class_name="Transformer2DModel")
    made = [gw.Pipeline(one, device="cpu").generate("1", n=1, steps=2) for one in (classes, copied)]
    assert torch.equal(made[0].latents, made[1].latents)
