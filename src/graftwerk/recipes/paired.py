"""Pairs of stored scenes and their conditions, for training control branches."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from .. import conditions
from ..conditions import Condition
from ..contracts import Monitor
from ..control.task import Batch
from ..frozen.diffusion.model import DiffusionModel
from ..frozen.diffusion.texts import TextStates
from ..frozen.folder import fingerprint
from .autoencoder import latents_identity
from .chunks import Chunks, open_chunks
from .latents import open_latents
from .recipe import SIDE
from .scenes import Scenes, hash_of_code, open_scenes
from .states import open_states


class ScenePairs:
    """Stored scenes with their conditions; see `control.task.Pairs`."""

    def __init__(
        self, count: int, latents: Chunks, states: Chunks, maps: Chunks, empty: torch.Tensor
    ) -> None:
        self._count, self._latents, self._states = count, latents, states
        self._maps, self._empty = maps, empty

    def __len__(self) -> int:
        return self._count

    def take(self, numbers: Int64[np.ndarray, " n"], said: np.ndarray) -> Batch:
        """Scenes of these numbers; of those not `said` the prompt is empty."""
        states = self._states.of(numbers)
        states[torch.from_numpy(~said)] = self._empty
        maps = self._maps.stored(numbers)
        return Batch(self._latents.of(numbers), maps, TextStates(states))


def open_pairs(
    model: DiffusionModel,
    folder: Path,
    world: int,
    count: int,
    condition: Condition,
    unsaid: float,
    monitor: Monitor,
) -> ScenePairs:
    """Render, encode and read scenes where that was not done yet.

    Args:
        model: the frozen one.
        folder: where it lies.
        world: seed of the scenes.
        count: number of scenes.
        condition: what is read of each.
        unsaid: share of captions that leave parts out.
        monitor: told about it.
    """
    if model.reader is None:
        raise ValueError("a model that reads no prompts")
    scenes = open_scenes("maps", world, count, SIDE, monitor)
    latents = open_latents(
        model.decoder, latents_identity(folder / "vae"), scenes, model.device, monitor
    )
    identity = fingerprint(folder / "text_encoder", {})
    states = open_states(model.reader, identity, scenes, unsaid, monitor)
    empty = model.reader.read([""]).states[0].cpu()
    maps = _open_conditions(scenes, condition, monitor)
    return ScenePairs(len(scenes), latents, states, maps, empty)


def _open_conditions(scenes: Scenes, condition: Condition, monitor: Monitor) -> Chunks:
    """Draw conditions where that was not done yet: [y x 3] each, bytes."""

    def make(span: range) -> torch.Tensor:
        drawn = condition.from_rows(scenes.rows(np.array(span)))
        return torch.from_numpy(np.ascontiguousarray(drawn))

    place = f"conditions/{scenes.name}-{condition.name}-{hash_of_code(conditions)}"
    return open_chunks(place, len(scenes), 4, "drawing conditions", make, monitor)
