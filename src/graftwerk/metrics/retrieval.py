"""Metrics of similarity, search and answers.

Rank correlation with human judgements, recall, MRR and nDCG, and SQuAD's exact match and token F1
(arXiv 1606.05250).
"""

import math
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from ..errors import BadInput
from ..types import Vectors
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
    return float(spearmanr(cosines, scores).statistic), float(pearsonr(cosines, scores).statistic)


Queries = Float32[np.ndarray, "q d"]
Answers = Float32[np.ndarray, "a d"]
_BLOCK = 1024  # rows whose cosines with all others are in memory at once
_EQUAL = 1e-9  # cosines of equal vectors differ by as much


def ranks(
    queries: Queries,
    answers: Answers,
    query_groups: Int64[np.ndarray, " q"],
    answer_groups: Int64[np.ndarray, " a"],
) -> Int64[np.ndarray, " q"]:
    """Return the rank, from 1, of the best correct answer to each query.

    Ties count against the correct answer, so that identical vectors do not get a good score.

    Args:
        queries: their vectors.
        answers: their vectors.
        query_groups: answers with the same number are correct.
        answer_groups: contains each query's number.
    """
    found = np.empty(len(queries), dtype=np.int64)
    for rows, cosines in _blocks(queries, answers):
        right = query_groups[rows, None] == answer_groups[None, :]
        best = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)
        found[rows] = 1 + ((cosines >= best - _EQUAL) & ~right).sum(axis=1)
    return found


def chance_at_1(
    query_groups: Int64[np.ndarray, " q"], answer_groups: Int64[np.ndarray, " a"]
) -> float:
    """Return the share of queries whose correct answer comes first in random order."""
    right = (query_groups[:, None] == answer_groups[None, :]).sum(axis=1)
    return float(right.mean() / len(answer_groups))


def matching_cosines(
    images: Queries, texts: Answers, groups: Int64[np.ndarray, " q"]
) -> tuple[float, float]:
    """Return the mean cosine of each image with its own text, and with all other texts.

    Args:
        images: their vectors.
        texts: vectors of two texts or more.
        groups: index of each image's text.
    """
    own = (images.astype(np.float64) * texts[groups]).sum(axis=1)
    total = images.sum(axis=0, dtype=np.float64) @ texts.sum(axis=0, dtype=np.float64)
    others = len(images) * (len(texts) - 1)
    return float(own.mean()), float((total - own.sum()) / others)


def modality_gap(images: Queries, texts: Answers) -> float:
    """Return the distance of the mean image from the mean text, 0 to 2 (Liang et al. 2022)."""
    apart = images.mean(axis=0, dtype=np.float64) - texts.mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(apart))


def anisotropy(vectors: Vectors) -> float:
    """Return the mean cosine of two different vectors, over all pairs (Ethayarajh 2019).

    0 if directions are uniform, 1 if all vectors are the same.
    """
    if len(vectors) < 2:
        raise ValueError("a pair needs two vectors")
    total = vectors.sum(axis=0, dtype=np.float64)
    own = np.square(vectors, dtype=np.float64).sum()
    return float((total @ total - own) / (len(vectors) * (len(vectors) - 1)))


def nearest(vectors: Vectors, k: int, answers: Answers | None = None) -> Int64[np.ndarray, "n k"]:
    """Return the indices of the `k` nearest answers to each vector, in no order.

    Without answers, these are the other vectors.
    """
    if answers is None and not 1 <= k < len(vectors):
        raise ValueError(f"{len(vectors)} vectors have no {k} neighbors each")
    found = np.empty((len(vectors), k), dtype=np.int64)
    for rows, cosines in _blocks(vectors, vectors if answers is None else answers):
        if answers is None:
            cosines[np.arange(len(cosines)), np.arange(rows.start, rows.stop)] = -np.inf
        found[rows] = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    return found


def occurrences(neighbours: Int64[np.ndarray, "n k"], count: int) -> Int64[np.ndarray, " c"]:
    """Count how often each of `count` items is among the neighbors."""
    return np.bincount(neighbours.reshape(-1), minlength=count).astype(np.int64)


def skewness(counts: Int64[np.ndarray, " c"]) -> float:
    """Return the skewness of the k-occurrence, a measure of hubness (Radovanovic et al. 2010).

    0 if all items occur equally often; above 1, a few hubs occur for nearly every query.
    """
    apart = counts - counts.mean()
    deviation = np.sqrt(np.mean(apart**2))
    return float(np.mean(apart**3) / deviation**3) if deviation > 0 else 0.0


def memberships(values: Sequence[Sequence[str]]) -> tuple[Bool[np.ndarray, "n v"], list[str]]:
    """Return which of all distinct values each item has, and these values."""
    names = sorted({value for some in values for value in some})
    location = {name: number for number, name in enumerate(names)}
    has = np.zeros((len(values), len(names)), dtype=bool)
    for row, some in enumerate(values):
        has[row, [location[value] for value in some]] = True
    return has, names


def purity(
    neighbours: Int64[np.ndarray, "n k"], has: Bool[np.ndarray, "n v"]
) -> tuple[float, float]:
    """Return how much of their values neighbors share, and how much two random items share.

    Two items with one value each share 1 if it is the same, else 0; with several values, the
    Jaccard index. Items without a value are not used as queries.

    Returns:
        The mean over neighbors, and over all pairs of different items, both 0 to 1.
    """
    sizes = has.sum(axis=1)
    shared, chance = np.zeros(len(has)), np.zeros(len(has))
    values = has.astype(np.float32)
    for first in range(0, len(has), _BLOCK):
        rows = slice(first, min(first + _BLOCK, len(has)))
        both = values[rows] @ values.T
        share = both / np.maximum(sizes[rows, None] + sizes[None, :] - both, 1)
        shared[rows] = np.take_along_axis(share, neighbours[rows], axis=1).mean(axis=1)
        chance[rows] = (share.sum(axis=1) - 1) / (len(has) - 1)  # less the item itself
    asking = sizes > 0
    if not asking.any():
        return 0.0, 0.0
    return float(shared[asking].mean()), float(chance[asking].mean())


def _blocks(
    queries: Queries, answers: Answers
) -> Iterator[tuple[slice, Float64[np.ndarray, "b a"]]]:
    for first in range(0, len(queries), _BLOCK):
        rows = slice(first, min(first + _BLOCK, len(queries)))
        yield rows, queries[rows].astype(np.float64) @ answers.T.astype(np.float64)
