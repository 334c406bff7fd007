"""Key points of several people in photographs by BlazePose (Bazarevsky et al. 2020).

A detector finds people; a second network finds 33 key points in the rotated square around each.
Both are TensorFlow Lite files, which only run if they are those of the table of fetched models.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from .. import files
from ..errors import BadFile
from ..models.fetching import FETCHABLE

MODEL_TYPE = "blazepose"
Points = Float64[np.ndarray, "p 2"]
Run = Callable[[Float32[np.ndarray, "1 h w 3"]], Sequence[np.ndarray]]

_SEEN, _SHOWN = 224, 256  # sides of the two networks' inputs
_STRIDES = ((8, 2), (16, 2), (32, 6))  # of the detector's anchors, and how many there are in a cell
_PERSON, _PRESENT = 0.5, 0.5  # least probabilities of a person, by either network
VISIBLE = 0.5  # least probability of a key point
_OVERLAP = 0.3  # intersection over union from which two detections are one person
_MOST = 16  # people
_MARGIN = 1.25  # the square around a person is so many times twice as wide as its points are apart
_CENTER, _TOP = 33, 34  # alignment points among the key points of the second network
# its key points in OpenPose's order; the second, the neck, is between the shoulders
FROM_BLAZE = (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)


def load_blazepose(folder: Path) -> Callable[[UInt8[np.ndarray, "h w 3"]], list[Any]]:
    """Return the function from an image to people: key points [p 2] in pixels and their scores [p].

    Raises:
        BadFile: the folder's files are not those that `graft models fetch blazepose` writes, or
            the package that runs them is missing.
    """
    expected = {Path(part.file).name: part.sha256 for part in FETCHABLE[MODEL_TYPE].parts}
    runs = []
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file() or files.sha256_of_file(path) != digest:
            raise BadFile(
                f"{path} is not the file of the published package.",
                "Only that one is run: graft models fetch blazepose.",
            )
        runs.append(_interpreter(path))
    landmarks, detector = runs

    def find(image: UInt8[np.ndarray, "h w 3"]) -> list[Any]:
        people = []
        for detected in _detected(detector, image):
            found = _key_points(landmarks, image, detected)
            if found is not None:  # its own alignment points are more exact
                found = _key_points(landmarks, image, found[0][[_CENTER, _TOP]])
            if found is not None:
                people.append(found)
        return people

    return find


def _interpreter(path: Path) -> Run:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise BadFile(
            "BlazePose is run by the package ai-edge-litert, which is not installed.",
            'Install it: pip install "graftwerk[pose]".',
        ) from error
    network = Interpreter(
        model_content=path.read_bytes(),
        num_threads=1,
        # its default delegate announces itself on stderr; without, 39 ms instead of 15 on a CPU
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    network.allocate_tensors()
    [entry], out = network.get_input_details(), network.get_output_details()

    def run(image: Float32[np.ndarray, "1 h w 3"]) -> Sequence[np.ndarray]:
        network.set_tensor(entry["index"], image)
        network.invoke()
        return [network.get_tensor(one["index"])[0].astype(np.float64) for one in out]

    return run


def _detected(detector: Run, image: UInt8[np.ndarray, "h w 3"]) -> list[Points]:
    """Return two alignment points of each person: the middle of the hips, and the top."""
    height, width = image.shape[:2]
    side = max(height, width)
    ends = np.array([[width / 2, height / 2], [width / 2, (height - side) / 2]])
    seen = 2 * _crop(image, ends, 1.0, _SEEN) - 1
    boxes, scores = detector(seen[None])
    likely = 1 / (1 + np.exp(-np.clip(scores[:, 0], -100, 100)))
    points = boxes.reshape(len(boxes), 6, 2) / _SEEN
    points[:, [0, 2, 3, 4, 5]] += _anchors()[:, None]
    order = [n for n in np.argsort(-likely, kind="stable") if likely[n] >= _PERSON]
    corners = np.concatenate([points[:, 0] - points[:, 1] / 2, points[:, 0] + points[:, 1] / 2], 1)
    kept: list[int] = []
    for n in order:
        if all(_overlap(corners[n], corners[other]) < _OVERLAP for other in kept):
            kept.append(n)
    offset = (np.array([width, height]) - side) / 2
    return [points[n, 2:4] * side + offset for n in kept[:_MOST]]


def _anchors() -> Points:
    """Return the middles of the detector's anchors, as shares of its input's side."""
    found = []
    for stride, count in _STRIDES:
        cells = (np.arange(_SEEN // stride) + 0.5) * stride / _SEEN
        across, down = np.meshgrid(cells, cells)
        found.append(np.repeat(np.stack([across.ravel(), down.ravel()], axis=1), count, axis=0))
    return np.concatenate(found)


def _overlap(one: Float64[np.ndarray, "4"], other: Float64[np.ndarray, "4"]) -> float:
    shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    inside = float(np.prod(np.maximum(shared, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return inside / max(sum(areas) - inside, 1e-12)


def _key_points(landmarks: Run, image: UInt8[np.ndarray, "h w 3"], ends: Points) -> Any:
    """Return key points and their scores from the square that two alignment points span."""
    found, present = landmarks(_crop(image, ends, _MARGIN, _SHOWN)[None])[:2]
    if present[0] < _PRESENT:
        return None
    rows = found.reshape(-1, 5)
    to_image, middle = _axes(ends, _MARGIN)
    points = (rows[:, :2] / _SHOWN - 0.5) @ to_image + middle
    return points, 1 / (1 + np.exp(-rows[:, 3]))


def _axes(ends: Points, margin: float) -> tuple[Points, Float64[np.ndarray, "2"]]:
    """Return the sides of the square in pixels, as rows to the right and down, and its middle."""
    down = 2 * margin * (ends[0] - ends[1])
    return np.array([[down[1], -down[0]], down]), ends[0]


def _crop(
    image: UInt8[np.ndarray, "h w 3"], ends: Points, margin: float, side: int
) -> Float32[np.ndarray, "s s 3"]:
    """Return the upright square that two alignment points span, 0 to 1; black beyond the image."""
    from PIL import Image

    axes, middle = _axes(ends, margin)
    corner = middle - axes.sum(axis=0) / 2
    (a, d), (b, e) = axes / side
    source = Image.fromarray(image)
    shrunk = max(1.0, float(np.hypot(*axes[0])) / side)  # an affine transform does not average
    small = [max(1, round(length / shrunk)) for length in source.size]
    source = source.resize(small, Image.Resampling.BOX)
    x, y = (new / old for new, old in zip(small, (image.shape[1], image.shape[0]), strict=True))
    square = source.transform(
        (side, side),
        Image.Transform.AFFINE,
        (a * x, b * x, corner[0] * x, d * y, e * y, corner[1] * y),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(square, dtype=np.float32) / 255
