"""Rendering scenes into rows of numbers, here or in other processes.

`python -m graftwerk.recipes.rendering JSON` renders one file; it imports no PyTorch.
"""

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import files
from ..blocks.geometry import project, view_of
from ..blocks.maps import Maps, maps_of
from ..blocks.person import JOINTS
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..blocks.scene import COLOURS, GROUNDS, KINDS, MOST_OBJECTS, POSES, TIMES, Scene
from ..errors import Failure

Content = Literal["pictures", "maps"]
Rows = Any  # a structured array, see `row_type`
ABSENT = -1


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


@dataclass(frozen=True, slots=True)
class Chunk:
    """A file of scenes.

    Attributes:
        path: where it lies.
        content: pictures alone, or with their maps.
        world: seed of the scenes.
        first: number of the first.
        count: how many.
        side: of the pictures, in pixels.
        objects: number of objects of each scene; None: as they come.
    """

    path: str
    content: Content
    world: int
    first: int
    count: int
    side: int
    objects: int | None = None


def render_all(chunks: Sequence[Chunk], workers: int) -> Iterator[int]:
    """Render files, each whole or not there, in as many processes as there are workers.

    Yields:
        Number of scenes of each file that is finished.

    Raises:
        Failure: a process failed.
        NoRoom: the folder cannot be written.
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
    for place in range(chunk.count):
        scene = sample_scene(chunk.world, chunk.first + place, count=chunk.objects)
        _fill(rows[place], scene, chunk.side)
        if chunk.content == "maps":
            _fill_maps(rows[place], maps_of(scene, chunk.side, chunk.side))
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    files.write_bytes(Path(chunk.path), buffer.getvalue())


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


if __name__ == "__main__":
    render_chunk(Chunk(**files.parse_json(sys.argv[1])))
