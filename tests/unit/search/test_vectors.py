"""Nearest vectors against a plain argsort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.search import vectors as module
from graftwerk.search.vectors import Space, candidates, pack_bits

NONE = np.zeros(0, dtype=np.int64)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    matrix = rng.standard_normal(shape).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)


def space_of(vectors, ids=None, gone=NONE, new_ids=NONE, new=None, bits=True) -> Space:
    ids = np.arange(1, len(vectors) + 1) if ids is None else ids
    return Space(
        ids,
        vectors,
        pack_bits(vectors) if bits else None,
        gone,
        new_ids,
        vectors[:0] if new is None else new,
    )


def by_hand(ids, vectors, query, count):
    similarity = vectors @ query
    order = np.lexsort((ids, -similarity))[:count]
    return [int(ids[i]) for i in order]


def clustered(rng, count, dimension, centres=50):
    middle = unit(rng, centres, dimension)[rng.integers(centres, size=count)]
    deviation = middle + 0.5 * rng.standard_normal((count, dimension)) / np.sqrt(dimension)
    return (deviation / np.linalg.norm(deviation, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 80), st.integers(0, 2**32))
def test_exact_equals_argsort(n, dimension, count, seed):
    rng = np.random.default_rng(seed)
    vectors, query = unit(rng, n, dimension), unit(rng, dimension)
    ids = np.sort(rng.choice(10_000, size=n, replace=False))
    found = space_of(vectors, ids).nearest(query, count)
    assert [key for key, _ in found] == by_hand(ids, vectors, query, count)
    for key, similarity in found:
        assert similarity == pytest.approx(vectors[list(ids).index(key)] @ query, abs=1e-6)


@pytest.mark.parametrize("dimension", [64, 100, 384])
def test_first_pass_finds_nearly_all(monkeypatch, dimension):
    monkeypatch.setattr(module, "EXACT_UP_TO", 0)
    monkeypatch.setattr(module, "CANDIDATES", 300)
    rng = np.random.default_rng(1)
    vectors = clustered(rng, 6_000, dimension)
    space = space_of(vectors)
    found = 0
    for query in clustered(np.random.default_rng(1), 40, dimension):
        exact = by_hand(space.ids, vectors, query, 10)
        found += len({key for key, _ in space.nearest(query, 10)} & set(exact))
        assert [key for key, _ in space.nearest(query, 10, exact=True)] == exact
    assert found / 400 >= 0.98


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 130), st.integers(1, 60), st.integers(0, 2**32))
def test_candidates_are_the_smallest_hamming_distances(n, dimension, count, seed):
    rng = np.random.default_rng(seed)
    vectors, query = unit(rng, n, dimension), unit(rng, dimension)
    gone = np.flatnonzero(rng.random(n) < 0.2)
    distances = ((vectors > 0) != (query > 0)).sum(axis=1)
    live = np.setdiff1d(np.arange(n), gone)
    rows = candidates(pack_bits(vectors), query, count, gone)
    limit = np.sort(distances[live])[: min(count, len(live))][-1:] if len(live) else []
    assert rows.tolist() == [row for row in live if len(limit) and distances[row] <= limit[0]]


@pytest.mark.parametrize("exact_up_to", [0, 10_000])
def test_what_is_gone_is_not_found_and_what_is_new_is(monkeypatch, exact_up_to):
    monkeypatch.setattr(module, "EXACT_UP_TO", exact_up_to)
    rng = np.random.default_rng(0)
    vectors, new = unit(rng, 300, 48), unit(rng, 20, 48)
    gone = np.array([3, 4, 299])
    new_ids = np.arange(1000, 1020)
    space = space_of(vectors, gone=gone, new_ids=new_ids, new=new)
    live = np.delete(vectors, gone, axis=0)
    ids = np.concatenate([np.delete(space.ids, gone), new_ids])
    both = np.concatenate([live, new])
    assert len(space) == 317
    for query in (vectors[3], new[5], unit(rng, 48)):
        expected = by_hand(ids, both, query, 400)
        assert [key for key, _ in space.nearest(query, 400)] == expected
        allowed = np.sort(rng.choice(np.arange(1, 1030), size=100, replace=False))
        inside = [key for key in expected if key in allowed]
        assert [key for key, _ in space.nearest_among(allowed, query, 50)] == inside[:50]


def test_damaged_vectors_are_no_hits():
    rng = np.random.default_rng(0)
    vectors = unit(rng, 5, 8)
    vectors[2] = np.nan
    query = unit(rng, 8)
    found = space_of(vectors).nearest(query, 5)
    sound = np.array([0, 1, 3, 4])
    assert [key for key, _ in found] == by_hand(sound + 1, vectors[sound], query, 5)


def test_nothing_to_find():
    empty = np.zeros((0, 8), dtype=np.float32)
    query = unit(np.random.default_rng(0), 8)
    assert space_of(empty, bits=False).nearest(query, 5) == []
    assert space_of(empty).nearest_among(np.array([1, 2]), query, 5) == []
    assert space_of(unit(np.random.default_rng(0), 3, 8)).nearest(query, 0) == []
