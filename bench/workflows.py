"""Guidance and regions on the Blocks world, judged by objects, each beside its chance.

Chance is the same share for the images of the next prompt; for regions, the objects exchanged.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import graftwerk as gw
from bench.prompts import is_meant
from graftwerk.blocks.captions import facts_of, parse, say
from graftwerk.blocks.maps import maps_of
from graftwerk.blocks.networks import Judge, load_judge
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.metrics.plots import image_sheet
from graftwerk.models.hub import builtin_folder

PROMPTS = (
    "a red cube on grass",
    "a blue cone and a green sphere on sand",
    "a yellow cylinder on snow at sunset",
    "a purple sphere and an orange cube on stone",
    "a white cube and a black cone on grass",
    "a green cone on stone at night",
    "a blue sphere and a red cylinder on snow",
    "an orange sphere on sand",
)
SETTINGS: Mapping[str, Mapping[str, float]] = {
    "--cfg 1": {"cfg": 1.0},
    "--cfg 1 --pag 1": {"cfg": 1.0, "pag": 1.0},
    "--cfg 1 --pag 3": {"cfg": 1.0, "pag": 3.0},
    "--cfg 2": {"cfg": 2.0},
    "--cfg 2 --pag 1": {"cfg": 2.0, "pag": 1.0},
    "--cfg 5": {"cfg": 5.0},
    "--cfg 5 --cfg-rescale 0.7": {"cfg": 5.0, "cfg_rescale": 0.7},
    "--cfg 10": {"cfg": 10.0},
    "--cfg 10 --cfg-rescale 0.7": {"cfg": 10.0, "cfg_rescale": 0.7},
}


def shares(judge: Judge, sets: Sequence[np.ndarray]) -> tuple[float, float]:
    """Share of images that show exactly their prompt, and the next one."""
    seen = [judge.judge(images) for images in sets]
    found = [
        np.mean([is_meant(one, parse(prompt), False) for one in seen[(number + shift) % len(seen)]])
        for shift in (0, 1)
        for number, prompt in enumerate(PROMPTS)
    ]
    return float(np.mean(found[: len(PROMPTS)])), float(np.mean(found[len(PROMPTS) :]))


def guidance(judge: Judge, pipe: gw.Pipeline, count: int, weaker: str | None) -> None:
    """Does it show what the prompt says, and how contrasted is it?"""
    rows = [(name, pipe, values) for name, values in SETTINGS.items()]
    if weaker is not None:
        for scale in (0.5, 1.0, 2.0):
            steered = pipe.with_(gw.Autoguide(weaker, scale))
            rows.append((f"--cfg 1 --autoguide ...:{scale:g}", steered, {"cfg": 1.0}))
        rows.append(("the weaker model, --cfg 1", gw.Pipeline(weaker), {"cfg": 1.0}))
    print("| guidance | exactly the prompt | chance | contrast |\n|---|---|---|---|")
    for name, one, values in rows:
        sets = [
            np.stack([np.asarray(i) for i in one.generate(prompt, n=count, **values).images])
            for prompt in PROMPTS
        ]
        right, chance = shares(judge, sets)
        contrast = np.mean([images.std(axis=(1, 2, 3)).mean() for images in sets])
        print(f"| `{name}` | {right:.2f} | {chance:.2f} | {contrast:.1f} |", flush=True)


PAIRS = (
    ("red cube", "blue sphere"),
    ("yellow cone", "purple cylinder"),
    ("green sphere", "orange cone"),
    ("black cylinder", "white cube"),
    ("blue cone", "red sphere"),
    ("orange cube", "green cylinder"),
)


def sides(judge: Judge, images: np.ndarray, left: str, right: str) -> np.ndarray:
    """Whether each image has the one object in its left half and the other in its right half."""
    found = [
        ({(f"{one.colour} {one.kind}", one.x < 0.5) for one in seen.objects})
        for seen in judge.judge(images)
    ]
    return np.array([(left, True) in one and (right, False) in one for one in found])


def regions(judge: Judge, pipe: gw.Pipeline, count: int, out: Path | None) -> None:
    """Does each object stand in its region?"""
    half = np.zeros((pipe.size[1], pipe.size[0]), dtype=np.uint8)
    half[:, : pipe.size[0] // 2] = 255
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for number, (one, other) in enumerate(PAIRS):
        texts = [f"a {name} on grass" for name in (one, other)]
        both = f"a {one} and a {other} on grass"
        for label, prompt, masks in (
            ("a region each", "", dict(zip(texts, (half, 255 - half), strict=True))),
            ("a region each, swapped", "", dict(zip(texts, (255 - half, half), strict=True))),
            ("both in one prompt", both, None),
        ):
            made = pipe.generate(prompt, n=count, seed=number, regions=masks)
            if out is not None and number < 2:
                made.grid().save(out / f"regions-{number}-{label.replace(' ', '-')}.png")
            images = np.stack([np.asarray(image) for image in made.images])
            pair = (sides(judge, images, one, other), sides(judge, images, other, one))
            rows.setdefault(label, []).append(pair)
    print("\n| the first left and the second right | share | the other way round |\n|---|---|---|")
    for label, pairs in rows.items():
        right, chance = np.array(pairs).mean(axis=(0, 2))
        print(f"| {label} | {right:.2f} | {chance:.2f} |", flush=True)


WORLD = 6


def edits(judge: Judge, pipe: gw.Pipeline, count: int, out: Path | None) -> None:
    """The color of the only object in a rendered scene is edited, and nothing else may change."""
    rows: dict[str, list[tuple[bool, float, float]]] = {}
    sheet: list[Image.Image] = []
    number = 0
    while len(rows.get("edited", [])) < count:
        scene, number = sample_scene(WORLD, number), number + 1
        facts = facts_of(scene)
        if len(facts.objects) != 1 or facts.objects[0].kind == "person":
            continue
        [thing] = facts.objects
        colour = "blue" if thing.colour in {"red", "yellow", "orange"} else "red"
        target = replace(facts, objects=(replace(thing, colour=colour),))
        image = Image.fromarray(render(scene, *pipe.size))
        outside = maps_of(scene, *pipe.size).objects < 2  # in its shadow, too
        given: dict[str, Any] = {"n": 1, "seed": number, "check": False, "sampler": "ddim"}
        made = {
            "edited": pipe.generate(say(target), init=image, source=say(facts), **given),
            "edited within its true outline": pipe.generate(
                say(target), init=image, source=say(facts), mask=255 - 255 * outside, **given
            ),
            "img2img, strength 0.8": pipe.generate(say(target), init=image, **given),
            "generated from the new prompt alone": pipe.generate(say(target), **given),
        }
        sheet += [image, *(one.images[0] for one in made.values())]
        found = {name: np.asarray(one.images[0]) for name, one in made.items()}
        for name, pixels in {"the scene itself": np.asarray(image), **found}.items():
            [seen] = judge.judge(pixels[None])
            right = is_meant(seen, target, False)
            change = np.abs(pixels.astype(float) - np.asarray(image))[outside]
            same = (change == 0).all(axis=-1).mean()
            rows.setdefault(name, []).append((right, float(change.mean()), float(same)))
    print(f"\n| {count} scenes | shows the new prompt | change elsewhere | unchanged there |")
    print("|---|---|---|---|")
    for name, figures in rows.items():
        right, change, same = np.mean(figures, axis=0)
        print(f"| {name} | {right:.2f} | {change:.1f} | {same:.2f} |", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        image_sheet(sheet[: 5 * 6], 5, gap=4).save(out / "edits.png")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workflows", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used")
    parser.add_argument("--count", type=int, default=8, help="images of a prompt")
    parser.add_argument(
        "--only", choices=("guidance", "regions", "edits"), help="one of the tables"
    )
    parser.add_argument("--out", type=Path, help="existing folder for contact sheets")
    parser.add_argument("--weaker", help="folder of a weaker model of the same latents")
    arguments = parser.parse_args()
    judge = load_judge(builtin_folder("builtin/blocks-judge"))
    pipe, only = gw.Pipeline("builtin/blocks"), arguments.only
    if only in {None, "guidance"}:
        guidance(judge, pipe, arguments.count, arguments.weaker)
    if only in {None, "regions"}:
        regions(judge, pipe, arguments.count, arguments.out)
    if only in {None, "edits"}:
        edits(judge, pipe, arguments.count, arguments.out)


if __name__ == "__main__":
    main()
