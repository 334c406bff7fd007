"""What is not a solid colour: sky, grounds, heads. Compiled; colours are linear light."""

import math
from typing import TYPE_CHECKING

from .compiled import compiled
from .primitives import Vector
from .rays import dot

if TYPE_CHECKING:
    from .light import Light

_GRASS, _SAND, _SNOW = 0, 1, 2  # indices in scene.GROUNDS; the last is stone
_MASK = 0xFFFFFFFF
_HAIR = (0.055, 0.032, 0.02)
_EYE = (0.02, 0.018, 0.018)


@compiled
def mix(a: Vector, b: Vector, share: float) -> Vector:
    """`a` where share is 0, `b` where it is 1."""
    return (
        a[0] + (b[0] - a[0]) * share,
        a[1] + (b[1] - a[1]) * share,
        a[2] + (b[2] - a[2]) * share,
    )


@compiled
def _times(a: Vector, scale: float) -> Vector:
    return a[0] * scale, a[1] * scale, a[2] * scale


@compiled
def _smooth(low: float, high: float, value: float) -> float:
    """0 below `low`, 1 above `high`, smooth between."""
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@compiled
def _chance(i: int, j: int) -> float:
    """A fixed number in [0, 1) for each pair of whole numbers."""
    n = (i * 374761393 + j * 668265263) & _MASK
    n = ((n ^ (n >> 13)) * 1274126177) & _MASK
    return (n ^ (n >> 16)) / 4294967296.0


@compiled
def noise(x: float, y: float) -> float:
    """Smooth noise in [0, 1), one bump per unit."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    i, j = int(i), int(j)
    low = _chance(i, j) * (1.0 - u) + _chance(i + 1, j) * u
    high = _chance(i, j + 1) * (1.0 - u) + _chance(i + 1, j + 1) * u
    return low * (1.0 - v) + high * v


@compiled
def _rough(x: float, y: float) -> float:
    """Noise of three sizes."""
    return 0.57 * noise(x, y) + 0.29 * noise(2.1 * x, 2.1 * y) + 0.14 * noise(4.3 * x, 4.3 * y)


@compiled
def haze(direction: Vector, horizon: Vector, glow: Vector, towards: Vector) -> Vector:
    """Colour of the sky at the horizon below a direction; `towards` is where the sun stands."""
    facing = direction[0] * towards[0] + direction[2] * towards[2]
    across = (direction[0] ** 2 + direction[2] ** 2) * (towards[0] ** 2 + towards[2] ** 2)
    warm = (0.5 + 0.5 * facing / math.sqrt(across + 1e-12)) ** 2
    return horizon[0] + warm * glow[0], horizon[1] + warm * glow[1], horizon[2] + warm * glow[2]


@compiled
def sky(direction: Vector, light: "Light") -> Vector:
    """Colour of the sky in a direction."""
    height = max(0.0, direction[1])
    low = haze(direction, light.horizon, light.glow, light.towards)
    colour = mix(low, light.zenith, 1.0 - math.exp(-6.0 * height))
    across = math.sqrt(max(1e-12, 1.0 - direction[1] ** 2))
    if light.clouds > 0.0:
        far = 0.55 / (height + 0.09)
        cover = _rough(direction[0] * far * 1.3 + 7.0, direction[2] * far + 3.0)
        veil = _smooth(0.50, 0.78, cover) * _smooth(0.02, 0.14, height)
        cloud = mix((1.0, 1.0, 1.0), light.horizon, 0.35)
        colour = mix(colour, cloud, light.clouds * 0.75 * veil)
    if light.stars > 0.0:
        x, y = direction[0] / across * 26.0, direction[1] * 26.0
        i, j = math.floor(x), math.floor(y)
        size = _chance(int(i), int(j))
        u = x - i - 0.25 - 0.5 * _chance(int(i) + 91, int(j))
        v = y - j - 0.25 - 0.5 * _chance(int(i), int(j) + 57)
        if size > 0.55:
            star = light.stars * (size - 0.5) * math.exp(-(u * u + v * v) * 260.0)
            colour = (colour[0] + star, colour[1] + star, colour[2] + star)
    return colour


@compiled
def ground_albedo(ground: int, x: float, z: float, distance: float) -> Vector:
    """What the ground reflects at a place; detail fades with distance so that it never flickers."""
    near = 1.0 / (1.0 + (distance / 11.0) ** 4)
    patch = _rough(0.55 * x, 0.55 * z) - 0.5
    if ground == _GRASS:
        blades = noise(17.0 * x, 9.0 * z) + noise(31.0 * x + 5.0, 15.0 * z) - 1.0
        tone = 1.0 + 0.55 * patch + 0.42 * near * blades
        return _times(mix((0.12, 0.22, 0.035), (0.20, 0.27, 0.05), 0.5 + patch), tone)
    if ground == _SAND:
        waves = math.sin(9.0 * (z + 0.35 * x) + 5.0 * noise(0.8 * x, 0.8 * z))
        grain = noise(40.0 * x, 40.0 * z) - 0.5
        return _times((0.62, 0.46, 0.27), 1.0 + 0.25 * patch + near * (0.07 * waves + 0.14 * grain))
    if ground == _SNOW:
        drift = noise(1.6 * x, 2.4 * z) - 0.5
        return _times((0.80, 0.84, 0.90), 1.0 + 0.10 * patch + 0.07 * near * drift)
    return _stone(x, z, near, patch)


@compiled
def _stone(x: float, z: float, near: float, patch: float) -> Vector:
    """Slabs laid in rows, each row shifted."""
    row = math.floor(z / 0.62)
    shifted = x / 0.85 + 0.5 * (row % 2.0) + 0.2 * _chance(int(row), 3)
    column = math.floor(shifted)
    edge = min(
        0.85 * min(shifted - column, column + 1.0 - shifted),
        0.62 * min(z / 0.62 - row, row + 1.0 - z / 0.62),
    )
    tint = _chance(int(column), int(row)) - 0.5
    speckle = noise(22.0 * x, 22.0 * z) - 0.5
    joint = near * (1.0 - _smooth(0.012, 0.035, edge))
    tone = (1.0 + 0.32 * tint + 0.2 * patch + 0.16 * near * speckle) * (1.0 - 0.6 * joint)
    return _times((0.29, 0.285, 0.285), tone)


@compiled
def head_albedo(normal: Vector, cosine: float, sine: float, skin: Vector) -> Vector:
    """Hair, eyes and skin on a head that faces `yaw`."""
    left = cosine * normal[0] - sine * normal[2]
    ahead = sine * normal[0] + cosine * normal[2]
    local = (abs(left), normal[1], ahead)
    if local[1] > 0.52 - 0.12 * ahead or (ahead < 0.05 and local[1] > -0.45):
        return _HAIR
    return _EYE if dot(local, (0.353, 0.157, 0.922)) > 0.983 else skin
