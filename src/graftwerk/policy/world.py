"""A reaching task in the Blocks world: a gripper on a rod moves above one object among others.

The motion is kinematic: nothing is pushed, and the gripper passes through what it meets. The state
is the point between its fingers in scene units, x, y and z. An action is a commanded displacement,
of which the robot covers at most `SPEED` a frame; the exact expert commands the displacement to the
goal, the point just above the target.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import Float32, UInt8

from ..blocks.geometry import reach
from ..blocks.primitives import CAPSULE, Primitive, Vector
from ..blocks.renderer import render
from ..blocks.sampling import shows_all
from ..blocks.scene import COLOURS, GROUNDS, TIMES, Camera, Colour, Kind, Scene, SceneObject, Sun
from ..errors import BadValue, UnknownName
from ..metrics.intervals import wilson
from ..requests.models import View
from .episodes import write_episodes
from .results import Success

if TYPE_CHECKING:
    from .network import PolicyModel

FPS = 5
SPEED = 0.3  # scene units a frame
FRAMES = 15  # after which success is judged
TOLERANCE = 0.15  # scene units from the goal
NAMES = ("x", "y", "z")
_ARRIVED = 0.01  # scene units from the goal: the expert's last frame
_CLEARANCE = 0.05  # of the goal above the target
_LOW, _HIGH = np.array([-1.0, 0.5, -0.9]), np.array([1.0, 1.9, 0.9])  # of the gripper
_START_HEIGHT = 1.2  # at least
_INSET, _GAP = 0.1, 0.1  # of objects from the border of the workspace, and from each other
_STREAM = 5  # of random numbers, besides those of scenes
_METAL, _DARK = (0.30, 0.31, 0.33), (0.05, 0.05, 0.06)
_THINGS: tuple[Kind, ...] = ("sphere", "cube", "cylinder", "cone")

CAMERAS: dict[View, Camera] = {
    "front": Camera((0.4, 2.5, 4.7), (0.0, 0.65, 0.0), 38.0),
    "left": Camera((-2.6, 2.3, 3.9), (0.0, 0.65, 0.0), 38.0),
    "high": Camera((0.4, 3.9, 3.6), (0.0, 0.55, 0.0), 38.0),
}
Point = Float32[np.ndarray, "3"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is reached, and how it is seen.

    Attributes:
        target: color and kind of the object, such as `red cube`.
        camera: name in `CAMERAS`.
        side: of the images, in pixels.

    Raises:
        BadValue: there is no such object.
        UnknownName: there is no such camera.
    """

    target: str = "red cube"
    camera: View = "front"
    side: int = 64

    def __post_init__(self) -> None:
        colour, _, kind = self.target.partition(" ")
        if colour not in get_args(Colour) or kind not in _THINGS:
            colours, kinds = ", ".join(get_args(Colour)), ", ".join(_THINGS)
            allowed = f"it must be a color ({colours}) and one of {kinds}"
            raise BadValue("target", self.target, allowed, 'For example "blue sphere".')
        if self.camera not in CAMERAS:
            raise UnknownName("camera", str(self.camera), CAMERAS)

    @property
    def words(self) -> str:
        """The instruction, as it is stored with the episodes."""
        return f"reach the {self.target}"


