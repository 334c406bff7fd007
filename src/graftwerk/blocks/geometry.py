"""From a scene to the primitives that rays are tested against, and to the camera's axes."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from .person import body_of
from .primitives import (
    ALBEDO,
    BOX,
    CONE,
    CYLINDER,
    SPHERE,
    Primitive,
    Vector,
    bounding_sphere,
    spheres_around,
)
from .scene import Camera, Kind, Scene, SceneObject

# radius of the patch of ground that each kind darkens, as a share of its size
_CONTACT: dict[Kind, float] = {
    "sphere": 0.42,
    "cube": 0.52,
    "cylinder": 0.4,
    "cone": 0.46,
    "person": 0.13,
}


class Solids(NamedTuple):
    """What rays are tested against: primitives p, grouped by object o.

    Attributes:
        kinds: of each primitive.
        shapes: its numbers, see `primitives`.
        first: first primitive of each object, and one past the last of all at the end.
        bounds: a sphere around each object: centre 3, radius.
    """

    kinds: Int64[np.ndarray, " p"]
    shapes: Float64[np.ndarray, "p 8"]
    first: Int64[np.ndarray, " o+1"]
    bounds: Float64[np.ndarray, "o 4"]


class Geometry(NamedTuple):
    """Solids, and how their surfaces look.

    Attributes:
        solids: the primitives.
        albedo: linear light that each reflects.
        materials: of each, PLAIN or HEAD.
        owners: object that each belongs to, from 0.
        contacts: where each object rests on the ground: x, z, radius.
    """

    solids: Solids
    albedo: Float64[np.ndarray, "p 3"]
    materials: Int64[np.ndarray, " p"]
    owners: Int64[np.ndarray, " p"]
    contacts: Float64[np.ndarray, "o 3"]


class View(NamedTuple):
    """A camera's axes; `step` is the size of a pixel at distance 1 along `forward`."""

    origin: Vector
    right: Vector
    up: Vector
    forward: Vector
    step: float
    height: int
    width: int


def view_of(camera: Camera, height: int, width: int) -> View:
    """The axes of `camera` for an image of `height` by `width` pixels."""
    (x, y, z), (to_x, to_y, to_z) = camera.position, camera.target
    ahead = (to_x - x, to_y - y, to_z - z)
    length, across = math.hypot(*ahead), math.hypot(ahead[0], ahead[2])
    forward = (ahead[0] / length, ahead[1] / length, ahead[2] / length)
    right = (-ahead[2] / across, 0.0, ahead[0] / across)
    up = (-right[2] * forward[1], across / length, right[0] * forward[1])
    step = 2 * math.tan(math.radians(camera.field_of_view) / 2) / min(height, width)
    return View((float(x), float(y), float(z)), right, up, forward, step, height, width)


def project(view: View, points: Float64[np.ndarray, "j 3"]) -> Float64[np.ndarray, "j 3"]:
    """Pixel coordinates x, y (the first pixel's middle is 0.5, 0.5) and depth of world points."""
    offsets = points - np.array(view.origin)
    depth = offsets @ np.array(view.forward)
    x = view.width / 2 + offsets @ np.array(view.right) / (depth * view.step)
    y = view.height / 2 - offsets @ np.array(view.up) / (depth * view.step)
    return np.stack([x, y, depth], axis=1)


def geometry_of(scene: Scene) -> Geometry:
    """All primitives of `scene`."""
    groups = [primitives_of(thing) for thing in scene.objects]
    rows = [primitive for group in groups for primitive in group]
    shapes = np.zeros((len(rows), 8))
    for row, primitive in zip(shapes, rows, strict=True):
        row[: len(primitive.shape)] = primitive.shape
    owners = [owner for owner, group in enumerate(groups) for _ in group]
    solids = Solids(
        kinds=np.array([row.kind for row in rows], dtype=np.int64),
        shapes=shapes,
        first=np.cumsum([0, *(len(group) for group in groups)], dtype=np.int64),
        bounds=np.array([bounding_sphere(group) for group in groups]).reshape(-1, 4),
    )
    return Geometry(
        solids=solids,
        albedo=np.array([row.albedo for row in rows], dtype=np.float64).reshape(-1, 3),
        materials=np.array([row.material for row in rows], dtype=np.int64),
        owners=np.array(owners, dtype=np.int64),
        contacts=np.array([_contact(thing) for thing in scene.objects]).reshape(-1, 3),
    )


def primitives_of(thing: SceneObject) -> list[Primitive]:
    """The primitives of one object."""
    albedo = ALBEDO[thing.colour]
    x, z, size = thing.x, thing.z, thing.size
    cosine, sine = math.cos(math.radians(thing.yaw)), math.sin(math.radians(thing.yaw))
    if thing.kind == "sphere":
        return [Primitive(SPHERE, (x, size / 2, z, size / 2, cosine, sine), albedo)]
    if thing.kind == "cube":
        half = size / 2
        return [Primitive(BOX, (x, half, z, half, half, half, cosine, sine), albedo)]
    if thing.kind == "cylinder":
        return [Primitive(CYLINDER, (x, 0.0, z, 0.38 * size, size), albedo)]
    if thing.kind == "cone":
        return [Primitive(CONE, (x, 0.0, z, 0.5 * size, size), albedo)]
    return body_of(thing).primitives


def _contact(thing: SceneObject) -> tuple[float, float, float]:
    share = 0.2 if thing.pose == "sitting" else _CONTACT[thing.kind]
    return thing.x, thing.z, share * thing.size


def reach(thing: SceneObject) -> float:
    """Radius of the upright cylinder about the object's place that holds all of it."""
    return max(
        math.hypot(px - thing.x, pz - thing.z) + radius
        for primitive in primitives_of(thing)
        for px, _, pz, radius in spheres_around(primitive)
    )
