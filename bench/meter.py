"""Whether the convergence meter tells the truth: on data that converges, on mispaired data, and at
a learning rate 100 times too small; and how well the first fifth of a training predicts the rest.

Real trainings of a branch of the built-in diffusion model on Blocks scenes. Mispaired: every
image has another one's condition, the same one each time, in the pairs that are held out too.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from graftwerk.conditions.kinds import condition_named
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.convergence import Measurement, Meter, Verdict, from_json, judge
from graftwerk.controlnet.task import Batch, Pairs
from graftwerk.controlnet.train import METER, Trained, TrainingJob, reported_forecast, train_branch
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.models.hub import builtin_folder
from graftwerk.recipes.control import open_pairs
from graftwerk.recipes.registry import HELD_OUT_WORLD, TRAINING_WORLD
from graftwerk.training.session import Plan, Session
from graftwerk.training.state import fast_precision, generator_for
from graftwerk.types import Silent

MODEL, HELD_OUT = "builtin/blocks", 128
SLOW = 100  # times smaller is the rate of the slow runs
WIDTHS = (16, 32, 64, 96)  # of the hint encoder, as in the recipes
BAND, BANDS = 2.0, 12  # standard deviations of the plain loss of the model alone, and its draws
RISING = {"converging", "converged"}


@dataclass(frozen=True)
class Mispaired:
    """Pairs in which each image has another one's condition."""

    pairs: Pairs
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, numbers: np.ndarray, predicted: np.ndarray) -> Batch:
        true, other = (
            self.pairs.take(numbers, predicted),
            self.pairs.take(self.order[numbers], predicted),
        )
        return Batch(true.latents, other.maps, true.texts)


def mispaired(pairs: Pairs, seed: int) -> Mispaired:
    """Each image gets the condition of the next one in a random order."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    return Mispaired(pairs, others)


@dataclass(frozen=True)
class Course:
    """What was measured in one training, and what the meter says of it now.

    Attributes:
        measurements: all of them.
        frozen_loss: of the model alone.
        planned: steps of the training.
    """

    measurements: Sequence[Measurement]
    frozen_loss: float
    planned: int

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What is said after each measurement."""
        there, ends = self.measurements, range(1, len(self.measurements) + 1)
        return [judge(there[:end], self.frozen_loss, self.planned) for end in ends]

    @property
    def rising(self) -> int | None:
        """The first step at which it is said that the condition is of use."""
        pairs = zip(self.measurements, self.verdicts, strict=True)
        return next((one.step for one, predicted in pairs if predicted.state in RISING), None)

    @property
    def told(self) -> list[str]:
        """Words with the steps from which they are said, what is said at the end, rising since."""
        words: list[str] = []
        for one, predicted in zip(self.measurements, self.verdicts, strict=True):
            if not words or words[-1].partition(" (")[0] != predicted.state:
                words.append(f"{predicted.state} ({one.step})")
        last = self.verdicts[-1]
        at = "" if last.step is None else f" at {last.step}"
        return [", ".join(words), f"{last.state}{at}", shown(self.rising)]


def course_of(folder: Path) -> Course:
    """A training that was logged; a zero-initialized branch has the loss of the model alone."""
    lines = (folder / METER).read_text().splitlines()
    measurements = [from_json(json.loads(line)) for line in lines]
    return Course(measurements, measurements[0].loss, measurements[-1].step)


def leaves_band(measurements: Sequence[Measurement], low: float) -> int | None:
    """First step from which the plain loss is below its band twice in a row."""
    below = [one.plain_loss < low for one in measurements]
    for location in range(len(below) - 1):
        if below[location] and below[location + 1]:
            return measurements[location].step
    return None


