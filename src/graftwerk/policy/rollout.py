"""Run a policy in simulation, beside chance and the expert."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from ..metrics.intervals import wilson
from .network import PolicyModel, look
from .results import Success
from .world import FRAMES, SPEED, TOLERANCE, Robot, Task, start

Act = Callable[[Sequence[Robot], int], Float32[np.ndarray, "n 3"]]
Watch = Callable[[list[Robot]], None]
_TOGETHER = 50  # episodes


def of_policy(model: PolicyModel, blind: bool = False) -> Act:
    """Return the actions of a policy; a blind one is shown gray images."""

    def act(robots: Sequence[Robot], frame: int) -> Float32[np.ndarray, "n 3"]:  # noqa: ARG001
        states = np.stack([one.state for one in robots])
        if blind:
            side = robots[0].task.side
            maps = look(model.encoder, np.full((1, side, side, 3), 128, dtype=np.uint8))
            return model.act_on(maps.expand(len(robots), -1, -1, -1), states)
        return model.act(np.stack([one.look() for one in robots]), states)

    return act


def random_actions(seed: int) -> Act:
    """Return steps of full length in random directions."""
    generator = np.random.default_rng([seed, 17])

    def act(robots: Sequence[Robot], frame: int) -> Float32[np.ndarray, "n 3"]:  # noqa: ARG001
        found = generator.normal(size=(len(robots), 3))
        steps = SPEED * found / np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(steps, dtype=np.float32)

    return act


def expert(robots: Sequence[Robot], frame: int) -> Float32[np.ndarray, "n 3"]:  # noqa: ARG001
    """Return the actions of the exact expert."""
    return np.stack([one.expert() for one in robots])


def roll_out(
    act: Act, task: Task, seed: int, numbers: Sequence[int], watch: Watch | None = None
) -> list[float]:
    """Run episodes from these starts and return the final distances from the goal."""
    distances = []
    for at in range(0, len(numbers), _TOGETHER):
        robots = [start(task, seed, number) for number in numbers[at : at + _TOGETHER]]
        for frame in range(FRAMES):
            if watch is not None:
                watch(robots)
            for robot, action in zip(robots, act(robots, frame), strict=True):
                robot.move(action)
        distances += [robot.distance for robot in robots]
    return distances


def success_of(act: Act, task: Task, seed: int, count: int, name: str = "") -> Success:
    """Return the success on starts 0 to `count` - 1 of this seed."""
    distances = roll_out(act, task, seed, range(count))
    hits = sum(one <= TOLERANCE for one in distances)
    low, high = wilson(hits, count)
    middle = float(np.median(distances))
    return Success(name=name, success=hits / count, low=low, high=high, distance=middle)
