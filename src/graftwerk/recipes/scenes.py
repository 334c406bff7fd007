"""Rendered scenes in memory-mapped files, rendered once and shared by all recipes.

Rendering a scene takes about as long as training on it, so each is rendered only once, in as many
processes as there are cores. `python -m graftwerk.recipes.scenes JSON` renders one file.
"""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from .. import blocks, files
from ..blocks.captions import Facts, ObjectFacts
from ..blocks.geometry import JOINTS, project, view_of
from ..blocks.maps import Maps, maps_of
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..blocks.scene import COLOURS, GROUNDS, KINDS, MOST_OBJECTS, POSES, TIMES, Scene
from ..errors import Damaged, Failure
from ..settings import settings
from ..training.state import in_epochs
from ..types import Monitor
from .registry import HELD_OUT_WORLD, REPEATS, TRAINING_WORLD, Setting

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
        [_open_array(path, len(span), dimensions) for path, span in zip(paths, spans, strict=True)]
    )


def _retained(rows: Shaped[Tensor, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
    retained: Shaped[np.ndarray, "n ..."] = (
        (rows if rows.dtype == torch.uint8 else rows.half()).cpu().numpy()
    )
    return retained


def _open_array(path: Path, rows: int, dimensions: int) -> Any:
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


Content = Literal["pictures", "maps"]
Rows = Any  # a structured array, see `row_type`
ABSENT = -1


def row_type(content: Content, side: int) -> np.dtype[Any]:
    """Return the data type of a stored scene; names are indices into the lists of `blocks.scene`.

    `place` is the center of an object in the image, as fractions of its size. `depth` is 1 over
    the distance, `normals` are in steps of 1/127, `joints` are x, y in pixels and 1 if visible; a
    row of joints belongs to the object of the same index.
    """
    fields: list[Any] = [
        ("picture", "u1", (side, side, 3)),
        ("kind", "i1", MOST_OBJECTS),
        ("colour", "i1", MOST_OBJECTS),
        ("pose", "i1", MOST_OBJECTS),
        ("place", "f4", (MOST_OBJECTS, 2)),
        ("ground", "i1"),
        ("time", "i1"),
    ]
    if content == "maps":
        fields += [
            ("depth", "f2", (side, side)),
            ("normals", "i1", (side, side, 3)),
            ("classes", "u1", (side, side)),
            ("joints", "f4", (MOST_OBJECTS, len(JOINTS), 3)),
        ]
    return np.dtype(fields)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A file of scenes.

    Attributes:
        path: of the file.
        content: images only, or with their maps.
        world: seed of the scenes.
        first: number of the first scene.
        count: number of scenes.
        side: of the images, in pixels.
        objects: number of objects of each scene; None for any.
        repeats: chance that an object has kind and color of an earlier one.
    """

    path: str
    content: Content
    world: int
    first: int
    count: int
    side: int
    objects: int | None = None
    repeats: float = 0.0


def render_all(chunks: Sequence[Chunk], workers: int) -> Iterator[int]:
    """Render files atomically, in as many processes as there are workers.

    Yields:
        Number of scenes of each finished file.
    """
    if min(workers, len(chunks)) == 1:
        for chunk in chunks:
            render_chunk(chunk)
            yield chunk.count
        return
    # processes of their own, as forking would copy the locks of PyTorch's threads
    running: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(_render_elsewhere, chunk, running) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.kill()
            raise


def _render_elsewhere(chunk: Chunk, running: "list[subprocess.Popen[bytes]]") -> int:
    command = [sys.executable, "-m", __spec__.name, json.dumps(asdict(chunk))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        running.append(process)
        _, errors = process.communicate()
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Failure(
            f"rendering {chunk.path} failed (exit status {process.returncode}): {last}",
            "Check the room on the disk, then run it again; whole files are kept.",
        )
    return chunk.count


def render_chunk(chunk: Chunk) -> None:
    """Render one file in this process."""
    rows = np.zeros(chunk.count, dtype=row_type(chunk.content, chunk.side))
    for location in range(chunk.count):
        scene = sample_scene(
            chunk.world, chunk.first + location, count=chunk.objects, repeats=chunk.repeats
        )
        fill_row(rows[location], scene, render(scene, chunk.side, chunk.side))
        if chunk.content == "maps":
            fill_maps(rows[location], maps_of(scene, chunk.side, chunk.side))
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    files.write_bytes(Path(chunk.path), buffer.getvalue())


def fill_row(row: Any, scene: Scene, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Store a scene and its image."""
    row["picture"] = image
    row["kind"] = row["colour"] = row["pose"] = ABSENT
    view = view_of(scene.camera, 1, 1)
    for number, thing in enumerate(scene.objects):
        row["kind"][number] = KINDS.index(thing.kind)
        row["colour"][number] = COLOURS.index(thing.colour)
        row["pose"][number] = ABSENT if thing.pose is None else POSES.index(thing.pose)
        middle = np.array([(thing.x, thing.size / 2, thing.z)])
        row["place"][number] = project(view, middle)[0, :2]
    row["ground"], row["time"] = GROUNDS.index(scene.ground), TIMES.index(scene.time)


def fill_maps(row: Any, maps: Maps) -> None:
    """Store the maps of a scene."""
    row["depth"] = 1 / maps.depth
    row["normals"] = np.rint(127 * maps.normals)
    row["classes"] = maps.classes
    for person in maps.people:
        row["joints"][person.thing, :, :2] = person.points
        row["joints"][person.thing, :, 2] = person.visible


class Scenes:
    """Rows of scenes 0 to `count` - 1 of a world; see `row_type`.

    Args:
        name: unique to these scenes.
        chunks: their files, in order, all but the last with `CHUNK` rows.
    """

    def __init__(self, name: str, chunks: Sequence[Rows]) -> None:
        self.name = name
        self._chunks = chunks
        self._count = sum(len(chunk) for chunk in chunks)

    def __len__(self) -> int:
        return self._count

    @property
    def side(self) -> int:
        """Of the images, in pixels."""
        return int(self._chunks[0].dtype["picture"].shape[0])

    def column(self, name: str) -> Shaped[np.ndarray, " n *rest"]:
        """Return one column of all rows."""
        return np.concatenate([chunk[name] for chunk in self._chunks])

    def rows(self, numbers: Int64[np.ndarray, " n"]) -> Rows:
        """Return the rows of these scenes."""
        return gather(self._chunks, numbers)


def as_tensors(rows: Rows) -> dict[str, Tensor]:
    """Return the columns of rows, each in its own memory."""
    return {name: torch.from_numpy(np.ascontiguousarray(rows[name])) for name in rows.dtype.names}


def chances(count: int, first: int, items: int, seed: int) -> Float[np.ndarray, " n"]:
    """Return a uniform number for each of items `first` to `first + items` of `count` scenes."""
    return in_epochs(partial(_chances, count, seed), count, first, items)


@lru_cache(maxsize=2)
def _chances(count: int, seed: int, epoch: int) -> Float[np.ndarray, " n"]:
    sampled = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, epoch)))
    return sampled.random(count)


