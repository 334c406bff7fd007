"""What a judge sees in drawn pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..blocks.captions import Facts, say
from ..diffuse.compose import Guidance
from ..diffuse.drawing import Plan, batches, draw_batch
from ..diffuse.pictures import decode
from ..diffuse.schedules import noise_levels
from ..errors import BadFile
from ..frozen.diffusion.model import DiffusionModel, load_diffusion
from ..frozen.judge import Judge, load_judge
from ..measure.frechet import frechet_distance
from .recipe import HELD_OUT_WORLD, SIDE, Setting
from .rendering import Rows
from .scenes import facts_of_row, open_scenes

# as `graft generate` draws where nothing else is said
_STEPS, _SAMPLER, _WEIGHT = 25, "dpmpp_2m", 5.0
_FRESH_WORLD = 4  # further real scenes, to say how far apart two real sets are


def measure_drawn(folder: Path, judge: Path, count: int, setting: Setting) -> dict[str, float]:
    """Draw from `count` held-out captions of each sort and let a judge name what is there.

    `one_object` and `two_objects` are shares of pictures with exactly the objects of the caption,
    kinds, colours and order right; `frechet` compares as many drawn and real pictures, and
    `frechet_of_real` two real sets.
    """
    model = load_diffusion(str(folder), setting.device)
    eyes = load_judge(judge, setting.device)
    figures: dict[str, float] = {}
    surroundings: list[bool] = []
    for name, objects in (("one_object", 1), ("two_objects", 2)):
        facts = [facts_of_row(row) for row in _real(count, HELD_OUT_WORLD, setting, objects)]
        right = _judge(eyes, facts, _draw(model, [say(fact) for fact in facts], setting))
        figures[name] = float(np.mean([entry[0] for entry in right]))
        surroundings += [entry[1] for entry in right]
    figures["ground_and_time"] = float(np.mean(surroundings))
    rows = _real(count, HELD_OUT_WORLD, setting)
    drawn = _draw(model, [say(facts_of_row(row)) for row in rows], setting)
    fresh = _real(count, _FRESH_WORLD, setting)["picture"]
    real = eyes.features(rows["picture"])
    figures["frechet"] = frechet_distance(eyes.features(drawn), real)
    figures["frechet_of_real"] = frechet_distance(eyes.features(fresh), real)
    return figures


def _real(count: int, world: int, setting: Setting, objects: int | None = None) -> Rows:
    scenes = open_scenes("pictures", world, count, SIDE, setting.monitor, objects)
    return scenes.rows(np.arange(count))


def _judge(
    eyes: Judge, facts: Sequence[Facts], pictures: UInt8[np.ndarray, "n h w 3"]
) -> list[tuple[bool, bool]]:
    """Whether all objects are right, and whether ground and time are."""
    found = []
    for fact, said in zip(facts, eyes.judge(pictures), strict=True):
        wanted = [(thing.kind, thing.colour) for thing in fact.objects]
        named = [(seen.kind, seen.colour) for seen in said.objects]
        found.append((named == wanted, (said.ground, said.time) == (fact.ground, fact.time)))
    return found


def _draw(
    model: DiffusionModel, captions: Sequence[str], setting: Setting
) -> UInt8[np.ndarray, "n h w 3"]:
    """One picture of each caption."""
    if model.reader is None:
        raise BadFile(f"{model.name} reads no prompts.", "Name what the recipe diffusion made.")
    sigmas = noise_levels(model.noise, _STEPS, "karras")
    setting.monitor.start("drawing", len(captions))
    pictures = []
    for numbers in batches(len(captions), SIDE, SIDE, model.device):
        plan = Plan(
            texts=model.reader.read([captions[number] for number in numbers]),
            away=model.reader.read([""] * len(numbers)),
            guidance=Guidance(_WEIGHT),
            sampler=_SAMPLER,
            eta=0.0,
            sigmas=sigmas,
            shape=model.shape(SIDE, SIDE),
            seed=setting.seed,
        )
        pictures += decode(model, draw_batch(model, plan, numbers))
        setting.monitor.advance(len(numbers))
    return np.stack([np.asarray(picture) for picture in pictures])
