"""States of captions of stored scenes, read once and kept beside them."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from .. import files
from ..contracts import Monitor
from ..errors import Damaged
from ..frozen.diffusion.texts import TextReader
from ..settings import settings
from .captioning import captions_of_rows
from .scenes import Scenes

_CHUNK, _BATCH = 1024, 64
_SEED = 0  # of what captions leave unsaid


class States:
    """Token states in half precision, in memory-mapped files."""

    def __init__(self, chunks: Sequence[Any]) -> None:
        self._chunks = chunks

    def of(self, numbers: Int64[np.ndarray, " n"]) -> Tensor:
        """States of the captions of these scenes, [n t d], float32."""
        rows = [self._chunks[number // _CHUNK][number % _CHUNK] for number in numbers]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def open_states(
    reader: TextReader, identity: str, scenes: Scenes, unsaid: float, monitor: Monitor
) -> States:
    """Read the captions of scenes where that was not done yet.

    Args:
        reader: the text encoder.
        identity: of what decides its states.
        scenes: what is told, one caption each.
        unsaid: share of captions that leave parts out.
        monitor: told about it.

    Raises:
        NoRoom: the cache folder cannot be written.
        Cancelled: stopped by the monitor; files that are whole are kept.
    """
    from filelock import FileLock

    folder = settings().cache / "captions" / f"{scenes.name}-{identity[:16]}-{unsaid:g}"
    spans = [range(n, min(n + _CHUNK, len(scenes))) for n in range(0, len(scenes), _CHUNK)]
    paths = [folder / f"{span.start:08d}-{len(span)}.npy" for span in spans]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [(p, s) for p, s in zip(paths, spans, strict=True) if not p.exists()]
            if missing:
                monitor.start("reading captions", sum(len(span) for _, span in missing))
            for path, span in missing:
                rows = scenes.rows(np.array(span))
                captions = captions_of_rows(rows, span.start, _SEED, unsaid)
                parts = [captions[n : n + _BATCH] for n in range(0, len(captions), _BATCH)]
                states = torch.cat([reader.read(part).states for part in parts])
                buffer = io.BytesIO()
                np.save(buffer, states.half().cpu().numpy(), allow_pickle=False)
                files.write_bytes(path, buffer.getvalue())
                monitor.advance(len(span))
    except OSError as error:
        files.raise_write_error(error, folder)
    return States([_open(path, len(span)) for path, span in zip(paths, spans, strict=True)])


def _open(path: Path, rows: int) -> Any:
    try:
        states = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(f"{path} cannot be read: {error}", "Remove that file.") from error
    if states.ndim != 3 or states.dtype != np.float16 or len(states) != rows:
        raise Damaged(f"{path} does not hold states of {rows} captions.", "Remove that file.")
    return states
