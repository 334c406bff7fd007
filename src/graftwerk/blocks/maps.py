"""Exact maps of a scene: depth, normals, segmentation, key points and lines.

The compiled ray-casting kernels for maps, key points and silhouettes are here as well.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int32, Int64, UInt8

from ..compiled import compiled
from .geometry import Geometry, View, body_of, geometry_of, project, view_of
from .rays import (
    FACES,
    GROUND,
    SKY,
    along,
    dot,
    near_bound,
    nearest_hit,
    normal_at,
    object_hit,
    primary_ray,
)
from .renderer import require_renderable
from .scene import GROUNDS, KINDS, Scene, SceneObject

if TYPE_CHECKING:
    from .geometry import Solids


@compiled
def trace_surfaces(
    solids: "Solids",
    view: "View",
    surfaces: Int32[np.ndarray, "h w"],
    depth: Float32[np.ndarray, "h w"],
    normals: Float32[np.ndarray, "h w 3"],
) -> None:
    """Fill the maps with what the ray through the center of each pixel hits.

    `surfaces` gets `primitive * FACES + face`, GROUND or SKY. `depth` gets the distance along the
    viewing axis, infinite for the sky. `normals` gets unit vectors in camera axes (right, up,
    towards the camera), 0 for the sky.
    """
    for i in range(view.height):
        for j in range(view.width):
            direction, cosine = primary_ray(view, j + 0.5, i + 0.5)
            distance, what = nearest_hit(solids, view.origin, direction)
            surface, normal = what, (0.0, 0.0, 0.0)
            if what == GROUND:
                normal = (0.0, 1.0, 0.0)
            elif what != SKY:
                point = along(view.origin, direction, distance)
                normal, face = normal_at(solids.kinds[what], solids.shapes, what, point)
                surface = what * FACES + face
            surfaces[i, j] = surface
            depth[i, j] = distance * cosine
            normals[i, j, 0] = dot(normal, view.right)
            normals[i, j, 1] = dot(normal, view.up)
            normals[i, j, 2] = -dot(normal, view.forward)


@compiled
def probe_pixels(
    solids: "Solids",
    view: "View",
    pixels: Float64[np.ndarray, "j 2"],
    depth: Float64[np.ndarray, " j"],
    primitives: Int64[np.ndarray, " j"],
) -> None:
    """Fill `depth` and `primitives` with what the rays through pixel coordinates x, y hit."""
    for index in range(len(pixels)):
        direction, cosine = primary_ray(view, pixels[index, 0], pixels[index, 1])
        distance, what = nearest_hit(solids, view.origin, direction)
        depth[index], primitives[index] = distance * cosine, what


@compiled
def count_silhouettes(solids: "Solids", view: "View", counts: Int64[np.ndarray, "o 3"]) -> None:
    """Add pixel counts of each object to `counts`.

    The columns count the pixels of the object alone, in the image and half an image beyond each
    side; alone, inside the image without its outermost pixels; and visible in the scene.
    """
    kinds, shapes, first, bounds = solids.kinds, solids.shapes, solids.first, solids.bounds
    height, width = view.height, view.width
    for i in range(-height // 2, height + height // 2):
        for j in range(-width // 2, width + width // 2):
            direction, _ = primary_ray(view, j + 0.5, i + 0.5)
            within = 0 < i < height - 1 and 0 < j < width - 1
            best, front = np.inf, -1
            for thing in range(len(bounds)):
                if not near_bound(bounds, thing, view.origin, direction, 0.0, np.inf):
                    continue
                rows = (first[thing], first[thing + 1])
                time, _ = object_hit(kinds, shapes, rows, view.origin, direction, np.inf)
                if time < np.inf:
                    counts[thing, 0] += 1
                    counts[thing, 1] += within
                if time < best:
                    best, front = time, thing
            if front >= 0 and 0 <= i < height and 0 <= j < width:
                counts[front, 2] += 1


FAR = 40.0  # depth of the sky, and of ground further away than this, in scene units
CLASSES = ("sky", *GROUNDS, *KINDS)  # a pixel's class is an index in this list
SKY_ID, GROUND_ID, FIRST_OBJECT_ID = 0, 1, 2
CREASE_DEGREES = 30.0  # two faces of an object that differ more meet in a crease
CREASE_STEP = 0.02  # or whose depths differ more than this share

_ALL, _LOW, _HIGH = slice(None), slice(None, -1), slice(1, None)
# index of a pixel and of its neighbour: right, left, below, above
_NEIGHBOURS = (
    ((_ALL, _LOW), (_ALL, _HIGH)),
    ((_ALL, _HIGH), (_ALL, _LOW)),
    ((_LOW, _ALL), (_HIGH, _ALL)),
    ((_HIGH, _ALL), (_LOW, _ALL)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """Key points of one person in the order of `person.JOINTS` (OpenPose COCO-18).

    Attributes:
        thing: index of the person among the scene's objects.
        points: x and y in pixels; the center of the first pixel is 0.5, 0.5.
        visible: whether the key point is inside the image and not occluded by anything but the body
            part around it.
    """

    thing: int
    points: Float32[np.ndarray, "18 2"]
    visible: Bool[np.ndarray, "18"]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Exact maps, sampled at pixel centers.

    Attributes:
        depth: distance along the viewing axis in scene units, `FAR` for the sky.
        normals: unit vectors in camera axes (right, up, towards the camera); 0 for the sky.
        objects: 0 for sky, 1 for ground, 2 and above for the scene's objects in order.
        classes: index in `CLASSES`.
        outlines: pixels where one thing occludes another.
        creases: pixels where two faces of one object meet at an angle or at a step in depth.
        people: key points of each person.
    """

    depth: Float32[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]
    objects: Int16[np.ndarray, "h w"]
    classes: UInt8[np.ndarray, "h w"]
    outlines: Bool[np.ndarray, "h w"]
    creases: Bool[np.ndarray, "h w"]
    people: tuple[Keypoints, ...]


