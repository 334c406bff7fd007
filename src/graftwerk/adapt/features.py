"""Features of data, computed once and kept in the cache by encoder and content."""

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Monitor, Vectors
from ..frozen.cached import cached_folder
from ..settings import settings
from .base import Base
from .examples import Examples

_VERSION = 3
_CHUNK = 4_096  # items encoded between two writes
_FILE = "features.npy"


def features_of(base: Base, examples: Examples, monitor: Monitor) -> tuple[Vectors, float]:
    """Unit vectors of all items, [n d], mapped from a file of the cache.

    Returns:
        The vectors, and the seconds that they took when they were computed.

    Raises:
        BadInput: the model cannot be loaded.
        NoRoom: the cache cannot be written.
    """
    folder, facts = _cached(base, examples, monitor)
    mapped: Vectors = np.load(folder / _FILE, mmap_mode="r", allow_pickle=False)
    return mapped, float(facts["seconds"])


def unfamiliar_of(base: Base, examples: Examples, monitor: Monitor) -> int:
    """How many pictures are unlike those of the model's training, as far as its folder tells.

    Raises as `features_of` does, which has computed it.
    """
    return int(_cached(base, examples, monitor)[1]["unfamiliar"])


def _cached(base: Base, examples: Examples, monitor: Monitor) -> tuple[Path, dict[str, Any]]:
    def build(target: Path) -> dict[str, Any]:
        begin = time.perf_counter()
        strange: list[int] = []
        encode = base.encoder(strange.append)
        monitor.start("features", len(examples))
        written: np.memmap | None = None
        for start in range(0, len(examples), _CHUNK):
            vectors = encode(examples.items[start : start + _CHUNK], monitor.advance)
            if written is None:
                shape = (len(examples), vectors.shape[1])
                written = np.lib.format.open_memmap(target / _FILE, "w+", np.float32, shape)
            written[start : start + len(vectors)] = vectors
        if written is not None:
            written.flush()
        return {
            "items": len(examples),
            "unfamiliar": sum(strange),
            "seconds": time.perf_counter() - begin,
        }

    folder = _folder(base, examples)
    return folder, cached_folder(folder, build)


def _folder(base: Base, examples: Examples) -> Path:
    identity = f"{_VERSION} {base.fingerprint} {examples.hash}"
    return settings().cache / "features" / hashlib.sha256(identity.encode()).hexdigest()[:32]
