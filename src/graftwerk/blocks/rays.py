"""Analytic ray casting: where a ray first hits a solid or the ground, and what is there.

A ray is an origin and a unit direction; times along it are distances. All functions are
compiled; vectors are tuples.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from ..compiled import compiled
from .primitives import BOX, CAPSULE, CONE, CYLINDER, SPHERE, Vector

if TYPE_CHECKING:
    from .geometry import Solids, View


GROUND, SKY = -1, -2
FACES = 8  # a surface is `primitive * FACES + face`, or GROUND, or SKY
_NEAREST = 1e-7  # a hit closer than this is the surface that the ray leaves


@compiled
def dot(a: Vector, b: Vector) -> float:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def along(origin: Vector, direction: Vector, time: float) -> Vector:
    """Return the point at `time`."""
    return (
        origin[0] + time * direction[0],
        origin[1] + time * direction[1],
        origin[2] + time * direction[2],
    )


@compiled
def unit(a: Vector) -> Vector:
    """Scale a vector to length 1."""
    scale = 1.0 / math.sqrt(dot(a, a))
    return a[0] * scale, a[1] * scale, a[2] * scale


@compiled
def primary_ray(view: "View", x: float, y: float) -> tuple[Vector, float]:
    """Return the direction through pixel coordinates x, y, and its cosine with the viewing axis."""
    u, v = (x - view.width / 2) * view.step, (view.height / 2 - y) * view.step
    scale = 1.0 / math.sqrt(1.0 + u * u + v * v)
    right, up, forward = view.right, view.up, view.forward
    direction = (
        (forward[0] + u * right[0] + v * up[0]) * scale,
        (forward[1] + u * right[1] + v * up[1]) * scale,
        (forward[2] + u * right[2] + v * up[2]) * scale,
    )
    return direction, scale


@compiled
def _round_time(offset: Vector, direction: Vector, radius: float) -> float:
    b = dot(offset, direction)
    # squared distance of the line from the middle, free of the cancellation in b*b - c
    nearest = along(offset, direction, -b)
    h = radius * radius - dot(nearest, nearest)
    if h < 0.0:
        return np.inf
    time = -b - math.sqrt(h)
    return time if time > _NEAREST else np.inf


@compiled
def _box_time(
    shapes: Float64[np.ndarray, "p 8"], row: int, offset: Vector, direction: Vector
) -> float:
    origin, toward = (
        _turned(offset, shapes[row, 6], shapes[row, 7]),
        _turned(direction, shapes[row, 6], shapes[row, 7]),
    )
    enter, leave = -np.inf, np.inf
    for axis in range(3):
        half, start, speed = shapes[row, 3 + axis], origin[axis], toward[axis]
        if speed == 0.0:
            if abs(start) > half:
                return np.inf
            continue
        first, second = (-half - start) / speed, (half - start) / speed
        enter, leave = max(enter, min(first, second)), min(leave, max(first, second))
    return enter if enter <= leave and enter > _NEAREST else np.inf


@compiled
def _turned(a: Vector, cosine: float, sine: float) -> Vector:
    """Rotate `a` into the axes of an object with this yaw."""
    return cosine * a[0] - sine * a[2], a[1], sine * a[0] + cosine * a[2]


@compiled
def _cone_time(
    offset: Vector, direction: Vector, radius: float, height: float, slope: float
) -> float:
    """Intersect a cone (`slope` = radius / height) or a capped cylinder (`slope` = 0)."""
    best = np.inf
    (x, y, z), (u, v, w) = offset, direction
    width = radius - slope * y
    a = u * u + w * w - (slope * v) ** 2
    b = x * u + z * w + slope * v * width
    c = x * x + z * z - width * width
    h = b * b - a * c
    if h >= 0.0 and a != 0.0:
        root = math.sqrt(h)
        for time in ((-b - root) / a, (-b + root) / a):
            if _NEAREST < time < best and 0.0 <= y + time * v <= height:
                best = time
    if v != 0.0:
        for cap in (0.0, height):
            time = (cap - y) / v
            across, reach = (x + time * u) ** 2 + (z + time * w) ** 2, radius - slope * cap
            if _NEAREST < time < best and across <= reach * reach:
                best = time
    return best


@compiled
def _capsule_time(
    shapes: Float64[np.ndarray, "p 8"], row: int, offset: Vector, direction: Vector
) -> float:
    axis = (
        shapes[row, 3] - shapes[row, 0],
        shapes[row, 4] - shapes[row, 1],
        shapes[row, 5] - shapes[row, 2],
    )
    radius = shapes[row, 6]
    length, speed, start = dot(axis, axis), dot(axis, direction), dot(axis, offset)
    a = length - speed * speed
    b = length * dot(offset, direction) - start * speed
    c = length * dot(offset, offset) - start * start - radius * radius * length
    h = b * b - a * c
    if h < 0.0:
        return np.inf
    location = 0.0 if a <= 0.0 else start + (-b - math.sqrt(h)) / a * speed
    if a > 0.0 and 0.0 < location < length:
        time = (-b - math.sqrt(h)) / a
        return time if time > _NEAREST else np.inf
    # the line enters through a round end: the one that it passes first, or reaches in the end
    other = (offset[0] - axis[0], offset[1] - axis[1], offset[2] - axis[2])
    return _round_time(offset if location <= 0.0 else other, direction, radius)


@compiled
def hit_time(
    kind: int, shapes: Float64[np.ndarray, "p 8"], row: int, origin: Vector, direction: Vector
) -> float:
    """Return the distance to a primitive, infinite on a miss; the ray starts outside it."""
    offset = (origin[0] - shapes[row, 0], origin[1] - shapes[row, 1], origin[2] - shapes[row, 2])
    if kind == SPHERE:
        return _round_time(offset, direction, shapes[row, 3])
    if kind == BOX:
        return _box_time(shapes, row, offset, direction)
    if kind == CYLINDER:
        return _cone_time(offset, direction, shapes[row, 3], shapes[row, 4], 0.0)
    if kind == CONE:
        return _cone_time(
            offset, direction, shapes[row, 3], shapes[row, 4], shapes[row, 3] / shapes[row, 4]
        )
    return _capsule_time(shapes, row, offset, direction)


@compiled
def normal_at(
    kind: int, shapes: Float64[np.ndarray, "p 8"], row: int, point: Vector
) -> tuple[Vector, int]:
    """Return the outward unit normal and the face number at a point on a primitive's surface."""
    offset = (point[0] - shapes[row, 0], point[1] - shapes[row, 1], point[2] - shapes[row, 2])
    if kind == SPHERE:
        return unit(offset), 0
    if kind == BOX:
        local = _turned(offset, shapes[row, 6], shapes[row, 7])
        axis = 0
        for other in range(1, 3):
            if (
                abs(local[other]) - shapes[row, 3 + other]
                > abs(local[axis]) - shapes[row, 3 + axis]
            ):
                axis = other
        sign = 1.0 if local[axis] > 0.0 else -1.0
        outward = (sign * (axis == 0), sign * (axis == 1), sign * (axis == 2))
        return _turned(outward, shapes[row, 6], -shapes[row, 7]), 2 * axis + (sign > 0.0)
    if kind == CAPSULE:
        axis3 = (
            shapes[row, 3] - shapes[row, 0],
            shapes[row, 4] - shapes[row, 1],
            shapes[row, 5] - shapes[row, 2],
        )
        location = min(1.0, max(0.0, dot(offset, axis3) / dot(axis3, axis3)))
        return unit(along(offset, axis3, -location)), 0
    radius, height = shapes[row, 3], shapes[row, 4]
    slope = radius / height if kind == CONE else 0.0
    across = math.sqrt(offset[0] ** 2 + offset[2] ** 2)
    # how far inside the point lies of the side, the base and the top; the surface is the least
    side = abs(radius - slope * offset[1] - across)
    if abs(offset[1]) < side:
        return (0.0, -1.0, 0.0), 1
    if kind == CYLINDER and abs(height - offset[1]) < side:
        return (0.0, 1.0, 0.0), 2
    return unit((offset[0], slope * across, offset[2])), 0


