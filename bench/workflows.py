"""Guidance and regions on the Blocks world, judged by objects, each beside its chance.

Chance is the same share for the images of the next prompt; for regions, the objects exchanged.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import graftwerk as gw
from bench.prompts import is_meant
from graftwerk.blocks.captions import parse
from graftwerk.blocks.judge import Judge, load_judge
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workflows", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used")
    parser.add_argument("--count", type=int, default=8, help="images of a prompt")
    parser.add_argument("--only", choices=("guidance", "regions"), help="one of the tables")
    parser.add_argument("--out", type=Path, help="existing folder for contact sheets")
    parser.add_argument("--weaker", help="folder of a weaker model of the same latents")
    arguments = parser.parse_args()
    judge = load_judge(builtin_folder("builtin/blocks-judge"))
    pipe, only = gw.Pipeline("builtin/blocks"), arguments.only
    if only in {None, "guidance"}:
        guidance(judge, pipe, arguments.count, arguments.weaker)
    if only in {None, "regions"}:
        regions(judge, pipe, arguments.count, arguments.out)


if __name__ == "__main__":
    main()
