"""Kernels that ask what rays meet, for maps, key points and silhouettes. Compiled."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from .compiled import compiled
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

if TYPE_CHECKING:
    from .geometry import Solids, View


@compiled
def trace_surfaces(
    solids: "Solids",
    view: "View",
    surfaces: Int32[np.ndarray, "h w"],
    depth: Float32[np.ndarray, "h w"],
    normals: Float32[np.ndarray, "h w 3"],
) -> None:
    """Fill the maps with what the ray through the middle of each pixel meets.

    `surfaces` gets `primitive * FACES + face`, GROUND or SKY; `depth` the distance along the
    viewing axis, infinite for the sky; `normals` unit vectors in the camera's axes (right, up,
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
    """Fill `depth` and `primitives` with what the rays through pixel coordinates x, y meet."""
    for index in range(len(pixels)):
        direction, cosine = primary_ray(view, pixels[index, 0], pixels[index, 1])
        distance, what = nearest_hit(solids, view.origin, direction)
        depth[index], primitives[index] = distance * cosine, what


@compiled
def count_silhouettes(solids: "Solids", view: "View", counts: Int64[np.ndarray, "o 3"]) -> None:
    """Add to `counts` the pixels of each object.

    The columns: as if it were alone, in the picture and half a picture beyond each side; as if
    alone, in the picture but for its outermost pixels; where it is what one sees.
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
