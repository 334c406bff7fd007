"""Latent diffusion: a U-Net that generates latents from captions, in a Stable Diffusion folder.

It predicts `v` of Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion
Models", 2022, on the noise schedule of Stable Diffusion. What it generates is measured by
the judge.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional

from .. import folders
from ..blocks.captions import Facts, say
from ..blocks.networks import Judge, load_judge
from ..blocks.scene import MOST_OBJECTS
from ..diffusion.guidance import Guidance
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel, LatentSpace, load_diffusion, load_part
from ..diffusion.sampling import Plan as SamplingPlan
from ..diffusion.sampling import batches, decode, sample_batch
from ..errors import BadFile, WrongBase
from ..metrics.distributions import frechet_distance
from ..models.checkpoint import open_folder
from ..models.transformers import load_network, quiet
from ..training.session import Plan
from ..training.state import Loss, compiled_for, generator_for, in_order, initialise
from .autoencoder import latents_identity
from .cached import Captions, make_tokenizer, open_captions, open_latents, tokens_of
from .registry import Setting
from .result import put
from .scenes import Chunks, chances, facts_of_row, other_rows, training_scenes

_PARTIAL = 0.25  # share of captions that leave parts out
_DROPPED = 0.12  # share of captions that are left out whole, so that it draws without one too
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
    "timestep_spacing": "leading",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters; `widths` from the resolution of the latents down.

    Attributes:
        plain: number of scales, the largest first, without attention.
    """

    plan: Plan
    scenes: int
    widths: tuple[int, ...]
    layers: int
    heads: int
    plain: int = 0


REAL = Sizes(
    plan=Plan(steps=18_000, batch=64, learning_rate=8e-4, warm_up=500, average_decay=0.9995),
    scenes=100_000,
    widths=(128, 96),
    layers=1,
    heads=4,
)
LARGE = {"widths": (64, 160, 128), "plain": 1}
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=12,
    widths=(8, 16),
    layers=1,
    heads=2,
)


@dataclass(frozen=True)
class Parts:
    """The frozen parts: autoencoder, text encoder and tokenizer."""

    autoencoder: Any
    text: Any
    tokenizer: Any


