"""Prompts in a newcomer's words, read as captions and as they stand, judged by what was meant."""

import argparse
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

import graftwerk
from graftwerk.blocks.captions import Facts, as_caption, parse, remark_on
from graftwerk.blocks.networks import Judge, Judgement, load_judge
from graftwerk.generation.spec import options_of
from graftwerk.models.hub import builtin_folder
from graftwerk.types import Silent

# what is meant, said by hand; objects count in their order only where the prompt gives one
PROMPTS = {
    "red cube": "a red cube",
    "A red cube on grass.": "a red cube on grass",
    "two red cubes on snow": "a red cube and a red cube on snow",
    "a big red cube": "a red cube",
    "a red ball": "a red sphere",
    "a blue ball left of a yellow box": "a blue sphere and a yellow cube",
    "A man in blue is waving, at night": "a waving person in blue at night",
    "three green cones on the beach": "a green cone, a green cone and a green cone on sand",
    "a yellow sphere to the right of a red cylinder": "a red cylinder and a yellow sphere",
    "white box on the lawn at dusk": "a white cube on grass at sunset",
    "a cube that is red and a ball that is green": "a red cube and a green sphere",
    "purple ball and orange box": "a purple sphere and an orange cube",
    "a woman in red with outstretched arms on snow": "a person in red with arms out on snow",
    "Please draw a black cone by night!": "a black cone at night",
    "people sitting on grass": "a person and a person on grass",
    "a green cube behind a red sphere": "a green cube and a red sphere",
    "blue cylinder on the left, white cone on the right, on sand": "a blue cylinder and a white "
    "cone on sand",
    "a small violet ball on the pavement": "a purple sphere on stone",
}


def is_meant(seen: Judgement, meant: Facts, in_order: bool) -> bool:
    """Whether an image shows exactly what is meant; what was left open may be anything."""
    if len(seen.objects) != len(meant.objects):
        return False
    orders = [meant.objects] if in_order else permutations(meant.objects)
    fits = any(
        all(
            one.kind == thing.kind and thing.colour in (None, one.colour)
            for one, thing in zip(seen.objects, order, strict=True)
        )
        for order in orders
    )
    return fits and meant.ground in (None, seen.ground) and meant.time in (None, seen.time)


def share(judge: Judge, images: Sequence[object], prompt: str) -> float:
    seen = judge.judge(np.stack([np.asarray(image) for image in images]))
    meant, in_order = parse(PROMPTS[prompt]), "left" in prompt or "right" in prompt
    return float(np.mean([is_meant(one, meant, in_order) for one in seen]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prompts", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used")
    parser.add_argument("--count", type=int, default=8, help="images of a prompt")
    parser.add_argument("--model", default="builtin/blocks")
    arguments = parser.parse_args()
    pipe = graftwerk.Pipeline(arguments.model)
    judge = load_judge(builtin_folder("builtin/blocks-judge"))
    print("| prompt | as it stands | read as | not understood | so | other images |")
    print("|---|---|---|---|---|---|")
    rows, before = [], None
    for prompt in PROMPTS:
        request = graftwerk.Generate(prompt=prompt, count=arguments.count, model=arguments.model)
        images = []
        for literal in (True, False):
            job = pipe.prepare(options_of(request), Silent(), literal=literal)
            images.append([made.image for made in job.run(job.groups(), Silent())])
        stands, so = (share(judge, some, prompt) for some in images)
        chance = float("nan") if before is None else share(judge, before, prompt)
        before = images[1]
        reading = as_caption(prompt)
        assert reading is not None
        rows.append((stands, so, chance))
        unread = ", ".join(reading.unread)
        print(
            f"| {prompt} | {stands:.2f} | {reading.caption} | {unread} | {so:.2f} | {chance:.2f} |"
        )
    stands, so, chance = np.nanmean(np.array(rows), axis=0)
    print(f"| mean | {stands:.2f} | | | {so:.2f} | {chance:.2f} |")
    known = sum(remark_on(prompt) is None for prompt in PROMPTS)
    print(f"\n{known} of {len(PROMPTS)} prompts are captions as they stand.")


if __name__ == "__main__":
    main()
