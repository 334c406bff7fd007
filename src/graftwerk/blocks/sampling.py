"""Sample scenes from a seed."""

import math
from typing import NamedTuple

import numpy as np

from .geometry import View, geometry_of, project, reach, view_of
from .maps import count_silhouettes
from .scene import (
    COLOURS,
    GROUNDS,
    KINDS,
    MOST_OBJECTS,
    POSES,
    SKINS,
    TIMES,
    Camera,
    Scene,
    SceneObject,
    Sun,
    Time,
)

VISIBLE_SHARE = 0.6  # of its own silhouette that every object shows at least
_COUNT_SHARES = (0.3, 0.35, 0.2, 0.15)  # of scenes with one, two, three and four objects
_KIND_SHARES = (0.18, 0.18, 0.18, 0.18, 0.28)
_ELEVATIONS: dict[Time, tuple[float, float]] = {  # of the sun, or the lamp, in degrees
    "day": (38.0, 62.0),
    "sunset": (16.0, 26.0),
    "night": (50.0, 66.0),
}
_GAP = 0.08  # between objects, in scene units
_STEP_ASIDE = 0.07  # between the middles of neighbors in the image, as a share of its width
_CHECK_PIXELS = 48  # side of the small image in which silhouettes are compared
_LEAST_PIXELS = 27  # of a silhouette in it
_LOCATIONS = 20  # tried for an object before the scene is begun again
_TRIES = 1_000


def sample_scene(
    seed: int, number: int = 0, *, count: int | None = None, repeats: float = 0.0
) -> Scene:
    """Sample scene `number` of the world with this seed; it does not depend on any other scene.

    Objects do not touch, differ in kind or color unless they repeat, lie completely inside a
    square image in an unambiguous left-to-right order, and each shows at least `VISIBLE_SHARE` of
    its silhouette.

    Args:
        seed: of the whole world, 0 or more.
        number: of the scene in it, 0 or more.
        count: number of objects, 1 to 4; sampled from the seed if None.
        repeats: chance that an object has kind and color of an earlier one.

    Raises:
        ValueError: `count` is out of range.
    """
    if count is not None and not 1 <= count <= MOST_OBJECTS:
        raise ValueError(f"count {count} is not between 1 and {MOST_OBJECTS}")
    generator = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,)))
    )
    drawn = int(generator.choice(MOST_OBJECTS, p=_COUNT_SHARES)) + 1
    for _ in range(_TRIES):
        scene = _draw_scene(generator, count or drawn, repeats)
        if scene is not None and shows_all(scene):
            return scene
    raise RuntimeError(f"no readable scene in {_TRIES} tries for seed {seed}, number {number}")


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    return round(float(generator.uniform(low, high)), 3)


def _draw_scene(generator: np.random.Generator, count: int, repeats: float) -> Scene | None:
    distance = 4.0 + 0.7 * count
    camera = Camera(
        position=(
            _between(generator, -0.9, 0.9),
            _between(generator, 1.3, 2.3),
            _between(generator, distance, distance + 0.6),
        ),
        target=(0.0, _between(generator, 0.7, 0.85), 0.0),
        field_of_view=_between(generator, 36.0, 40.0),
    )
    time = TIMES[generator.integers(len(TIMES))]
    low, high = _ELEVATIONS[time]
    side = (-1) ** int(generator.integers(2))
    sun = Sun(side * _between(generator, 25.0, 70.0), _between(generator, low, high))
    ground = GROUNDS[generator.integers(len(GROUNDS))]

    view = view_of(camera, 1, 1)
    placed: list[_Placed] = []
    for _ in range(count):
        found = _place_object(generator, view, placed, 0.25 + 0.42 * count, repeats)
        if found is None:
            return None
        placed.append(found)
    placed.sort(key=lambda entry: entry.across)
    return Scene(camera, sun, ground, time, tuple(entry.thing for entry in placed))


class _Placed(NamedTuple):
    thing: SceneObject
    reach: float
    across: float  # its middle in the image, as a share of the width


def _place_object(
    generator: np.random.Generator, view: View, others: list[_Placed], width: float, repeats: float
) -> _Placed | None:
    like = None
    if repeats and others and generator.random() < repeats:
        like = others[generator.integers(len(others))].thing
    for _ in range(_LOCATIONS):
        thing = _draw_object(generator, width, like)
        middle = np.array([(thing.x, thing.size / 2, thing.z)])
        entry = _Placed(thing, reach(thing), float(project(view, middle)[0, 0]))
        if all(_are_clear(entry, other, like is not None) for other in others):
            return entry
    return None


def _draw_object(
    generator: np.random.Generator, width: float, like: SceneObject | None
) -> SceneObject:
    kind = KINDS[generator.choice(len(KINDS), p=_KIND_SHARES)]
    colour = COLOURS[generator.integers(len(COLOURS))]
    if like is not None:
        kind, colour = like.kind, like.colour
    x, z = _between(generator, -width, width), _between(generator, -1.3, 1.0)
    if kind != "person":
        size, yaw = _between(generator, 0.8, 1.35), _between(generator, -45.0, 45.0)
        return SceneObject(kind, colour, x, z, size, yaw)
    pose = POSES[generator.integers(len(POSES))]
    skin = SKINS[generator.integers(len(SKINS))]
    # people sit at an angle: from the front their legs cannot be read
    turned = (
        _between(generator, 15.0, 45.0) if pose == "sitting" else _between(generator, 0.0, 35.0)
    )
    yaw = turned if generator.integers(2) else -turned
    return SceneObject(kind, colour, x, z, _between(generator, 1.5, 1.85), yaw, pose, skin)


def _are_clear(a: _Placed, b: _Placed, alike: bool) -> bool:
    apart = math.hypot(a.thing.x - b.thing.x, a.thing.z - b.thing.z)
    same_name = a.thing.kind == b.thing.kind and a.thing.colour == b.thing.colour
    beside = abs(a.across - b.across) >= _STEP_ASIDE
    return beside and (alike or not same_name) and apart >= a.reach + b.reach + _GAP


def shows_all(scene: Scene) -> bool:
    """Whether every object lies inside the image, is large enough, and is mostly visible."""
    view = view_of(scene.camera, _CHECK_PIXELS, _CHECK_PIXELS)
    counts = np.zeros((len(scene.objects), 3), dtype=np.int64)
    count_silhouettes(geometry_of(scene).solids, view, counts)
    whole, inside, seen = counts.T
    enough = seen >= VISIBLE_SHARE * whole
    return bool(np.all((inside == whole) & enough & (whole >= _LEAST_PIXELS)))
