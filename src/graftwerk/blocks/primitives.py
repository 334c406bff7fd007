"""Geometric primitives and their materials, and the lighting at each time of day.

Colors are linear RGB.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .scene import GROUNDS, Colour, Scene, Skin, Time

Vector = tuple[float, float, float]

# kinds of primitives; what the numbers of each mean:
SPHERE = 0  # center 3, radius, cosine and sine of yaw
BOX = 1  # center 3, half sides 3, cosine and sine of yaw
CYLINDER = 2  # middle of the base 3, radius, height
CONE = 3  # middle of the base 3, radius, height
CAPSULE = 4  # end 3, end 3, radius

PLAIN, HEAD = 0, 1  # materials; a head has hair and eyes

# linear light reflected by each color, red green blue
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
    """A solid: kind, parameters, linear albedo and material."""

    kind: int
    shape: tuple[float, ...]
    albedo: Vector
    material: int = PLAIN


def spheres_around(primitive: Primitive) -> list[tuple[float, float, float, float]]:
    """Return spheres whose convex hull contains the primitive."""
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
    corner = radius / math.cos(math.pi / 8)
    angles = [math.pi * turn / 4 for turn in range(8)]
    return [(corner * math.cos(angle), corner * math.sin(angle)) for angle in angles]


def bounding_sphere(group: Sequence[Primitive]) -> tuple[float, float, float, float]:
    """Return a sphere that contains all primitives of `group`."""
    spheres = np.array([sphere for primitive in group for sphere in spheres_around(primitive)])
    low = (spheres[:, :3] - spheres[:, 3:]).min(axis=0)
    high = (spheres[:, :3] + spheres[:, 3:]).max(axis=0)
    centre = (low + high) / 2
    radius = (np.linalg.norm(spheres[:, :3] - centre, axis=1) + spheres[:, 3]).max()
    return float(centre[0]), float(centre[1]), float(centre[2]), float(radius) + 1e-9


LAMP_DISTANCE = 6.5  # of the lamp at night from the middle of the world, in scene units


class Light(NamedTuple):
    """Lighting of a scene, by time of day and ground.

    Attributes:
        towards: unit vector to the sun, or from the center of the world to the lamp.
        lamp: distance of the lamp; 0 for the sun.
        spread: apparent size of the light, as the tangent of its radius; softens shadows.
        colour: of the light.
        above: light from the sky on upward-facing surfaces.
        below: light reflected by the ground on downward-facing surfaces.
        zenith: color of the sky well above the horizon.
        horizon: color of the sky at the horizon, and of haze.
        glow: added to the sky near the sun.
        clouds: brightness of clouds; 0 for none.
        stars: brightness of stars; 0 for none.
        ground: index in `scene.GROUNDS`.
    """

    towards: Vector
    lamp: float
    spread: float
    colour: Vector
    above: Vector
    below: Vector
    zenith: Vector
    horizon: Vector
    glow: Vector
    clouds: float
    stars: float
    ground: int


_DAY = Light(
    towards=(0.0, 1.0, 0.0),
    lamp=0.0,
    spread=0.05,
    colour=(1.95, 1.86, 1.68),
    above=(0.26, 0.34, 0.48),
    below=(0.20, 0.19, 0.16),
    zenith=(0.07, 0.24, 0.68),
    horizon=(0.46, 0.68, 0.92),
    glow=(0.10, 0.08, 0.03),
    clouds=0.9,
    stars=0.0,
    ground=0,
)
_TIMES: dict[Time, Light] = {
    "day": _DAY,
    "sunset": _DAY._replace(
        spread=0.06,
        colour=(2.1, 1.30, 0.78),
        above=(0.30, 0.27, 0.42),
        below=(0.22, 0.15, 0.13),
        zenith=(0.15, 0.10, 0.33),
        horizon=(0.95, 0.36, 0.17),
        glow=(0.60, 0.30, 0.05),
        clouds=0.35,
    ),
    "night": _DAY._replace(
        lamp=LAMP_DISTANCE,
        spread=0.07,
        colour=(1.75, 1.66, 1.50),
        above=(0.13, 0.15, 0.23),
        below=(0.10, 0.095, 0.10),
        zenith=(0.004, 0.007, 0.028),
        horizon=(0.022, 0.034, 0.085),
        glow=(0.01, 0.012, 0.02),
        clouds=0.0,
        stars=0.7,
    ),
}


def light_of(scene: Scene) -> Light:
    """Return the lighting for a scene's time of day, sun direction and ground."""
    azimuth, elevation = math.radians(scene.sun.azimuth), math.radians(scene.sun.elevation)
    towards = (
        math.sin(azimuth) * math.cos(elevation),
        math.sin(elevation),
        math.cos(azimuth) * math.cos(elevation),
    )
    return _TIMES[scene.time]._replace(towards=towards, ground=GROUNDS.index(scene.ground))
