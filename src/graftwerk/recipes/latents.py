"""Latents of stored scenes, encoded once and kept beside them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from .. import files
from ..contracts import Monitor
from ..errors import Damaged
from ..settings import settings
from .autoencoder import encode_rows
from .scenes import Scenes

_CHUNK = 1024  # latents of a file


class Latents:
    """Latents in half precision, scaled to unit variance, in memory-mapped files."""

    def __init__(self, chunks: list[Any]) -> None:
        self._chunks = chunks

    def of(self, numbers: Int64[np.ndarray, " n"]) -> Tensor:
        """Latents of these scenes, [n c y x], float32."""
        rows = [self._chunks[number // _CHUNK][number % _CHUNK] for number in numbers]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def open_latents(
    network: Any, identity: str, scenes: Scenes, device: str, monitor: Monitor
) -> Latents:
    """Encode scenes where that was not done yet.

    Args:
        network: the autoencoder, on the device.
        identity: of what decides its latents.
        scenes: what is encoded, in their order.
        device: where it runs.
        monitor: told about it.

    Raises:
        NoRoom: the cache folder cannot be written.
        Cancelled: stopped by the monitor; files that are whole are kept.
    """
    from filelock import FileLock

    folder = settings().cache / "latents" / f"{scenes.name}-{identity[:16]}"
    spans = [range(n, min(n + _CHUNK, len(scenes))) for n in range(0, len(scenes), _CHUNK)]
    paths = [folder / f"{span.start:08d}-{len(span)}.npy" for span in spans]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [(p, s) for p, s in zip(paths, spans, strict=True) if not p.exists()]
            if missing:
                monitor.start("encoding scenes", sum(len(span) for _, span in missing))
            for path, span in missing:
                latents = encode_rows(network, scenes.rows(np.array(span)), device)
                scaled = (latents * network.config.scaling_factor).half().numpy()
                buffer = io.BytesIO()
                np.save(buffer, scaled, allow_pickle=False)
                files.write_bytes(path, buffer.getvalue())
                monitor.advance(len(span))
    except OSError as error:
        files.raise_write_error(error, folder)
    return Latents([_open(path, len(span)) for path, span in zip(paths, spans, strict=True)])


def _open(path: Path, rows: int) -> Any:
    try:
        latents = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(f"{path} cannot be read: {error}", "Remove that file.") from error
    if latents.ndim != 4 or latents.dtype != np.float16 or len(latents) != rows:
        raise Damaged(f"{path} does not hold {rows} latents.", "Remove that file.")
    return latents
