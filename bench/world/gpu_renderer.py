"""Render scenes of the Blocks world on a CUDA GPU, with the code of the renderer itself.

The functions of `graftwerk.blocks.rays` and `renderer` are compiled a second time, for the GPU;
images differ from those of the CPU by rounding only. Needs numba-cuda.
"""

import inspect
import math
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import cuda

from graftwerk.blocks import rays, renderer
from graftwerk.blocks.geometry import Geometry, Solids, View, geometry_of, view_of
from graftwerk.blocks.primitives import Light, light_of
from graftwerk.blocks.renderer import EXPOSURE, SAMPLES
from graftwerk.blocks.scene import MOST_OBJECTS, Scene

_PRIMITIVES = 64  # of a scene at most: four people of at most 16
_THREADS = 128


def _on_the_gpu() -> dict[str, Any]:
    """Return the names of both modules, their compiled functions compiled for the GPU."""
    names: dict[str, Any] = {**vars(rays), **vars(renderer)}
    for module in (rays, renderer):
        for name, value in list(vars(module).items()):
            plain = getattr(value, "py_func", None)
            if plain is None or value.py_func.__module__ != module.__name__:
                continue
            function = types.FunctionType(
                inspect.unwrap(plain).__code__, names, name, plain.__defaults__
            )
            names[name] = cuda.jit(device=True)(function)
    return names


def make_kernel() -> Any:
    """Return a CUDA kernel that computes one pixel of one of many scenes in each thread."""
    names = _on_the_gpu()
    radiance, primary_ray = names["radiance"], names["primary_ray"]

    def kernel(  # type: ignore[no-untyped-def]
        kinds, shapes, first, bounds, counts, albedo, materials, owners, contacts, lights, views,
        side, samples, exposure, out,
    ):  # fmt: skip
        n = cuda.grid(1)
        if n >= out.shape[0] * side * side:
            return
        s, pixel = n // (side * side), n % (side * side)
        i, j = pixel // side, pixel % side
        count = counts[s]
        solids = Solids(kinds[s], shapes[s], first[s], bounds[s, :count])
        geometry = Geometry(solids, albedo[s], materials[s], owners[s], contacts[s, :count])
        a = lights[s]
        light = Light(
            (a[0], a[1], a[2]), a[3], a[4], (a[5], a[6], a[7]), (a[8], a[9], a[10]),
            (a[11], a[12], a[13]), (a[14], a[15], a[16]), (a[17], a[18], a[19]),
            (a[20], a[21], a[22]), a[23], a[24], int(a[25]),
        )  # fmt: skip
        v = views[s]
        view = View(
            (v[0], v[1], v[2]), (v[3], v[4], v[5]), (v[6], v[7], v[8]), (v[9], v[10], v[11]),
            v[12], side, side,
        )  # fmt: skip
        red, green, blue = 0.0, 0.0, 0.0
        for row in range(i * samples, (i + 1) * samples):
            for column in range(j * samples, (j + 1) * samples):
                direction, _ = primary_ray(view, (column + 0.5) / samples, (row + 0.5) / samples)
                turn = 52.9829189 * ((0.06711056 * column + 0.00583715 * row) % 1.0) % 1.0
                seen = radiance(geometry, light, view.origin, direction, turn)
                red, green, blue = red + seen[0], green + seen[1], blue + seen[2]
        scale = exposure / (samples * samples)
        for channel in range(3):
            x = scale * (red if channel == 0 else (green if channel == 1 else blue))
            x = (x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)
            x = min(1.0, max(0.0, x))
            x = 12.92 * x if x <= 0.0031308 else 1.055 * math.pow(x, 1.0 / 2.4) - 0.055
            out[s, i, j, channel] = int(255.0 * x + 0.5)

    return kernel


def arrays_of(scenes: Sequence[Scene]) -> list[Any]:
    """Return the arrays of the kernel for these scenes."""
    many = len(scenes)
    kinds = np.zeros((many, _PRIMITIVES), np.int64)
    shapes, albedo = np.zeros((many, _PRIMITIVES, 8)), np.zeros((many, _PRIMITIVES, 3))
    materials, owners = np.zeros_like(kinds), np.zeros_like(kinds)
    first = np.zeros((many, MOST_OBJECTS + 1), np.int64)
    bounds, contacts = np.zeros((many, MOST_OBJECTS, 4)), np.zeros((many, MOST_OBJECTS, 3))
    counts = np.zeros(many, np.int64)
    lights, views = np.zeros((many, 26)), np.zeros((many, 13))
    for s, scene in enumerate(scenes):
        made = geometry_of(scene)
        rows, things = len(made.solids.kinds), len(scene.objects)
        kinds[s, :rows], shapes[s, :rows] = made.solids.kinds, made.solids.shapes
        albedo[s, :rows], materials[s, :rows] = made.albedo, made.materials
        owners[s, :rows], counts[s] = made.owners, things
        first[s, : things + 1] = made.solids.first
        bounds[s, :things], contacts[s, :things] = made.solids.bounds, made.contacts
        lights[s] = np.hstack(light_of(scene))
        views[s] = np.hstack(view_of(scene.camera, 1, 1)[:5])
    return [kinds, shapes, first, bounds, counts, albedo, materials, owners, contacts, lights,
            views]  # fmt: skip


class GpuRenderer:
    """Renders many scenes at once."""

    def __init__(self) -> None:
        self._kernel = cuda.jit(make_kernel())

    def render(self, scenes: Sequence[Scene], side: int) -> Any:
        """Return the images, bytes of [n h w 3]."""
        arrays = arrays_of(scenes)
        arrays[-1] = arrays[-1].copy()
        arrays[-1][:, 12] /= side  # the size of a pixel
        out = cuda.device_array((len(scenes), side, side, 3), np.uint8)
        blocks = -(-len(scenes) * side * side // _THREADS)
        given = [cuda.to_device(array) for array in arrays]
        self._kernel[blocks, _THREADS](*given, side, SAMPLES, EXPOSURE, out)
        return out.copy_to_host()
