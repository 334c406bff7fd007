"""How well classes, labels or numbers are predicted, each with a 95 % interval."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64, Shaped

from ..adapters.linear_head import probabilities
from ..types import Task
from .results import Score

_Z = 1.959964  # of the normal distribution, 95 % two-sided
_RESAMPLES = 1_000
Scores = Float[np.ndarray, "n k"]
Truth = Shaped[np.ndarray, "n *k"]
Measure = Callable[[Int64[np.ndarray, " m"]], float]  # of some rows


def score(scores: Scores, truth: Truth, task: Task, seed: int = 0) -> Score:
    """Measure predictions.

    Args:
        scores: of a head, before softmax or sigmoid.
        truth: as `targets.Targets.values`.
        task: what is predicted.
        seed: of the bootstrap.
    """
    if task == "class":
        return _classes(scores, truth)
    if task == "labels":
        return _labels(scores, truth, seed)
    return _numbers(scores[:, 0], truth, seed)


def point(scores: Scores, truth: Truth, task: Task) -> float:
    """The score alone, without its interval."""
    if task == "class":
        return float((scores.argmax(axis=1) == truth).mean())
    labels = task == "labels"
    measure = _micro(scores, truth) if labels else _determination(scores[:, 0], truth)
    return measure(np.arange(len(truth)))


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    >>> [round(end, 3) for end in wilson(9, 10)]
    [0.596, 0.982]
    """
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, _Z**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(measure: Measure, count: int, seed: int) -> tuple[float, float]:
    """The 95 % interval of a figure by drawing rows with replacement."""
    generator = np.random.default_rng(seed)
    found = [measure(generator.integers(0, count, count)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _classes(scores: Scores, truth: Int64[np.ndarray, " n"]) -> Score:
    said = scores.argmax(axis=1)
    hits, count = int((said == truth).sum()), len(truth)
    shares = np.bincount(truth, minlength=scores.shape[1]) / count
    per_class = []
    for number in np.unique(truth):
        right = int(((said == number) & (truth == number)).sum())
        per_class.append(2 * right / int((said == number).sum() + (truth == number).sum()))
    chosen = probabilities(scores.astype(np.float64), "class")[np.arange(count), truth]
    low, high = wilson(hits, count)
    figures = {
        "macro F1": float(np.mean(per_class)),
        "log loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
    }
    return Score(
        name="accuracy",
        value=hits / count,
        low=low,
        high=high,
        baseline=float(shares.max()),
        count=count,
        figures=figures,
    )


def _labels(scores: Scores, truth: Float[np.ndarray, "n k"], seed: int) -> Score:
    micro, count = _micro(scores, truth), len(truth)
    low, high = bootstrap(micro, count, seed)
    share = float((truth > 0).mean())
    figures = {"exact": float(((scores > 0) == (truth > 0)).all(axis=1).mean())}
    all_labels = 2 * share / (1 + share)
    return Score(
        name="micro F1",
        value=micro(np.arange(count)),
        low=low,
        high=high,
        baseline=all_labels,
        count=count,
        figures=figures,
    )


def _micro(scores: Scores, truth: Float[np.ndarray, "n k"]) -> Measure:
    """Micro F1 of some rows."""
    right, wrong = (scores > 0) & (truth > 0), (scores > 0) ^ (truth > 0)

    def micro(rows: Int64[np.ndarray, " m"]) -> float:
        hits = 2 * int(right[rows].sum())
        return hits / max(hits + int(wrong[rows].sum()), 1)

    return micro


def _numbers(said: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], seed: int) -> Score:
    errors, count = said.astype(np.float64) - truth, len(truth)
    determination = _determination(said, truth)
    low, high = bootstrap(determination, count, seed)
    figures = {
        "mean absolute error": float(np.abs(errors).mean()),
        "root mean square error": float(np.sqrt((errors**2).mean())),
    }
    return Score(
        name="R2",
        value=determination(np.arange(count)),
        low=low,
        high=high,
        baseline=0.0,
        count=count,
        figures=figures,
    )


def _determination(said: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> Measure:
    """R2 of some rows."""
    errors = said.astype(np.float64) - truth

    def determination(rows: Int64[np.ndarray, " m"]) -> float:
        spread = float(((truth[rows] - truth[rows].mean()) ** 2).sum())
        return 1 - float((errors[rows] ** 2).sum()) / max(spread, 1e-300)

    return determination
