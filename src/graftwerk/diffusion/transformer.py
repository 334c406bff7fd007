"""Diffusion transformers of diffusers (SD3, Flux, DiT), called as a U-Net is.

Their tokens are patches of the latents. What a control branch adds to the tokens after a block is
held as a map [b, channels, rows, columns], so that weights by size and masks by place apply to it
as to a U-Net's skip connections.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .checkpoint import DIT
from .prompts import TextStates

SD3, FLUX = "SD3Transformer2DModel", "FluxTransformer2DModel"
KNOWN = (DIT, SD3, FLUX)
FLUX_TIMES = 1000  # by which Flux multiplies its timestep itself
_FLUX_SCALE = 3.5  # guidance that a distilled Flux reads where none is asked for, as in training


def is_transformer(network: Any) -> bool:
    """Whether a network is one of `KNOWN`."""
    return type(network).__name__ in KNOWN


def inputs_of(network: Any, texts: TextStates, each: int, x: Tensor) -> dict[str, Any]:
    """Return the prompt inputs of a transformer, under the argument names of diffusers."""
    states = texts.states.to(x.device).repeat_interleave(each, dim=0)
    kind = type(network).__name__
    if kind == DIT:
        return {"class_labels": states[:, 0, 0].long()}
    assert texts.pooled is not None  # noqa: S101  readers of these models give it
    pooled = texts.pooled.to(x.device).repeat_interleave(each, dim=0)
    inputs: dict[str, Any] = {"encoder_hidden_states": states, "pooled_projections": pooled}
    if kind == FLUX:
        scale = _FLUX_SCALE if texts.scale is None else texts.scale
        guides = network.config.guidance_embeds
        inputs["guidance"] = x.new_full((len(x),), scale) if guides else None
    return inputs


def run_transformer(
    network: Any,
    x: Tensor,
    times: Tensor,
    inputs: Mapping[str, Any],
    added: tuple[Tensor, ...] = (),
    double: int = 0,
) -> Tensor:
    """Run a transformer.

    Args:
        network: the transformer.
        x: noisy latents as it takes them.
        times: timesteps, one for each row.
        inputs: of `inputs_of`.
        added: maps that are added to the tokens of its blocks (SD3 and Flux); none: nothing.
        double: how many of them are for Flux's blocks of two streams.
    """
    parts = [tokens_of(part) for part in added]
    if type(network).__name__ == FLUX:
        more = {
            "controlnet_block_samples": parts[:double] or None,
            "controlnet_single_block_samples": parts[double:] or None,
        }
        given = flux_inputs(x, times, inputs) | more
        found = network(return_dict=False, **given)[0]
        return torch.nn.functional.pixel_shuffle(map_of(found, x.shape[2] // 2), 2)
    given = {"block_controlnet_hidden_states": parts} if parts else {}
    output: tuple[Tensor, ...] = network(x, timestep=times, return_dict=False, **inputs, **given)
    return output[0]


def tokens_of(part: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "b n c"]:
    """Return a map as tokens."""
    return part.flatten(2).transpose(1, 2)


def map_of(tokens: Float[Tensor, "b n c"], rows: int) -> Float[Tensor, "b c rows columns"]:
    """Return tokens as a map."""
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], rows, -1)


def states_of(
    network: Any, x: Tensor, times: Tensor, inputs: Mapping[str, Any], count: int, double: int = 0
) -> tuple[Tensor, ...]:
    """Return the states to which a branch with `count` outputs adds them first, as maps."""
    streams = [(network.transformer_blocks, double or count)]
    found: dict[int, Tensor] = {}
    if double < count and double:
        streams.append((network.single_transformer_blocks, count - double))
    hooks: list[Any] = []
    for blocks, own in streams:
        each = math.ceil(len(blocks) / own) if double else len(blocks) / own
        # the numbers are those of the transformers' own code
        added = [int(number / each) for number in range(len(blocks))]
        for number in range(own):
            key = len(hooks)
            # a branch may have more outputs than they add
            place = blocks[added.index(min(number, added[-1]))]
            hooks.append(
                place.register_forward_hook(
                    lambda _, __, output, key=key: found.update({key: output[1]})
                )
            )
    try:
        run_transformer(network, x, times, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    patch = 2 if type(network).__name__ == FLUX else network.config.patch_size
    return tuple(map_of(found[number], x.shape[2] // patch) for number in range(count))


def flux_inputs(x: Tensor, times: Tensor, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of Flux, which reads 2 x 2 latents as one token of 4 times the channels."""
    _, _, height, width = x.shape
    rows, columns = height // 2, width // 2
    places = x.new_zeros(rows, columns, 3)
    places[..., 1] += torch.arange(rows, device=x.device)[:, None]
    places[..., 2] += torch.arange(columns, device=x.device)
    return {
        "hidden_states": packed(x),
        "timestep": times / FLUX_TIMES,
        "img_ids": places.view(-1, 3),
        "txt_ids": x.new_zeros(inputs["encoder_hidden_states"].shape[1], 3),
        **inputs,
    }


def packed(x: Tensor) -> Tensor:
    """Return latents as Flux's tokens; their channels: c, then the place in the patch."""
    return tokens_of(torch.nn.functional.pixel_unshuffle(x, 2))


def attention_of(network: Any) -> dict[str, nn.Module]:
    """Return the self-attention of SD3 and DiT by name; Flux's is of another kind: none."""
    if type(network).__name__ == FLUX:
        return {}
    ends = (".attn", ".attn1", ".attn2")
    return {name: one for name, one in network.named_modules() if name.endswith(ends)}


@contextmanager
def perturbed_attention(layers: Iterable[Any]) -> Iterator[None]:
    """Let each location see itself and the prompt alone in some layers of `attention_of`."""
    own = {layer: layer.processor for layer in layers}
    try:
        for layer in own:
            layer.processor = _attend_alone
        yield
    finally:
        for layer, processor in own.items():
            layer.processor = processor


def _attend_alone(
    attn: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None = None,
    attention_mask: Tensor | None = None,  # noqa: ARG001  diffusers passes it
    **_: Any,
) -> Any:
    if encoder_hidden_states is None:
        return attn.to_out[0](attn.to_v(hidden_states))

    def heads(values: Tensor, norm: Any = None) -> Tensor:
        split = values.view(*values.shape[:2], attn.heads, -1).transpose(1, 2)
        return split if norm is None else norm(split)

    count, text = hidden_states.shape[1], encoder_hidden_states
    image_parts = (
        heads(attn.to_q(hidden_states), attn.norm_q), heads(attn.to_k(hidden_states), attn.norm_k),
        heads(attn.to_v(hidden_states)),
    )  # fmt: skip
    text_parts = (
        heads(attn.add_q_proj(text), attn.norm_added_q),
        heads(attn.add_k_proj(text), attn.norm_added_k), heads(attn.add_v_proj(text)),
    )  # fmt: skip
    query, key, value = (
        torch.cat(pair, dim=2) for pair in zip(image_parts, text_parts, strict=True)
    )
    mask = query.new_zeros(query.shape[2], query.shape[2])
    mask[:count, :count] = -torch.inf
    mask[:count, :count].fill_diagonal_(0)
    found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    found = found.transpose(1, 2).flatten(2)
    image, words = found[:, :count], found[:, count:]
    return attn.to_out[0](image), words if attn.context_pre_only else attn.to_add_out(words)
