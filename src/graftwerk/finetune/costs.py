"""What a way to fit costs: memory while it trains, time to predict, what the network forgets."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.dataset import Item, Kind, Opened
from ..examples import HANDBOOK
from ..types import Vectors
from .base_model import Encode

_TIMED = 256  # items
_INTERVAL = 0.05  # seconds between two looks at the memory
_OTHERS = 64  # items that have nothing to do with the data
_SIDE = 96  # pixels of each crop


@dataclass
class Peak:
    """The most memory that the process held, in bytes; 0 where it cannot be told."""

    bytes: int = 0


@contextmanager
def watched_memory() -> Iterator[Peak]:
    """Look at the memory of this process every 50 ms; libraries and data count too."""
    peak, ended = Peak(), threading.Event()

    def look() -> None:
        while not ended.wait(_INTERVAL):
            peak.bytes = max(peak.bytes, _resident())

    watcher = threading.Thread(target=look, daemon=True)
    peak.bytes = _resident()
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        peak.bytes = max(peak.bytes, _resident())


def seconds_per_thousand(encode: Encode, items: Sequence[Item]) -> float:
    """Time to predict for 1,000 items, by a network that is loaded and warm."""
    some = list(items[:_TIMED])
    encode(some[:8], ignore)
    begin = time.perf_counter()
    encode(some, ignore)
    return 1000 * (time.perf_counter() - begin) / len(some)


def drift(before: Vectors, after: Vectors) -> float:
    """How far unit vectors moved: 1 less their mean cosine; 0 where none did."""
    return float(max(0.0, 1 - (before * after).sum(axis=1).mean()))


def other_items(kind: Kind, sample: Item) -> Sequence[Item]:
    """Items that have nothing to do with the data, always the same.

    Texts are the paragraphs of the shipped handbook, pictures are crops of two photographs that
    scikit-learn carries, series are sums of sines of the length of `sample`.
    """
    generator = np.random.default_rng(0)
    if kind == "text":
        texts = "\n\n".join(p.read_text("utf-8") for p in sorted(HANDBOOK.glob("*.md")))
        return [part.strip() for part in texts.split("\n\n") if len(part) > 60][:_OTHERS]
    if kind == "series":
        times = np.arange(len(np.asarray(sample)))
        waves = generator.uniform(0.01, 0.4, (_OTHERS, 3, 1))
        return list(np.sin(2 * np.pi * waves * times).sum(axis=1).astype(np.float32))
    return list(_crops(generator))


def _crops(generator: np.random.Generator) -> Iterator[Item]:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    for number in range(_OTHERS):
        picture = pictures[number % len(pictures)]
        top = int(generator.integers(0, picture.shape[0] - _SIDE))
        left = int(generator.integers(0, picture.shape[1] - _SIDE))
        yield Opened(Image.fromarray(picture[top : top + _SIDE, left : left + _SIDE]))


def ignore(count: int) -> None:
    """Count nothing."""


def _resident() -> int:
    """Bytes that this process holds in memory now."""
    status = Path("/proc/self/statm")
    if status.is_file():
        import resource

        return int(status.read_text().split()[1]) * resource.getpagesize()
    if sys.platform == "win32":
        return 0
    import resource

    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor
