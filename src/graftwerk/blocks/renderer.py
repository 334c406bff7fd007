"""Render a scene to an image."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from ..compiled import compiled
from ..errors import LimitExceeded
from ..limits import IMAGE_PIXELS, IMAGE_SIDE
from .geometry import geometry_of, view_of
from .primitives import HEAD, Primitive, Vector, light_of
from .rays import (
    GROUND,
    SKY,
    along,
    dot,
    is_blocked,
    near_bound,
    nearest_hit,
    normal_at,
    primary_ray,
    unit,
)
from .scene import Scene

if TYPE_CHECKING:
    from .geometry import Geometry, Solids, View
    from .primitives import Light


_GRASS, _SAND, _SNOW = 0, 1, 2  # indices in scene.GROUNDS; the last is stone
_MASK = 0xFFFFFFFF
_HAIR = (0.055, 0.032, 0.02)
_EYE = (0.02, 0.018, 0.018)


@compiled
def mix(a: Vector, b: Vector, share: float) -> Vector:
    """Interpolate from `a` (share 0) to `b` (share 1)."""
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
    t = min(1.0, max(0.0, (value - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@compiled
def _chance(i: int, j: int) -> float:
    """Hash a pair of integers to a fixed number in [0, 1)."""
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
    return 0.57 * noise(x, y) + 0.29 * noise(2.1 * x, 2.1 * y) + 0.14 * noise(4.3 * x, 4.3 * y)


@compiled
def haze(direction: Vector, horizon: Vector, glow: Vector, towards: Vector) -> Vector:
    """Return the color of the horizon below a direction; `towards` is the direction of the sun."""
    facing = direction[0] * towards[0] + direction[2] * towards[2]
    across = (direction[0] ** 2 + direction[2] ** 2) * (towards[0] ** 2 + towards[2] ** 2)
    warm = (0.5 + 0.5 * facing / math.sqrt(across + 1e-12)) ** 2
    return horizon[0] + warm * glow[0], horizon[1] + warm * glow[1], horizon[2] + warm * glow[2]


@compiled
def sky(direction: Vector, light: "Light") -> Vector:
    """Return the color of the sky in a direction."""
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
    """Return the albedo of the ground at a point; detail fades with distance to avoid aliasing."""
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
    """Texture of hair, eyes and skin on a head that faces `yaw`."""
    left = cosine * normal[0] - sine * normal[2]
    ahead = sine * normal[0] + cosine * normal[2]
    local = (abs(left), normal[1], ahead)
    if local[1] > 0.52 - 0.12 * ahead or (ahead < 0.05 and local[1] > -0.45):
        return _HAIR
    return _EYE if dot(local, (0.353, 0.157, 0.922)) > 0.983 else skin


_LIFT = 1e-4  # a shadow ray starts this far above the surface
_SHADOW_RAYS = 4
_HAZE = 40.0  # distance at which a third of a color is left


@compiled
def _may_be_shaded(
    bounds: Float64[np.ndarray, "o 4"], point: Vector, towards: Vector, deviation: float
) -> bool:
    for thing in range(len(bounds)):
        if near_bound(bounds, thing, point, towards, 1.1 * deviation, np.inf):
            return True
    return False


@compiled
def _lit_share(
    solids: "Solids", point: Vector, towards: Vector, light: "Light", turn: float
) -> float:
    """Return the share of the light visible from `point`; `turn` in [0, 1) rotates the pattern."""
    side = unit((towards[2], 0.0, -towards[0])) if abs(towards[1]) < 0.999 else (1.0, 0.0, 0.0)
    over = (
        towards[1] * side[2] - towards[2] * side[1],
        towards[2] * side[0] - towards[0] * side[2],
        towards[0] * side[1] - towards[1] * side[0],
    )
    limit = light.lamp if light.lamp > 0.0 else np.inf
    seen = 0
    cosine, sine = math.cos(0.5 * math.pi * turn), math.sin(0.5 * math.pi * turn)
    for ray in range(_SHADOW_RAYS):
        cosine, sine = -sine, cosine  # a quarter turn; each ray stands for an equal area
        radius = light.spread * math.sqrt((ray + 0.5) / _SHADOW_RAYS)
        u, v = radius * cosine, radius * sine
        direction = unit(
            (
                towards[0] + u * side[0] + v * over[0],
                towards[1] + u * side[1] + v * over[1],
                towards[2] + u * side[2] + v * over[2],
            )
        )
        seen += not is_blocked(solids, point, direction, limit)
    return seen / _SHADOW_RAYS


@compiled
def _openness(
    contacts: Float64[np.ndarray, "o 3"], point: Vector, normal: Vector, owner: int
) -> float:
    """Return the share of the sky not covered by nearby objects, taken as spheres on the ground."""
    open_share = 1.0
    for thing in range(len(contacts)):
        if thing == owner:
            continue
        x, z, radius = contacts[thing, 0], contacts[thing, 1], contacts[thing, 2]
        to = (x - point[0], 0.9 * radius - point[1], z - point[2])
        square = max(dot(to, to), radius * radius)
        cosine = 0.35 + 0.65 * max(0.0, dot(to, normal)) / math.sqrt(square)
        open_share *= 1.0 - 0.8 * cosine * radius * radius / square
    return open_share


@compiled
def _object_surface(geometry: "Geometry", row: int, point: Vector) -> tuple[Vector, Vector, int]:
    """Return normal, albedo and owner at a ray's hit point on a primitive."""
    shapes, colours = geometry.solids.shapes, geometry.albedo
    normal, _ = normal_at(geometry.solids.kinds[row], shapes, row, point)
    albedo = (colours[row, 0], colours[row, 1], colours[row, 2])
    if geometry.materials[row] == HEAD:
        albedo = head_albedo(normal, shapes[row, 4], shapes[row, 5], albedo)
    return normal, albedo, geometry.owners[row]


