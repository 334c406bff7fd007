"""A U-Net in two halves: what its encoder hands over, and its decoder with something added to that.

What is handed over are the skips, one for each layer of the encoder, and the middle's output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import BadInput

Inputs = Mapping[str, Any]  # what a U-Net takes beside picture and time: the prompt's states
Handed = tuple[tuple[Tensor, ...], Tensor]  # skips, middle


@dataclass(frozen=True, slots=True)
class Joint:
    """A place between the halves.

    Attributes:
        channels: of what is handed over there.
        halvings: of its sides, counted from those of the U-Net's own picture.
    """

    channels: int
    halvings: int


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """What is added between the halves.

    Attributes:
        skips: to each skip, in the encoder's order.
        middle: to the middle's output.
    """

    skips: tuple[Float[Tensor, "b _ _ _"], ...]
    middle: Float[Tensor, "b _ _ _"]


@runtime_checkable
class Controllable(Protocol):
    """A U-Net of one's own that can be steered between its halves.

    Attributes:
        encoder: its encoder and middle as one module; called with picture, times, hint and inputs
            it gives the skips and the middle's output. It adds the hint, where that is not None,
            to what its first convolution gives.
        joints: of the skips, in that order, and of the middle, last.
    """

    encoder: nn.Module
    joints: Sequence[Joint]

    def decode(
        self, skips: tuple[Tensor, ...], middle: Tensor, times: Tensor, inputs: Inputs
    ) -> Tensor:
        """The U-Net's output from what its encoder handed over."""
        ...


def encode_half(
    parts: Any, x: Tensor, times: Tensor, hint: Tensor | None, inputs: Inputs
) -> tuple[Handed, Tensor]:
    """The encoder and middle of a U-Net of diffusers, with a hint added after its first layer.

    Args:
        parts: whatever has the U-Net's `conv_in`, `time_embedding`, `down_blocks`, `mid_block`.
        x: noisy pictures as the U-Net takes them.
        times: one for each row.
        hint: of the size that the first layer gives, for one row or for all.
        inputs: states of the prompts, by the names of the library.

    Returns:
        What is handed over, and the embedding of the time.
    """
    embedded = parts.time_embedding(parts.time_proj(times.expand(len(x))).to(x.dtype))
    added = inputs.get("added_cond_kwargs")
    if added is not None:
        places = parts.add_time_proj(added["time_ids"].flatten()).view(len(x), -1)
        words = torch.cat([added["text_embeds"], places.to(x.dtype)], dim=-1)
        embedded = embedded + parts.add_embedding(words)
    asked = {
        "encoder_hidden_states": inputs.get("encoder_hidden_states"),
        "cross_attention_kwargs": inputs.get("cross_attention_kwargs"),
    }
    hidden = parts.conv_in(x)
    if hint is not None:
        hidden = hidden + hint
    skips: tuple[Tensor, ...] = (hidden,)
    for block in parts.down_blocks:
        reads = getattr(block, "has_cross_attention", False)
        hidden, more = block(hidden, embedded, **(asked if reads else {}))
        skips += more
    if parts.mid_block is not None:
        reads = getattr(parts.mid_block, "has_cross_attention", False)
        hidden = parts.mid_block(hidden, embedded, **(asked if reads else {}))
    return (skips, hidden), embedded


def run_with(
    network: Any, x: Tensor, times: Tensor, inputs: Inputs, residuals: Residuals | None
) -> Tensor:
    """A U-Net's output with something added between its halves; None: the U-Net as it is.

    Args:
        network: a `UNet2DConditionModel`, a `UNet2DModel` or a `Controllable`.
        x: noisy pictures as the U-Net takes them.
        times: one for each row.
        inputs: states of the prompts, by the names of the library.
        residuals: what is added.
    """
    if isinstance(network, Controllable):
        skips, middle = network.encoder(x, times, None, inputs)
        skips, middle = _added((skips, middle), residuals)
        return network.decode(skips, middle, times, inputs)
    found: Tensor
    if residuals is None:
        found = network(x, times, return_dict=False, **inputs)[0]
        return found
    if hasattr(network.config, "cross_attention_dim"):
        output: tuple[Tensor, ...] = network(
            x,
            times,
            return_dict=False,
            down_block_additional_residuals=residuals.skips,
            mid_block_additional_residual=residuals.middle,
            **inputs,
        )
        return output[0]
    return _run_plain(network, x, times, residuals)


def _run_plain(network: Any, x: Tensor, times: Tensor, residuals: Residuals) -> Tensor:
    """A `UNet2DModel`, which has no arguments for residuals."""
    if network.config.center_input_sample:
        x = 2 * x - 1
    handed, embedded = encode_half(network, x, times, None, {})
    skips, hidden = _added(handed, residuals)
    for block in network.up_blocks:
        count = len(block.resnets)
        hidden = block(hidden, skips[-count:], embedded)
        skips = skips[:-count]
    out: Tensor = network.conv_out(network.conv_act(network.conv_norm_out(hidden)))
    return out


def _added(handed: Handed, residuals: Residuals | None) -> Handed:
    if residuals is None:
        return handed
    skips, middle = handed
    pairs = zip(skips, residuals.skips, strict=True)
    return tuple(skip + more for skip, more in pairs), middle + residuals.middle


def joints_of(network: Any) -> tuple[Joint, ...]:
    """The joints of a U-Net: its skips in the encoder's order, then its middle.

    Raises:
        BadInput: a U-Net of another kind.
    """
    if isinstance(network, Controllable):
        return tuple(network.joints)
    config = network.config
    widths = config.block_out_channels
    layers = config.layers_per_block
    kinds = [type(block).__name__ for block in (*network.down_blocks, *network.up_blocks)]
    odd = [kind for kind in kinds if kind.startswith("Skip")]
    if odd or config.get("time_embedding_type", "positional") != "positional":
        raise BadInput(
            f"a U-Net with {odd[0] if odd else 'its own time embedding'} cannot be controlled.",
            "Take one with plain, attention or cross-attention blocks.",
        )
    joints = [Joint(widths[0], 0)]
    for number, width in enumerate(widths):
        each = layers if isinstance(layers, int) else layers[number]
        joints += [Joint(width, number)] * each
        if number < len(widths) - 1:
            joints.append(Joint(width, number + 1))
    return (*joints, Joint(widths[-1], len(widths) - 1))
