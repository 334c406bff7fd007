"""Diffusion transformers of diffusers (SD3, Flux, DiT), called as a U-Net is.

Their tokens are patches of the latents. What a control branch adds to the tokens after a block is
held as a map [b, channels, rows, columns], so that weights by size and masks by place apply to it
as to a U-Net's skip connections.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .checkpoint import DIT
from .prompts import TextStates

SD3, FLUX = "SD3Transformer2DModel", "FluxTransformer2DModel"
KNOWN = (DIT, SD3, FLUX)
_FLUX_TIMES = 1000  # by which Flux multiplies its timestep itself


def is_transformer(network: Any) -> bool:
    """Whether a network is one of `KNOWN`."""
    return type(network).__name__ in KNOWN


def inputs_of(network: Any, texts: TextStates, each: int, x: Tensor) -> dict[str, Any]:
    """Return the prompt inputs of a transformer, under the argument names of diffusers.

    Args:
        network: the transformer.
        texts: the prompts.
        each: rows of each prompt.
        x: noisy latents.
    """
    states = texts.states.to(x.device).repeat_interleave(each, dim=0)
    kind = type(network).__name__
    if kind == DIT:
        return {"class_labels": states[:, 0, 0].long()}
    assert texts.pooled is not None  # noqa: S101  readers of these models give it
    pooled = texts.pooled.to(x.device).repeat_interleave(each, dim=0)
    inputs: dict[str, Any] = {"encoder_hidden_states": states, "pooled_projections": pooled}
    if kind == FLUX:
        scale = 1.0 if texts.scale is None else texts.scale
        guides = network.config.guidance_embeds
        inputs["guidance"] = x.new_full((len(x),), scale) if guides else None
    return inputs


def run_transformer(
    network: Any, x: Tensor, times: Tensor, inputs: Mapping[str, Any], added: tuple[Tensor, ...]
) -> Tensor:
    """Run a transformer.

    Args:
        network: the transformer.
        x: noisy latents as it takes them.
        times: timesteps, one for each row.
        inputs: of `inputs_of`.
        added: maps that are added to the tokens of its blocks (SD3 only); none: nothing.
    """
    kind = type(network).__name__
    if kind == FLUX:
        return _run_flux(network, x, times, inputs)
    more = {"block_controlnet_hidden_states": [tokens_of(part) for part in added]} if added else {}
    found: tuple[Tensor, ...] = network(x, timestep=times, return_dict=False, **inputs, **more)
    return found[0]


def tokens_of(part: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "b n c"]:
    """Return a map as tokens."""
    return part.flatten(2).transpose(1, 2)


def map_of(tokens: Float[Tensor, "b n c"], rows: int) -> Float[Tensor, "b c rows columns"]:
    """Return tokens as a map."""
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], rows, -1)


def states_of(
    network: Any, x: Tensor, times: Tensor, inputs: Mapping[str, Any], count: int
) -> tuple[Tensor, ...]:
    """Return the states to which a branch with `count` outputs adds them first, as maps."""
    blocks, found = network.transformer_blocks, {}
    # the numbers are those of the transformer's own code
    added = [int(number / (len(blocks) / count)) for number in range(len(blocks))]
    hooks = [
        blocks[added.index(number)].register_forward_hook(
            lambda _, __, output, number=number: found.update({number: output[1]})
        )
        for number in range(count)
    ]
    try:
        run_transformer(network, x, times, inputs, ())
    finally:
        for hook in hooks:
            hook.remove()
    rows = x.shape[2] // network.config.patch_size
    return tuple(map_of(found[number], rows) for number in range(count))


def _run_flux(network: Any, x: Tensor, times: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Run Flux, which reads 2 x 2 latents as one token of four times the channels."""
    _, _, height, width = x.shape
    rows, columns = height // 2, width // 2
    places = x.new_zeros(rows, columns, 3)
    places[..., 1] += torch.arange(rows, device=x.device)[:, None]
    places[..., 2] += torch.arange(columns, device=x.device)
    packed = torch.nn.functional.pixel_unshuffle(x, 2)  # channels: c, then the place in the patch
    found = network(
        tokens_of(packed),
        timestep=times / _FLUX_TIMES,
        img_ids=places.view(-1, 3),
        txt_ids=x.new_zeros(inputs["encoder_hidden_states"].shape[1], 3),
        return_dict=False,
        **inputs,
    )[0]
    return torch.nn.functional.pixel_shuffle(map_of(found, rows), 2)
