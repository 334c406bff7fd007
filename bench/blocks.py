"""Milliseconds a scene of the Blocks world takes on one core, after compilation."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from graftwerk.blocks.captions import caption_of
from graftwerk.blocks.map_images import write_dataset
from graftwerk.blocks.maps import maps_of
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import Scene

REPEATS = 7


def best_milliseconds(work: Callable[[Scene], object], scenes: list[Scene]) -> np.ndarray:
    """Of each scene the best of some runs, so that other work on the machine counts little."""
    best = np.full(len(scenes), np.inf)
    for _ in range(REPEATS):
        for index, scene in enumerate(scenes):
            began = time.perf_counter()
            work(scene)
            best[index] = min(best[index], 1000 * (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the scenes are made here")
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    began = time.perf_counter()
    render(sample_scene(0), 8, 8)
    maps_of(sample_scene(0), 8, 8)
    print(f"start, and compilation where the cache is cold: {time.perf_counter() - began:.1f} s\n")

    scenes = [sample_scene(1, number) for number in range(options.scenes)]
    print(f"{len(scenes)} scenes, best of {REPEATS} runs each, milliseconds on one core")
    print(f"{'':28}{'mean':>8}{'median':>8}{'slowest':>9}")

    def show(name: str, times: np.ndarray) -> None:
        print(f"{name:28}{times.mean():8.2f}{np.median(times):8.2f}{times.max():9.2f}")

    numbers = iter(range(len(scenes) * REPEATS))
    show(
        "draw a scene from its seed",
        best_milliseconds(lambda _: sample_scene(1, next(numbers) % len(scenes)), scenes),
    )
    show("caption", best_milliseconds(caption_of, scenes))
    show("image  64 x  64, 1 ray", best_milliseconds(lambda s: render(s, 64, 64, 1), scenes))
    show("image  64 x  64, 2 x 2", best_milliseconds(lambda s: render(s, 64, 64), scenes))
    show("all maps 64 x  64", best_milliseconds(lambda s: maps_of(s, 64, 64), scenes))
    show("image 512 x 512, 2 x 2", best_milliseconds(lambda s: render(s, 512, 512), scenes[:8]))

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = sum(write_dataset(Path(folder) / "blocks", 1, 4 * len(scenes), 64))
        seconds = time.perf_counter() - began
    print(f"\ndata set of {done} scenes at 64 x 64, every map: {done / seconds:.0f} scenes/s")


if __name__ == "__main__":
    main()
