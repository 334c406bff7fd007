"""The training log, prefetching of batches, and checks of a training's folder."""

import json
import math
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import files, folders
from ..errors import BadFile
from ..metrics.plots import COLOURS, Curve, Panel, lighter, plot_panels

_MOST = 4  # threads; more wait for each other


def threads_for(device: str) -> int:
    """Return the number of prefetching threads: one on a CPU, several for a GPU."""
    return 1 if device == "cpu" else max(1, min(_MOST, (os.cpu_count() or 1) // 4))


@contextmanager
def prefetched(
    batch: Callable[[int, int], Any], parts: Iterator[tuple[int, int]], threads: int = 1
) -> Iterator[Iterator[tuple[int, Any]]]:
    """Prepare the next batches in other threads while the current one is in use."""

    def made() -> Iterator[tuple[int, Any]]:
        ahead: deque[tuple[int, Future[Any]]] = deque()
        for first, count in parts:
            ahead.append((first, pool.submit(batch, first, count)))
            if len(ahead) > threads:
                number, future = ahead.popleft()
                yield number, future.result()
        for number, future in ahead:
            yield number, future.result()

    with ThreadPoolExecutor(threads) as pool:
        yield made()


class Log:
    """A JSON Lines file; steps that were not finite are logged with NaN."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines; a kill may have truncated the last one."""
        if not self._path.is_file():
            return []
        entries: list[dict[str, Any]] = []
        for line in self._path.read_text("utf-8", "replace").splitlines():
            try:
                entry = files.parse_json(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                entries.append(entry)
        return entries

    def rewind(self, step: int) -> None:
        """Remove the entries after a step, since those steps will be repeated."""
        retained = [entry for entry in self.read() if entry["step"] <= step]
        files.write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in retained))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one step."""
        files.append_text(self._path, json.dumps(dict(entry)) + "\n")


_ENTRY = {"step", "loss", "learning_rate", "gradient_norm"}  # of every line of a log


def is_training(folder: Path) -> bool:
    """Whether a folder contains an intact checkpoint or a training log."""
    from .loop import CHECKPOINTS, LOG
    from .state import holds_sealed

    if holds_sealed(folder / CHECKPOINTS):
        return True
    first = next(iter(Log(folder / LOG).read()), None)
    return first is not None and first.keys() >= _ENTRY


def require_no_others(folder: Path, known: Collection[str]) -> None:
    """Refuse to replace a training's folder that contains other files.

    Args:
        folder: of the training.
        known: expected names besides those of the training.

    Raises:
        BadFile: names what is there.
    """
    from .loop import CHECKPOINTS, LOG, PLOT

    others = [name for name in folders.entries(folder) if name not in known]
    unusual = [name for name in others if name not in {CHECKPOINTS, LOG, PLOT}]
    if unusual:
        raise BadFile(
            f"{folder} holds {unusual[0]!r}, which is not of its training and would be lost.",
            "Move it away, or name another folder with --out.",
        )


_STRETCHES = 50  # that the smooth line is made of at most


def plot_losses(entries: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Return a PNG of the loss and its moving average over the steps.

    Args:
        entries: of the log; those without a finite loss are skipped.
        title: of the plot.
    """
    pairs = [(e["step"], e["loss"]) for e in entries if math.isfinite(e["loss"])]
    points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    logarithmic = bool((points[:, 1] > 0).all())
    shown = np.log10(points[:, 1]) if logarithmic else points[:, 1]
    parts = np.array_split(
        np.column_stack([points[:, 0], shown]), min(_STRETCHES, len(points)) or 1
    )
    means = np.array([part.mean(axis=0) for part in parts if len(part)]).reshape(-1, 2)
    smooth = 10 ** means[:, 1] if logarithmic else means[:, 1]
    steps, losses = points.T.tolist()
    curves = (
        Curve("each step", steps, losses, colour=lighter(COLOURS[0], 0.6), width=1),
        Curve("mean", means[:, 0].tolist(), smooth.tolist(), colour=COLOURS[0], width=3),
    )
    name = "loss, on a logarithmic scale" if logarithmic else "loss"
    return plot_panels([Panel(name, curves, logarithmic)], title, height=482)
