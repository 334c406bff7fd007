"""Reciprocal rank fusion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwerk.search import query
from graftwerk.search.query import fuse

ranking = st.lists(st.integers(0, 30), unique=True)


def test_by_hand(monkeypatch):
    monkeypatch.setattr(query, "RANK_OFFSET", 1.0)
    monkeypatch.setattr(query, "TEXT_WEIGHT", 0.5)
    assert fuse([7, 8], [8, 9]) == [
        (8, pytest.approx(1 / 3 + 0.5 / 2)),
        (7, pytest.approx(1 / 2)),
        (9, pytest.approx(0.5 / 3)),
    ]


def test_ties_go_to_the_smaller_key():
    assert [key for key, _ in fuse([5], [])] == [5]
    module_tie = fuse([2, 1], [1, 2])
    assert next(key for key, _ in module_tie) == 2  # vectors weigh more
    assert fuse([], []) == []


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_equal_sums_have_one_order(monkeypatch, order):
    monkeypatch.setattr(query, "TEXT_WEIGHT", query.VECTOR_WEIGHT)
    found = fuse(order, order[::-1])
    assert found[0][1] == found[1][1]
    assert [key for key, _ in found] == [1, 2]


@given(ranking, ranking)
def test_properties(by_vector, by_text):
    fused = fuse(by_vector, by_text)
    keys = [key for key, _ in fused]
    assert sorted(keys) == sorted({*by_vector, *by_text})
    assert [score for _, score in fused] == sorted((s for _, s in fused), reverse=True)
    if not by_text:
        assert keys == by_vector


@given(ranking)
def test_agreement_is_kept(order):
    assert [key for key, _ in fuse(order, order)] == order
