"""Evaluate generated images with the judge."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..blocks.captions import Facts, say
from ..blocks.networks import Judge, load_judge
from ..blocks.scene import MOST_OBJECTS
from ..diffusion.guidance import Guidance
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.sampling import Plan, batches, decode, sample_batch
from ..errors import BadFile
from ..metrics.distributions import frechet_distance
from .registry import HELD_OUT_WORLD, Setting
from .scenes import Rows, facts_of_row, open_scenes

# as `graft generate` draws where nothing else is said
_STEPS, _SAMPLER = 25, "dpmpp_2m"
GUIDANCE = Guidance(5.0)
_FRESH_WORLD = 4  # further real scenes, to say how far apart two real sets are


def measure_sampled(folder: Path, judge: Path, count: int, setting: Setting) -> dict[str, float]:
    """Generate images from `count` held-out captions of each sort and judge them.

    `one_object` and `two_objects` are the shares of images with exactly the objects of the
    caption, with correct kinds, colors and order; `frechet` compares generated with real images,
    `frechet_of_real` two sets of real images, and `frechet_unprompted` images generated without a
    prompt with real ones, all in sets of equal size; `unprompted_with_objects` is the share of the
    latter with one to four objects.
    """
    model = load_diffusion(str(folder), setting.device)
    eyes = load_judge(judge, setting.device)
    figures: dict[str, float] = {}
    environment: list[float] = []
    for name, objects in (("one_object", 1), ("two_objects", 2)):
        figures[name], around = share_of_right(model, eyes, objects, count, GUIDANCE, setting)
        environment.append(around)
    figures["ground_and_time"] = float(np.mean(environment))
    rows = _real(count, HELD_OUT_WORLD, setting)
    sampled = _draw(model, [say(facts_of_row(row)) for row in rows], setting)
    fresh = _real(count, _FRESH_WORLD, setting)["picture"]
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
    facts = [facts_of_row(row) for row in _real(count, HELD_OUT_WORLD, setting, objects)]
    sampled = _draw(model, [say(fact) for fact in facts], setting, guidance)
    right = _judge(judge, facts, sampled)
    shares = np.mean(right, axis=0)
    return float(shares[0]), float(shares[1])


def _real(count: int, world: int, setting: Setting, objects: int | None = None) -> Rows:
    scenes = open_scenes("pictures", world, count, setting.side, setting.monitor, objects)
    return scenes.rows(np.arange(count))


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
        plan = Plan(
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
