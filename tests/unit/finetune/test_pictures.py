"""Teaching a diffusion model: the objective, resuming, and other libraries."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.networks import hash_of
from tests.pipelines import SCHEDULER, write_pixel_pipeline, write_scheduler, write_xl_pipeline
from tests.support import Recorder

from graftwerk.adapters.lora import Rank, install, load
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, BadInput, Cancelled
from graftwerk.finetune.lora_diffusion import ImageTask, train_on_images
from graftwerk.finetune.lora_training import LoraJob
from graftwerk.training.session import Plan
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
PLAN = Plan(steps=40, batch=4, learning_rate=5e-3, warm_up=4, average_decay=0.9)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        pixels = np.full((20, 24, 3), (200, 60 * number, 40), dtype=np.uint8)
        pixels[5:12, 3 * number : 3 * number + 5] = (10, 20, 200)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def lesson(text_pipeline, pictures, tmp_path):
    def make(model=text_pipeline, plan=PLAN, **changes):
        given = {"out": tmp_path / "lora", "rank": Rank(2), "device": "cpu"} | changes
        given["caption"] = "a red cube on grass"
        return LoraJob(pictures, str(model), plan=plan, **given)

    return make


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_that_of_diffusers(text_pipeline, tmp_path, prediction):
    """Noised by its scheduler, and compared with what its own training scripts aim at."""
    import shutil

    from diffusers import DDIMScheduler

    folder = shutil.copytree(text_pipeline, tmp_path / "pipeline")
    write_scheduler(folder, prediction_type=prediction)
    model = load_diffusion(str(folder), "cpu")
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(3, 4, 8, 8, generator=generator)
    texts = model.reader.read(["a red cube", "a blue cone", "snow"])
    task = ImageTask(model, latents, texts, install(model.unet, Rank(2), generator))
    batch = task.batch(1, 4)
    assert batch.tolist() == [1, 2, 0, 1]
    with torch.no_grad():
        ours, _ = task.loss(batch, torch.Generator().manual_seed(9))

    again = torch.Generator().manual_seed(9)
    times = torch.randint(1000, (4,), generator=again)
    noise = torch.randn(4, 4, 8, 8, generator=again)
    scheduler = DDIMScheduler.from_config(SCHEDULER | {"prediction_type": prediction})
    clean = latents[batch]
    with torch.no_grad():
        predicted = model.unet(
            scheduler.add_noise(clean, noise, times),
            times,
            encoder_hidden_states=texts.states[batch],
        ).sample
    velocity = scheduler.get_velocity(clean, noise, times)
    requested = {"epsilon": noise, "v_prediction": velocity, "sample": clean}[prediction]
    # of float32 through division by sigma; measured: 2e-6
    torch.testing.assert_close(ours, (predicted - requested).square().mean(), rtol=2e-5, atol=0)


def test_it_learns_and_leaves_the_base_alone(lesson, text_pipeline):
    before = hash_of(load_diffusion(str(text_pipeline), "cpu").unet)
    trained, shown, size = train_on_images(lesson(), Silent())
    assert trained.outcome.finished
    assert trained.change.gain > 10 * trained.change.margin > 0
    assert trained.change.after == pytest.approx(trained.change.before - trained.change.gain)
    assert (trained.layers, len(shown.pictures)) == (48, 3)
    assert size > 4 * trained.parameters
    assert hash_of(load_diffusion(str(text_pipeline), "cpu").unet) == before


@pytest.mark.parametrize("write", [write_xl_pipeline, write_pixel_pipeline])
def test_other_kinds_of_pipelines(lesson, tmp_path, write):
    trained, _, _ = train_on_images(lesson(write(tmp_path / "other")), Silent())
    assert trained.change.gain > 5 * trained.change.margin > 0


def test_stopped_and_run_again_it_ends_with_the_same_bytes(lesson, tmp_path):
    whole = lesson(out=tmp_path / "whole")
    train_on_images(whole, Silent())
    cut = lesson(out=tmp_path / "cut")
    with pytest.raises(Cancelled):
        train_on_images(cut, Recorder(stop_after=20))
    assert not (cut.out / "graft.json").exists()
    train_on_images(cut, Silent())
    for name in ("adapter_model.safetensors", "pytorch_lora_weights.safetensors"):
        assert (cut.out / name).read_bytes() == (whole.out / name).read_bytes()
    assert not (cut.out / "checkpoints").exists()


def test_another_lesson_does_not_go_on_in_the_same_folder(lesson):
    with pytest.raises(Cancelled):
        train_on_images(lesson(), Recorder(stop_after=20))
    with pytest.raises(BadInput, match="rank"):
        train_on_images(lesson(rank=Rank(3)), Silent())


def test_a_folder_with_something_else_is_left_alone(lesson, tmp_path):
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "letter.txt").write_text("dear")
    with pytest.raises(BadFile, match="contains no fit"):
        train_on_images(lesson(), Silent())


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
@pytest.mark.parametrize("kind", ["text", "xl"])
def test_diffusers_opens_it_as_it_is(lesson, text_pipeline, tmp_path, kind):
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    folder = text_pipeline if kind == "text" else write_xl_pipeline(tmp_path / "xl")
    own = lesson(folder)
    train_on_images(own, Silent())
    model = load_diffusion(str(folder), "cpu")
    texts = model.reader.read(["a red cube"])
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        frozen = model.denoiser(texts)(x, 0.5)
        load(own.out, model.unet, str(folder), model.denoiser_fingerprint)
        ours = model.denoiser(texts)(x, 0.5)
        pipeline = {"text": StableDiffusionPipeline, "xl": StableDiffusionXLPipeline}[kind]
        theirs = pipeline.from_pretrained(str(folder))
        theirs.load_lora_weights(str(own.out))
        model.unet.forward = theirs.unet.forward  # the same question to their network
        found = model.denoiser(texts)(x, 0.5)
    assert not torch.allclose(ours, frozen, atol=1e-3)
    torch.testing.assert_close(found, ours, rtol=1e-5, atol=1e-5)
