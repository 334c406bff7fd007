"""Whether the convergence meter tells the truth: on data that converges, on mispaired data, and at
a learning rate 100 times too small; and how well the first fifth of a training predicts the rest.

Real trainings of a branch of the built-in diffusion model on Blocks scenes. Mispaired: every
picture has another one's condition, the same one each time, in the pairs that are held out too.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graftwerk.conditions import condition_named
from graftwerk.contracts import Silent
from graftwerk.control.meter import Measurement
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

MODEL, HELD_OUT = "builtin/blocks", 64
RATE, SLOW = 1e-3, 100
WIDTHS = (16, 32, 64, 96)  # of the hint encoder, as in the recipes
BAND = 2.0  # standard deviations of the plain loss of the model alone


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
        folder, draw = builtin_folder(MODEL), self.condition.from_rows
        self.learned, self.held = (
            open_pairs(self.model, folder, world, count, draw, 0.0, Silent())
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
    from graftwerk.control.meter import Meter

    branch = make_branch(bench.model.unet, shape, generator_for(0, 0, "cpu"))
    meter = Meter(bench.model, branch, bench.held, HELD_OUT, fast_precision("cpu"))
    losses = [meter.measure(1_000_000 + number).plain_loss for number in range(12)]
    return float(np.mean(losses) - BAND * np.std(losses, ddof=1))
