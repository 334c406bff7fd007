from collections import Counter

import numpy as np
import pytest

from graftwerk.blocks.geometry import project, reach, view_of
from graftwerk.blocks.maps import FIRST_OBJECT_ID, maps_of
from graftwerk.blocks.sampling import VISIBLE_SHARE, sample_scene
from graftwerk.blocks.scene import COLOURS, GROUNDS, KINDS, POSES, TIMES


def test_a_scene_does_not_depend_on_the_others() -> None:
    in_order = [sample_scene(9, number) for number in range(6)]
    assert in_order == [sample_scene(9, number) for number in reversed(range(6))][::-1]
    assert len(set(in_order)) == 6
    assert sample_scene(10, 0) != in_order[0]


def test_every_scene_can_be_read() -> None:
    for number in range(30):
        scene = sample_scene(21, number)
        view = view_of(scene.camera, 96, 96)
        middles = project(view, np.array([(t.x, t.size / 2, t.z) for t in scene.objects]))
        assert np.all(np.diff(middles[:, 0]) > 5)  # left to right, beyond doubt
        assert len({(thing.kind, thing.colour) for thing in scene.objects}) == len(scene.objects)
        maps = maps_of(scene, 96, 96)
        for index, thing in enumerate(scene.objects):
            for other in scene.objects[:index]:
                assert np.hypot(thing.x - other.x, thing.z - other.z) > reach(thing) + reach(other)
            alone = maps_of(
                type(scene)(scene.camera, scene.sun, scene.ground, scene.time, (thing,)), 96, 96
            )
            whole = alone.objects == FIRST_OBJECT_ID
            border = np.concatenate([whole[0], whole[-1], whole[:, 0], whole[:, -1]])
            assert not border.any()
            seen = np.count_nonzero(maps.objects == FIRST_OBJECT_ID + index)
            assert seen >= (VISIBLE_SHARE - 0.06) * whole.sum()
            assert seen > 40


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_count(count: int) -> None:
    assert {len(sample_scene(3, number, count=count).objects) for number in range(5)} == {count}


@pytest.mark.parametrize("count", [-1, 0, 5])
def test_bad_count(count: int) -> None:
    with pytest.raises(ValueError, match="not between 1 and 4"):
        sample_scene(0, count=count)


def test_everything_occurs() -> None:
    scenes = [sample_scene(5, number) for number in range(100)]
    things = [thing for scene in scenes for thing in scene.objects]
    for seen, names in (
        (Counter(scene.ground for scene in scenes), GROUNDS),
        (Counter(scene.time for scene in scenes), TIMES),
        (Counter(thing.kind for thing in things), KINDS),
        (Counter(thing.colour for thing in things), COLOURS),
        (Counter(thing.pose for thing in things if thing.pose), POSES),
        (Counter(len(scene.objects) for scene in scenes), (1, 2, 3, 4)),
    ):
        assert set(seen) == set(names)
        assert min(seen.values()) > 0.3 * sum(seen.values()) / len(names)
