"""Straight segments among edge pixels: votes for lines, the best line's longest run, again."""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from ..blocks.compiled import compiled

_ANGLES = 180  # directions, one degree apart
_SHORTEST = 0.14  # of the shorter side
_LEAST = 8  # pixels
_GAP = 2  # pixels that may be missing within a segment
_NEAR = 1.0  # pixels from a line within which an edge lies on it
_MOST = 400  # segments of one picture


def find_segments(edges: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "s 4"]:
    """Segments, from x, y to x, y in pixels; the middle of the first pixel is 0.5, 0.5.

    Each edge pixel votes for every line through it (Hough 1962, as distance and angle: Duda and
    Hart 1972). The line with the most votes gives its longest run of pixels, which then no longer
    vote, until no line has enough votes.
    """
    height, width = edges.shape
    reach = int(np.ceil(np.hypot(height, width)))
    votes = np.zeros((_ANGLES, 2 * reach + 1), dtype=np.int64)
    left = edges.astype(np.uint8)
    runs = np.empty(2 * reach + 4, dtype=np.int64)
    found = np.empty((_MOST, 4), dtype=np.float64)
    shortest = max(_LEAST, round(_SHORTEST * min(height, width)))
    angles = np.arange(_ANGLES) * (np.pi / _ANGLES)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    count = _find(left, votes, directions, runs, found, shortest)
    return found[:count].copy()


@compiled
def _find(
    left: UInt8[np.ndarray, "h w"],
    votes: Int64[np.ndarray, "a d"],
    directions: Float64[np.ndarray, "a 2"],
    runs: Int64[np.ndarray, " r"],
    found: Float64[np.ndarray, "m 4"],
    shortest: int,
) -> int:
    height, width = left.shape
    reach = (votes.shape[1] - 1) // 2
    for y in range(height):
        for x in range(width):
            if left[y, x]:
                for angle in range(len(directions)):
                    distance = x * directions[angle, 0] + y * directions[angle, 1]
                    votes[angle, int(np.round(distance)) + reach] += 1
    count = 0
    while count < len(found):
        best = votes.argmax()
        angle, place = best // votes.shape[1], best % votes.shape[1]
        if votes[angle, place] < shortest:
            break
        cosine, sine = directions[angle, 0], directions[angle, 1]
        distance = place - reach
        for step in range(len(runs)):
            runs[step] = 0
        # along the line, a step at a time, which edge pixels lie on it
        for y in range(height):
            for x in range(width):
                if left[y, x] and abs(x * cosine + y * sine - distance) <= _NEAR:
                    along = int(np.round(y * cosine - x * sine)) + reach + 1
                    runs[along] = 1
        start, length, best_start, best_length, last = -1, 0, -1, 0, -10
        for step in range(len(runs)):
            if runs[step]:
                if step - last > _GAP + 1:
                    start = step
                last = step
                length = step - start + 1
                if length > best_length:
                    best_start, best_length = start, length
        if best_length < shortest:
            votes[angle, place] = 0
            continue
        first, final = best_start - reach - 1, best_start + best_length - 1 - reach - 1
        for y in range(height):
            for x in range(width):
                if left[y, x] and abs(x * cosine + y * sine - distance) <= _NEAR:
                    along = y * cosine - x * sine
                    if first - 0.5 <= along <= final + 0.5:
                        left[y, x] = 0
                        for turn in range(len(directions)):
                            far = x * directions[turn, 0] + y * directions[turn, 1]
                            votes[turn, int(np.round(far)) + reach] -= 1
        found[count, 0] = distance * cosine - first * sine + 0.5
        found[count, 1] = distance * sine + first * cosine + 0.5
        found[count, 2] = distance * cosine - final * sine + 0.5
        found[count, 3] = distance * sine + final * cosine + 0.5
        count += 1
    return count
