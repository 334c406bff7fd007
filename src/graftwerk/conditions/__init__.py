"""Conditions: images of one property of another image, which a ControlNet can follow.

All functions have the same form: an image in (a file, a Pillow image, an array or a tensor), a
Pillow image in RGB of the same size out.

>>> import numpy as np
>>> import graftwerk as gw
>>> photo = np.zeros((48, 64), dtype=np.uint8)
>>> photo[:, 32:] = 200
>>> gw.conditions.canny(photo).size
(64, 48)
>>> gw.conditions.canny(photo, stages=True)
CannyStages(64 x 48 pixels, 1.6% edges)

`canny`, `hough`, `scribble` and `lineart` use classical methods. `pose`, `segmentation`, `normals`
and `depth` use `builtin/blocks-perception`, which only knows Blocks scenes; for photographs, pass
a model of the transformers library as `estimator`.
"""

from typing import TYPE_CHECKING, Literal, overload

from ..errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from PIL.Image import Image

    from ..data.image_inputs import ImageLike
    from .base import Fidelity
    from .kinds.canny import CannyStages

# as `graft condition list` has them; the table of `kinds` is too heavy to be imported here
KINDS = ("canny", "hough", "scribble", "pose", "segmentation", "normals", "depth", "lineart")

__all__ = [
    "KINDS",
    "canny",
    "depth",
    "hough",
    "lineart",
    "measure",
    "normals",
    "of_image",
    "of_scene",
    "pose",
    "require_map",
    "scribble",
    "segmentation",
]


@overload
def canny(
    image: "ImageLike",
    low: float = 0.1,
    high: float = 0.3,
    *,
    auto: bool = False,
    sigma: float = 1.4,
    kernel: int = 5,
    stages: Literal[False] = False,
) -> "Image": ...


@overload
def canny(
    image: "ImageLike",
    low: float = 0.1,
    high: float = 0.3,
    *,
    auto: bool = False,
    sigma: float = 1.4,
    kernel: int = 5,
    stages: Literal[True],
) -> "CannyStages": ...


def canny(
    image: "ImageLike",
    low: float = 0.1,
    high: float = 0.3,
    *,
    auto: bool = False,
    sigma: float = 1.4,
    kernel: int = 5,
    stages: bool = False,
) -> "Image | CannyStages":
    """Detect edges with Canny's method (1986), white on black.

    Args:
        image: a file, a Pillow image, or an array or tensor.
        low: gradient magnitude from which a pixel continues an edge.
        high: gradient magnitude from which a pixel starts an edge. Values up to 1 are fractions of
            the image's largest gradient; larger ones are magnitudes of Sobel's kernels (0 to 1442).
        auto: choose both thresholds by Otsu's method instead.
        sigma: of the Gaussian, in pixels.
        kernel: side of the Gaussian kernel in pixels, odd.
        stages: return the result of every step as arrays [h w] instead of an image.

    Raises:
        BadInput: not an image, or invalid thresholds or an invalid Gaussian.
        BadFile: the file cannot be read.
    """
    from .kinds import canny as kind

    settings = kind.settings_of(sigma, kernel, low, high, auto)
    images = _array(image)[None]
    if stages:
        return kind.canny(images, settings).single()
    return kind.image_of(kind.edge_map(images, settings)[0])


def hough(image: "ImageLike") -> "Image":
    """Detect straight lines with the Hough transform on Canny edges, white on black.

    Args:
        image: a file, a Pillow image, or an array or tensor.

    Raises:
        BadInput: not an image.
        BadFile: the file cannot be read.
    """
    return of_image("hough", image)


def scribble(image: "ImageLike") -> "Image":
    """Turn an image into a few thick, shaky strokes, white on black.

    Args:
        image: a file, a Pillow image, or an array or tensor.

    Raises:
        BadInput: not an image.
        BadFile: the file cannot be read.
    """
    return of_image("scribble", image)


def lineart(image: "ImageLike") -> "Image":
    """Turn an image into a line drawing, white on black.

    Args:
        image: a file, a Pillow image, or an array or tensor.

    Raises:
        BadInput: not an image.
        BadFile: the file cannot be read.
    """
    return of_image("lineart", image)


def pose(image: "ImageLike", *, estimator: str | None = None, device: str = "auto") -> "Image":
    """Detect key points of people: OpenPose's 18 key points in its colors, on black.

    Args:
        image: a file, a Pillow image, or an array or tensor.
        estimator: folder or hub id `owner/name@revision` of a ViTPose model; default:
            `builtin/blocks-perception`, which only knows Blocks scenes.
        device: of the estimator.

    Raises:
        BadInput: not an image, or a model that does not estimate key points.
        BadFile: the file or the model cannot be read.
    """
    return of_image("pose", image, estimator=estimator, device=device)


def segmentation(
    image: "ImageLike", *, estimator: str | None = None, device: str = "auto"
) -> "Image":
    """Classify every pixel, shown in ADE20K's colors.

    Args:
        image: a file, a Pillow image, or an array or tensor.
        estimator: folder or hub id `owner/name@revision` of SegFormer, Mask2Former, ...; default:
            `builtin/blocks-perception`, which only knows Blocks scenes.
        device: of the estimator.

    Raises:
        BadInput: not an image, or a model that does not segment.
        BadFile: the file or the model cannot be read.
    """
    return of_image("segmentation", image, estimator=estimator, device=device)


