"""Rows of scenes in files of equal length."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

CHUNK = 1024  # scenes of a file


def gather(chunks: Sequence[Any], numbers: Int64[np.ndarray, " n"]) -> Shaped[np.ndarray, "n ..."]:
    """Rows of files of equal length, but for the last one."""
    found = np.empty((len(numbers), *chunks[0].shape[1:]), dtype=chunks[0].dtype)
    files_of, places = np.divmod(numbers, len(chunks[0]))
    for number in np.unique(files_of):
        here = np.flatnonzero(files_of == number)
        found[here] = chunks[number][places[here]]
    return found