@compiled
def _to_light(point: Vector, light: "Light") -> tuple[Vector, float]:
    """Return the direction to the light and its strength at a point."""
    if light.lamp == 0.0:
        return light.towards, 1.0
    to = along((-point[0], -point[1], -point[2]), light.towards, light.lamp)
    square = dot(to, to)
    towards = unit(to)
    # the lamp has a shade: it makes a pool of light about the middle of the world
    return towards, light.lamp**2 / square * max(0.0, dot(towards, light.towards)) ** 6


@compiled
def radiance(
    geometry: "Geometry", light: "Light", origin: Vector, direction: Vector, turn: float
) -> Vector:
    """Return the linear light that arrives along a ray."""
    distance, what = nearest_hit(geometry.solids, origin, direction)
    if what == SKY:
        return sky(direction, light)
    point = along(origin, direction, distance)
    normal, owner = (0.0, 1.0, 0.0), -1
    if what == GROUND:
        albedo = ground_albedo(light.ground, point[0], point[2], distance)
    else:
        normal, albedo, owner = _object_surface(geometry, what, point)

    towards, strength = _to_light(point, light)
    slant = dot(normal, towards)
    direct = strength if slant > 0.0 else 0.0
    start = along(point, normal, _LIFT)
    if direct > 0.0 and _may_be_shaded(geometry.solids.bounds, start, towards, light.spread):
        direct *= _lit_share(geometry.solids, start, towards, light, turn)

    key = direct * max(0.0, slant)
    facing_up = 0.5 + 0.5 * normal[1]
    opened = _openness(geometry.contacts, point, normal, owner)
    gloss, rim = 0.0, 0.0
    if owner >= 0:
        opened *= 0.7 + 0.3 * min(1.0, point[1] / 0.3)
        half = unit(along(towards, direction, -1.0))
        gloss = 0.22 * max(0.0, dot(normal, half)) ** 42 * direct
        rim = 0.22 * (1.0 - max(0.0, -dot(normal, direction))) ** 4 * facing_up
    ambient = mix(light.below, light.above, facing_up)
    colour, above = light.colour, light.above
    seen = (
        albedo[0] * (colour[0] * key + ambient[0] * opened) + gloss * colour[0] + rim * above[0],
        albedo[1] * (colour[1] * key + ambient[1] * opened) + gloss * colour[1] + rim * above[1],
        albedo[2] * (colour[2] * key + ambient[2] * opened) + gloss * colour[2] + rim * above[2],
    )
    air = haze(direction, light.horizon, light.glow, light.towards)
    return mix(seen, air, 1.0 - math.exp(-((distance / _HAZE) ** 2)))