def normals(image: "ImageLike", *, estimator: str | None = None, device: str = "auto") -> "Image":
    """Estimate surface normals: right, up and towards the camera, -1 to 1 as 0 to 255.

    Args:
        image: a file, a Pillow image, or an array or tensor.
        estimator: folder or hub id `owner/name@revision` of a depth model, whose gradient is used;
            default: `builtin/blocks-perception`, which only knows Blocks scenes.
        device: of the estimator.

    Raises:
        BadInput: not an image, or a model that does not estimate depth.
        BadFile: the file or the model cannot be read.
    """
    return of_image("normals", image, estimator=estimator, device=device)


def depth(image: "ImageLike", *, estimator: str | None = None, device: str = "auto") -> "Image":
    """Estimate inverse depth, with the nearest pixel white and the farthest black.

    Args:
        image: a file, a Pillow image, or an array or tensor.
        estimator: folder or hub id `owner/name@revision` of DPT, Depth Anything, ...; default:
            `builtin/blocks-perception`, which only knows Blocks scenes.
        device: of the estimator.

    Raises:
        BadInput: not an image, or a model that does not estimate depth.
        BadFile: the file or the model cannot be read.
    """
    return of_image("depth", image, estimator=estimator, device=device)


def of_image(
    kind: str, image: "ImageLike", *, estimator: str | None = None, device: str = "auto"
) -> "Image":
    """Return the condition whose kind is given by name; see the function of that name.

    Raises:
        UnknownName: there is no such kind.
        BadInput: not an image, or a model that does not estimate this kind.
        BadFile: the file or the model cannot be read.
    """
    from PIL import Image

    from ..models.hub import named_by_user
    from .estimators import load_estimator
    from .kinds import condition_named

    condition = condition_named(kind)
    if estimator is None:
        return Image.fromarray(condition.from_image(_array(image)))  # which is let go of before
    given = _array(image)
    with named_by_user([estimator]):
        read = load_estimator(kind, estimator, device)
    return Image.fromarray(read(given[None])[0])


def of_scene(kind: str, number: int, *, seed: int = 0, size: int = 256) -> "Image":
    """Return the exact condition of a scene of the Blocks world, [size size] pixels.

    Args:
        kind: `canny`, `depth`, ...
        number: of the scene.
        seed: of the world.
        size: side in pixels.

    Raises:
        UnknownName: there is no such kind.
        BadInput: a negative number.
        LimitExceeded: the image would be too large, or would have no pixels.
    """
    from PIL import Image

    from ..blocks.sampling import sample_scene
    from .kinds import condition_named

    if number < 0 or seed < 0:
        raise BadInput(
            f"there is no scene {number} of the world with seed {seed}.", "Both are 0 or more."
        )
    return Image.fromarray(condition_named(kind).from_scene(sample_scene(seed, number), size))


def require_map(kind: str, image: "ImageLike", name: str | None = None) -> "Image":
    """Validate a finished map and return it in the format that ControlNets expect.

    Args:
        kind: `canny`, `depth`, ...; for `scribble`, any drawing is accepted.
        image: the map.
        name: used in error messages; default: its file.

    Raises:
        UnknownName: there is no such kind.
        BadInput: the map is empty, or of another kind.
        BadFile: the file cannot be read.
    """
    from PIL import Image

    from ..data.image_inputs import name_of
    from .kinds import condition_named
    from .kinds.strokes import scribble_of_sketch

    condition, given = condition_named(kind), _array(image)
    if kind == "scribble":
        given = scribble_of_sketch(given)
    condition.check_map(given, name or name_of(image))
    return Image.fromarray(given)


def measure(
    kind: str, target: "ImageLike", images: "Sequence[ImageLike]", *, of_scenes: bool = False
) -> "Fidelity":
    """Measure how well images follow a condition, by detecting it in them and comparing.

    Args:
        kind: `canny`, `depth`, ...
        target: the condition that was requested.
        images: images of the same size.
        of_scenes: whether they show Blocks scenes, so that the built-in model may detect lines.

    Returns:
        `.values` [n] in the unit of `.name`, `.scores` [n] from 0 to 1, and the means `.value` and
        `.score`; NaN if the target is empty.

    Raises:
        UnknownName: there is no such kind.
        BadInput: not images, different sizes, or a condition of another kind.
    """
    import numpy as np

    from .kinds import condition_named

    condition = condition_named(kind)
    if (asked := _array(target)).any():
        condition.check_map(asked, "the condition")
    arrays = [_array(image) for image in images]
    if not arrays:
        raise BadInput("no image was given.", "Give one or more.")
    if len({array.shape for array in arrays}) > 1:
        raise BadInput("the images are not of the same size.", "Measure those of one size.")
    found = np.stack(arrays)
    targets = np.repeat(asked[None], len(found), axis=0)
    return condition.fidelity(targets, found, None if of_scenes else condition.read)


def _array(image: "ImageLike") -> "np.ndarray":
    import numpy as np

    from ..data.image_inputs import as_image

    return np.array(as_image(image))
