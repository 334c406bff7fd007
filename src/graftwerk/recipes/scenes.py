"""Rendered scenes in memory-mapped files, made once and shared by the recipes.

Rendering a scene takes about as long as training on it, so each is rendered once, in as many
processes as there are cores, and read again in every epoch.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64, Shaped

from .. import blocks, files
from ..blocks.captions import Facts, ObjectFacts
from ..blocks.scene import COLOURS, GROUNDS, KINDS, POSES, TIMES
from ..contracts import Monitor
from ..errors import Damaged
from ..settings import settings
from .rendering import ABSENT, Chunk, Content, Rows, render_all, row_type
from .stored import CHUNK, gather

if TYPE_CHECKING:
    import torch


class Scenes:
    """Rows of scenes 0 to `count` - 1 of a world; see `rendering.row_type`.

    Args:
        name: a name that no other scenes have.
        chunks: their files, in order, all but the last of `CHUNK` rows.
    """

    def __init__(self, name: str, chunks: Sequence[Rows]) -> None:
        self.name = name
        self._chunks = chunks
        self._count = sum(len(chunk) for chunk in chunks)

    def __len__(self) -> int:
        return self._count

    def column(self, name: str) -> Shaped[np.ndarray, " n *rest"]:
        """One column of all rows."""
        return np.concatenate([chunk[name] for chunk in self._chunks])

    def rows(self, numbers: Int64[np.ndarray, " n"]) -> Rows:
        """The rows of these scenes."""
        return gather(self._chunks, numbers)


def as_tensors(rows: Rows) -> "dict[str, torch.Tensor]":
    """The columns of rows, each of its own memory."""
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(rows[name])) for name in rows.dtype.names}


def in_order(count: int, first: int, items: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Scenes of items `first` to `first + items`: all `count`, shuffled anew in each epoch."""
    return _of_epochs(partial(_order, count, seed), count, first, items)


def chances(count: int, first: int, items: int, seed: int) -> Float[np.ndarray, " n"]:
    """A number from 0 to 1 for each of items `first` to `first + items` of `count` scenes."""
    return _of_epochs(partial(_chances, count, seed), count, first, items)


def _of_epochs(
    epoch: Callable[[int], Shaped[np.ndarray, " n"]], count: int, first: int, items: int
) -> Shaped[np.ndarray, " n"]:
    """Items of an endless row of epochs, each of `count` values."""
    parts = []
    while items:
        number, place = divmod(first, count)
        parts.append(epoch(number)[place : place + items])
        first, items = first + len(parts[-1]), items - len(parts[-1])
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _chances(count: int, seed: int, epoch: int) -> Float[np.ndarray, " n"]:
    drawn = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, epoch)))
    return drawn.random(count)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " n"]:
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return generator.permutation(count)


def facts_of_row(row: np.void) -> Facts:
    """What a caption can say about a stored scene."""
    things = tuple(
        ObjectFacts(KINDS[kind], COLOURS[colour], None if pose == ABSENT else POSES[pose])
        for kind, colour, pose in zip(row["kind"], row["colour"], row["pose"], strict=True)
        if kind != ABSENT
    )
    return Facts(things, GROUNDS[row["ground"]], TIMES[row["time"]])


def open_scenes(
    content: Content,
    world: int,
    count: int,
    side: int,
    monitor: Monitor,
    objects: int | None = None,
) -> Scenes:
    """Scenes 0 to `count` - 1 of a world, rendered first where that was not done yet.

    Args:
        content: pictures alone, or with their maps.
        world: seed of the scenes.
        count: number of scenes.
        side: of the pictures, in pixels.
        monitor: told about the rendering.
        objects: number of objects of each scene; None: as they come.

    Raises:
        NoRoom: the cache folder cannot be written.
        Cancelled: stopped by the monitor; files that are whole are kept.
    """
    from filelock import FileLock

    name = f"{content}-{side}px-world{world}" + (f"-objects{objects}" if objects else "")
    folder = settings().cache / "scenes" / _renderer() / name
    chunks = []
    for first in range(0, count, CHUNK):
        size = min(CHUNK, count - first)
        path = str(folder / f"{first:08d}-{size}.npy")
        chunks.append(Chunk(path, content, world, first, size, side, objects))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [chunk for chunk in chunks if not Path(chunk.path).exists()]
            if missing:
                monitor.start("rendering scenes", sum(chunk.count for chunk in missing))
                for finished in render_all(missing, settings().threads):
                    monitor.advance(finished)
    except OSError as error:
        files.raise_write_error(error, folder)
    return Scenes(f"{_renderer()}-{name}", [_open(chunk) for chunk in chunks])


@lru_cache(maxsize=1)
def _renderer() -> str:
    """A hash of the code that decides what a scene looks like."""
    return hash_of_code(blocks)


def hash_of_code(package: ModuleType) -> str:
    """A hash of the files of a package, for the names of what it made."""
    digest = hashlib.sha256()
    for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _open(chunk: Chunk) -> Rows:
    try:
        rows = np.load(chunk.path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(f"{chunk.path} cannot be read: {error}", "Remove that file.") from error
    if rows.dtype != row_type(chunk.content, chunk.side) or len(rows) != chunk.count:
        raise Damaged(f"{chunk.path} does not hold {chunk.count} scenes.", "Remove that file.")
    return rows
