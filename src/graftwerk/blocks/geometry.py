"""Convert a scene into primitives for ray casting and a camera into its axes."""

import math
from collections.abc import Sequence
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
    """Primitives for intersection tests, grouped by object.

    Attributes:
        kinds: kind of each primitive.
        shapes: parameters of each primitive, see `primitives`.
        first: index of each object's first primitive, followed by the number of primitives.
        bounds: bounding sphere of each object: center (3 values) and radius.
    """

    kinds: Int64[np.ndarray, " p"]
    shapes: Float64[np.ndarray, "p 8"]
    first: Int64[np.ndarray, " o+1"]
    bounds: Float64[np.ndarray, "o 4"]


class Geometry(NamedTuple):
    """Solids and the appearance of their surfaces.

    Attributes:
        solids: the primitives.
        albedo: linear albedo of each primitive.
        materials: material of each primitive, PLAIN or HEAD.
        owners: index of the object that each primitive belongs to.
        contacts: where each object touches the ground: x, z, radius.
    """

    solids: Solids
    albedo: Float64[np.ndarray, "p 3"]
    materials: Int64[np.ndarray, " p"]
    owners: Int64[np.ndarray, " p"]
    contacts: Float64[np.ndarray, "o 3"]


class View(NamedTuple):
    """Axes of a camera; `step` is the size of a pixel at distance 1 along `forward`."""

    origin: Vector
    right: Vector
    up: Vector
    forward: Vector
    step: float
    height: int
    width: int


def view_of(camera: Camera, height: int, width: int) -> View:
    """Return the axes of `camera` for an image of `height` by `width` pixels."""
    (x, y, z), (to_x, to_y, to_z) = camera.position, camera.target
    ahead = (to_x - x, to_y - y, to_z - z)
    length, across = math.hypot(*ahead), math.hypot(ahead[0], ahead[2])
    forward = (ahead[0] / length, ahead[1] / length, ahead[2] / length)
    right = (-ahead[2] / across, 0.0, ahead[0] / across)
    up = (-right[2] * forward[1], across / length, right[0] * forward[1])
    step = 2 * math.tan(math.radians(camera.field_of_view) / 2) / min(height, width)
    return View((float(x), float(y), float(z)), right, up, forward, step, height, width)


def project(view: View, points: Float64[np.ndarray, "j 3"]) -> Float64[np.ndarray, "j 3"]:
    """Return pixel coordinates x, y and depth; the center of the first pixel is 0.5, 0.5."""
    offsets = points - np.array(view.origin)
    depth = offsets @ np.array(view.forward)
    x = view.width / 2 + offsets @ np.array(view.right) / (depth * view.step)
    y = view.height / 2 - offsets @ np.array(view.up) / (depth * view.step)
    return np.stack([x, y, depth], axis=1)


def geometry_of(scene: Scene, others: Sequence[Sequence[Primitive]] = ()) -> Geometry:
    """Return all primitives of `scene`, and `others` that do not touch the ground."""
    groups = [*(primitives_of(thing) for thing in scene.objects), *others]
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
    """Return the primitives of one object."""
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
    """Return the radius of the upright cylinder around the object's position that contains it."""
    return max(
        math.hypot(px - thing.x, pz - thing.z) + radius
        for primitive in primitives_of(thing)
        for px, _, pz, radius in spheres_around(primitive)
    )
