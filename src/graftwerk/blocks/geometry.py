"""Convert a scene into primitives for ray casting and a camera into its axes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from .primitives import (
    ALBEDO,
    BOX,
    CAPSULE,
    CONE,
    CYLINDER,
    HEAD,
    SHOE,
    SKIN,
    SPHERE,
    Primitive,
    Vector,
    bounding_sphere,
    spheres_around,
)
from .scene import Camera, Kind, Pose, Scene, SceneObject

# order of the OpenPose COCO-18 layout
JOINTS = (
    "nose",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "right eye",
    "left eye",
    "right ear",
    "left ear",
)

# Radii and lengths as shares of the standing height; chunkier than life, to be read at 64 pixels.
HEAD_RADIUS = 0.115
TORSO_RADIUS = 0.105
UPPER_ARM_RADIUS, FOREARM_RADIUS, HAND_RADIUS = 0.05, 0.045, 0.05
THIGH_RADIUS, SHIN_RADIUS, FOOT_RADIUS = 0.068, 0.058, 0.048
SHOULDER_WIDTH, HIP_WIDTH = 0.135, 0.072
SHOULDER_ABOVE_HIP, NECK_ABOVE_SHOULDER, HEAD_ABOVE_SHOULDER = 0.25, 0.045, 0.17
# directions on the head, in its own axes: left, up, ahead
NOSE, EYE, EAR = (0.0, -0.05, 1.0), (0.36, 0.16, 0.92), (1.0, 0.02, 0.0)

# offsets from shoulder to elbow and from elbow to wrist: outward, up, ahead
_DOWN = ((0.055, -0.155, 0.0), (0.01, -0.145, 0.045))
_RAISED = ((0.13, 0.06, 0.0), (0.03, 0.155, 0.0))
_OUT = ((0.16, 0.0, 0.0), (0.15, 0.0, 0.0))
_ON_KNEES = ((0.06, -0.13, 0.06), (-0.03, -0.045, 0.13))
ARMS: dict[Pose, tuple[tuple[Vector, Vector], tuple[Vector, Vector]]] = {  # right, left
    "standing": (_DOWN, _DOWN),
    "waving": (_RAISED, _DOWN),
    "arms out": (_OUT, _OUT),
    "sitting": (_ON_KNEES, _ON_KNEES),
}
# offsets from hip to knee and from knee to ankle, and the hip's height
_STRAIGHT = ((0.012, -0.215, 0.0), (0.008, -0.205, 0.0))
_BENT = ((0.045, 0.115, 0.175), (0.0, -0.165, 0.13))
LEGS: dict[Pose, tuple[float, Vector, Vector]] = {
    "standing": (0.475, *_STRAIGHT),
    "waving": (0.475, *_STRAIGHT),
    "arms out": (0.475, *_STRAIGHT),
    "sitting": (0.105, *_BENT),
}


class Body(NamedTuple):
    """Primitives of a person, and key points in OpenPose's order with the body radius at each."""

    primitives: list[Primitive]
    joints: Float64[np.ndarray, "18 3"]
    radii: Float64[np.ndarray, "18"]


