"""The ways to fit, by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..contracts import Monitor
from .linear import fit_linear
from .problem import Problem
from .saved import Made


@dataclass(frozen=True, slots=True)
class Trial:
    """One way that was tried.

    Attributes:
        name: what was tried.
        score: on validation examples or held-out folds; higher is better.
        seconds: spent on it.
        kept: whether it is the result.
    """

    name: str
    score: float
    seconds: float
    kept: bool = False


def save_nothing(folder: Path) -> None:
    """What is learned beside the head of a linear fit."""


def make_linear(problem: Problem, monitor: Monitor) -> Made:
    """A head on frozen features, fitted on training and validation examples."""
    features = problem.features(monitor)
    fitted = fit_linear(
        features,
        problem.targets,
        problem.split.learned,
        problem.base.fingerprint,
        seed=problem.source.seed,
        balanced=problem.source.balanced,
    )
    test = problem.split.test
    return Made(
        how="linear",
        head=fitted.head,
        score=problem.measure(fitted.head.score(features[test]), test),
        settings={"strength": fitted.strength, "held_out_score": fitted.chosen},
        save=save_nothing,
        parameters=fitted.head.weight.size + fitted.head.bias.size,
    )


def sweep_layers(problem: Problem, monitor: Monitor) -> tuple[Problem, Sequence[Trial]]:
    """The problem on the hidden layer whose head does best on held-out folds.

    Raises:
        BadInput: the model has no hidden layers that can be taken.
    """
    import time

    trials, problems = [], []
    for layer in hidden_layers(problem):
        begin = time.perf_counter()
        there = problem.at_layer(layer)
        made = make_linear(there, monitor)
        name = "last layer" if layer is None else f"layer {layer}"
        seconds = time.perf_counter() - begin
        trials.append(Trial(name, float(made.settings["held_out_score"]), seconds))
        problems.append(there)
    best = max(range(len(trials)), key=lambda number: trials[number].score)
    kept = [
        Trial(one.name, one.score, one.seconds, number == best) for number, one in enumerate(trials)
    ]
    return problems[best], kept


def hidden_layers(problem: Problem) -> list[int | None]:
    """All hidden layers before the last, and None for the last as the model itself takes it."""
    from ..errors import BadInput
    from ..frozen.folder import read_object

    config = read_object(problem.base.root / "config.json")
    if "vision_config" in config:
        raise BadInput(
            f"the layers of {problem.base.name} cannot be swept: only the last one is joint.",
            "Leave --sweep out.",
        )
    named = (config.get(key) for key in ("num_hidden_layers", "n_layers", "n_layer", "num_layers"))
    count = next((value for value in named if isinstance(value, int)), None)
    count = count or len(config.get("depths", ()))
    if not count:
        raise BadInput(f"{problem.base.name} has no hidden layers to sweep.", "Leave --sweep out.")
    return [*range(count), None]
