"""Automatic choice of the cheapest fitting method as good as the best, within a time budget."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..types import Monitor
from .methods import make_linear, make_tuned
from .problem import Problem
from .results import Score, Trial
from .run import starting_head, tune
from .saved import Made
from .scoring import Settings

COST = ("linear", "lora", "full", "wise-ft")  # cheapest first
_APART = 3.0  # ratio of successive learning rates
_LORA_PLUS = 16.0  # learning rate of B over that of A (LoRA+: Hayou et al., 2024, section 5)
_RATES = {"lora": (5e-4, 2e-3), "full": (3e-5, 1e-4)}


def cheapest(scores: Sequence[tuple[str, Score]]) -> int:
    """Return the index of the cheapest method within the 95 % interval of the best one."""
    best = max(scores, key=lambda pair: pair[1].value)[1]
    good = [n for n, (_, score) in enumerate(scores) if score.value >= best.low]
    return min(good, key=lambda n: (COST.index(scores[n][0]), -scores[n][1].value))


def choose(
    problem: Problem,
    layered: Problem,
    settings: Sequence[Settings],
    minutes: float,
    folder: Path,
    monitor: Monitor,
) -> tuple[Made, list[Trial]]:
    """Spend the budget by successive halving and return the cheapest sufficiently good method.

    All settings get an equal share of the first third of the budget; the better half continues
    with the next third, and the best with the last (Jamieson and Talwalkar, 2016, with fixed
    rungs). Runs resume from their checkpoints. The linear head takes part without a budget.

    Args:
        problem: the data; choices are made on its validation examples.
        layered: the same, on the layers that the linear head reads.
        settings: candidates in addition to the linear head.
        minutes: total budget.
        folder: folder for the runs.
        monitor: informed about progress.
    """
    deadline = time.monotonic() + 60 * minutes
    begin = time.perf_counter()
    head = starting_head(layered, monitor)
    locations = problem.split.validation
    linear = problem.measure(head.score(layered.features(monitor)[locations]), locations)
    spent = {"linear": time.perf_counter() - begin}
    runs: dict[int, Score] = {}
    ended: dict[int, bool] = {}
    alive = list(range(len(settings)))
    rungs = len(settings).bit_length()
    for rung in range(rungs):
        left = max(0.0, deadline - time.monotonic()) / 60
        share = left / (rungs - rung) / len(alive)
        for number in alive:
            name = _name(settings[number])
            monitor.note(f"round {rung + 1} of {rungs}: {name}, {share:.1f} min")
            run = tune(problem, settings[number], folder / str(number), monitor, minutes=share)
            spent[name] = spent.get(name, 0.0) + run.seconds
            runs[number], ended[number] = run.measured, run.finished
            del run  # keep one network in memory
        alive.sort(key=lambda number: -runs[number].value)
        alive = alive[: max(1, len(alive) // 2)]
        if all(ended[number] for number in alive):
            break
    tried = [("linear", linear)] + [(settings[n].how, runs[n]) for n in sorted(runs)]
    retained = cheapest(tried)
    names = ["linear", *(_name(settings[n]) for n in sorted(runs))]
    trials = [
        Trial(name=name, score=score.value, seconds=spent[name], kept=number == retained)
        for number, (name, (_, score)) in enumerate(zip(names, tried, strict=True))
    ]
    if retained == 0:
        return make_linear(layered, monitor), trials
    number = sorted(runs)[retained - 1]
    # The weights are on disk: this trains no further and loads the best of them.
    run = tune(problem, settings[number], folder / str(number), monitor, minutes=0.0)
    return make_tuned(problem, run, folder / str(number), monitor), trials


def candidates(settings: Settings, count: int) -> list[Settings]:
    """Return settings at `count` learning rates a factor of 3 apart, around the given rate.

    The best rate of LoRA is not that of full fine-tuning, and a comparison at one rate may compare
    rates (Biderman et al., "LoRA Learns Less and Forgets Less", 2024, section 4). If there are
    several rates, LoRA is also tried with a faster B, and A at half its rate.
    """
    highest = (count - 1) // 2
    rates = [settings.learning_rate * _APART ** (highest - number) for number in range(count)]
    found = [replace(settings, learning_rate=min(1.0, rate)) for rate in rates]
    if settings.how == "lora" and settings.lora_plus == 1 and count > 1:
        slower = settings.learning_rate / 2
        found.append(replace(settings, learning_rate=slower, lora_plus=_LORA_PLUS))
    return found


def usual(settings: Settings) -> list[Settings]:
    """Return settings at the two usual learning rates of their method."""
    return [replace(settings, learning_rate=rate) for rate in _RATES[settings.how]]


def _name(settings: Settings) -> str:
    rank = f" rank {settings.rank}" if settings.how == "lora" else ""
    return f"{settings.how}{rank} {settings.pace}"