def facts_of_row(row: np.void) -> Facts:
    """Return what a caption can state about a stored scene."""
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
    repeats: float = 0.0,
) -> Scenes:
    """Open scenes 0 to `count` - 1 of a world; those that are not in the cache are rendered.

    Args:
        content: images only, or with their maps.
        world: seed of the scenes.
        count: number of scenes.
        side: of the images, in pixels.
        monitor: shows progress of rendering.
        objects: number of objects of each scene; None for any.
        repeats: chance that an object has kind and color of an earlier one.
    """
    name = f"{content}-{side}px-world{world}" + (f"-objects{objects}" if objects else "")
    name += f"-repeats{repeats:g}" if repeats else ""
    folder = settings().cache / "scenes" / _renderer() / name
    chunks = []
    for first in range(0, count, CHUNK):
        size = min(CHUNK, count - first)
        path = str(folder / f"{first:08d}-{size}.npy")
        chunks.append(Chunk(path, content, world, first, size, side, objects, repeats))
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


def training_scenes(
    content: Content, count: int, setting: Setting, world: int = TRAINING_WORLD
) -> Scenes:
    """Open the scenes that a recipe is trained on; some of their objects repeat."""
    return open_scenes(content, world, count, setting.side, setting.monitor, repeats=REPEATS)


def other_rows(
    content: Content,
    count: int,
    setting: Setting,
    objects: int | None = None,
    world: int = HELD_OUT_WORLD,
) -> Rows:
    """Return the first rows of a world that no recipe is trained on; see `open_scenes`."""
    scenes = open_scenes(content, world, count, setting.side, setting.monitor, objects)
    return scenes.rows(np.arange(count))


@lru_cache(maxsize=1)
def _renderer() -> str:
    return hash_of_code(blocks)


def hash_of_code(package: ModuleType) -> str:
    """Return a hash of the files of a package, to name cached results."""
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


if __name__ == "__main__":
    render_chunk(Chunk(**files.parse_json(sys.argv[1])))