@compiled
def near_bound(
    bounds: Float64[np.ndarray, "o 4"],
    thing: int,
    origin: Vector,
    direction: Vector,
    deviation: float,
    limit: float,
) -> bool:
    """Whether a ray, or a cone of rays that widens by `deviation` per unit, may hit an object."""
    x, y, z = (
        origin[0] - bounds[thing, 0],
        origin[1] - bounds[thing, 1],
        origin[2] - bounds[thing, 2],
    )
    radius, square = bounds[thing, 3], x * x + y * y + z * z
    if square <= radius * radius:
        return True
    ahead = -(x * direction[0] + y * direction[1] + z * direction[2])
    width = radius + deviation * ahead
    beside: bool = square - ahead * ahead <= width * width
    return beside and 0.0 < ahead < limit + radius


@compiled
def object_hit(
    kinds: Int64[np.ndarray, " p"],
    shapes: Float64[np.ndarray, "p 8"],
    rows: tuple[int, int],
    origin: Vector,
    direction: Vector,
    limit: float,
) -> tuple[float, int]:
    """Return distance and row of the first hit before `limit` in `rows`, else `limit` and SKY."""
    best, what = limit, SKY
    for row in range(rows[0], rows[1]):
        time = hit_time(kinds[row], shapes, row, origin, direction)
        if time < best:
            best, what = time, row
    return best, what


@compiled
def nearest_hit(solids: "Solids", origin: Vector, direction: Vector) -> tuple[float, int]:
    """Return distance and primitive of the first hit; GROUND, or SKY at infinite distance."""
    kinds, shapes, first, bounds = solids.kinds, solids.shapes, solids.first, solids.bounds
    best, what = np.inf, SKY
    if direction[1] < 0.0:
        best, what = -origin[1] / direction[1], GROUND
    for thing in range(len(bounds)):
        if near_bound(bounds, thing, origin, direction, 0.0, best):
            rows = (first[thing], first[thing + 1])
            time, primitive = object_hit(kinds, shapes, rows, origin, direction, best)
            if time < best:
                best, what = time, primitive
    return best, what


@compiled
def is_blocked(solids: "Solids", origin: Vector, direction: Vector, limit: float) -> bool:
    """Whether any object blocks the ray before `limit`."""
    kinds, shapes, first, bounds = solids.kinds, solids.shapes, solids.first, solids.bounds
    for thing in range(len(bounds)):
        if near_bound(bounds, thing, origin, direction, 0.0, limit):
            for row in range(first[thing], first[thing + 1]):
                if hit_time(kinds[row], shapes, row, origin, direction) < limit:
                    return True
    return False
