"""img2img and inpainting: their laws, and agreement with the pipelines of diffusers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import pipelines
from tests.support import Recorder

import graftwerk as gw
from graftwerk.adapters.lora import Rank, install
from graftwerk.commands.generate import run_generate
from graftwerk.controlnet.branch import Shape, make_branch, weights_of
from graftwerk.controlnet.checkpoint import write_controlnet
from graftwerk.diffusion.sampling import image_seed
from graftwerk.errors import BadInput, WrongBase
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 16
PHOTO = Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
LEFT = np.zeros((SIDE, SIDE), dtype=np.uint8)
LEFT[:, :7] = 255  # the last column of a latent is half in it: diffusers takes the nearest pixel
GIVEN = {"n": 2, "steps": 5, "seed": 5, "cfg": 3.0, "check": False}


@pytest.fixture(scope="module")
def pipe(text_pipeline):
    return gw.Pipeline(text_pipeline, device="cpu")


def generate(pipe, **options):
    return pipe.generate("a red cube", **(GIVEN | options))


def pixels(made):
    return np.stack([np.asarray(image) for image in made.images]).astype(int)


def test_a_mask_of_other_proportions_is_noted(pipe):
    for width, noted in ((SIDE, False), (2 * SIDE, True)):
        monitor = Recorder()
        generate(pipe, init=PHOTO, mask=Image.new("L", (width, SIDE), 255), monitor=monitor)
        assert any("other proportions" in note for note in monitor.notes) == noted


def test_strength_0_is_the_image(pipe):
    made = generate(pipe, init=PHOTO, strength=0.0)
    assert (pixels(made) == np.asarray(PHOTO)).all()
    assert torch.equal(made.latents[:1], pipe.encode([PHOTO]))
    start = made.report.start
    assert (made.report.steps, start.steps, start.of_steps, start.repainted) == (0, 0, 5, 0.0)
    through = generate(pipe, init=PHOTO, strength=0.0, paste=False)
    assert (pixels(through) == np.asarray(pipe.decode(pipe.encode([PHOTO]))[0])).all()


def test_a_white_mask_is_plain_generation_and_a_black_one_the_image(pipe):
    white, black = np.full((SIDE, SIDE), 255, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    plain = generate(pipe)
    for sampler in ("dpmpp_2m", "heun", "ddpm"):
        one = generate(pipe, init=PHOTO, mask=white, sampler=sampler)
        assert torch.equal(one.latents, generate(pipe, sampler=sampler).latents)
    assert [i.tobytes() for i in generate(pipe, init=PHOTO, mask=white).images] == [
        i.tobytes() for i in plain.images
    ]
    retained = generate(pipe, init=PHOTO, mask=black)
    assert (pixels(retained) == np.asarray(PHOTO)).all()
    assert torch.equal(retained.latents[:1], pipe.encode([PHOTO]))


@pytest.fixture(scope="module")
def adapters(pipe, tmp_path_factory):
    """A LoRA, a control and a guide that all do something."""
    folder, model = tmp_path_factory.mktemp("adapters"), pipe.steered.frozen
    generator = torch.Generator().manual_seed(4)
    branch = make_branch(model.unet, Shape(model.factor), generator)
    lora = install(model.unet, Rank(2), generator, model.fingerprint)
    with torch.no_grad():
        for weight in [*lora.parameters().values(), *weights_of(branch).values()]:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    lora.save(folder / "lora", model.name, {}, part="unet")
    lora.remove()
    (folder / "branch").mkdir()
    write_controlnet(folder / "branch", branch, model.unet)
    control = gw.ControlNet(folder / "branch", condition="depth")
    return {
        "lora": gw.Lora(folder / "lora"),
        "control": control(PHOTO, weight=0.5),
        "late control": control(PHOTO, start=0.5),
        "guide": gw.Guide(lambda images: -images.mean(dim=(1, 2, 3)), 5.0, reads="images"),
    }


@pytest.mark.parametrize("kind", ["lora", "control", "late control", "guide", "all"])
def test_steered_it_changes_nothing_outside_of_the_mask(pipe, adapters, kind):
    steered = pipe.with_(*(adapters.values() if kind == "all" else [adapters[kind]]))
    for strength in (0.6, 1.0):
        made = generate(steered, init=PHOTO, mask=LEFT, strength=strength)
        plain = generate(pipe, init=PHOTO, mask=LEFT, strength=strength)
        inside = LEFT > 0
        assert (pixels(made)[:, ~inside] == np.asarray(PHOTO)[~inside]).all()
        assert (pixels(made)[:, inside] != pixels(plain)[:, inside]).any()
        assert made.report.start.outside == 0 and made.report.start.changed > 0
        known = pipe.encode([PHOTO])[..., 4:]
        assert torch.equal(made.latents[..., 4:], known.expand(2, -1, -1, -1))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler", "heun", "ddim", "ddpm"])
def test_by_hand_it_is_a_start_and_a_wrapper(pipe, sampler):
    made = generate(pipe, init=PHOTO, strength=0.6, sampler="euler", n=1)
    denoise = pipe.denoiser("a red cube", cfg=3.0, steps=5)
    sigmas = pipe.sigmas(5)[2:]
    noise = pipe.noise(1, seed=5) / (1 + pipe.sigmas(5)[0] ** 2) ** 0.5
    clean = pipe.encode([PHOTO])
    x = gw.samplers.euler(denoise, clean + sigmas[0] * noise, sigmas)
    assert (x - made.latents).abs().max() <= 1e-5
    mask = torch.from_numpy(LEFT[::2, ::2] > 0)[None, None]
    masked = gw.inpainted(denoise, clean, mask, noise)
    x = gw.samplers.euler(masked, clean + sigmas[0] * noise, sigmas)
    made = generate(pipe, init=PHOTO, strength=0.6, mask=LEFT, sampler="euler", n=1)
    assert (x - made.latents).abs().max() <= 1e-4
    assert torch.equal(made.latents[..., 4:], clean[..., 4:])
    assert generate(pipe, init=PHOTO, mask=LEFT, sampler=sampler, n=1).report.start.outside == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.5}, "`init` IMAGE"),
        ({"mask": LEFT}, "`init` IMAGE"),
        ({"init": PHOTO, "strength": 0.1}, "less than one step"),
        ({"init": PHOTO, "strength": 1.5}, "strength 1.5 is not"),
        ({"init": "absent.png"}, "absent.png"),
    ],
)
def test_what_is_refused(pipe, options, message):
    with pytest.raises(gw.GraftError, match=message):
        generate(pipe, **options)


def test_a_mask_that_no_latent_sees_is_refused(pipe):
    thin = np.zeros((SIDE, SIDE), np.uint8)
    thin[:, 3] = 255
    with pytest.raises(BadInput, match="smaller than the 2 x 2 pixels"):
        generate(pipe, init=PHOTO, mask=thin)
    with pytest.raises(BadInput, match="no image to start at"):
        pipe.denoiser("a red cube", init=PHOTO)
    x = torch.zeros(1, 4, 8, 8)
    for mask in (x[:, :1], torch.ones(1, 1, 4, 4, dtype=torch.bool)):
        with pytest.raises(BadInput, match="True where it is repainted"):
            gw.inpainted(lambda x, sigma: x, x, mask, x)


@pytest.fixture
def files(tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    Image.fromarray(LEFT).save(tmp_path / "mask.png")
    return {"init": str(tmp_path / "photo.png"), "inpaint": str(tmp_path / "mask.png")}


def ask(text_pipeline, out, **changes):
    given = {"model": str(text_pipeline), "steps": 5, "count": 2, "seed": 5, "cfg": 3.0}
    return gw.Generate(prompt="a red cube", out=out, **(given | changes))


def test_the_command_its_record_and_its_repeat(pipe, text_pipeline, files, tmp_path):
    report = run_generate(ask(text_pipeline, tmp_path / "out", strength=0.6, **files), Silent())
    made = generate(pipe, init=files["init"], mask=files["inpaint"], strength=0.6)
    assert [Image.open(p.path).tobytes() for p in report.pictures] == [
        image.tobytes() for image in made.images
    ]
    assert (report.start.steps, report.start.of_steps, report.start.outside) == (3, 5, 0)
    origin = report.pictures[1].path
    again = run_generate(gw.Generate(from_=origin, out=tmp_path / "again"), Silent())
    assert Path(again.pictures[0].path).read_bytes() == Path(origin).read_bytes()
    Image.fromarray(255 - LEFT).save(files["inpaint"])
    with pytest.raises(WrongBase, match=r"`init` .*mask\.png"):
        run_generate(gw.Generate(from_=origin, out=tmp_path / "again"), Silent())
    changed = gw.Generate(from_=origin, inpaint=files["inpaint"], out=tmp_path / "again")
    assert run_generate(changed, Silent()).start.repainted == pytest.approx(9 / 16)


def their_pipeline(kind, folder, scheduler):
    import diffusers

    theirs = getattr(diffusers, f"StableDiffusion{kind}Pipeline").from_pretrained(folder)
    made = getattr(diffusers, scheduler)
    theirs.scheduler = made.from_config(pipelines.SCHEDULER | {"_class_name": scheduler})
    theirs.set_progress_bar_config(disable=True)
    return theirs


SAMPLERS = {"DDIMScheduler": "ddim", "EulerDiscreteScheduler": "euler"}
SAMPLERS["DPMSolverMultistepScheduler"] = "dpmpp_2m"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("kind", ["Img2Img", "Inpaint"])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_equal_to_diffusers(tmp_path, kind, scheduler, strength):
    vae = pipelines.tiny_vae(4, (16, 16, 16, 16))  # its factor is 8, the one they take masks by
    folder = pipelines.write_text_pipeline(tmp_path / "p", vae=vae)
    theirs = their_pipeline(kind, folder, scheduler)
    pipelines.write_scheduler(folder, _class_name=scheduler)
    pipe = gw.Pipeline(folder, device="cpu")
    photo = PHOTO.resize((64, 64), Image.Resampling.BICUBIC)
    mask = Image.fromarray(np.kron(LEFT, np.ones((4, 4), np.uint8)))
    latents = pipe.encode([photo])
    given = {"num_inference_steps": 10, "guidance_scale": 3.0, "strength": strength}
    ours = {"init": photo}
    if kind == "Inpaint":
        given |= {"mask_image": mask, "masked_image_latents": latents, "height": 64, "width": 64}
        ours |= {"mask": mask}
    expected = theirs(
        "a red cube",
        image=latents,
        generator=[torch.Generator().manual_seed(image_seed(5, 0))],
        output_type="latent",
        **given,
    ).images
    made = pipe.generate(
        "a red cube", n=1, steps=10, seed=5, cfg=3.0, schedule="model", strength=strength,
        sampler=SAMPLERS[scheduler], paste=False, **ours,
    )  # fmt: skip
    assert pixels(made)[0].std() > 5
    assert (made.latents - expected).abs().max() <= 2e-5 * expected.abs().max()
    decoded = theirs.vae.decode(expected / theirs.vae.config.scaling_factor).sample.detach()
    levels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(pixels(made)[0] - levels).max() <= 1
