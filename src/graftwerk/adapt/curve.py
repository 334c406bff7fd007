"""The learning curve of the linear head, and whether more examples would help."""

from dataclasses import dataclass

import numpy as np

from ..contracts import Monitor
from .linear import fit_linear
from .problem import Problem
from .scoring import point
from .split import Places

_SHARES = (0.125, 0.25, 0.5, 1.0)  # of the examples to learn from
_DRAWS = 3
_FEWEST = 4  # examples
_WORTH = 0.005  # a smaller gain is none


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Score at one size.

    Attributes:
        examples: learned from.
        score: mean over the draws, on the test examples.
        spread: standard deviation over the draws; 0 at the full size.
    """

    examples: int
    score: float
    spread: float


def learning_curve(problem: Problem, monitor: Monitor) -> list[CurvePoint]:
    """Fit linear heads on shares of the examples, drawn class by class, each twice the last."""
    features = problem.features(monitor)
    test = problem.split.test
    truth = problem.targets.values[test]
    points = []
    monitor.start("learning curve", len(_SHARES))
    for share in _SHARES:
        scores, count = [], 0
        for draw in range(1 if share == 1 else _DRAWS):
            places = _some(problem, share, draw)
            if len(places) < _FEWEST:
                continue
            base, seed = problem.base.fingerprint, problem.source.seed
            head = fit_linear(
                features, problem.targets, places, base, seed=seed, balanced=problem.source.balanced
            ).head
            scores.append(point(head.score(features[test]), truth, problem.targets.task))
            count = len(places)
        if scores:
            points.append(CurvePoint(count, float(np.mean(scores)), float(np.std(scores))))
        monitor.advance()
    return points


def verdict(points: list[CurvePoint], name: str) -> str:
    """One sentence on whether more examples would help."""
    if len(points) < 3:
        return "too few examples for a learning curve"
    before, half, whole = points[-3:]
    gain, former = whole.score - half.score, half.score - before.score
    noise = 2 * half.spread / np.sqrt(_DRAWS)
    told = (
        f"from {half.examples:,} to {whole.examples:,} examples {name} of the linear head went "
        f"from {half.score:.3f} to {whole.score:.3f}"
    )
    if gain > max(_WORTH, noise):
        ratio = float(np.clip(gain / former, 0, 1)) if former > 0 else 1.0
        return f"more examples would help: {told}; twice as many may bring about {gain * ratio:.3f}"
    return f"more examples would hardly help: {told}, which is within the noise of {noise:.3f}"


def _some(problem: Problem, share: float, draw: int) -> Places:
    """A share of the examples to learn from, class by class where there are classes."""
    learned = problem.split.learned
    if share == 1:
        return learned
    generator = np.random.default_rng([problem.source.seed, draw])
    if problem.targets.task != "class":
        return np.sort(generator.permutation(learned)[: max(1, round(share * len(learned)))])
    values = problem.targets.values[learned]
    parts = []
    for number in np.unique(values):
        rows = generator.permutation(learned[values == number])
        parts.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(parts))
