"""What the lower part of a network makes of every item, kept in the cache."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts import Monitor
from ..frozen.below import Below
from ..frozen.cached import cached_folder
from ..frozen.trainable import Inputs, Trainable
from ..settings import settings
from .networks import inputs_of
from .problem import Problem

_VERSION, _BATCH, _FILE = 2, 32, "states.npy"
_MASKS = ("mask", "attention_mask")


class KeptStates:
    """States below a block, for every item: rows of one long array, mapped from a file.

    Attributes:
        below: the lower part of the network.
        seconds: what the states took when they were computed.
    """

    seconds = 0.0

    def __init__(self, problem: Problem, trainable: Trainable, block: int) -> None:
        self._problem, self._trainable, self._block = problem, trainable, block
        self.below = Below(trainable, block)
        # A picture's inputs tell nothing any more, but the network wants some of their shape.
        sample = inputs_of(trainable, problem.examples.items[:1])
        self._template = None if set(sample) & set(_MASKS) else sample
        self.below.states(sample)  # notes the form of a block's output

    def fill(self, monitor: Monitor) -> None:
        """Compute what is not in the cache.

        Raises:
            NoRoom: the cache cannot be written.
        """
        problem = self._problem
        identity = f"{_VERSION} {problem.base.fingerprint} {problem.examples.hash} {self._block}"
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        folder = settings().cache / "states" / name
        facts = cached_folder(folder, lambda target: self._build(target, monitor))
        self._rows: np.ndarray = np.load(folder / _FILE, mmap_mode="r", allow_pickle=False)
        self._ends: list[int] = facts["ends"]
        self.seconds = float(facts["seconds"])

    def inputs(self, places: Sequence[int]) -> tuple[Inputs, Tensor]:
        """Inputs and states of items, filled up to the longest."""
        items = [self._problem.examples.items[place] for place in places]
        if self._template is None:
            inputs = inputs_of(self._trainable, items)
        else:
            inputs = {
                name: value[:1].expand(len(items), *value.shape[1:])
                for name, value in self._template.items()
            }
        ends = self._ends
        spans = [(ends[n - 1] if n else 0, ends[n]) for n in places]
        width = max(end - begin for begin, end in spans)
        if self._template is None:
            width = next(iter(inputs.values())).shape[1]
        states = np.zeros((len(items), width, *self._rows.shape[1:]), dtype=np.float32)
        for row, (begin, end) in enumerate(spans):
            states[row, : end - begin] = self._rows[begin:end]
        return inputs, torch.from_numpy(states)

    def _build(self, target: Path, monitor: Monitor) -> dict[str, Any]:
        begin = time.perf_counter()
        items = self._problem.examples.items
        monitor.start("states below the top", len(items))
        order = sorted(range(len(items)), key=lambda n: len(str(items[n])))
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(items), _BATCH):
            part = order[start : start + _BATCH]
            inputs = inputs_of(self._trainable, [items[n] for n in part])
            states = self.below.states(inputs).float().cpu().numpy()
            for n, row, length in zip(part, states, _lengths(inputs, states), strict=True):
                found[n] = row[:length].copy()
            monitor.advance(len(part))
        ends = np.cumsum([len(found[n]) for n in range(len(items))])
        shape = (int(ends[-1]), *found[0].shape[1:])
        written = np.lib.format.open_memmap(target / _FILE, "w+", np.float32, shape)
        for n, end in enumerate(ends):
            rows = found.pop(n)
            written[end - len(rows) : end] = rows
        written.flush()
        return {"ends": ends.tolist(), "seconds": time.perf_counter() - begin}


def _lengths(inputs: Inputs, states: np.ndarray) -> list[int]:
    """Places of each row that hold something."""
    for name in _MASKS:
        if name in inputs:
            return [int(count) for count in inputs[name].sum(dim=1)]
    return [states.shape[1]] * len(states)