@dataclass(slots=True)
class Robot:
    """One episode: a scene, the goal, and the position of the gripper."""

    task: Task
    scene: Scene
    goal: Point
    state: Point

    def look(self, side: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """Render what the camera sees."""
        side = side or self.task.side
        return render(self.scene, side, side, others=[gripper(self.state)])

    def expert(self) -> Point:
        """Return the action of the exact expert."""
        found: Point = self.goal - self.state
        return found

    def move(self, action: Point) -> None:
        """Carry out an action for one frame."""
        length = float(np.linalg.norm(action))
        step = action * min(1.0, SPEED / max(length, 1e-9))
        self.state = np.clip(self.state + step, _LOW, _HIGH).astype(np.float32)

    @property
    def distance(self) -> float:
        """Distance from the goal in scene units."""
        return float(np.linalg.norm(self.goal - self.state))


def start(task: Task, seed: int, number: int) -> Robot:
    """Return the start of episode `number` of this seed; it does not depend on other episodes."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, number)))
    colour, _, kind = task.target.partition(" ")
    target: Any = SceneObject(kind, colour, 0.0, 0.0, 1.0, 0.0)  # type: ignore[arg-type]
    things: list[SceneObject] = []
    while not things:
        things = _place(target, generator)
        sun = Sun(float(generator.uniform(-70, 70)), float(generator.uniform(35, 65)))
        ground = GROUNDS[generator.integers(len(GROUNDS))]
        time = TIMES[generator.integers(len(TIMES))]
        in_order = tuple(sorted(things, key=lambda one: one.x))
        scene = Scene(CAMERAS[task.camera], sun, ground, time, in_order)
        if things and not shows_all(scene):
            things = []
    target = things[0]
    goal = np.array([target.x, target.size + _CLEARANCE, target.z], dtype=np.float32)
    low = np.array([_LOW[0], _START_HEIGHT, _LOW[2]])
    return Robot(task, scene, goal, generator.uniform(low, _HIGH).astype(np.float32))


def expert_frames(robot: Robot) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], Point, Point]]:
    """Yield image, state and action of each frame of an expert's episode, at most `FRAMES`."""
    for _ in range(FRAMES):
        action = robot.expert()
        yield robot.look(), robot.state.copy(), action
        if float(np.linalg.norm(action)) < _ARRIVED:
            return
        robot.move(action)


def record(folder: Path, task: Task, seed: int, count: int) -> Iterator[int]:
    """Write episodes of the expert into an empty folder; see `write_episodes`."""
    found = (list(expert_frames(start(task, seed, number))) for number in range(count))
    return write_episodes(folder, found, task.words, task.camera, FPS, NAMES)


def _place(target: SceneObject, generator: np.random.Generator) -> list[SceneObject]:
    """Return the target and one or two other objects; nothing if they touch."""
    things: list[SceneObject] = []
    for number in range(int(generator.integers(2, 4))):
        thing = target
        while number and (thing.kind, thing.colour) == (target.kind, target.colour):
            kind = _THINGS[generator.integers(len(_THINGS))]
            thing = replace(target, kind=kind, colour=COLOURS[generator.integers(len(COLOURS))])
        x, z = generator.uniform(_LOW[::2] + _INSET, _HIGH[::2] - _INSET).tolist()
        size, yaw = float(generator.uniform(0.5, 0.8)), float(generator.uniform(-45, 45))
        thing = replace(thing, x=x, z=z, size=size, yaw=yaw)
        if any(np.hypot(x - one.x, z - one.z) < reach(thing) + reach(one) + _GAP for one in things):
            return []
        things.append(thing)
    return things


def gripper(state: Point) -> list[Primitive]:
    """Return the primitives of a gripper that hangs from a rod."""
    x, y, z = state.tolist()
    limbs: list[tuple[float, float, float, float, float, Vector]] = [  # x, y, x, y, radius
        (-0.13, 0.02, -0.13, 0.26, 0.04, _DARK),
        (0.13, 0.02, 0.13, 0.26, 0.04, _DARK),
        (-0.13, 0.28, 0.13, 0.28, 0.06, _METAL),
        (0.0, 0.3, 0.0, 3.0, 0.045, _METAL),
    ]
    return [
        Primitive(CAPSULE, (x + a, y + b, z, x + c, y + d, z, radius), albedo)
        for a, b, c, d, radius, albedo in limbs
    ]


Act = Callable[[Sequence[Robot], int], Float32[np.ndarray, "n 3"]]
Watch = Callable[[list[Robot]], None]
_TOGETHER = 50  # episodes


def of_policy(model: "PolicyModel", blind: bool = False) -> Act:
    """Return the actions of a policy; a blind one is shown gray images."""
    from .network import look

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
