"""How vectors lie, where the answer is known in closed form."""

import numpy as np
import pytest

from graftwerk.metrics import retrieval


def numbers(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64)


def same(count: int, dimension: int = 4) -> np.ndarray:
    vectors = np.zeros((count, dimension), dtype=np.float32)
    vectors[:, 0] = 1
    return vectors


def hub(count: int, angle: float = 0.8) -> np.ndarray:
    """One vector in the middle of `count` others at one angle, which are further from each other."""
    vectors = np.zeros((count + 1, count + 1), dtype=np.float32)
    vectors[0, 0] = 1
    vectors[1:, 0] = np.cos(angle)
    vectors[1:, 1:] = np.sin(angle) * np.eye(count)
    return vectors


def test_orthogonal_vectors() -> None:
    vectors = np.eye(20, dtype=np.float32)
    assert retrieval.anisotropy(vectors) == pytest.approx(0)
    assert (retrieval.ranks(vectors, vectors, numbers(20), numbers(20)) == 1).all()
    assert retrieval.modality_gap(vectors, vectors) == 0
    assert retrieval.modality_gap(vectors, -vectors) == pytest.approx(2 * np.sqrt(20) / 20)
    assert retrieval.matching_cosines(vectors, vectors, numbers(20)) == (pytest.approx(1), 0)


def test_a_collapsed_encoder_is_not_praised() -> None:
    vectors = same(30)
    assert retrieval.anisotropy(vectors) == pytest.approx(1)
    assert (retrieval.ranks(vectors, vectors, numbers(30), numbers(30)) == 30).all()
    assert retrieval.matching_cosines(vectors, vectors, numbers(30)) == (1, 1)
    noise = np.random.default_rng(0).standard_normal(vectors.shape) * 1e-12
    nearly = (vectors + noise).astype(np.float32)
    assert (retrieval.ranks(nearly, nearly, numbers(30), numbers(30)) == 30).all()


def test_vectors_that_point_away_from_each_other() -> None:
    """The corners of a simplex: n vectors whose sum is 0 have a mean cosine of -1 / (n - 1)."""
    corners = np.eye(8) - 1 / 8
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    assert retrieval.anisotropy(corners.astype(np.float32)) == pytest.approx(-1 / 7)
    assert retrieval.modality_gap(corners.astype(np.float32), same(8, 8)) == pytest.approx(1)


def test_one_hub() -> None:
    """The hub is the nearest of all n others; itself it has one nearest: n, 1 and n - 1 zeros."""
    count = 24
    often = retrieval.occurrences(retrieval.nearest(hub(count), 1), count + 1)
    assert sorted(often.tolist()) == [0] * (count - 1) + [1, count]
    mean = 1.0
    values = np.array([count, 1, *[0] * (count - 1)])
    variance = ((count - mean) ** 2 + (count - 1)) / (count + 1)
    third = ((count - mean) ** 3 - (count - 1)) / (count + 1)
    assert values.mean() == mean
    assert retrieval.skewness(often) == pytest.approx(third / variance**1.5)
    assert retrieval.skewness(often) > 4


def test_nobody_is_a_hub_on_a_circle() -> None:
    angles = 2 * np.pi * np.arange(12) / 12
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    often = retrieval.occurrences(retrieval.nearest(circle, 2), 12)
    assert (often == 2).all()
    assert retrieval.skewness(often) == 0


@pytest.mark.parametrize("sizes", [(5, 5), (3, 7, 10)])
def test_two_far_groups_are_pure(sizes) -> None:
    generator = np.random.default_rng(1)
    rows, labels = [], []
    for number, size in enumerate(sizes):
        deviation = generator.standard_normal((size, 6)) * 0.01
        deviation[:, number] += 1
        rows.append(deviation / np.linalg.norm(deviation, axis=1, keepdims=True))
        labels += [(f"group {number}",)] * size
    vectors = np.concatenate(rows).astype(np.float32)
    has, names = retrieval.memberships(labels)
    assert len(names) == len(sizes)
    total = sum(sizes)
    chance = sum(size * (size - 1) for size in sizes) / (total * (total - 1))
    assert retrieval.purity(retrieval.nearest(vectors, 2), has) == (
        pytest.approx(1),
        pytest.approx(chance),
    )


def test_neighbours_of_other_groups_share_nothing() -> None:
    """Pairs of one vector and its opposite group: the nearest is always of the other."""
    vectors = np.repeat(np.eye(6, dtype=np.float32), 2, axis=0)
    has, _ = retrieval.memberships([("a",), ("b",)] * 6)
    shared, chance = retrieval.purity(retrieval.nearest(vectors, 1), has)
    assert shared == 0
    assert chance == pytest.approx(5 / 11)


def test_several_values_share_intersection_over_union() -> None:
    has, names = retrieval.memberships([("red", "blue"), ("blue",), ("green", "blue", "red"), ()])
    assert names == ["blue", "green", "red"]
    neighbours = np.array([[1], [0], [0], [0]])
    shared, chance = retrieval.purity(neighbours, has)
    assert shared == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3)  # the last has none: no query
    assert chance == pytest.approx(np.mean([(1 / 2 + 2 / 3), (1 / 2 + 1 / 3), (2 / 3 + 1 / 3)]) / 3)


def test_ranks_are_counted() -> None:
    queries = np.array([[1, 0], [0, 1]], dtype=np.float32)
    answers = np.array([[0.8, 0.6], [0.6, 0.8], [1, 0]], dtype=np.float32)
    assert retrieval.ranks(queries, answers, numbers(2), np.array([0, 1, 1])).tolist() == [
        2,
        1,
    ]
    # the better of two right answers counts
    assert retrieval.ranks(queries, answers, numbers(2), np.array([0, 0, 1])).tolist() == [
        2,
        3,
    ]
    assert retrieval.chance_at_1(numbers(2), np.array([0, 1, 1])) == pytest.approx(0.5)


@pytest.mark.parametrize("count", [7, 1500])
def test_blocks_change_nothing(count, monkeypatch) -> None:
    generator = np.random.default_rng(2)
    vectors = generator.standard_normal((count, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    off = cosines[~np.eye(count, dtype=bool)]
    assert retrieval.anisotropy(vectors) == pytest.approx(off.mean(), abs=1e-6)
    np.fill_diagonal(cosines, -np.inf)
    expected = np.argsort(-cosines, axis=1)[:, :3]
    found = retrieval.nearest(vectors, 3)
    assert (np.sort(found, axis=1) == np.sort(expected, axis=1)).all()


def test_too_few() -> None:
    with pytest.raises(ValueError, match="no 3 neighbors"):
        retrieval.nearest(same(3), 3)
    with pytest.raises(ValueError, match="two vectors"):
        retrieval.anisotropy(same(1))
