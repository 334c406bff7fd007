"""Coefficients of the reading that the questions of an index's own user teach.

The likelihood of the right sentence among all that were found is maximized, with a normal prior
around the shipped coefficients. They are used only if cross-validation puts the right sentence
first for more questions than the shipped ones do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from ..models.language import reading
from ..models.language.markup import readable
from ..models.language.reader import load_reader
from ..search.results import SearchResult
from ..types import Encoder, Monitor, Source
from .citations import says
from .results import Calibration

_FEWEST = 10  # questions whose sentence is among those that were found
_FOLDS = 5
_PRIOR = 30.0  # precision, of features of unit variance; chosen by `bench.fit_reading --own`
_PASSAGES = 5

Weights = Float64[np.ndarray, " f"]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question: what is seen of each sentence that was found, and which ones answer it."""

    features: Float64[np.ndarray, "n f"]
    right: Bool[np.ndarray, " n"]


def with_reading(
    calibration: Calibration,
    sentences: Mapping[str, str],
    find: Callable[[str], SearchResult],
    encoder: Encoder,
    monitor: Monitor,
) -> Calibration:
    """Add what is learned from questions and their sentences to a calibration.

    Args:
        calibration: gets the coefficients, and how often the right sentence is first with and
            without them.
        sentences: words of the sentence that answers, by question.
        find: gives text passages for a question, best first.
        encoder: compares sentences; without a trained reader for it, nothing is learned.
        monitor: informed about progress.
    """
    reader = load_reader(encoder) if sentences else None
    if reader is None:
        return calibration
    monitor.start("reading", len(sentences))
    asked = []
    for question, words in sentences.items():
        hits = readable(find(question).hits[:_PASSAGES])
        sources = [Source(number, hit) for number, hit in enumerate(hits, 1)]
        monitor.advance()
        found = reading.examine(question, sources, encoder, reader)
        if found is None:
            continue
        right = np.array([says(one.text, words) for one in found.sentences], dtype=bool)
        if right.any():
            asked.append(Asked(found.features, right))
    if len(asked) < _FEWEST:
        return calibration
    shipped = np.array(reading.READER_WEIGHTS)
    before = first_share(asked, [shipped] * len(asked))
    after = first_share(asked, cross_fitted(asked, shipped))
    learned = fit(asked, shipped).tolist() if after > before else []
    update = {"reading": learned, "read": len(asked), "first_before": before, "first_after": after}
    return calibration.model_copy(update=update)


def cross_fitted(asked: Sequence[Asked], shipped: Weights, prior: float = _PRIOR) -> list[Weights]:
    """Return coefficients for each question that were fitted without it."""
    folds = np.arange(len(asked)) % _FOLDS
    fitted = [
        fit([one for one, own in zip(asked, folds, strict=True) if own != fold], shipped, prior)
        for fold in range(_FOLDS)
    ]
    return [fitted[fold] for fold in folds]


def first_share(asked: Sequence[Asked], weights: Sequence[Weights]) -> float:
    """Return the share of questions whose right sentence has the largest score."""
    firsts = [
        one.right[int(np.argmax(one.features @ own))]
        for one, own in zip(asked, weights, strict=True)
    ]
    return float(np.mean(firsts))


def fit(asked: Sequence[Asked], shipped: Weights, prior: float = _PRIOR) -> Weights:
    """Return the most likely coefficients, see the module."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax, logsumexp, softmax

    known = [one for one in asked if not one.right.all()]
    spread = np.maximum(np.concatenate([one.features for one in asked]).std(axis=0), 0.05)

    def loss(change: Weights) -> tuple[float, Weights]:
        value, gradient = prior / 2 * change @ change, prior * change
        for one in known:
            scores = one.features @ (shipped + change / spread)
            value -= logsumexp(log_softmax(scores)[one.right])
            missed = softmax(scores) - softmax(np.where(one.right, scores, -np.inf))
            gradient = gradient + missed @ one.features / spread
        return float(value), gradient

    found: Weights = minimize(loss, np.zeros(len(shipped)), jac=True, method="BFGS").x
    own: Weights = shipped + found / spread
    return own
