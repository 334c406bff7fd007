"""Outlines and creases found again in depth, normals and classes, where no more is stored."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from ..blocks.maps import CLASSES, CREASE_DEGREES, CREASE_STEP, FAR
from ..blocks.scene import GROUNDS

_STEP = 0.1  # share of the distance by which one object ends before another of its class
_FACETED = ("cube", "cylinder")  # other things bend without a crease

_ALL, _LOW, _HIGH = slice(None), slice(None, -1), slice(1, None)
# index of a pixel and of its neighbour: right, left, below, above
_NEIGHBOURS = (
    ((_ALL, _ALL, _LOW), (_ALL, _ALL, _HIGH)),
    ((_ALL, _ALL, _HIGH), (_ALL, _ALL, _LOW)),
    ((_ALL, _LOW, _ALL), (_ALL, _HIGH, _ALL)),
    ((_ALL, _HIGH, _ALL), (_ALL, _LOW, _ALL)),
)


def lines_of_maps(
    nearness: Float32[np.ndarray, "n h w"],
    normals: Float32[np.ndarray, "n h w 3"],
    classes: UInt8[np.ndarray, "n h w"],
) -> tuple[Bool[np.ndarray, "n h w"], Bool[np.ndarray, "n h w"]]:
    """Outlines and creases as `blocks.maps` defines them, but for what the maps do not tell.

    Two objects of one class are told apart by the step in distance between them, two faces of one
    object by their angle, and two limbs of one person by a smaller step.

    Returns:
        Outlines and creases.
    """
    grounds = [CLASSES.index(ground) for ground in GROUNDS]
    layer = np.full(len(CLASSES), 2, dtype=np.int64)  # 0 sky, 1 ground, 2 an object
    layer[CLASSES.index("sky")], layer[grounds] = 0, 1
    faceted = np.isin(np.arange(len(CLASSES)), [CLASSES.index(kind) for kind in _FACETED])
    depth = 1 / np.maximum(nearness, 1 / FAR)
    thing = layer[classes]
    rank = depth + np.array([3 * FAR, 2 * FAR, 0.0], dtype=np.float32)[thing]
    bends, limbs = faceted[classes], classes == CLASSES.index("person")
    sharp = np.cos(np.radians(CREASE_DEGREES))
    outlines = np.zeros(classes.shape, dtype=np.bool_)
    creases = np.zeros(classes.shape, dtype=np.bool_)
    for here, there in _NEIGHBOURS:
        other = classes[here] != classes[there]
        behind = (depth[there] - depth[here]) / depth[here]
        step = (thing[here] == 2) & ~other & (behind > _STEP)
        limb = limbs[here] & ~other & (behind > CREASE_STEP)
        outlines[here] |= (other & (rank[here] <= rank[there])) | step
        bent = np.sum(normals[here] * normals[there], axis=-1) < sharp
        creases[here] |= ~other & ~step & bends[here] & bent & (depth[here] <= depth[there])
        creases[here] |= limb & ~step
    return outlines, creases