@compiled
def trace_image(
    geometry: "Geometry",
    light: "Light",
    view: "View",
    samples: int,
    out: Float32[np.ndarray, "h w 3"],
) -> None:
    """Fill `out` with the linear light averaged over `samples` x `samples` rays per pixel."""
    for i in range(view.height):
        for j in range(view.width):
            red, green, blue = 0.0, 0.0, 0.0
            for row in range(i * samples, (i + 1) * samples):
                for column in range(j * samples, (j + 1) * samples):
                    direction, _ = primary_ray(
                        view, (column + 0.5) / samples, (row + 0.5) / samples
                    )
                    # interleaved gradient noise (Jimenez 2014): even over any few neighbors
                    turn = 52.9829189 * ((0.06711056 * column + 0.00583715 * row) % 1.0) % 1.0
                    seen = radiance(geometry, light, view.origin, direction, turn)
                    red, green, blue = red + seen[0], green + seen[1], blue + seen[2]
            scale = 1.0 / (samples * samples)
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = red * scale, green * scale, blue * scale


@compiled
def develop(
    light: Float32[np.ndarray, "h w 3"], exposure: float, out: UInt8[np.ndarray, "h w 3"]
) -> None:
    """Convert linear light to sRGB in `out`: a filmic curve, then the sRGB transfer function."""
    for i in range(light.shape[0]):
        for j in range(light.shape[1]):
            for channel in range(3):
                x = exposure * light[i, j, channel]
                # Narkowicz 2015, a fit of the ACES curve
                x = (x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)
                x = min(1.0, max(0.0, x))
                x = 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1.0 / 2.4) - 0.055
                out[i, j, channel] = int(255.0 * x + 0.5)


SAMPLES = 2  # rays a side of a pixel: 2 is four rays a pixel
EXPOSURE = 0.62
Others = Sequence[Sequence[Primitive]]


def require_renderable(height: int, width: int) -> None:
    """Raise `LimitExceeded` unless an image of this size can be rendered."""
    if not (
        1 <= height <= IMAGE_SIDE and 1 <= width <= IMAGE_SIDE and height * width <= IMAGE_PIXELS
    ):
        raise LimitExceeded(
            f"an image of {height} x {width} pixels cannot be rendered.",
            f"Sides are 1 to {IMAGE_SIDE:,} pixels, the whole at most {IMAGE_PIXELS:,} pixels.",
        )


def render_light(
    scene: Scene, height: int, width: int, samples: int = SAMPLES, others: Others = ()
) -> Float32[np.ndarray, "h w 3"]:
    """Return the linear light of a scene, averaged over `samples` x `samples` rays per pixel."""
    require_renderable(height, width)
    light = np.empty((height, width, 3), dtype=np.float32)
    view = view_of(scene.camera, height, width)
    trace_image(geometry_of(scene, others), light_of(scene), view, samples, light)
    return light


def render(
    scene: Scene, height: int, width: int, samples: int = SAMPLES, others: Others = ()
) -> UInt8[np.ndarray, "h w 3"]:
    """Render a scene to sRGB; the result is bit-identical on the same machine.

    Args:
        scene: what is shown.
        height: of the image, in pixels.
        width: of the image, in pixels.
        samples: rays along each side of a pixel.
        others: groups of primitives that are not objects of the scene, such as a robot.

    Raises:
        LimitExceeded: the image would be too large, or would have no pixels.
    """
    light = render_light(scene, height, width, samples, others)
    image = np.empty(light.shape, dtype=np.uint8)
    develop(light, EXPOSURE, image)
    return image
