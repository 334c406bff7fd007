"""The solids that everything is made of, and what they reflect."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .scene import Colour, Skin

Vector = tuple[float, float, float]

# kinds of primitives; what the numbers of each mean:
SPHERE = 0  # centre 3, radius, cosine and sine of yaw
BOX = 1  # centre 3, half sides 3, cosine and sine of yaw
CYLINDER = 2  # middle of the base 3, radius, height
CONE = 3  # middle of the base 3, radius, height
CAPSULE = 4  # end 3, end 3, radius

PLAIN, HEAD = 0, 1  # materials; a head has hair and eyes

# linear light reflected by each colour, red green blue
ALBEDO: dict[Colour, Vector] = {
    "red": (0.62, 0.025, 0.03),
    "orange": (0.86, 0.22, 0.015),
    "yellow": (0.88, 0.62, 0.03),
    "green": (0.03, 0.34, 0.08),
    "blue": (0.03, 0.13, 0.68),
    "purple": (0.26, 0.05, 0.50),
    "white": (0.84, 0.84, 0.84),
    "black": (0.021, 0.025, 0.036),
}
SKIN: dict[Skin, Vector] = {
    "light": (0.72, 0.45, 0.33),
    "tan": (0.55, 0.31, 0.19),
    "brown": (0.32, 0.16, 0.09),
    "dark": (0.15, 0.075, 0.045),
}
SHOE: Vector = (0.06, 0.05, 0.05)


class Primitive(NamedTuple):
    """A solid: its kind and numbers, linear light it reflects, its material."""

    kind: int
    shape: tuple[float, ...]
    albedo: Vector
    material: int = PLAIN


def spheres_around(primitive: Primitive) -> list[tuple[float, float, float, float]]:
    """Spheres whose convex hull holds the primitive."""
    shape = primitive.shape
    if primitive.kind == SPHERE:
        return [(shape[0], shape[1], shape[2], shape[3])]
    if primitive.kind == BOX:
        x, y, z, a, b, c, cosine, sine = shape
        return [
            (x + cosine * u + sine * w, y + v, z - sine * u + cosine * w, 0.0)
            for u in (-a, a)
            for v in (-b, b)
            for w in (-c, c)
        ]
    if primitive.kind == CAPSULE:
        ax, ay, az, bx, by, bz, radius = shape
        return [(ax, ay, az, radius), (bx, by, bz, radius)]
    x, y, z, radius, height = shape
    base = [(x + u, y, z + w, 0.0) for u, w in _octagon(radius)]
    if primitive.kind == CONE:
        return [*base, (x, y + height, z, 0.0)]
    return base + [(u, y + height, w, 0.0) for u, _, w, _ in base]


def _octagon(radius: float) -> list[tuple[float, float]]:
    """Corners of an octagon that holds a circle."""
    corner = radius / math.cos(math.pi / 8)
    angles = [math.pi * turn / 4 for turn in range(8)]
    return [(corner * math.cos(angle), corner * math.sin(angle)) for angle in angles]


def bounding_sphere(group: Sequence[Primitive]) -> tuple[float, float, float, float]:
    """A sphere that holds all of `group`."""
    spheres = np.array([sphere for primitive in group for sphere in spheres_around(primitive)])
    low = (spheres[:, :3] - spheres[:, 3:]).min(axis=0)
    high = (spheres[:, :3] + spheres[:, 3:]).max(axis=0)
    centre = (low + high) / 2
    radius = (np.linalg.norm(spheres[:, :3] - centre, axis=1) + spheres[:, 3]).max()
    return float(centre[0]), float(centre[1]), float(centre[2]), float(radius) + 1e-9