class Bench:
    """The model and its pairs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.model = options, load_diffusion(MODEL, "cpu")
        self.condition = condition_named(options.condition)
        folder = builtin_folder(MODEL)
        self.learned, self.held = (
            open_pairs(self.model, folder, world, count, self.condition, 0.0, Silent())
            for world, count in ((TRAINING_WORLD, options.scenes), (HELD_OUT_WORLD, HELD_OUT))
        )

    def train(
        self, folder: Path, rate: float, seed: int, *, paired: bool = True, steps: int = 0
    ) -> Trained:
        """One training."""
        options = self.options
        shape = Shape(self.model.factor, hint_widths=WIDTHS, learned="convolutions")
        branch = make_branch(self.model.unet, shape, generator_for(seed, 0, "cpu"))
        learned = self.learned if paired else mispaired(self.learned, seed)
        held = self.held if paired else mispaired(self.held, seed)
        steps = steps or options.steps
        plan = Plan(steps, options.batch, rate, warm_up=max(1, min(30, steps // 10)))
        job = TrainingJob(
            self.model,
            branch,
            learned,
            held,
            None,
            plan,
            measured=HELD_OUT,
            measurements=options.measurements,
            grids=0,
        )
        precision = fast_precision("cpu")
        return train_branch(job, Session(folder, {}, seed, precision=precision), Silent())


def low_end(bench: Bench) -> float:
    """Where the noise band of the plain validation loss ends: mean less two deviations."""
    shape = Shape(bench.model.factor, hint_widths=WIDTHS, learned="convolutions")
    branch = make_branch(bench.model.unet, shape, generator_for(0, 0, "cpu"))
    meter = Meter(bench.model, branch, bench.held, HELD_OUT, fast_precision("cpu"))
    losses = [meter.measure(1_000_000 + number).plain_loss for number in range(BANDS)]
    return float(np.mean(losses) - BAND * np.std(losses, ddof=1))


def shown(step: int | None) -> str:
    return "never" if step is None else str(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: scenes are rendered")
    parser.add_argument("--condition", default="segmentation")
    parser.add_argument("--scenes", type=int, default=2_048, help="that are learned from")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate")
    parser.add_argument("--first-seed", type=int, default=0, help="of each case; others follow it")
    parser.add_argument("--steps", type=int, default=160, help="of each training")
    parser.add_argument("--measurements", type=int, default=20, help="of each training")
    parser.add_argument("--converging", type=int, default=3, help="trainings that should converge")
    parser.add_argument("--mispaired", type=int, default=10, help="trainings that must not")
    parser.add_argument("--slow", type=int, default=3, help="at a rate 100 times too small")
    parser.add_argument("--out", type=Path, help="folder for logs and plots; a run there goes on")
    parser.add_argument(
        "--replay", type=Path, help="an earlier --out: judge its logs, train nothing"
    )
    options = parser.parse_args()
    if options.replay is not None:
        replay(options.replay)
        return
    with tempfile.TemporaryDirectory() as name:
        report(Bench(options), options, options.out or Path(name))


def report(bench: Bench, options: argparse.Namespace, out: Path) -> None:
    low = low_end(bench)
    print(f"plain validation loss: its noise band ends at {low:.4f}\n")
    print("| data | seed | said | at the end | rising since step | plain loss below its band |")
    print("|---|---|---|---|---|---|")
    cases = [
        ("paired", options.rate, True, options.converging),
        ("mispaired", options.rate, False, options.mispaired),
        ("paired, slow", options.rate / SLOW, True, options.slow),
    ]
    found: dict[str, list[Course]] = {}
    predicted = []
    for case, rate, paired, count in cases:
        for seed in range(options.first_seed, options.first_seed + count):
            folder = out / f"{case.replace(', ', '-')}-{seed}"
            trained = bench.train(folder, rate, seed, paired=paired)
            one = Course(trained.measurements, trained.frozen_loss, options.steps)
            found.setdefault(case, []).append(one)
            left = leaves_band(one.measurements, low)
            print(f"| {' | '.join([case, str(seed), *one.told, shown(left)])} |", flush=True)
            if case == "paired":
                predicted.append(reported_forecast(trained.forecast, trained.verdict))
    print()
    for case, runs in found.items():
        ends = Counter(one.verdicts[-1].state for one in runs)
        rising = sum(one.rising is not None for one in runs)
        ended = ", ".join(f"{count} {state}" for state, count in ends.items())
        print(f"{case}: {rising} of {len(runs)} told as rising; at the end {ended}")
    before = 0
    for one in found.get("paired", []):
        left = leaves_band(one.measurements, low)
        before += one.rising is not None and (left is None or one.rising < left)
    print(f"paired runs told as rising before the plain loss left its band: {before}")
    print("\n".join(predicted))
    if out == options.out:
        print(f"logs and plots: {out}")


def replay(folder: Path) -> None:
    """What the meter says now of the trainings that an earlier run logged."""
    print("| training | said | at the end | rising since step |\n|---|---|---|---|")
    for log in sorted(folder.glob(f"*/{METER}")):
        print(f"| {' | '.join([log.parent.name, *course_of(log.parent).told])} |")


if __name__ == "__main__":
    main()
