"""The reaching task: starts, motion, the expert, chance."""

import numpy as np
import pytest

from graftwerk.errors import BadValue
from graftwerk.policy.world import (
    CAMERAS,
    SPEED,
    TOLERANCE,
    Task,
    expert,
    expert_frames,
    random_actions,
    roll_out,
    start,
    success_of,
)


def test_an_episode_is_a_function_of_its_seed_and_number():
    one, again, other = start(Task(), 4, 2), start(Task(), 4, 2), start(Task(), 4, 3)
    assert one.scene == again.scene and np.array_equal(one.state, again.state)
    assert other.scene != one.scene and start(Task(), 5, 2).scene != one.scene
    moved = start(Task(camera="high"), 4, 2)
    assert moved.scene.camera == CAMERAS["high"] != one.scene.camera


@pytest.mark.parametrize("target", ["red cube", "yellow cone"])
def test_there_is_one_target_and_the_goal_is_above_it(target):
    colour, kind = target.split()
    for number in range(20):
        robot = start(Task(target), 1, number)
        found = [one for one in robot.scene.objects if (one.colour, one.kind) == (colour, kind)]
        assert len(found) == 1 and 2 <= len(robot.scene.objects) <= 3
        assert robot.goal[::2].tolist() == pytest.approx([found[0].x, found[0].z])
        assert found[0].size < robot.goal[1] < found[0].size + 0.1
        assert robot.distance > TOLERANCE


def test_the_robot_covers_a_limited_distance_and_shows_in_the_image():
    robot = start(Task(side=32), 1, 0)
    before, image = robot.state.copy(), robot.look()
    robot.move(robot.expert())
    assert np.linalg.norm(robot.state - before) == pytest.approx(SPEED, rel=1e-5)
    assert image.shape == (32, 32, 3) and not np.array_equal(robot.look(), image)
    assert robot.look(48).shape == (48, 48, 3)


def test_the_expert_is_exact_and_chance_is_not():
    task = Task(side=16)
    assert success_of(expert, task, 9, 30).success == 1
    assert max(roll_out(expert, task, 9, range(30))) < 1e-5
    found = success_of(random_actions(0), task, 9, 100)
    assert found.success < 0.1 and found.low <= found.success <= found.high
    frames = list(expert_frames(start(task, 9, 0)))
    assert np.linalg.norm(frames[-1][2]) < TOLERANCE < np.linalg.norm(frames[0][2])


@pytest.mark.parametrize("target", ["cube", "pink cube", "red person", "red dog", ""])
def test_an_object_that_there_is_not(target):
    with pytest.raises(BadValue, match=r"a color \(red, .*\) and one of sphere, cube"):
        Task(target)
