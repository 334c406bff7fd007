import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from graftwerk.metrics.edges import TOLERANCE, Counts, count_pairs, quality_of


def largest_matching(edges, sampled):
    """Number of pairs by SciPy, from every pair within the tolerance."""
    reach = TOLERANCE * np.hypot(*edges.shape)
    here, there = np.argwhere(edges), np.argwhere(sampled)
    near = np.hypot(*(here[:, None] - there).transpose(2, 0, 1)) <= reach
    return int((maximum_bipartite_matching(csr_matrix(near), "column") >= 0).sum())


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_as_many_as_there_can_be_at_every_threshold(seed) -> None:
    generator = np.random.default_rng(seed)
    shape = (150, 200)  # a tolerance of 1.9 pixels
    strength = np.round(generator.random(shape), 2) * (generator.random(shape) < 0.2)
    sampled = generator.random(shape) < 0.1
    counts = count_pairs(strength, [sampled])
    assert counts.boundaries == sampled.sum()
    for level in (1, 20, 50, 80, 99):
        edges = strength >= level / 100 - 1e-9
        expected = largest_matching(edges, sampled)
        assert expected < min(edges.sum(), sampled.sum())  # pairing is not for free
        assert counts.edges[level - 1] == edges.sum()
        assert counts.found[level - 1] == counts.matched[level - 1] == expected


def test_one_boundary_pixel_has_one_partner() -> None:
    strength, sampled = np.zeros((300, 300)), np.zeros((300, 300), dtype=bool)
    strength[100:103, 50] = 0.5
    sampled[101, 50] = True
    counts = count_pairs(strength, [sampled])
    assert counts.matched[49] == 1 and counts.edges[49] == 3
    assert counts.edges[50] == 0


def test_an_edge_counts_once_however_many_people_drew_it() -> None:
    strength = np.zeros((300, 300))
    strength[10, 10:20] = 0.7
    sampled = strength > 0
    counts = count_pairs(strength, [sampled, sampled, ~sampled & sampled])
    assert counts.matched[0] == 10 and counts.found[0] == 20 and counts.boundaries == 20


def test_perfect_edges_are_perfect_and_an_empty_map_is_nothing() -> None:
    sampled = np.zeros((100, 100), dtype=bool)
    sampled[50] = True
    quality = quality_of([count_pairs(0.6 * sampled, [sampled])] * 3)
    assert quality.ods == quality.ois == quality.ap / quality.ap == 1
    nothing = quality_of([count_pairs(np.zeros((100, 100)), [sampled])])
    assert nothing.ods == nothing.ois == 0


def test_figures_of_known_counts() -> None:
    def counts(matched, edges, found):
        table = [np.array(values + [0] * 97, dtype=np.int64) for values in (matched, edges, found)]
        return Counts(*table, boundaries=100)

    one = counts([50, 40], [100, 50], [50, 40])  # F 0.5, and precision 0.8 with recall 0.4
    other = counts([80, 20], [100, 20], [80, 20])  # F 0.8, and precision 1 with recall 0.2
    quality = quality_of([one, other])
    assert quality.threshold == 0.01
    assert quality.ods == pytest.approx(0.65)  # 130 of 200, both ways
    precision, recall = (40 + 80) / (50 + 100), (40 + 80) / 200
    assert quality.ois == pytest.approx(2 * precision * recall / (precision + recall))
