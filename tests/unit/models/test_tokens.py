"""Batches by token budget."""

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftwerk.models.text_encoder import batches


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 600))
@hypothesis_settings(max_examples=100, deadline=None)
def test_every_item_once_and_within_the_budget(lengths, budget):
    found = batches(lengths, budget)
    assert sorted(location for batch in found for location in batch) == list(range(len(lengths)))
    for batch in found:
        width = max(lengths[location] for location in batch)
        assert len(batch) == 1 or width * len(batch) <= budget


def test_similar_lengths_go_together():
    assert batches([3, 30, 3, 30, 3], 60) == [[1, 3], [0, 2, 4]]
    assert batches([], 60) == []
