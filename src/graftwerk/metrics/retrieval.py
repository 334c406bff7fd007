"""Metrics of similarity, search and answers.

Rank correlation with human judgements, recall, MRR and nDCG, and SQuAD's exact match and token F1
(arXiv 1606.05250).
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..errors import BadInput
from .results import RetrievalFigures

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> list[str]:
    """Return lower-case words without ASCII punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Whether the answer equals a reference."""
    return any(normalise(answer) == normalise(reference) for reference in references)


def contains_answer(answer: str, references: Sequence[str]) -> bool:
    """Whether the words of a reference occur in the answer in the same order."""
    words = f" {' '.join(normalise(answer))} "
    return any(f" {' '.join(normalise(reference))} " in words for reference in references)


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Return the best token F1 over the references, 0 to 1."""
    return max(
        (_f1(normalise(answer), normalise(reference)) for reference in references), default=0
    )


def _f1(answer: list[str], reference: list[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference))


def retrieval_figures(ranks: Sequence[int | None]) -> RetrievalFigures:
    """Return recall, mean reciprocal rank and normalized discounted cumulative gain.

    Args:
        ranks: rank of the right document, from 1, for each question; None if it was not found.
    """
    found = [rank for rank in ranks if rank is not None]
    total = max(len(ranks), 1)

    def recall(depth: int) -> float:
        return sum(rank <= depth for rank in found) / total

    return RetrievalFigures(
        recall_at_1=recall(1),
        recall_at_5=recall(5),
        recall_at_10=recall(10),
        mrr=math.fsum(1 / rank for rank in found) / total,
        # with one right document the ideal gain is 1
        ndcg_at_10=math.fsum(1 / math.log2(rank + 1) for rank in found if rank <= 10) / total,
    )


def correlations(
    cosines: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> tuple[float, float]:
    """Return Spearman's and Pearson's correlation of cosines and scores, each -1 to 1."""
    from scipy.stats import pearsonr, spearmanr

    for values, name in ((scores, "scores"), (cosines, "cosines")):
        if np.ptp(values) == 0:
            raise BadInput(f"all {name} are {values[0]:g}.", "There is no order to compare.")
    return (
        float(spearmanr(cosines, scores).statistic),
        float(pearsonr(cosines, scores).statistic),
    )
