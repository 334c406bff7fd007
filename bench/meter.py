"""Whether the convergence meter tells the truth: on data that converges, on mispaired data, and at
a learning rate 100 times too small; and how well the first fifth of a training predicts the rest.

Real trainings of a branch of the built-in diffusion model on Blocks scenes. Mispaired: every
picture has another one's condition, the same one each time, in the pairs that are held out too.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graftwerk.conditions import condition_named
from graftwerk.contracts import Silent
from graftwerk.control.growth import told_forecast
from graftwerk.control.meter import Measurement, Meter
from graftwerk.control.task import Batch, Pairs
from graftwerk.control.training import Lesson, Trained, train_branch
from graftwerk.control.verdict import judge
from graftwerk.frozen.builtin import builtin_folder
from graftwerk.frozen.diffusion.model import load_diffusion
from graftwerk.recipes.paired import open_pairs
from graftwerk.recipes.recipe import HELD_OUT_WORLD, TRAINING_WORLD
from graftwerk.steer.branch import Shape, make_branch
from graftwerk.train.arithmetic import fast_precision
from graftwerk.train.session import Session
from graftwerk.train.state import generator_for
from graftwerk.train.task import Plan

MODEL, HELD_OUT = "builtin/blocks", 128
RATE, SLOW = 1e-3, 100
WIDTHS = (16, 32, 64, 96)  # of the hint encoder, as in the recipes
BAND, BANDS = 2.0, 12  # standard deviations of the plain loss of the model alone, and its draws
RISING = {"converging", "converged"}


@dataclass(frozen=True)
class Mispaired:
    """Pairs in which each picture has another one's condition."""

    pairs: Pairs
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, numbers: np.ndarray, said: np.ndarray) -> Batch:
        true, other = self.pairs.take(numbers, said), self.pairs.take(self.order[numbers], said)
        return Batch(true.latents, other.maps, true.texts)


def mispaired(pairs: Pairs, seed: int) -> Mispaired:
    """Each picture gets the condition of the next one in a random order."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    return Mispaired(pairs, others)


def course(trained: Trained, planned: int) -> list[str]:
    """What was said after each measurement."""
    there = trained.measurements
    return [judge(there[: n + 1], trained.frozen_loss, planned).state for n in range(len(there))]


def leaves_band(measurements: tuple[Measurement, ...], low: float) -> int | None:
    """First step from which the plain loss is below its band twice in a row."""
    below = [one.plain_loss < low for one in measurements]
    for place in range(len(below) - 1):
        if below[place] and below[place + 1]:
            return measurements[place].step
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
        lesson = Lesson(
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
        return train_branch(lesson, Session(folder, {}, seed, precision=precision), Silent())


def low_end(bench: Bench) -> float:
    """Where the noise band of the plain validation loss ends: mean less two deviations."""
    shape = Shape(bench.model.factor, hint_widths=WIDTHS, learned="convolutions")
    branch = make_branch(bench.model.unet, shape, generator_for(0, 0, "cpu"))
    meter = Meter(bench.model, branch, bench.held, HELD_OUT, fast_precision("cpu"))
    losses = [meter.measure(1_000_000 + number).plain_loss for number in range(BANDS)]
    return float(np.mean(losses) - BAND * np.std(losses, ddof=1))


def row(case: str, seed: int, trained: Trained, planned: int, low: float) -> list[str]:
    """One training as a row of the table; its words are those said after each measurement."""
    said = course(trained, planned)
    told = next((n for n, state in enumerate(said) if state in RISING), None)
    step = None if told is None else trained.measurements[told].step
    left = leaves_band(trained.measurements, low)
    at = "" if trained.verdict.step is None else f" at {trained.verdict.step}"
    words = ", ".join(dict.fromkeys(said))
    return [case, str(seed), words, f"{trained.verdict.state}{at}", shown(step), shown(left)]


def shown(step: int | None) -> str:
    return "never" if step is None else str(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: scenes are rendered")
    parser.add_argument("--condition", default="segmentation")
    parser.add_argument("--scenes", type=int, default=2_048, help="that are learned from")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=120, help="of each training")
    parser.add_argument("--measurements", type=int, default=30, help="of each training")
    parser.add_argument("--converging", type=int, default=3, help="trainings that should converge")
    parser.add_argument("--mispaired", type=int, default=10, help="trainings that must not")
    parser.add_argument("--slow", type=int, default=3, help="at a rate 100 times too small")
    parser.add_argument("--out", type=Path, help="folder for logs and plots; a run there goes on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report(Bench(options), options, options.out or Path(name))


def report(bench: Bench, options: argparse.Namespace, out: Path) -> None:
    low = low_end(bench)
    print(f"plain validation loss: its noise band ends at {low:.4f}\n")
    print("| data | seed | said | at the end | rising since step | plain loss below its band |")
    print("|---|---|---|---|---|---|")
    cases = [
        ("paired", RATE, True, options.converging),
        ("mispaired", RATE, False, options.mispaired),
    ]
    cases.append(("paired, slow", RATE / SLOW, True, options.slow))
    found: dict[str, list[Trained]] = {}
    for case, rate, paired, count in cases:
        for seed in range(count):
            folder = out / f"{case.replace(', ', '-')}-{seed}"
            trained = bench.train(folder, rate, seed, paired=paired)
            found.setdefault(case, []).append(trained)
            print(f"| {' | '.join(row(case, seed, trained, options.steps, low))} |", flush=True)
    converged = {
        case: sum("converged" in course(one, options.steps) for one in runs)
        for case, runs in found.items()
    }
    still = sum(one.verdict.state == "not learning" for one in found.get("paired, slow", []))
    before = 0
    for one in found.get("paired", []):
        said, left = course(one, options.steps), leaves_band(one.measurements, low)
        told = next((n for n, state in enumerate(said) if state in RISING), None)
        before += told is not None and (left is None or one.measurements[told].step < left)
    print(f"\nsaid converged: {converged}; slow runs that end as not learning: {still}")
    print(f"paired runs told as rising before the plain loss left its band: {before}")
    for one in found.get("paired", []):
        print(told_forecast(one.forecast, one.verdict))
    if out == options.out:
        print(f"logs and plots: {out}")


if __name__ == "__main__":
    main()
