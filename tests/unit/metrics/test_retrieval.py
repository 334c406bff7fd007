import math

import pytest

from graftwerk.metrics.retrieval import retrieval_figures


def test_figures_in_closed_form():
    figures = retrieval_figures([1, 2, 5, 10, 11, None])
    assert figures.recall_at_1 == pytest.approx(1 / 6)
    assert figures.recall_at_5 == pytest.approx(3 / 6)
    assert figures.recall_at_10 == pytest.approx(4 / 6)
    assert figures.mrr == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 10 + 1 / 11) / 6)
    gain = 1 + 1 / math.log2(3) + 1 / math.log2(6) + 1 / math.log2(11)
    assert figures.ndcg_at_10 == pytest.approx(gain / 6)


def test_a_perfect_search_and_one_that_finds_nothing():
    assert set(retrieval_figures([1, 1]).model_dump().values()) == {1.0}
    assert set(retrieval_figures([None]).model_dump().values()) == {0.0}
    assert set(retrieval_figures([]).model_dump().values()) == {0.0}
