"""Arrays computed once from stored scenes and cached, memory-mapped.

Bytes are stored as they are, all other numbers in half precision.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from .. import files
from ..errors import Damaged
from ..settings import settings
from ..types import Monitor

CHUNK = 1024  # scenes of a file


def gather(chunks: Sequence[Any], numbers: Int64[np.ndarray, " n"]) -> Shaped[np.ndarray, "n ..."]:
    """Gather rows from files of equal length (except for the last one)."""
    found = np.empty((len(numbers), *chunks[0].shape[1:]), dtype=chunks[0].dtype)
    files_of, locations = np.divmod(numbers, len(chunks[0]))
    for number in np.unique(files_of):
        here = np.flatnonzero(files_of == number)
        found[here] = chunks[number][locations[here]]
    return found


Make = Callable[[range], Shaped[Tensor, "n ..."]]


class Chunks:
    """One row per scene, in files of equal length."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = chunks

    def of(self, numbers: Int64[np.ndarray, " n"]) -> Float[Tensor, "n ..."]:
        """Return the rows of these scenes as float32."""
        return torch.from_numpy(self.stored(numbers).astype(np.float32))

    def stored(self, numbers: Int64[np.ndarray, " n"]) -> Shaped[np.ndarray, "n ..."]:
        """Return the rows of these scenes as they are stored."""
        return gather(self._chunks, numbers)


def open_chunks(
    location: str, count: int, dimensions: int, doing: str, make: Make, monitor: Monitor
) -> Chunks:
    """Compute missing files, and open all.

    Args:
        location: folder within the cache; its name identifies everything that determines the
            content.
        count: number of scenes.
        dimensions: of the stored array, including scenes.
        doing: name of the task for the monitor.
        make: computes the rows of a range of scenes.
        monitor: shows progress.
    """
    from filelock import FileLock

    folder = settings().cache / location
    spans = [range(n, min(n + CHUNK, count)) for n in range(0, count, CHUNK)]
    paths = [folder / f"{span.start:08d}-{len(span)}.npy" for span in spans]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [(p, s) for p, s in zip(paths, spans, strict=True) if not p.exists()]
            if missing:
                monitor.start(doing, sum(len(span) for _, span in missing))
            for path, span in missing:
                buffer = io.BytesIO()
                np.save(buffer, _retained(make(span)), allow_pickle=False)
                files.write_bytes(path, buffer.getvalue())
                monitor.advance(len(span))
    except OSError as error:
        files.raise_write_error(error, folder)
    return Chunks(
        [_open(path, len(span), dimensions) for path, span in zip(paths, spans, strict=True)]
    )


def _retained(rows: Shaped[Tensor, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
    retained: Shaped[np.ndarray, "n ..."] = (
        (rows if rows.dtype == torch.uint8 else rows.half()).cpu().numpy()
    )
    return retained


def _open(path: Path, rows: int, dimensions: int) -> Any:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(f"{path} cannot be read: {error}", "Remove that file.") from error
    if (
        stored.ndim != dimensions
        or stored.dtype not in (np.float16, np.uint8)
        or len(stored) != rows
    ):
        raise Damaged(
            f"{path} does not hold {rows} rows of {dimensions - 1} dimensions.", "Remove that file."
        )
    return stored
