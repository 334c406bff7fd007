"""The training task of a branch: predict noise given a prompt and a condition.

The U-Net's decoder can be trained along with its branch (`sd_locked = False` in the official
code). The result is a pipeline with a new U-Net, and a branch that only fits this U-Net.
"""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..diffusion.checkpoint import open_pipeline
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextStates
from ..diffusion.sampling import to_values
from ..diffusion.unet import Controllable, Inputs, prompt_inputs, run_with
from ..errors import BadInput
from ..training.session import Precision
from ..training.state import arithmetic, in_order
from .branch import Branch, weights_of

DROPPED = 0.5  # share of prompts left out, as the paper does


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs with their prompts.

    Attributes:
        maps: the conditions, bytes.
        texts: states of the prompts; None for a U-Net without prompts.
    """

    latents: Float[Tensor, "b c h w"]
    maps: UInt8[np.ndarray, "b y x 3"]
    texts: TextStates | None

    def __len__(self) -> int:
        return len(self.latents)


@runtime_checkable
class Pairs(Protocol):
    """A source of image-condition pairs."""

    def __len__(self) -> int:
        """Number of pairs."""
        ...

    def take(self, numbers: Int64[np.ndarray, " n"], predicted: np.ndarray) -> Batch:
        """Return these pairs; the prompt is empty for those not `predicted`."""
        ...


def hint_input(maps: UInt8[np.ndarray, "b y x 3"], device: str) -> Float[Tensor, "b 3 y x"]:
    """Convert condition images to a hint encoder's input: 0 to 1."""
    return to_values(maps).to(device)


def losses_of(
    model: DiffusionModel,
    branch: Branch | None,
    batch: Batch,
    times: Int64[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
) -> Float[Tensor, " b"]:
    """Return the mean squared error of the network's prediction for each row."""
    clean = batch.latents.to(model.device)
    x, moments, sigma = noised(model, clean, noise, times)
    match model.noise.prediction:
        case "epsilon":
            requested = noise
        case "flow":
            requested = noise - clean
        case "v_prediction":
            requested = (noise - sigma * clean) / (1 + sigma**2).sqrt()
        case "sample":
            requested = clean
    inputs = inputs_of(model, batch.texts, clean)
    residuals = None
    if branch is not None:
        hint = branch.read(hint_input(batch.maps, model.device))
        residuals = branch(x, moments, hint, inputs)
    predicted = run_with(model.unet, x, moments, inputs, residuals)[:, : clean.shape[1]]
    return (predicted.float() - requested).square().mean(dim=(1, 2, 3))


def noised(
    model: DiffusionModel, clean: Tensor, noise: Tensor, times: Int64[Tensor, " b"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return noisy latents and timesteps as the network takes them, and the noise levels."""
    sigma = sigmas_of(model)[times].view(-1, 1, 1, 1)
    if model.noise.flows:
        moments = sigma.flatten() * len(model.noise.sigmas)
        return model.noise.mixed(clean, noise, sigma), moments, sigma
    return (clean + sigma * noise) / (1 + sigma**2).sqrt(), times.to(clean.dtype), sigma


def sigmas_of(model: DiffusionModel) -> Float[Tensor, " steps"]:
    """Return the noise level of each training step."""
    return torch.from_numpy(model.noise.sigmas).float().to(model.device)


def inputs_of(model: DiffusionModel, texts: TextStates | None, x: Tensor) -> Inputs:
    """Return the U-Net's prompt inputs, one per row."""
    if texts is None:
        return {}
    return prompt_inputs(model.unet, texts, x, model.factor)


class ControlTask:
    """The branch's loss; see `training.session.Task`."""

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
        """The trained weights of the branch, and unlocked weights of the U-Net."""
        return weights_of(self._branch) | self._unlocked

    def batch(self, first: int, count: int) -> Batch:
        """Pairs in an order that changes in each epoch; some prompts are dropped."""
        items = range(first, first + count)
        numbers = in_order(len(self._pairs), first, count, self._seed)
        predicted = np.array([self._draw(2, item) >= self._dropped for item in items])
        return self._pairs.take(numbers, predicted)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Mean over the batch, with training steps sampled uniformly."""
        device = self._model.device
        times = torch.randint(
            len(self._model.noise.sigmas), (len(batch),), generator=generator, device=device
        )
        noise = torch.randn(batch.latents.shape, generator=generator, device=device)
        return losses_of(self._model, self._branch, batch, times, noise).mean(), {}

    def _draw(self, purpose: int, item: int) -> float:
        seeds = np.random.SeedSequence(self._seed, spawn_key=(purpose, item))
        return float(np.random.default_rng(seeds).random())


SHARE = 0.1  # of the branch's learning rate: the decoder knows what it does, the branch does not
_PREFIX = "unet."
_DECODER = ("up_blocks.", "conv_norm_out.", "conv_out.")


def unlock(network: Any) -> dict[str, nn.Parameter]:
    """Make a U-Net's decoder trainable, and return its weights by name.

    Raises:
        BadInput: a custom U-Net whose decoder has unknown names.
    """
    if isinstance(network, Controllable):
        raise BadInput("only U-Nets of diffusers can be unlocked.", "Train the branch alone.")
    found = {}
    for name, weight in network.named_parameters():
        if name.startswith(_DECODER):
            weight.requires_grad_(True)
            found[_PREFIX + name] = weight
    return found


def put_back(unlocked: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
    """Load trained weights into an unlocked decoder, and freeze it."""
    with torch.no_grad():
        for name, weight in unlocked.items():
            weight.copy_(weights[name])
            weight.requires_grad_(False)


def write_pipeline(folder: Path, base: Path, network: Any) -> None:
    """Write a pipeline with another U-Net inside a `working_folder`; everything else is copied."""
    index = open_pipeline(base).index
    shutil.copyfile(base / "model_index.json", folder / "model_index.json")
    for part, value in index.items():
        if part != "unet" and isinstance(value, list) and (base / part).is_dir():
            shutil.copytree(base / part, folder / part)
    network.save_pretrained(folder / "unet")


def save_memory(network: Any, device: str, precision: Precision) -> None:
    """Enable gradient checkpointing of a U-Net.

    Call it before the branch is created, so that the copied encoder does the same.

    Raises:
        BadInput: the U-Net does not support it.
    """
    if isinstance(network, Controllable) or not hasattr(network, "enable_gradient_checkpointing"):
        raise BadInput("this U-Net cannot recompute its layers.", "Leave --checkpointing out.")

    def again(layer: nn.Module, *inputs: Any) -> Any:
        def contexts() -> tuple[Any, Any]:  # attention is computed again by the same kernel
            return nullcontext(), arithmetic(device, precision)

        return checkpoint(layer.__call__, *inputs, use_reentrant=False, context_fn=contexts)

    network.enable_gradient_checkpointing(again)
