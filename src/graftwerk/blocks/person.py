"""Model a person as capsules and a head in a pose, with OpenPose's 18 key points."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from .primitives import ALBEDO, CAPSULE, HEAD, SHOE, SKIN, SPHERE, Primitive, Vector
from .scene import Pose, SceneObject

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
