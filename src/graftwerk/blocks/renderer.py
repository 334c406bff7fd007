"""Render a scene to an image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from ..errors import LimitExceeded
from ..limits import IMAGE_PIXELS, IMAGE_SIDE
from .geometry import geometry_of, view_of
from .primitives import Primitive, light_of
from .scene import Scene
from .shading import develop, trace_image

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
