"""What the readers of conditions make of real renders: the bound of what a control can reach."""

import argparse
import time
from pathlib import Path

import numpy as np

from graftwerk.blocks.scene import SIDE
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.recipes.registry import HELD_OUT_WORLD
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent

COUNT = 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.conditions", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used")
    parser.parse_args()
    scenes = open_scenes("maps", HELD_OUT_WORLD, 500, SIDE, Silent())
    rows = scenes.rows(np.arange(COUNT))
    print("| kind | measure | value | score | another scene's | ms a row | ms a reading |")
    print("|---|---|---|---|---|---|---|")
    for name, condition in CONDITIONS.items():
        condition.fidelity(condition.from_rows(rows[:2]), rows["picture"][:2])  # compile
        start = time.process_time()
        requested = condition.from_rows(rows)
        sampled = time.process_time()
        true = condition.fidelity(requested, rows["picture"])
        read = time.process_time()
        other = condition.fidelity(np.roll(requested, 1, axis=0), rows["picture"])
        print(
            f"| {name} | {true.name} | {true.value:.3g} | {true.score:.3f} | {other.score:.3f} "
            f"| {1000 * (sampled - start) / COUNT:.1f} | {1000 * (read - sampled) / COUNT:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
