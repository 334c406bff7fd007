"""Fill the cache with what the recipes read: scenes, captions and conditions.

usage: python -m bench.world.prepare WORKER WORKERS, with the variables of run.sh
"""

import io
import lzma
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graftwerk import files
from graftwerk.conditions import kinds
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.errors import GraftError
from graftwerk.recipes import cached, clip, diffusion, judge
from graftwerk.recipes import scenes as stored
from graftwerk.recipes.registry import HELD_OUT_WORLD, LARGE_SIDE, REPEATS, TRAINING_WORLD
from graftwerk.recipes.scenes import Chunk
from graftwerk.settings import settings
from graftwerk.types import Silent

SCENES, JUDGED, MAPS, HELD_OUT = (
    int(os.environ[name]) for name in ("SCENES", "JUDGED", "MAPS", "HELD_OUT")
)
_FAMILIAR = 3456  # scenes of the statistics that `recipes/clip.py` adds to its model
_BATCH = 128  # scenes rendered at once
_SLOWEST_FIRST = ("scribble", "canny", "hough", "lineart", "pose", "segmentation", "normals",
                  "depth")  # fmt: skip
Ask = tuple[Any, int, int, dict[str, Any]]


def chunks_of(asked: Sequence[Ask]) -> list[Chunk]:
    """Return the files that `open_scenes` would render for these arguments."""
    found: list[Chunk] = []

    def note(missing: Sequence[Chunk], workers: int) -> Any:  # noqa: ARG001
        found.extend(missing)
        return iter(())

    stored.render_all = note
    for content, world, count, more in asked:
        try:
            stored.open_scenes(content, world, count, LARGE_SIDE, Silent(), **more)
        except GraftError:
            continue  # since nothing was rendered
    return found


def sampled(chunk: Chunk) -> list[Any]:
    """Sample the scenes of a file, or read them from `$WORLD/scenes` if they lie there."""
    path = Path(os.environ["WORLD"]) / "scenes" / f"w{chunk.world}-{chunk.first:08d}.xz"
    if chunk.repeats and path.exists():
        from graftwerk.blocks.scene import scene_from_json

        lines = lzma.decompress(path.read_bytes()).splitlines()
        return [scene_from_json(line) for line in lines[: chunk.count]]
    return [
        stored.sample_scene(
            chunk.world, chunk.first + n, count=chunk.objects, repeats=chunk.repeats
        )
        for n in range(chunk.count)
    ]


class Renderer:
    """Renders on the GPU, or on this core where there is none."""

    def __init__(self) -> None:
        self._gpu: Any = None
        if torch.cuda.is_available():
            from .gpu_renderer import GpuRenderer

            self._gpu = GpuRenderer()

    def render(self, scenes: list[Any]) -> Any:
        """Return images of all scenes."""
        if self._gpu is None:
            return np.stack([stored.render(s, LARGE_SIDE, LARGE_SIDE) for s in scenes])
        parts = [scenes[n : n + _BATCH] for n in range(0, len(scenes), _BATCH)]
        return np.concatenate([self._gpu.render(part, LARGE_SIDE) for part in parts])

    def fill(self, chunk: Chunk) -> None:
        """Write a file of scenes, and of their captions if they are to be generated."""
        scenes = sampled(chunk)
        rows = np.zeros(chunk.count, dtype=stored.row_type(chunk.content, chunk.side))
        images = self.render(scenes)
        for row, scene, image in zip(rows, scenes, images, strict=True):
            stored.fill_row(row, scene, image)
            if chunk.content == "maps":
                stored.fill_maps(row, stored.maps_of(scene, chunk.side, chunk.side))
        _write(Path(chunk.path), rows)
        if chunk.world == TRAINING_WORLD and chunk.content == "pictures":
            _write_captions(chunk, rows)


def _write(path: Path, rows: Any) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, buffer.getvalue())


def _write_captions(chunk: Chunk, rows: Any) -> None:
    tokenizer = cached.make_tokenizer()
    name = f"{stored._renderer()}-{Path(chunk.path).parent.name}"
    for dropped in (diffusion._PARTIAL, clip._PARTIAL):
        told = [
            cached.tokens_of(
                tokenizer, cached.captions_of_rows(rows, chunk.first, telling, dropped)
            )["tokens"]
            for telling in range(cached.CAPTIONS)
        ]
        folder = settings().cache / f"captions/{name}-{cached._words()}-{dropped:g}"
        _write(
            folder / f"{chunk.first:08d}-{chunk.count}.npy",
            stored._retained(torch.stack(told, dim=1)),
        )


def draw(scenes: stored.Scenes, kind: str, span: range) -> None:
    """Write the conditions of one file of scenes."""
    name = f"conditions/{scenes.name}-{kind}-{stored.hash_of_code(kinds)}"
    path = settings().cache / name / f"{span.start:08d}-{len(span)}.npy"
    if not path.exists():
        _write(path, CONDITIONS[kind].from_rows(scenes.rows(np.array(span))))


def drawings() -> list[tuple[stored.Scenes, str, range]]:
    """Return all conditions that branches are trained and measured with."""
    tasks = []
    for world, count, repeats in ((HELD_OUT_WORLD, HELD_OUT, 0.0), (TRAINING_WORLD, MAPS, REPEATS)):
        scenes = stored.open_scenes("maps", world, count, LARGE_SIDE, Silent(), repeats=repeats)
        spans = [range(n, min(n + stored.CHUNK, count)) for n in range(0, count, stored.CHUNK)]
        tasks += [(scenes, kind, span) for span in spans for kind in _SLOWEST_FIRST]
    return tasks


def main(worker: int, workers: int) -> None:
    """Do every `workers`-th task of each stage; a stage begins when all of the last are done."""
    marks = Path(os.environ["WORLD"]) / "marks"

    def stage(name: str, tasks: Sequence[Any], do: Callable[..., None]) -> None:
        began = time.monotonic()
        for task in tasks[worker::workers]:
            do(*task)
        (marks / f"{name}-{worker}").touch()
        while len(list(marks.glob(f"{name}-*"))) < workers:
            time.sleep(0.1)
        (marks / name).touch()
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)

    repeated = {"repeats": REPEATS}
    first = chunks_of(
        [
            ("pictures", TRAINING_WORLD, SCENES, repeated),
            ("pictures", judge._WORLD, JUDGED, repeated),
        ]
    )
    rest = chunks_of(
        [
            ("maps", TRAINING_WORLD, MAPS, repeated),
            ("maps", HELD_OUT_WORLD, HELD_OUT, {}),
            *(("pictures", HELD_OUT_WORLD, HELD_OUT, {"objects": n}) for n in (None, 1, 2, 4)),
            ("pictures", diffusion._FRESH_WORLD, HELD_OUT, {}),
            ("pictures", clip._FAMILIAR_WORLD, _FAMILIAR, {}),
        ]
    )
    renderer = Renderer()
    stage("images", [(chunk,) for chunk in first], renderer.fill)
    stage("maps", [(chunk,) for chunk in rest], renderer.fill)
    stage("conditions", drawings(), draw)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
