"""How well classes, labels or numbers are predicted, each with a 95 % interval."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int64, Shaped

from ..adapters.linear_head import probabilities
from ..metrics.intervals import bootstrap, wilson
from ..types import Task
from .results import Score

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
    low, high = bootstrap(micro, count, np.random.default_rng(seed))
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
    low, high = bootstrap(determination, count, np.random.default_rng(seed))
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
