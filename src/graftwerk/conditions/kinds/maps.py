"""Conditions that say something of every pixel: depth, surface normals, segmentation."""

import numpy as np
from jaxtyping import Float32, UInt8

from ...blocks.map_images import PALETTE, draw_normals, draw_segmentation
from ...blocks.maps import CLASSES
from ..base import PERCEPTION, Condition, ImageBatch, SceneMaps, perceive
from ..fidelity import depth_error, each, mean_iou, normal_error, vectors_of, white_on_black


def draw_nearness(nearness: Float32[np.ndarray, "n h w"]) -> ImageBatch:
    """Normalize inverse depth (any scale and shift) of each image to 0 to 255.

    Each image has its own range, since most depth models are only relative.
    """
    low = nearness.min(axis=(1, 2), keepdims=True)
    reach = np.maximum(nearness.max(axis=(1, 2), keepdims=True) - low, 1e-12)
    return white_on_black(np.rint(255 * (nearness - low) / reach))


def _draw_depth(maps: SceneMaps) -> ImageBatch:
    return draw_nearness(maps.nearness)


def _read_depth(images: ImageBatch) -> ImageBatch:
    return draw_nearness(perceive(images).nearness)


def _problem_of_depth(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    deviation = finished.max(axis=-1).astype(np.int64) - finished.min(axis=-1)
    if (deviation > 8).mean() > 0.01:
        return "it is in color, and depth is gray"
    if np.ptp(finished[..., 0]) == 0:
        return f"all of it is {finished[0, 0, 0]}, and depth has a near and a far end"
    if np.isin(finished[..., 0], (0, 255)).all():
        return "it is black and white, as a drawing is, and depth has grays"
    return None


DEPTH = Condition(
    "depth",
    "depth, near is bright",
    PERCEPTION,
    "depth error in % of the range",
    higher_is_better=False,
    draw=_draw_depth,
    read=_read_depth,
    read_scenes=_read_depth,
    compare=each(depth_error),
    problem=_problem_of_depth,
)


_FOCAL = 1.2  # of the longer side: a field of view of about 45 degrees
_NEAR_TO_FAR = 8.0  # how many times as far the far end is as the near one, where no model says


def normals_of_nearness(nearness: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Compute surface normals (right, up, towards the camera) from inverse depth.

    Inverse depth is known up to scale and shift, so a typical lens and a typical ratio of far to
    near distance are assumed.
    """
    height, width = nearness.shape
    reach = max(float(np.ptp(nearness)), 1e-12)
    scaled = (nearness - nearness.min()) / reach  # 1 near, 0 far
    depth = 1 / (1 / _NEAR_TO_FAR + (1 - 1 / _NEAR_TO_FAR) * scaled)
    focal = _FOCAL * max(height, width)
    x = (np.arange(width) + 0.5 - width / 2) / focal * depth
    y = -(np.arange(height)[:, None] + 0.5 - height / 2) / focal * depth
    points = np.stack([x, y, -depth], axis=-1)
    across, up = np.gradient(points, axis=1), -np.gradient(points, axis=0)
    normals = np.cross(across, up)
    lengths = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    units: np.ndarray = (normals / lengths).astype(np.float32)
    return units


def _draw_normals(maps: SceneMaps) -> ImageBatch:
    return np.stack([draw_normals(one) for one in maps.normals])


def _read_normals(images: ImageBatch) -> ImageBatch:
    seen = perceive(images)
    sky = seen.classes == CLASSES.index("sky")
    return np.stack([draw_normals(one) for one in np.where(sky[..., None], 0, seen.normals)])


def _problem_of_normals(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    lengths = np.linalg.norm(vectors_of(finished), axis=-1)
    whole, none = np.abs(lengths - 1) < 0.25, lengths < 0.1
    if not whole.any():
        return "no pixel holds a vector of length 1"
    if (whole | none).mean() < 0.8:
        return f"only {(whole | none).mean():.0%} of its pixels hold a vector of length 1 or none"
    return None


NORMALS = Condition(
    "normals",
    "surface normals, blue faces the camera",
    PERCEPTION,
    "normal error in degrees",
    higher_is_better=False,
    draw=_draw_normals,
    read=_read_normals,
    read_scenes=_read_normals,
    compare=each(normal_error),
    problem=_problem_of_normals,
)


_HEX = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07
e005ff ebff07 96053d 787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603
0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff
08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207
ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f
14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff
ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2
00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000
8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff
00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00
00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""
ADE20K: tuple[tuple[int, int, int], ...] = tuple(
    (int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in _HEX.split()
)


_COLOURS = np.unique(np.array([*PALETTE.values(), *ADE20K, (0, 0, 0)]), axis=0)


def _draw_segmentation(maps: SceneMaps) -> ImageBatch:
    return np.stack([draw_segmentation(one) for one in maps.classes])


def _read_segmentation(images: ImageBatch) -> ImageBatch:
    return np.stack([draw_segmentation(one) for one in perceive(images).classes])


def _problem_of_segmentation(finished: UInt8[np.ndarray, "h w 3"]) -> str | None:
    numbers = finished.astype(np.int64) @ np.array([65_536, 256, 1])
    known = np.isin(numbers, _COLOURS @ np.array([65_536, 256, 1]))
    if known.mean() < 0.95:
        return f"{1 - known.mean():.0%} of its pixels have colors that are no class's"
    if not finished.any():
        return "it is empty, all of it is black"
    return None


SEGMENTATION = Condition(
    "segmentation",
    "segmentation in ADE20K's colors",
    PERCEPTION,
    "mean IoU",
    higher_is_better=True,
    draw=_draw_segmentation,
    read=_read_segmentation,
    read_scenes=_read_segmentation,
    compare=each(mean_iou),
    problem=_problem_of_segmentation,
)
