"""Agreement of edge maps with boundaries annotated by people, as in the BSDS benchmark.

An edge pixel and a boundary pixel can be matched if they are within a tolerance, each at most
once. The matching has as many pairs as possible.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ..compiled import compiled

TOLERANCE = 0.0075  # of the image's diagonal
LEVELS = 99  # thresholds, at 0.01, 0.02, ... of the largest strength there can be


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Pixel counts of one image at each threshold.

    Attributes:
        matched: edge pixels that match a boundary pixel of at least one annotator.
        edges: edge pixels.
        found: matched boundary pixels, over all annotators.
        boundaries: boundary pixels of all annotators; the same at each threshold.
    """

    matched: Int64[np.ndarray, " t"]
    edges: Int64[np.ndarray, " t"]
    found: Int64[np.ndarray, " t"]
    boundaries: int


@dataclass(frozen=True, slots=True)
class EdgeQuality:
    """The three figures of the benchmark, and details of the first.

    Attributes:
        ods: best F of one threshold for all images.
        ois: F with the best threshold of each image.
        ap: mean precision over recall from 0 to 1.
        threshold: the one of `ods`.
        precision: at that threshold.
        recall: at that threshold.
    """

    ods: float
    ois: float
    ap: float
    threshold: float
    precision: float
    recall: float


def count_pairs(
    strength: Float64[np.ndarray, "h w"], drawn: Sequence[Bool[np.ndarray, "h w"]]
) -> Counts:
    """Match edges with the boundaries of each annotator, at all thresholds in one pass.

    Edge pixels come in order of decreasing strength, and each is matched if all earlier ones can
    stay matched (possibly to other pixels). So at every threshold the matching has maximum size,
    and a matched pixel stays matched: one pass counts all thresholds.

    Args:
        strength: of thinned edges, from 0 (none) to 1.
        drawn: boundaries of at least one annotator.
    """
    rows, columns = np.nonzero(strength)
    order = np.argsort(-strength[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    levels = np.floor(100 * strength[rows, columns] + 1e-9).astype(np.int64).clip(0, LEVELS)
    reach = TOLERANCE * float(np.hypot(*strength.shape))
    offsets = _offsets(reach)
    any_person = np.zeros(len(rows), dtype=np.bool_)
    found = np.zeros(LEVELS, dtype=np.int64)
    for one in drawn:
        paired = _pair(rows, columns, one, offsets)
        any_person |= paired
        found += _at_least(levels[paired])
    return Counts(
        matched=_at_least(levels[any_person]),
        edges=_at_least(levels),
        found=found,
        boundaries=int(sum(int(one.sum()) for one in drawn)),
    )


def _at_least(levels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " t"]:
    """Count how many are of level 1 and more, 2 and more, ..."""
    counts = np.bincount(levels, minlength=LEVELS + 1)
    return np.cumsum(counts[::-1])[::-1][1:].astype(np.int64)


def _offsets(reach: float) -> Int64[np.ndarray, "o 2"]:
    side = np.arange(-int(reach), int(reach) + 1)
    rows, columns = (part.ravel() for part in np.meshgrid(side, side, indexing="ij"))
    far = np.hypot(rows, columns)
    near = np.flatnonzero(far <= reach)
    near = near[np.argsort(far[near], kind="stable")]
    return np.stack([rows[near], columns[near]], axis=1).astype(np.int64)


def _pair(
    rows: Int64[np.ndarray, " n"],
    columns: Int64[np.ndarray, " n"],
    drawn: Bool[np.ndarray, "h w"],
    offsets: Int64[np.ndarray, "o 2"],
) -> Bool[np.ndarray, " n"]:
    height, width = drawn.shape
    padding = int(np.abs(offsets).max(initial=0))
    numbers = np.full((height + 2 * padding, width + 2 * padding), -1, dtype=np.int64)
    inner = numbers[padding : padding + height, padding : padding + width]
    inner[drawn] = np.arange(int(drawn.sum()))
    boundaries = int(drawn.sum())
    partner = np.full(len(rows), -1, dtype=np.int64)  # of an edge pixel
    _augment(
        np.stack([rows, columns], axis=1) + padding,
        numbers,
        offsets,
        partner,
        np.full((4, boundaries), -1, dtype=np.int64),
        np.empty(len(rows) + 1, dtype=np.int64),
    )
    return partner >= 0


@compiled
def _augment(
    edges: Int64[np.ndarray, "n 2"],
    numbers: Int64[np.ndarray, "h w"],
    offsets: Int64[np.ndarray, "o 2"],
    partner: Int64[np.ndarray, " n"],
    state: Int64[np.ndarray, "4 b"],
    queue: Int64[np.ndarray, " q"],
) -> None:
    """Match each edge pixel in turn along a shortest augmenting path, if there is one.

    A search that fails has seen only boundary pixels whose partners reach no others, so no later
    path leads through them either; they are not visited again.
    """
    owner, came_from, seen_by, dead = state[0], state[1], state[2], state[3]
    for edge in range(len(edges)):
        queue[0] = edge
        head, tail, end = 0, 1, -1
        while head < tail and end < 0:
            at = queue[head]
            head += 1
            for step in range(len(offsets)):
                near = numbers[edges[at, 0] + offsets[step, 0], edges[at, 1] + offsets[step, 1]]
                if near < 0 or dead[near] >= 0 or seen_by[near] == edge:
                    continue
                seen_by[near], came_from[near] = edge, at
                if owner[near] < 0:
                    end = near
                    break
                queue[tail] = owner[near]
                tail += 1
        if end < 0:
            for location in range(1, tail):
                dead[partner[queue[location]]] = 1
            continue
        while end >= 0:  # hand each boundary on the path to the edge that reached it
            taker = came_from[end]
            former = partner[taker]
            partner[taker], owner[end] = end, taker
            end = former


def quality_of(counts: Sequence[Counts]) -> EdgeQuality:
    """Return ODS, OIS and AP over images."""
    matched = np.stack([one.matched for one in counts])
    edges = np.stack([one.edges for one in counts])
    found = np.stack([one.found for one in counts])
    boundaries = np.array([one.boundaries for one in counts])
    precision = matched.sum(axis=0) / np.maximum(edges.sum(axis=0), 1)
    recall = found.sum(axis=0) / max(int(boundaries.sum()), 1)
    values = _f(precision, recall)
    best = int(values.argmax())
    own = _f(matched / np.maximum(edges, 1), found / np.maximum(boundaries, 1)[:, None])
    locations = own.argmax(axis=1)[:, None]
    chosen = [float(np.take_along_axis(one, locations, 1).sum()) for one in (matched, edges, found)]
    ois = _f(
        np.array(chosen[0] / max(chosen[1], 1)), np.array(chosen[2] / max(boundaries.sum(), 1))
    )
    return EdgeQuality(
        ods=float(values[best]),
        ois=float(ois),
        ap=_mean_precision(precision, recall),
        threshold=(best + 1) / 100,
        precision=float(precision[best]),
        recall=float(recall[best]),
    )


def _f(precision: Float64[np.ndarray, "*t"], recall: Float64[np.ndarray, "*t"]) -> np.ndarray:
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12))


def _mean_precision(
    precision: Float64[np.ndarray, " t"], recall: Float64[np.ndarray, " t"]
) -> float:
    """Average precision at recall 0, 0.01, ..., 1, interpolated, 0 beyond the largest recall."""
    known, first = np.unique(recall, return_index=True)
    at = np.linspace(0, 1, 101)
    return float(np.interp(at, known, precision[first], left=0.0, right=0.0).sum() / 100)
