"""What light does at each time of day: numbers only, in linear light, red green blue."""

import math
from typing import NamedTuple

from .primitives import Vector
from .scene import GROUNDS, Scene, Time

LAMP_DISTANCE = 6.5  # of the lamp at night from the middle of the world, in scene units


class Light(NamedTuple):
    """All that shading needs to know about time of day and ground.

    Attributes:
        towards: unit vector to the sun, or from the middle of the world to the lamp.
        lamp: distance of the lamp; 0 for a sun.
        spread: how wide the light looks, as the tangent of its radius; softens shadows.
        colour: of the light.
        above: light that falls from the sky on what faces up.
        below: light that the ground throws back on what faces down.
        zenith: colour of the sky well above the horizon.
        horizon: colour of the sky at the horizon, and of haze.
        glow: added to the sky towards the sun.
        clouds: how bright clouds are; 0 for none.
        stars: how bright stars are; 0 for none.
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
    """The light of a scene's time, from its sun's direction, on its ground."""
    azimuth, elevation = math.radians(scene.sun.azimuth), math.radians(scene.sun.elevation)
    towards = (
        math.sin(azimuth) * math.cos(elevation),
        math.sin(elevation),
        math.cos(azimuth) * math.cos(elevation),
    )
    return _TIMES[scene.time]._replace(towards=towards, ground=GROUNDS.index(scene.ground))
