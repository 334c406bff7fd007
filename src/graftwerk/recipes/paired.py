"""Pairs of stored scenes and their conditions, for training control branches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from ..contracts import Monitor
from ..control.task import Batch
from ..frozen.diffusion.model import DiffusionModel
from ..frozen.diffusion.texts import TextStates
from ..frozen.folder import fingerprint
from .autoencoder import latents_identity
from .chunks import Chunks
from .latents import open_latents
from .recipe import SIDE
from .rendering import Rows
from .scenes import Scenes, open_scenes
from .states import open_states

Draw = Callable[[Rows], UInt8[np.ndarray, "n h w 3"]]


class ScenePairs:
    """Stored scenes with their conditions; see `control.task.Pairs`."""

    def __init__(
        self, scenes: Scenes, latents: Chunks, states: Chunks, draw: Draw, empty: torch.Tensor
    ) -> None:
        self._scenes, self._latents, self._states = scenes, latents, states
        self._draw, self._empty = draw, empty

    def __len__(self) -> int:
        return len(self._scenes)

    def take(self, numbers: Int64[np.ndarray, " n"], said: np.ndarray) -> Batch:
        """Scenes of these numbers; of those not `said` the prompt is empty."""
        states = self._states.of(numbers)
        states[torch.from_numpy(~said)] = self._empty
        maps = self._draw(self._scenes.rows(numbers))
        return Batch(self._latents.of(numbers), maps, TextStates(states))


def open_pairs(
    model: DiffusionModel,
    folder: Path,
    world: int,
    count: int,
    draw: Draw,
    unsaid: float,
    monitor: Monitor,
) -> ScenePairs:
    """Render, encode and read scenes where that was not done yet.

    Args:
        model: the frozen one.
        folder: where it lies.
        world: seed of the scenes.
        count: number of scenes.
        draw: from stored rows to condition pictures.
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
    return ScenePairs(scenes, latents, states, draw, empty)
