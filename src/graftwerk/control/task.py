"""A control branch as something to train: pictures behind noise, a prompt and a condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from ..frozen.diffusion.halves import Inputs, run_with
from ..frozen.diffusion.latents import values_of
from ..frozen.diffusion.model import DiffusionModel
from ..frozen.diffusion.texts import TextStates
from ..steer.branch import Branch, weights_of

DROPPED = 0.5  # share of prompts left out, as the paper does


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs with their prompts.

    Attributes:
        latents: the pictures as the U-Net draws them.
        maps: the conditions, bytes.
        texts: states of the prompts; None for a U-Net that reads none.
    """

    latents: Float[Tensor, "b c h w"]
    maps: UInt8[np.ndarray, "b y x 3"]
    texts: TextStates | None

    def __len__(self) -> int:
        return len(self.latents)


@runtime_checkable
class Pairs(Protocol):
    """Where pairs of pictures and conditions come from."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def take(self, numbers: Int64[np.ndarray, " n"], said: np.ndarray) -> Batch:
        """Pairs of these numbers; of those not `said` the prompt is empty."""
        ...


def hint_input(maps: UInt8[np.ndarray, "b y x 3"], device: str) -> Float[Tensor, "b 3 y x"]:
    """Condition pictures as a hint encoder takes them: 0 to 1."""
    return values_of(maps).to(device)


def losses_of(
    model: DiffusionModel,
    branch: Branch | None,
    batch: Batch,
    times: Int64[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
) -> Float[Tensor, " b"]:
    """Mean squared error of what the network predicts, of each row.

    Args:
        model: the frozen one.
        branch: None: the model alone.
        batch: pairs.
        times: training steps of the noise.
        noise: of unit variance.
    """
    clean = batch.latents.to(model.device)
    sigma = sigmas_of(model)[times].view(-1, 1, 1, 1)
    root = (1 + sigma**2).sqrt()
    x = (clean + sigma * noise) / root
    match model.noise.prediction:
        case "epsilon":
            wanted = noise
        case "v_prediction":
            wanted = (noise - sigma * clean) / root
        case "sample":
            wanted = clean
    inputs = inputs_of(model, batch.texts, clean)
    moments, residuals = times.to(x.dtype), None
    if branch is not None:
        hint = branch.read(hint_input(batch.maps, model.device))
        residuals = branch(x, moments, hint, inputs)
    said = run_with(model.unet, x, moments, inputs, residuals)[:, : clean.shape[1]]
    return (said.float() - wanted).square().mean(dim=(1, 2, 3))


def sigmas_of(model: DiffusionModel) -> Float[Tensor, " steps"]:
    """The noise level of each training step."""
    return torch.from_numpy(model.noise.sigmas).float().to(model.device)


def inputs_of(model: DiffusionModel, texts: TextStates | None, x: Tensor) -> Inputs:
    """What the U-Net takes of the prompts, one a row."""
    if texts is None:
        return {}
    inputs: dict[str, object] = {"encoder_hidden_states": texts.states.to(model.device)}
    if texts.pooled is not None:
        side = [x.shape[2] * model.factor, x.shape[3] * model.factor]
        places = torch.tensor([*side, 0, 0, *side], dtype=x.dtype, device=x.device)
        inputs["added_cond_kwargs"] = {
            "text_embeds": texts.pooled.to(model.device),
            "time_ids": places.expand(len(x), -1),
        }
    return inputs


class ControlTask:
    """The branch's loss; see `train.task.Task`."""

    def __init__(
        self,
        model: DiffusionModel,
        branch: Branch,
        pairs: Pairs,
        seed: int,
        dropped: float = DROPPED,
        unlocked: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self._unlocked = dict(unlocked or {})
        self._model, self._branch, self._pairs = model, branch, pairs
        self._seed, self._dropped = seed, dropped

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What the branch learns, and what is unlocked beside it."""
        return weights_of(self._branch) | self._unlocked

    def batch(self, first: int, count: int) -> Batch:
        """Pairs in an order that is new in each epoch; some prompts are left out."""
        items = range(first, first + count)
        said = np.array([self._draw(2, item) >= self._dropped for item in items])
        return self._pairs.take(self._numbers(first, count), said)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Mean over the batch, at noise levels drawn evenly from the model's own."""
        device = self._model.device
        times = torch.randint(
            len(self._model.noise.sigmas), (len(batch),), generator=generator, device=device
        )
        noise = torch.randn(batch.latents.shape, generator=generator, device=device)
        return losses_of(self._model, self._branch, batch, times, noise).mean(), {}

    def _draw(self, purpose: int, item: int) -> float:
        seeds = np.random.SeedSequence(self._seed, spawn_key=(purpose, item))
        return float(np.random.default_rng(seeds).random())

    def _numbers(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        size = len(self._pairs)
        found = [
            _order(size, item // size, self._seed)[item % size]
            for item in range(first, first + count)
        ]
        return np.array(found, dtype=np.int64)


@lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int) -> Int64[np.ndarray, " n"]:
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return generator.permutation(size)
