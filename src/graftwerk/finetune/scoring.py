"""Evaluation of predicted classes, labels or numbers, with 95 % intervals, and tuning settings."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from ..adapters.linear_head import probabilities
from ..data.dataset import Item, Kind, OpenedData
from ..examples import HANDBOOK
from ..metrics.intervals import bootstrap, wilson
from ..types import Task, Vectors
from .base_model import Encode
from .results import Answered, ClassScore, Mistake, Score, ScoreDetails

Scores = Float[np.ndarray, "n k"]
Truth = Shaped[np.ndarray, "n *k"]
Measure = Callable[[Int64[np.ndarray, " m"]], float]  # metric of some rows


def score(scores: Scores, truth: Truth, task: Task, seed: int = 0) -> Score:
    """Evaluate predictions.

    Args:
        scores: outputs of a head, before softmax or sigmoid.
        truth: in the format of `data.targets.Targets.values`.
        task: type of prediction.
        seed: seed of the bootstrap.
    """
    if task == "class":
        return _classes(scores, truth)
    labels, count = task == "labels", len(truth)
    measure = _micro(scores, truth) if labels else _determination(scores[:, 0], truth)
    low, high = bootstrap(measure, count, np.random.default_rng(seed))
    if labels:
        share = float((truth > 0).mean())
        name, baseline = "micro F1", 2 * share / (1 + share)  # of all labels
        figures = {"exact": float(((scores > 0) == (truth > 0)).all(axis=1).mean())}
    else:
        errors = scores[:, 0].astype(np.float64) - truth
        name, baseline = "R2", 0.0
        figures = {
            "mean absolute error": float(np.abs(errors).mean()),
            "root mean square error": float(np.sqrt((errors**2).mean())),
        }
    value = measure(np.arange(count))
    return Score(
        name=name, value=value, low=low, high=high, baseline=baseline, count=count, figures=figures
    )


def point(scores: Scores, truth: Truth, task: Task) -> float:
    """Return the score alone, without its interval."""
    if task == "class":
        return float((scores.argmax(axis=1) == truth).mean())
    labels = task == "labels"
    measure = _micro(scores, truth) if labels else _determination(scores[:, 0], truth)
    return measure(np.arange(len(truth)))


_MATRIX, _MISTAKES, _CONFUSIONS = 100, 100, 5
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def details(
    scores: Scores,
    truth: Truth,
    task: Task,
    labels: Sequence[str],
    names: Sequence[str],
    threshold: float | None = None,
) -> ScoreDetails | None:
    """Return per-class scores, confusions, and the most confident mistakes; None for numbers.

    Args:
        scores: outputs of a head, before softmax or sigmoid.
        truth: in the format of `data.targets.Targets.values`.
        task: type of prediction.
        labels: names of the classes or labels.
        names: names of the examples.
        threshold: the user's threshold, added to those whose effect is reported.
    """
    if task == "number":
        return None
    count, chances = len(labels), probabilities(scores.astype(np.float64), task)
    if task == "class":
        held, chosen = np.eye(count, dtype=bool)[truth], np.eye(count, dtype=bool)[scores.argmax(1)]
        sure = chances.max(axis=1)
    else:
        held, chosen = truth > 0, scores > 0
        sure = np.where(chosen, chances, 1 - chances).max(axis=1)
    right = (held == chosen).all(axis=1)
    wrong = np.flatnonzero(~right)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    single = task == "class"
    mistakes = [
        Mistake(
            input=names[n],
            label=", ".join(labels[k] for k in np.flatnonzero(held[n]).tolist()),
            predicted=", ".join(labels[k] for k in np.flatnonzero(chosen[n]).tolist()),
            probability=float(sure[n]) if single else None,
        )
        for n in wrong[:_MISTAKES].tolist()
    ]
    levels = sorted({*_THRESHOLDS, *(() if threshold is None else (threshold,))})
    matrix = held.T.astype(np.int64) @ chosen if single and count <= _MATRIX else np.zeros((0, 0))
    return ScoreDetails(
        classes=[_class_score(labels[k], held[:, k], chosen[:, k]) for k in range(count)],
        confusion=matrix.astype(int).tolist(),
        mistakes=mistakes,
        wrong=len(wrong),
        thresholds=[_answered(t, sure >= t, right) for t in levels] if single else [],
    )


def _class_score(
    label: str, held: Bool[np.ndarray, " n"], chosen: Bool[np.ndarray, " n"]
) -> ClassScore:
    count, predicted, right = int(held.sum()), int(chosen.sum()), int((held & chosen).sum())
    return ClassScore(
        label=label,
        count=count,
        share=count / max(len(held), 1),
        predicted=predicted,
        precision=right / predicted if predicted else None,
        recall=right / count if count else None,
        f1=2 * right / (count + predicted) if count + predicted else None,
    )


def _answered(
    threshold: float, answered: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"]
) -> Answered:
    accuracy = float(right[answered].mean()) if answered.any() else None
    return Answered(threshold=threshold, answered=float(answered.mean()), accuracy=accuracy)


def confusions(found: ScoreDetails | None) -> list[str]:
    """Describe the most frequent mistakes."""
    if found is None or not found.confusion:
        return []
    table = np.array(found.confusion)
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [divmod(int(location), len(table)) for location in order if table.flat[location]]
    names = [one.label for one in found.classes]
    return [f"{names[a]} taken for {names[b]}: {table[a, b]}" for a, b in pairs]


def _classes(scores: Scores, truth: Int64[np.ndarray, " n"]) -> Score:
    predicted = scores.argmax(axis=1)
    hits, count = int((predicted == truth).sum()), len(truth)
    shares = np.bincount(truth, minlength=scores.shape[1]) / count
    per_class = []
    for number in np.unique(truth):
        right = int(((predicted == number) & (truth == number)).sum())
        per_class.append(2 * right / int((predicted == number).sum() + (truth == number).sum()))
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


def _micro(scores: Scores, truth: Float[np.ndarray, "n k"]) -> Measure:
    right, wrong = (scores > 0) & (truth > 0), (scores > 0) ^ (truth > 0)

    def micro(rows: Int64[np.ndarray, " m"]) -> float:
        hits = 2 * int(right[rows].sum())
        return hits / max(hits + int(wrong[rows].sum()), 1)

    return micro


def _determination(predicted: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> Measure:
    errors = predicted.astype(np.float64) - truth

    def determination(rows: Int64[np.ndarray, " m"]) -> float:
        deviation = float(((truth[rows] - truth[rows].mean()) ** 2).sum())
        squares = float((errors[rows] ** 2).sum())
        if deviation == 0:  # one row, or equal ones: as in scikit-learn
            return float(squares == 0)
        return 1 - squares / deviation

    return determination


_TIMED = 256  # items used for timing
_INTERVAL = 0.05  # seconds between two memory samples
_OTHERS = 64  # items unrelated to the data
_SIDE = 96  # pixels of each crop


@dataclass
class Peak:
    """Peak memory of the process, in bytes; 0 if it is unknown."""

    bytes: int = 0


@contextmanager
def watched_memory() -> Iterator[Peak]:
    """Sample the memory of this process every 50 ms, including libraries and data."""
    peak, ended = Peak(), threading.Event()

    def look() -> None:
        while not ended.wait(_INTERVAL):
            peak.bytes = max(peak.bytes, _resident())

    watcher = threading.Thread(target=look, daemon=True)
    peak.bytes = _resident()
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        peak.bytes = max(peak.bytes, _resident())


def seconds_per_thousand(encode: Encode, items: Sequence[Item]) -> float:
    """Return the seconds to predict for 1,000 items with a network that is loaded and warm."""
    some = list(items[:_TIMED])
    encode(some[:8], ignore)
    begin = time.perf_counter()
    encode(some, ignore)
    return 1000 * (time.perf_counter() - begin) / len(some)


def drift(before: Vectors, after: Vectors) -> float:
    """Return 1 minus the mean cosine of unit vectors before and after; 0 for no change."""
    return float(max(0.0, 1 - (before * after).sum(axis=1).mean()))


def other_items(kind: Kind, sample: Item) -> Sequence[Item]:
    """Return items unrelated to the data, the same in every call.

    Texts are the paragraphs of the shipped handbook, images are crops of two photographs included
    in scikit-learn, series are sums of sines of the length of `sample`.
    """
    generator = np.random.default_rng(0)
    if kind == "text":
        texts = "\n\n".join(p.read_text("utf-8") for p in sorted(HANDBOOK.glob("*.md")))
        return [part.strip() for part in texts.split("\n\n") if len(part) > 60][:_OTHERS]
    if kind == "series":
        times = np.arange(len(np.asarray(sample)))
        waves = generator.uniform(0.01, 0.4, (_OTHERS, 3, 1))
        return list(np.sin(2 * np.pi * waves * times).sum(axis=1).astype(np.float32))
    return list(_crops(generator))


def _crops(generator: np.random.Generator) -> Iterator[Item]:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    for number in range(_OTHERS):
        image = images[number % len(images)]
        top = int(generator.integers(0, image.shape[0] - _SIDE))
        left = int(generator.integers(0, image.shape[1] - _SIDE))
        yield OpenedData(Image.fromarray(image[top : top + _SIDE, left : left + _SIDE]))


def ignore(count: int) -> None:
    """Count nothing."""


def _resident() -> int:
    status = Path("/proc/self/statm")
    if status.is_file():
        import resource

        return int(status.read_text().split()[1]) * resource.getpagesize()
    if sys.platform == "win32":
        return 0
    import resource

    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a tuning run.

    Attributes:
        how: `lora` or `full`.
        rank: rank of LoRA.
        alpha: alpha of LoRA.
        dropout: dropout of LoRA.
        lora_plus: factor of B's learning rate over A's (LoRA+: Hayou et al., 2024).
        targets: names of layers that get LoRA; empty for all projections.
        top: number of blocks to train, counted from the last; None for all.
        epochs: maximum number of passes over the training examples.
        batch: examples per step.
        learning_rate: peak learning rate.
        patience: number of validations without improvement before it stops.
    """

    how: str
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    lora_plus: float = 1.0
    targets: tuple[str, ...] = ()
    top: int | None = None
    epochs: float = 6.0
    batch: int = 32
    learning_rate: float = 5e-4
    patience: int = 4

    @property
    def pace(self) -> str:
        """The learning rate, in words."""
        faster = f", B {self.lora_plus:g} times" if self.lora_plus != 1 else ""
        return f"rate {self.learning_rate:g}{faster}"
