"""Figures of a search, from the rank of the one right document of each question."""

import math
from collections.abc import Sequence

from ..reports import RetrievalFigures


def retrieval_figures(ranks: Sequence[int | None]) -> RetrievalFigures:
    """Recall, mean reciprocal rank and normalised discounted cumulative gain.

    Args:
        ranks: rank of the right document, from 1, for each question; None where it was not found.
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
