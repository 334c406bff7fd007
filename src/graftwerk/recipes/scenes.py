"""Rendered scenes in memory-mapped files, made once and shared by the recipes.

Rendering a scene takes about as long as training on it, so each is rendered once, in as many
processes as there are cores, and read again in every epoch.
"""

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from .. import blocks, files
from ..blocks.captions import Facts, ObjectFacts
from ..blocks.geometry import project, view_of
from ..blocks.maps import Maps, maps_of
from ..blocks.person import JOINTS
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..blocks.scene import COLOURS, GROUNDS, KINDS, MOST_OBJECTS, POSES, TIMES, Scene
from ..contracts import Monitor
from ..errors import Damaged
from ..settings import settings

Content = Literal["pictures", "maps"]
Rows = Any  # a structured array, see `row_type`
ABSENT = -1
_CHUNK = 1024  # scenes of a file


def row_type(content: Content, side: int) -> np.dtype[Any]:
    """What is stored of a scene; names are indices in the lists of `blocks.scene`.

    `place` is the middle of an object in the picture, as shares of its sides. `depth` is 1 over
    the distance, `normals` are in steps of 1/127, `joints` are x, y in pixels and 1 for visible
    ones; a row of joints belongs to the object of the same number.
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


class Scenes:
    """Rows of scenes 0 to `count` - 1 of a world.

    Args:
        chunks: their files, in order, all but the last of `_CHUNK` rows.
    """

    def __init__(self, chunks: Sequence[Rows]) -> None:
        self._chunks = chunks
        self._count = sum(len(chunk) for chunk in chunks)

    def __len__(self) -> int:
        return self._count

    def rows(self, numbers: Int64[np.ndarray, " n"]) -> Rows:
        """The rows of these scenes."""
        found = np.empty(len(numbers), dtype=self._chunks[0].dtype)
        for place, number in enumerate(numbers):
            found[place] = self._chunks[number // _CHUNK][number % _CHUNK]
        return found


def in_order(
    count: int, first: int, items: int, seed: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Numbers of `items` items from `first` on, and their scenes, shuffled anew in each epoch."""
    numbers = np.arange(first, first + items)
    scenes = [_order(count, int(n // count), seed)[n % count] for n in numbers]
    return numbers, np.array(scenes, dtype=np.int64)


@lru_cache(maxsize=2)
def _order(count: int, epoch: int, seed: int) -> Int64[np.ndarray, " n"]:
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return generator.permutation(count)


def facts_of_row(row: Any) -> Facts:
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
    spans = [(first, min(_CHUNK, count - first)) for first in range(0, count, _CHUNK)]
    paths = [folder / f"{first:08d}-{size}.npy" for first, size in spans]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [
                (path, content, world, span, side, objects)
                for path, span in zip(paths, spans, strict=True)
                if not path.exists()
            ]
            if missing:
                _render_all(missing, monitor)
    except OSError as error:
        files.raise_write_error(error, folder)
    return Scenes(
        [
            _open(path, row_type(content, side), span[1])
            for path, span in zip(paths, spans, strict=True)
        ]
    )


@lru_cache(maxsize=1)
def _renderer() -> str:
    """A hash of the code that decides what a scene looks like."""
    digest = hashlib.sha256()
    for path in sorted(Path(blocks.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _open(path: Path, kind: np.dtype[Any], rows: int) -> Rows:
    try:
        chunk = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read: {error}", "Remove that file.") from error
    if chunk.dtype != kind or len(chunk) != rows:
        raise Damaged(f"{path} does not hold {rows} scenes.", "Remove that file.")
    return chunk


def _render_all(missing: Sequence[tuple[Any, ...]], monitor: Monitor) -> None:
    monitor.start("rendering scenes", sum(task[3][1] for task in missing))
    workers = min(settings().threads, len(missing))
    if workers == 1:
        for task in missing:
            monitor.advance(_render_chunk(*task))
        return
    # forking would copy the locks of threads that PyTorch has started
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures: list[Future[int]] = [pool.submit(_render_chunk, *task) for task in missing]
        try:
            for future in as_completed(futures):
                monitor.advance(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _render_chunk(
    path: Path, content: Content, world: int, span: tuple[int, int], side: int, objects: int | None
) -> int:
    first, count = span
    rows = np.zeros(count, dtype=row_type(content, side))
    for place in range(count):
        scene = sample_scene(world, first + place, count=objects)
        _fill(rows[place], scene, side)
        if content == "maps":
            _fill_maps(rows[place], maps_of(scene, side, side))
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    files.write_bytes(path, buffer.getvalue())
    return count


def _fill(row: Any, scene: Scene, side: int) -> None:
    row["picture"] = render(scene, side, side)
    row["kind"] = row["colour"] = row["pose"] = ABSENT
    view = view_of(scene.camera, 1, 1)
    for number, thing in enumerate(scene.objects):
        row["kind"][number] = KINDS.index(thing.kind)
        row["colour"][number] = COLOURS.index(thing.colour)
        row["pose"][number] = ABSENT if thing.pose is None else POSES.index(thing.pose)
        middle = np.array([(thing.x, thing.size / 2, thing.z)])
        row["place"][number] = project(view, middle)[0, :2]
    row["ground"], row["time"] = GROUNDS.index(scene.ground), TIMES.index(scene.time)


def _fill_maps(row: Any, maps: Maps) -> None:
    row["depth"] = 1 / maps.depth
    row["normals"] = np.rint(127 * maps.normals)
    row["classes"] = maps.classes
    for person in maps.people:
        row["joints"][person.thing, :, :2] = person.points
        row["joints"][person.thing, :, 2] = person.visible
