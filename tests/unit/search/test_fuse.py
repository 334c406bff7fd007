"""Fusion of standard scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwerk.search import query
from graftwerk.search.query import fuse

scores = st.dictionaries(st.integers(0, 30), st.integers(-50, 50).map(lambda n: n / 8))


def test_by_hand(monkeypatch):
    monkeypatch.setattr(query, "TEXT_WEIGHT", 0.5)
    found = dict(fuse({7: 0.9, 8: 0.5}, {8: 3.0, 9: 9.0}))
    cosines, words = np.array([0.9, 0.5, 0.5]), np.array([0.0, 3.0, 9.0])
    expected = (cosines - cosines.mean()) / cosines.std()
    expected += 0.5 * (words - words.mean()) / words.std()
    assert [found[key] for key in (7, 8, 9)] == pytest.approx(expected.tolist())
    assert next(iter(found)) == 7


def test_ties_go_to_the_smaller_key():
    assert fuse({5: 0.3}, {}) == [(5, 0.0)]
    assert [key for key, _ in fuse({2: 0.5, 1: 0.5}, {})] == [1, 2]
    # vectors weigh more
    assert next(key for key, _ in fuse({2: 0.9, 1: 0.1}, {1: 9.0, 2: 1.0})) == 2
    assert fuse({}, {}) == []


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_equal_sums_have_one_order(monkeypatch, order):
    monkeypatch.setattr(query, "TEXT_WEIGHT", 1.0)
    first, second = order
    found = fuse({first: 2.0, second: 1.0}, {second: 2.0, first: 1.0})
    assert found[0][1] == found[1][1]
    assert [key for key, _ in found] == [1, 2]


@given(scores, scores)
def test_properties(cosines, bm25):
    fused = fuse(cosines, bm25)
    keys = [key for key, _ in fused]
    assert sorted(keys) == sorted({*cosines, *bm25})
    assert [score for _, score in fused] == sorted((s for _, s in fused), reverse=True)
    if not bm25:
        assert keys == sorted(cosines, key=lambda key: (-cosines[key], key))


@given(scores)
def test_agreement_is_kept(found):
    order = sorted(found, key=lambda key: (-found[key], key))
    positive = {key: value + 10 for key, value in found.items()}
    assert [key for key, _ in fuse(found, positive)] == order


@given(scores, st.floats(0.1, 10), st.floats(-3, 3))
def test_neither_scale_nor_offset_of_the_cosines_counts(cosines, scale, offset):
    words = {key: float(key % 7) for key in cosines}
    moved = {key: scale * value + offset for key, value in cosines.items()}
    for (_, a), (_, b) in zip(fuse(cosines, words), fuse(moved, words), strict=True):
        assert a == pytest.approx(b, abs=1e-4)
