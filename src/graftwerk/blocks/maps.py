"""What a scene is at every pixel, exactly: depth, normals, segmentation, key points, lines."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32, UInt8

from .geometry import Geometry, View, geometry_of, project, view_of
from .person import body_of
from .probing import probe_pixels, trace_surfaces
from .rays import FACES, SKY
from .renderer import require_renderable
from .scene import GROUNDS, KINDS, Scene, SceneObject

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
    """One person's joints in the order of `person.JOINTS` (OpenPose COCO-18).

    Attributes:
        thing: index of the person in the scene's objects.
        points: x and y in pixels; the middle of the first pixel is 0.5, 0.5.
        visible: whether the joint is in the picture with nothing but its own flesh before it.
    """

    thing: int
    points: Float32[np.ndarray, "18 2"]
    visible: Bool[np.ndarray, "18"]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Exact maps; each pixel tells of the ray through its middle.

    Attributes:
        depth: distance along the viewing axis in scene units, `FAR` for the sky.
        normals: unit vectors in the camera's axes (right, up, towards the camera); 0 for the sky.
        objects: 0 sky, 1 ground, 2 and up the scene's objects in their order.
        classes: index in `CLASSES`.
        outlines: pixels at which something ends before what lies behind it.
        creases: pixels at which two faces of one object meet at an angle or at a step in depth.
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
    """All maps of a scene.

    Raises:
        LimitExceeded: the maps would be too large, or have no pixel.
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
    places = project(view, body.joints)
    pixels, depth = places[:, :2], places[:, 2]
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
    """Pixels next to one of another object; of the two, the object's, or else the nearer one's."""
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
    """The nearer pixels where two faces of one object meet at an angle or a step in depth."""
    sharp = np.cos(np.radians(CREASE_DEGREES))
    out = np.zeros(objects.shape, dtype=np.bool_)
    for here, there in _NEIGHBOURS:
        faces = (surfaces[here] != surfaces[there]) & (objects[here] == objects[there])
        bent = np.sum(normals[here] * normals[there], axis=-1) < sharp
        step = depth[there] - depth[here] > CREASE_STEP * depth[here]
        out[here] |= faces & (bent | step) & (depth[here] <= depth[there])
    return out
