"""Batches of the CLIP recipe."""

import numpy as np
import pytest

from graftwerk.recipes.clip import Order
from graftwerk.recipes.registry import TRAINING_WORLD
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent


def order_of(count, seed=0):
    """Batches of 8 from scenes of two grounds, two times, and one or two objects."""
    number = np.arange(count)
    return Order(number % 4, number // 4 % 2 == 0, 8, seed)


def place(numbers):
    return set((numbers % 4).tolist())


def test_batches_take_turns():
    order = order_of(96)
    random, alike, alone = (order.items(8 * step, 8) for step in range(3))
    assert len(place(random)) > 1
    assert len(place(alike)) == 1 and len(place(alone)) == 1
    assert len(set(alike // 4 % 2)) == 2
    assert set(alone // 4 % 2) == {0}
    for batch in (random, alike, alone):
        assert len(set(batch.tolist())) == 8


@pytest.mark.parametrize("step", range(3))
def test_parts_of_a_batch_make_the_batch(step):
    order = order_of(96, seed=3)
    whole = order.items(8 * step, 8)
    parts = [order.items(8 * step + first, 4) for first in (0, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(whole, order_of(96, seed=4).items(8 * step, 8))


def test_too_few_of_a_kind_are_drawn_at_random():
    order = order_of(8)
    assert sorted(order.items(8, 8).tolist()) == list(range(8))


def test_columns_of_stored_scenes():
    scenes = open_scenes("pictures", TRAINING_WORLD, 12, 64, Silent())
    assert np.array_equal(scenes.column("ground"), scenes.rows(np.arange(12))["ground"])
