"""Drawing with a control, by graftwerk and by diffusers' own pipeline, from the same noise."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.control_settings import Sampled, Setting
from graftwerk.blocks.captions import Facts, say
from graftwerk.blocks.networks import load_judge
from graftwerk.blocks.scene import SIDE
from graftwerk.conditions.base import Condition
from graftwerk.conditions.kinds import condition_named
from graftwerk.controlnet.branch import Branch, Shape, make_branch
from graftwerk.controlnet.checkpoint import read_branch, write_controlnet
from graftwerk.controlnet.control import Controls, Term
from graftwerk.diffusion.guidance import Guidance
from graftwerk.diffusion.noise_schedule import noise_levels
from graftwerk.diffusion.pipeline import DiffusionModel, load_diffusion
from graftwerk.diffusion.sampling import Plan, decode, image_seed, sample_batch, to_values
from graftwerk.models.hub import builtin_folder
from graftwerk.recipes.diffusion import judge_right
from graftwerk.recipes.registry import HELD_OUT_WORLD
from graftwerk.recipes.scenes import facts_of_row, open_scenes
from graftwerk.types import Silent

GUIDANCE, SEED, BATCH, STEPS = 3.0, 5, 16, 20


@dataclass(frozen=True)
class Stage:
    """Both sides with the same weights, and what they draw.

    Attributes:
        model: ours.
        branch: ours.
        pipeline: theirs.
        condition: what is followed.
        maps: one an image.
        captions: the same.
        facts: what the captions say.
    """

    model: DiffusionModel
    branch: Branch
    pipeline: Any
    condition: Condition
    maps: np.ndarray
    captions: list[str]
    facts: list[Facts]

    def draw(self, setting: Setting, numbers: range) -> tuple[list[Image.Image], torch.Tensor]:
        """Images and latents of a batch."""
        return (self._ours if setting.ours else self._theirs)(setting, numbers)

    def ratio(self, one: Setting, other: Setting, numbers: range, repeats: int) -> float:
        """CPU time of one setting over that of another: the best of several, taking turns.

        Who begins changes, for the first of two finds other caches. A single turn of a large
        U-Net differs by a tenth from the next.
        """
        times: dict[Setting, list[float]] = {one: [], other: []}
        for turn in range(repeats):
            for setting in (one, other) if turn % 2 else (other, one):
                began = time.process_time()
                self.draw(setting, numbers)
                times[setting].append(time.process_time() - began)
        return min(times[one]) / min(times[other])

    def _ours(self, setting: Setting, numbers: range) -> tuple[list[Image.Image], torch.Tensor]:
        model = self.model
        assert model.reader is not None
        same = setting.steps < 0  # as the pipeline's own scheduler steps
        with torch.inference_mode():
            hint = self.branch.read(to_values(self.maps[list(numbers)]))
            texts = model.reader.read([self.captions[number] for number in numbers])
            away = model.reader.read([""] * len(numbers))
        controls = Controls((Term(self.branch, hint),), reuse=setting.reuse)
        plan = Plan(
            texts=texts,
            away=away,
            guidance=Guidance(GUIDANCE, *setting.interval),
            sampler="ddim" if same else "dpmpp_2m",
            eta=0.0,
            sigmas=noise_levels(model.noise, abs(setting.steps), "model" if same else "karras"),
            shape=model.shape(*model.size),
            seed=SEED,
            control=controls,
        )
        sampled = sample_batch(model, plan, numbers)
        return decode(model, sampled), sampled

    def _theirs(self, setting: Setting, numbers: range) -> tuple[list[Image.Image], torch.Tensor]:
        from diffusers import DDIMScheduler, UniPCMultistepScheduler

        steps, pipeline = abs(setting.steps), self.pipeline
        scheduler: Any = DDIMScheduler if setting.steps < 0 else UniPCMultistepScheduler
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
        retained: list[torch.Tensor] = []

        def keep(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
            if step == steps - 1:
                retained.append(values["latents"])
            return values

        sampled = pipeline(
            [self.captions[number] for number in numbers],
            image=[Image.fromarray(self.maps[number]) for number in numbers],
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            latents=noise_of(self.model, numbers),
            width=self.model.size[0],
            height=self.model.size[1],
            callback_on_step_end=keep,
        )
        return sampled.images, retained[-1]


def noise_of(model: DiffusionModel, numbers: range) -> torch.Tensor:
    """The noise that `sample_batch` draws for these numbers."""
    shape = model.shape(*model.size)
    rows = [
        torch.randn(shape, generator=torch.Generator().manual_seed(image_seed(SEED, number)))
        for number in numbers
    ]
    return torch.stack(rows)


def open_stage(
    folder: Path | None, model: DiffusionModel | None, kind: str, count: int, location: Path
) -> Stage:
    """Load both sides; a folder of random weights gets a random branch."""
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    condition = condition_named(kind)
    if model is None:
        model = load_diffusion(str(folder), "cpu")
        branch = make_branch(model.unet, Shape(model.factor), torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in branch.joins.parameters():
                weight.normal_(0, 0.01, generator=generator)
        branch.eval().requires_grad_(False)
    else:
        folder, own = builtin_folder("builtin/blocks"), builtin_folder(f"builtin/blocks-{kind}")
        branch = read_branch(own, model.unet, model.factor, model.name, *model.bases)
    (location / "controlnet").mkdir()
    write_controlnet(location / "controlnet", branch, model.unet)
    pipeline: Any = StableDiffusionControlNetPipeline.from_pretrained(
        folder,
        controlnet=ControlNetModel.from_pretrained(location / "controlnet"),
        safety_checker=None,
        requires_safety_checker=False,
        torch_dtype=torch.float32,
    )
    pipeline.set_progress_bar_config(disable=True)
    width, height = branch.size_of_maps(model.size, model.factor)
    prepare = pipeline.prepare_image  # of the images' size; the built-in branches read half of it
    pipeline.prepare_image = lambda **given: prepare(**given | {"width": width, "height": height})
    rows = open_scenes("maps", HELD_OUT_WORLD, count, SIDE, Silent()).rows(np.arange(count))
    facts = [facts_of_row(row) for row in rows]
    maps = np.stack([resized(one, (width, height)) for one in condition.from_rows(rows)])
    return Stage(model, branch, pipeline, condition, maps, [say(fact) for fact in facts], facts)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))


def identical(stage: Stage, repeats: int, steps: int = STEPS) -> tuple[float, float]:
    """Largest difference of latents with the same DDIM steps, and ours over their time."""
    ours, theirs = (Setting("", side, -steps) for side in (True, False))
    numbers = range(min(4, len(stage.captions)))
    difference = (stage.draw(ours, numbers)[1] - stage.draw(theirs, numbers)[1]).abs().max()
    return float(difference), stage.ratio(ours, theirs, numbers, repeats)


def sampled_figures(stage: Stage, setting: Setting) -> Sampled:
    """Draw everything by a setting, and measure it."""
    count, pictures, seconds = len(stage.captions), [], []
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        began = time.process_time()
        images, _ = stage.draw(setting, numbers)
        seconds.append((time.process_time() - began) / len(numbers))
        pictures += [np.asarray(image.convert("RGB")) for image in images]
    sampled = np.stack(pictures)
    judge = load_judge(builtin_folder("builtin/blocks-judge"), "cpu")
    return Sampled(
        setting.name,
        setting,
        stage.condition.fidelity(stage.maps, sampled).score,
        judge_right(judge, stage.facts, sampled),
        float(np.median(seconds)),
    )


def curves(path: Path, theirs: Sequence[Sampled], ours: Sequence[Sampled]) -> None:
    """Fidelity over CPU time an image, both sides, as one image."""
    from graftwerk.metrics.plots import Curve, Panel, plot_panels

    def curve(name: str, rows: Sequence[Sampled]) -> Curve:
        ordered = sorted(rows, key=lambda one: one.seconds)
        times = [1000 * one.seconds for one in ordered]
        return Curve(name, times, [one.fidelity for one in ordered])

    panel = Panel(
        "fidelity",
        (
            curve("diffusers, UniPC", theirs),
            *(
                curve(
                    f"graftwerk{reported}",
                    [one for one in ours if one.name.endswith(f"steps{reported}")],
                )
                for reported in ("", ", reuse 2", ", reuse 2, interval")
            ),
        ),
    )
    title = "fidelity over milliseconds of CPU time an image"
    path.write_bytes(plot_panels([panel], title, x_title="milliseconds", height=360))