class Work:
    """Denoises latents given captions; see `training.session.Task`."""

    def __init__(
        self, sizes: Sizes, latents: Chunks, captions: Captions, parts: Parts, setting: Setting
    ) -> None:
        from diffusers import DDIMScheduler

        self._scenes, self._latents, self._captions = sizes.scenes, latents, captions
        self._parts, self._setting = parts, setting
        self._untold = tokens_of(parts.tokenizer, [""])["tokens"]
        make: Any = DDIMScheduler
        self._scheduler = make(**SCHEDULER)
        finished = setting.dependencies.get("diffusion")
        if finished is None:
            self._network = _network(sizes, parts, setting.side)
            initialise(self._network, generator_for(setting.seed, 0, "cpu"))
        else:
            self._network = _finished(finished, parts.autoencoder)
        self._network.to(setting.device)
        self._denoise = compiled_for(setting.device, self._network)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights of the U-Net."""
        return dict(self._network.named_parameters())

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Latents and the tokens of their captions, some of them empty."""
        seed = self._setting.seed
        numbers = in_order(self._scenes, first, count, seed)
        tokens = self._captions.of(numbers, first)
        tokens[torch.from_numpy(chances(self._scenes, first, count, seed) < _DROPPED)] = (
            self._untold
        )
        return {"tokens": tokens, "latents": self._latents.of(numbers)}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:
        """Mean squared error of `v`."""
        device = self._setting.device
        latents = batch["latents"].to(device)
        with torch.no_grad():
            states = self._parts.text(batch["tokens"].to(device)).last_hidden_state
        noise = torch.randn(latents.shape, generator=generator, device=device)
        steps = int(SCHEDULER["num_train_timesteps"])  # type: ignore[call-overload]
        times = torch.randint(steps, (len(latents),), generator=generator, device=device)
        noisy = self._scheduler.add_noise(latents, noise, times)
        predicted = self._denoise(noisy, times, encoder_hidden_states=states).sample
        requested = self._scheduler.get_velocity(latents, noise, times)
        return functional.mse_loss(predicted.float(), requested), {}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write a complete `StableDiffusionPipeline`."""
        put(self._network, weights)
        with quiet():
            from diffusers import StableDiffusionPipeline  # speaks of what is not installed

            make: Any = StableDiffusionPipeline
            pipeline = make(
                vae=self._parts.autoencoder,
                text_encoder=self._parts.text,
                tokenizer=self._parts.tokenizer,
                unet=self._network,
                scheduler=self._scheduler,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
            pipeline.save_pretrained(folder)
        # as its own recipe wrote it, with its card
        folders.remove(folder / "vae", owner=folder.parent)
        shutil.copytree(self._setting.dependencies["autoencoder"], folder / "vae")


def _network(sizes: Sizes, parts: Parts, side: int) -> Any:
    import diffusers

    make: Any = diffusers.UNet2DConditionModel
    plain, crossed = sizes.plain, len(sizes.widths) - sizes.plain
    factor = 2 ** (len(parts.autoencoder.config.block_out_channels) - 1)
    channels = parts.autoencoder.config.latent_channels
    return make(
        sample_size=side // factor,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=sizes.widths,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * crossed,
        up_block_types=("CrossAttnUpBlock2D",) * crossed + ("UpBlock2D",) * plain,
        layers_per_block=sizes.layers,
        cross_attention_dim=parts.text.config.hidden_size,
        attention_head_dim=sizes.heads,  # the library's name for the number of heads
        norm_num_groups=8,
    )


def _finished(folder: Path, autoencoder: nn.Module) -> Any:
    made_on, received = latents_identity(folder / "vae"), LatentSpace(autoencoder).identity
    if made_on != received:
        raise WrongBase(
            str(folder),
            made_on=f"latents {made_on[:12]}",
            received=f"those of --autoencoder ({received[:12]})",
            hint="Name its own autoencoder, or one of which only the decoder was trained further.",
        )
    return load_part(folder / "unet").requires_grad_(True)


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Render and encode the scenes, and create the network or load the finished one."""
    folders = setting.dependencies
    clip: Any = load_network(open_folder(folders["clip"]), "CLIPModel")
    parts = Parts(
        autoencoder=load_part(folders["autoencoder"]).to(setting.device),
        text=clip.text_model.to(setting.device),
        tokenizer=make_tokenizer(),
    )
    scenes = training_scenes("pictures", sizes.scenes, setting)
    latents = open_latents(
        parts.autoencoder,
        latents_identity(folders["autoencoder"]),
        scenes,
        setting.device,
        setting.monitor,
    )
    captions = open_captions(scenes, _PARTIAL, setting.monitor)
    return Work(sizes, latents, captions, parts, setting)


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Judge images generated from held-out captions."""
    return measure_sampled(folder, setting.dependencies["judge"], count, setting)


# as `graft generate` draws where nothing else is said
_STEPS, _SAMPLER = 25, "dpmpp_2m"
GUIDANCE = Guidance(5.0)
_FRESH_WORLD = 4  # further real scenes, to say how far apart two real sets are


def measure_sampled(folder: Path, judge: Path, count: int, setting: Setting) -> dict[str, float]:
    """Generate images from `count` held-out captions of each sort and judge them.

    `one_object`, `two_objects` and `four_objects` are the shares of images with exactly the objects
    of the caption, with correct kinds, colors and order; `frechet` compares generated with real
    images, `frechet_of_real` two sets of real images, and `frechet_unprompted` images generated
    without a prompt with real ones, all in sets of equal size; `unprompted_with_objects` is the
    share of the latter with one to four objects.
    """
    model = load_diffusion(str(folder), setting.device)
    eyes = load_judge(judge, setting.device)
    figures: dict[str, float] = {}
    environment: list[float] = []
    for name, objects in (("one_object", 1), ("two_objects", 2), ("four_objects", 4)):
        figures[name], around = share_of_right(model, eyes, objects, count, GUIDANCE, setting)
        environment.append(around)
    figures["ground_and_time"] = float(np.mean(environment))
    rows = other_rows("pictures", count, setting)
    sampled = _draw(model, [say(facts_of_row(row)) for row in rows], setting)
    fresh = other_rows("pictures", count, setting, world=_FRESH_WORLD)["picture"]
    real = eyes.features(rows["picture"])
    figures["frechet"] = frechet_distance(eyes.features(sampled), real)
    figures["frechet_of_real"] = frechet_distance(eyes.features(fresh), real)
    free = _draw(model, [""] * count, setting)
    figures["frechet_unprompted"] = frechet_distance(eyes.features(free), real)
    seen = [len(predicted.objects) for predicted in eyes.judge(free)]
    figures["unprompted_with_objects"] = float(np.mean([1 <= n <= MOST_OBJECTS for n in seen]))
    return figures


def share_of_right(
    model: DiffusionModel,
    judge: Judge,
    objects: int,
    count: int,
    guidance: Guidance,
    setting: Setting,
) -> tuple[float, float]:
    """Return the shares of generated images with correct objects, and with correct ground and time.

    Args:
        model: to evaluate.
        judge: detects what is in an image.
        objects: number of objects in each caption.
        count: captions of held-out scenes, one image each.
        guidance: classifier-free guidance scale.
        setting: seed and device.
    """
    facts = [facts_of_row(row) for row in other_rows("pictures", count, setting, objects)]
    sampled = _draw(model, [say(fact) for fact in facts], setting, guidance)
    right = _judge(judge, facts, sampled)
    shares = np.mean(right, axis=0)
    return float(shares[0]), float(shares[1])


def _judge(
    judge: Judge, facts: Sequence[Facts], images: UInt8[np.ndarray, "n h w 3"]
) -> list[tuple[bool, bool]]:
    found = []
    for fact, predicted in zip(facts, judge.judge(images), strict=True):
        requested = [(thing.kind, thing.colour) for thing in fact.objects]
        named = [(seen.kind, seen.colour) for seen in predicted.objects]
        found.append(
            (named == requested, (predicted.ground, predicted.time) == (fact.ground, fact.time))
        )
    return found


def judge_right(
    judge: Judge, facts: Sequence[Facts], images: UInt8[np.ndarray, "n h w 3"]
) -> float:
    """Return the share of images with exactly the objects of the facts, in the right order."""
    return float(np.mean([objects for objects, _ in _judge(judge, facts, images)]))


def _draw(
    model: DiffusionModel, captions: Sequence[str], setting: Setting, guidance: Guidance = GUIDANCE
) -> UInt8[np.ndarray, "n h w 3"]:
    if model.reader is None:
        raise BadFile(f"{model.name} reads no prompts.", "Name what the recipe diffusion made.")
    sigmas = noise_levels(model.noise, _STEPS, "karras")
    setting.monitor.start("generating", len(captions))
    images = []
    for numbers in batches(len(captions), *model.size, model.device):
        plan = SamplingPlan(
            texts=model.reader.read([captions[number] for number in numbers]),
            away=model.reader.read([""] * len(numbers)),
            guidance=guidance,
            sampler=_SAMPLER,
            eta=0.0,
            sigmas=sigmas,
            shape=model.shape(*model.size),
            seed=setting.seed,
        )
        images += decode(model, sample_batch(model, plan, numbers))
        setting.monitor.advance(len(numbers))
    return np.stack([np.asarray(image) for image in images])
