"""Scenes from a seed."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from .geometry import geometry_of, project, reach, view_of
from .probing import count_silhouettes
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
)

VISIBLE_SHARE = 0.6  # of its own silhouette that every object shows at least
_COUNT_SHARES = (0.3, 0.35, 0.2, 0.15)  # of scenes with one, two, three and four objects
_KIND_SHARES = (0.18, 0.18, 0.18, 0.18, 0.28)
_GAP = 0.08  # between objects, in scene units
_STEP_ASIDE = 0.07  # between the middles of neighbours in the picture, as a share of its width
_CHECK_PIXELS = 56  # side of the small picture in which silhouettes are compared
_LEAST_PIXELS = 36  # of a silhouette in it
_TRIES = 10_000


def sample_scene(seed: int, number: int = 0, *, count: int | None = None) -> Scene:
    """Scene `number` of the world with this seed; it is the same whatever else is drawn.

    Args:
        seed: of the whole world, 0 or more.
        number: of the scene in it, 0 or more.
        count: number of objects, 1 to 4; drawn from the seed when None.

    Raises:
        ValueError: `count` is out of its range.
    """
    if count is not None and not 1 <= count <= MOST_OBJECTS:
        raise ValueError(f"count {count} is not between 1 and {MOST_OBJECTS}")
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, number))))
    drawn = int(generator.choice(MOST_OBJECTS, p=_COUNT_SHARES)) + 1
    for _ in range(_TRIES):
        scene = _ordered(_draw(generator, count or drawn))
        if scene is not None and _is_readable(scene):
            return scene
    raise RuntimeError(f"no readable scene in {_TRIES} tries for seed {seed}, number {number}")


def _draw(generator: np.random.Generator, count: int) -> Scene:
    def between(low: float, high: float) -> float:
        return round(float(generator.uniform(low, high)), 3)

    distance = 4.0 + 0.7 * count
    camera = Camera(
        position=(between(-0.9, 0.9), between(1.3, 2.3), round(distance + between(0.0, 0.6), 3)),
        target=(0.0, between(0.7, 0.85), 0.0),
        field_of_view=between(36, 40),
    )
    time = TIMES[generator.integers(len(TIMES))]
    low, high = {"day": (38, 62), "sunset": (16, 26), "night": (50, 66)}[time]
    side = (-1) ** int(generator.integers(2))
    sun = Sun(azimuth=round(side * between(25, 70), 3), elevation=between(low, high))
    ground = GROUNDS[generator.integers(len(GROUNDS))]
    width = 0.25 + 0.42 * count
    objects = tuple(_draw_object(generator, width) for _ in range(count))
    return Scene(camera, sun, ground, time, objects)


def _draw_object(generator: np.random.Generator, width: float) -> SceneObject:
    def between(low: float, high: float) -> float:
        return round(float(generator.uniform(low, high)), 3)

    kind = KINDS[generator.choice(len(KINDS), p=_KIND_SHARES)]
    colour = COLOURS[generator.integers(len(COLOURS))]
    x, z = between(-width, width), between(-1.3, 1.0)
    if kind != "person":
        return SceneObject(kind, colour, x, z, between(0.8, 1.35), between(-45, 45))
    pose = POSES[generator.integers(len(POSES))]
    skin = SKINS[generator.integers(len(SKINS))]
    turned = between(15, 45) if pose == "sitting" else between(0, 35)
    yaw = turned if generator.integers(2) else -turned
    return SceneObject(kind, colour, x, z, between(1.5, 1.85), yaw, pose, skin)


def _ordered(scene: Scene) -> Scene | None:
    """The scene with its objects from left to right; None where that order is in doubt."""
    middles = np.array([(thing.x, thing.size / 2, thing.z) for thing in scene.objects])
    places = project(view_of(scene.camera, 1, 1), middles)[:, 0]
    order = np.argsort(places)
    if np.any(np.diff(places[order]) < _STEP_ASIDE):
        return None
    return replace(scene, objects=tuple(scene.objects[index] for index in order))


def _is_readable(scene: Scene) -> bool:
    """No two objects touch or have the same name; each is whole in the picture and shows enough."""
    names = {(thing.kind, thing.colour) for thing in scene.objects}
    if len(names) < len(scene.objects):
        return False
    reaches = [reach(thing) for thing in scene.objects]
    for (a, reach_a), (b, reach_b) in combinations(zip(scene.objects, reaches, strict=True), 2):
        if np.hypot(a.x - b.x, a.z - b.z) < reach_a + reach_b + _GAP:
            return False
    view = view_of(scene.camera, _CHECK_PIXELS, _CHECK_PIXELS)
    counts = np.zeros((len(scene.objects), 3), dtype=np.int64)
    count_silhouettes(geometry_of(scene).solids, view, counts)
    whole, inside, seen = counts.T
    enough = seen >= VISIBLE_SHARE * whole
    return bool(np.all((inside == whole) & enough & (whole >= _LEAST_PIXELS)))