def maps_of(scene: Scene, height: int, width: int) -> Maps:
    """Compute all maps of a scene.

    Raises:
        LimitExceeded: the maps would be too large, or would have no pixels.
    """
    require_renderable(height, width)
    geometry, view = geometry_of(scene), view_of(scene.camera, height, width)
    surfaces = np.empty((height, width), dtype=np.int32)
    depth = np.empty((height, width), dtype=np.float32)
    normals = np.empty((height, width, 3), dtype=np.float32)
    trace_surfaces(geometry.solids, view, surfaces, depth, normals)
    np.minimum(depth, FAR, out=depth)

    id_of_row = np.array([SKY_ID, GROUND_ID, *(geometry.owners + FIRST_OBJECT_ID)], dtype=np.int16)
    objects = id_of_row[np.where(surfaces < 0, surfaces, surfaces // FACES) - SKY]
    kinds = [CLASSES.index(thing.kind) for thing in scene.objects]
    class_of_id = np.array([0, CLASSES.index(scene.ground), *kinds], dtype=np.uint8)
    return Maps(
        depth=depth,
        normals=normals,
        objects=objects,
        classes=class_of_id[objects],
        outlines=_outlines(objects, depth),
        creases=_creases(surfaces, objects, depth, normals),
        people=tuple(
            _keypoints(index, thing, geometry, view)
            for index, thing in enumerate(scene.objects)
            if thing.kind == "person"
        ),
    )


def _keypoints(index: int, thing: SceneObject, geometry: Geometry, view: View) -> Keypoints:
    body = body_of(thing)
    locations = project(view, body.joints)
    pixels, depth = locations[:, :2], locations[:, 2]
    met_depth, met = np.empty(len(pixels)), np.empty(len(pixels), dtype=np.int64)
    probe_pixels(geometry.solids, view, np.ascontiguousarray(pixels), met_depth, met)
    own = np.zeros(len(pixels), dtype=np.bool_)
    own[met >= 0] = geometry.owners[met[met >= 0]] == index
    # a joint lies inside its limb: at most its flesh, seen at a slant, may come before it
    close = met_depth >= depth - 2 * body.radii - 0.02 * thing.size
    inside = np.all((pixels >= 0) & (pixels < (view.width, view.height)), axis=1)
    return Keypoints(index, pixels.astype(np.float32), own & close & inside)


def _outlines(
    objects: Int16[np.ndarray, "h w"], depth: Float32[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Mark pixels next to another object, on the nearer side; ground and sky count as farther."""
    rank = depth + np.array([3 * FAR, 2 * FAR, 0.0], dtype=np.float32)[np.minimum(objects, 2)]
    out = np.zeros(objects.shape, dtype=np.bool_)
    for here, there in _NEIGHBOURS:
        out[here] |= (objects[here] != objects[there]) & (rank[here] <= rank[there])
    return out


def _creases(
    surfaces: Int32[np.ndarray, "h w"],
    objects: Int16[np.ndarray, "h w"],
    depth: Float32[np.ndarray, "h w"],
    normals: Float32[np.ndarray, "h w 3"],
) -> Bool[np.ndarray, "h w"]:
    """Mark the nearer pixels where two faces of an object meet at an angle or a step in depth."""
    sharp = np.cos(np.radians(CREASE_DEGREES))
    out = np.zeros(objects.shape, dtype=np.bool_)
    for here, there in _NEIGHBOURS:
        faces = (surfaces[here] != surfaces[there]) & (objects[here] == objects[there])
        bent = np.sum(normals[here] * normals[there], axis=-1) < sharp
        step = depth[there] - depth[here] > CREASE_STEP * depth[here]
        out[here] |= faces & (bent | step) & (depth[here] <= depth[there])
    return out