def body_of(thing: SceneObject) -> Body:
    """Return primitives and key points of a person in world axes."""
    if thing.pose is None or thing.skin is None:
        raise ValueError(f"a person needs a pose and a skin, got {thing.pose!r}, {thing.skin!r}")
    cloth = ALBEDO[thing.colour]
    joints, toes = _joints(thing.pose)
    head = joints[1] + (0.0, HEAD_ABOVE_SHOULDER - NECK_ABOVE_SHOULDER, 0.0)
    for index, direction in (
        (0, NOSE),
        (14, _mirror(EYE)),
        (15, EYE),
        (16, _mirror(EAR)),
        (17, EAR),
    ):
        joints[index] = head + HEAD_RADIUS * np.array(direction) / np.linalg.norm(direction)

    cosine, sine = math.cos(math.radians(thing.yaw)), math.sin(math.radians(thing.yaw))
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    location = np.array([thing.x, 0.0, thing.z])

    def to_world(points: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        return np.asarray(thing.size * points @ turn.T + location)

    head_shape = (*to_world(head), thing.size * HEAD_RADIUS, cosine, sine)
    primitives = [
        Primitive(SPHERE, tuple(float(v) for v in head_shape), SKIN[thing.skin], HEAD),
        *_limbs(thing.size, (cloth, SKIN[thing.skin]), to_world(joints), to_world(toes)),
    ]
    return Body(primitives, to_world(joints), thing.size * _radii())


def _joints(pose: Pose) -> tuple[Float64[np.ndarray, "18 3"], Float64[np.ndarray, "2 3"]]:
    """Return key points and toes for height 1, facing z, above the origin, without the face.

    A person's left is at positive x, since they face the camera.
    """
    joints = np.zeros((18, 3))
    toes = np.zeros((2, 3))
    hip_height, thigh, shin = LEGS[pose]
    shoulder_height = hip_height + SHOULDER_ABOVE_HIP
    joints[1] = (0.0, shoulder_height + NECK_ABOVE_SHOULDER, 0.0)
    for row, (side, shoulder, hip) in enumerate(((-1, 2, 8), (1, 5, 11))):
        outward = np.array([side, 1.0, 1.0])
        upper, fore = ARMS[pose][row]
        joints[shoulder] = (side * SHOULDER_WIDTH, shoulder_height, 0.0)
        joints[shoulder + 1] = joints[shoulder] + outward * upper
        joints[shoulder + 2] = joints[shoulder + 1] + outward * fore
        joints[hip] = (side * HIP_WIDTH, hip_height, 0.0)
        joints[hip + 1] = joints[hip] + outward * thigh
        joints[hip + 2] = joints[hip + 1] + outward * shin
        toes[row] = joints[hip + 2] + outward * (0.015, 0.0, 0.085)
        toes[row, 1] = FOOT_RADIUS
    return joints, toes


def _limbs(
    size: float,
    albedo: tuple[Vector, Vector],
    joints: Float64[np.ndarray, "18 3"],
    toes: Float64[np.ndarray, "2 3"],
) -> list[Primitive]:
    cloth, skin = albedo
    trousers: Vector = (0.5 * cloth[0], 0.5 * cloth[1], 0.5 * cloth[2])

    def limb(
        start: Float64[np.ndarray, "3"],
        end: Float64[np.ndarray, "3"],
        radius: float,
        albedo: Vector,
    ) -> Primitive:
        shape = (*start, *end, size * radius)
        return Primitive(CAPSULE, tuple(float(value) for value in shape), albedo)

    shoulders, hips = (joints[2] + joints[5]) / 2, (joints[8] + joints[11]) / 2
    chest = shoulders + 0.16 * (hips - shoulders)
    rows = [
        limb(hips + 0.08 * (shoulders - hips), chest, TORSO_RADIUS, cloth),
        limb(joints[2], joints[5], UPPER_ARM_RADIUS, cloth),
        limb(shoulders, joints[1], UPPER_ARM_RADIUS, skin),
    ]
    for row, (shoulder, hip) in enumerate(((2, 8), (5, 11))):
        elbow, wrist, knee, ankle = (
            joints[i] for i in (shoulder + 1, shoulder + 2, hip + 1, hip + 2)
        )
        rows += [
            limb(joints[shoulder], elbow, UPPER_ARM_RADIUS, cloth),
            limb(elbow, wrist, FOREARM_RADIUS, cloth),
            limb(wrist, wrist + 0.2 * (wrist - elbow), HAND_RADIUS, skin),
            limb(joints[hip], knee, THIGH_RADIUS, trousers),
            limb(knee, ankle, SHIN_RADIUS, trousers),
            limb(ankle, toes[row], FOOT_RADIUS, SHOE),
        ]
    return rows


def _radii() -> Float64[np.ndarray, "18"]:
    arm = [UPPER_ARM_RADIUS, UPPER_ARM_RADIUS, HAND_RADIUS]
    leg = [TORSO_RADIUS, THIGH_RADIUS, SHIN_RADIUS]
    return np.array([0.0, UPPER_ARM_RADIUS, *arm, *arm, *leg, *leg, 0.0, 0.0, 0.0, 0.0])


def _mirror(direction: Vector) -> Vector:
    return -direction[0], direction[1], direction[2]


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
