"""A discrete-time U-Net as a denoiser, whose encoder and decoder can be run separately.

Between the two, a ControlNet branch adds to the skip connections and to the output of the middle
block. The keys and values of a prompt are computed once and cached for all steps.
"""

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadInput, UnknownName
from .noise_schedule import Noise, Sigma
from .placement import explained_compiler, is_compiled
from .prompts import TextStates
from .transformer import (
    attention_of,
    inputs_of,
    is_transformer,
    perturbed_attention,
    run_transformer,
)

# Keys and values of each attention layer, split by head.
PromptKeys = dict[nn.Module, tuple[Tensor, Tensor]]


class PromptAttention:
    """Attention as in diffusers, with a cache for values that do not change between steps.

    The cross-attention of a U-Net reads the same prompt at every step. With small images, its keys
    and values take a tenth of the time, and a third in a U-Net of Stable Diffusion's size.
    """

    def __init__(self) -> None:
        self._plain = AttnProcessor2_0()  # type: ignore[no-untyped-call]

    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "b places d"],
        encoder_hidden_states: Float[Tensor, "b t e"] | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        prompt_keys: PromptKeys | None = None,
        perturbed: Collection[nn.Module] = (),
        held: tuple[int, bool] = (0, False),
    ) -> Float[Tensor, "b places d"]:
        """Compute attention; the parameters are named as in diffusers.

        Args:
            attn: the layer, with its projections.
            hidden_states: the image.
            encoder_hidden_states: the prompt; None for self-attention.
            attention_mask: passed on.
            temb: passed on.
            prompt_keys: cache of keys and values, valid for one prompt, one batch and the current
                weights. Not used while gradients are recorded.
            perturbed: layers in which each location attends to itself alone.
            held: number of first rows whose queries and keys all other rows take, so that they
                attend to the same locations (prompt-to-prompt), 0 for none; and whether they
                attend to the same words of their prompts, too.
        """
        if attn in perturbed:
            alone: Tensor = attn.to_out[0](attn.to_v(hidden_states))
            return alone
        rows, words = held
        if rows and (words or encoder_hidden_states is None):
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            first, times = slice(rows), len(hidden_states) // rows
            queries = _by_head(attn.to_q(hidden_states[first]), attn.heads).repeat(times, 1, 1, 1)
            keys = _by_head(attn.to_k(context[first]), attn.heads).repeat(times, 1, 1, 1)
            return _attended(attn, queries, keys, _by_head(attn.to_v(context), attn.heads))
        # In training, the weights of keys and values may change.
        if encoder_hidden_states is None or prompt_keys is None or torch.is_grad_enabled():
            return self._plain(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        if attn not in prompt_keys:
            keys, values = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
            prompt_keys[attn] = (_by_head(keys, attn.heads), _by_head(values, attn.heads))
        keys, values = prompt_keys[attn]
        queries = _by_head(attn.to_q(hidden_states), attn.heads)
        return _attended(attn, queries, keys, values)


def _attended(attn: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
    projected: Tensor = attn.to_out[0](attended.transpose(1, 2).flatten(2))
    return projected


def _by_head(values: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b heads n each"]:
    batch, locations, width = values.shape
    return values.view(batch, locations, heads, width // heads).transpose(1, 2)


def keep_prompts(unet: Any) -> bool:
    """Let the cross-attention of a U-Net cache a prompt's keys and values.

    Returns:
        False if its attention is of another kind, which is then left unchanged.
    """
    plain = all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())
    simple = all(_is_simple(m) for name, m in unet.named_modules() if name.endswith(".attn2"))
    if plain and simple:
        unet.set_attn_processor(PromptAttention())
    return plain and simple


def _is_simple(attn: Any) -> bool:
    """Whether a layer has only projections: no norms, no residual connection, no rescaling."""
    norms = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross)
    extras = attn.residual_connection or attn.rescale_output_factor != 1
    return not extras and all(norm is None or norm is False for norm in norms)


Inputs = Mapping[str, Any]  # inputs besides image and timestep: the prompt's states
Handed = tuple[tuple[Tensor, ...], Tensor]  # skips, middle


@dataclass(frozen=True, slots=True)
class Joint:
    """A connection of encoder and decoder: a skip connection or the middle block's output.

    Attributes:
        channels: of the tensor that is passed on.
        halvings: of its sides, relative to those of the U-Net's input.
    """

    channels: int
    halvings: int


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Tensors that are added between encoder and decoder.

    Attributes:
        double: of a Flux transformer, how many of them are for its blocks of two streams.
    """

    skips: tuple[Float[Tensor, "b _ _ _"], ...]
    middle: Float[Tensor, "b _ _ _"]
    double: int = 0

    @property
    def all(self) -> tuple[Tensor, ...]:
        """All of them, in order."""
        return (*self.skips, self.middle)


@runtime_checkable
class Controllable(Protocol):
    """A user-provided U-Net that can be controlled between its encoder and decoder.

    Attributes:
        encoder: encoder and middle block as one module; called with image, times, hint and inputs,
            it returns the skip connections and the output of the middle block. It adds the hint,
            unless that is None, to the output of its first convolution.
        joints: of the skip connections, in that order, and of the middle block, last.
    """

    encoder: nn.Module
    joints: Sequence[Joint]

    def decode(
        self, skips: tuple[Tensor, ...], middle: Tensor, times: Tensor, inputs: Inputs
    ) -> Tensor:
        """Return the U-Net's output from the outputs of its encoder."""
        ...


def encode_half(
    parts: Any, x: Tensor, times: Tensor, hint: Tensor | None, inputs: Inputs
) -> tuple[Handed, Tensor]:
    """Run encoder and middle block of a diffusers U-Net.

    Args:
        parts: an object with the U-Net's `conv_in`, `time_embedding`, `down_blocks`, `mid_block`.
        x: noisy images as the U-Net takes them.
        times: timesteps, one for each row.
        hint: added to the first layer's output, of its size, for one row or for all; None for none.
        inputs: states of the prompts, under the argument names of diffusers.

    Returns:
        The skip connections and the middle block's output, and the embedding of the timestep.
    """
    embedded = parts.time_embedding(parts.time_proj(times.expand(len(x))).to(x.dtype))
    added = inputs.get("added_cond_kwargs")
    if added is not None:
        locations = parts.add_time_proj(added["time_ids"].flatten()).view(len(x), -1)
        words = torch.cat([added["text_embeds"], locations.to(x.dtype)], dim=-1)
        embedded = embedded + parts.add_embedding(words)
    requested = {
        "encoder_hidden_states": inputs.get("encoder_hidden_states"),
        "cross_attention_kwargs": inputs.get("cross_attention_kwargs"),
    }
    hidden = parts.conv_in(x)
    if hint is not None:
        hidden = hidden + hint
    skips: tuple[Tensor, ...] = (hidden,)
    for block in parts.down_blocks:
        reads = getattr(block, "has_cross_attention", False)
        hidden, more = block(hidden, embedded, **(requested if reads else {}))
        skips += more
    if parts.mid_block is not None:
        reads = getattr(parts.mid_block, "has_cross_attention", False)
        hidden = parts.mid_block(hidden, embedded, **(requested if reads else {}))
    return (skips, hidden), embedded


def run_with(
    network: Any, x: Tensor, times: Tensor, inputs: Inputs, residuals: Residuals | None
) -> Tensor:
    """Run a U-Net with residuals added between its encoder and decoder."""
    if is_transformer(network):
        if residuals is None:
            return run_transformer(network, x, times, inputs)
        return run_transformer(network, x, times, inputs, residuals.all, residuals.double)
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


def zero_convolutions_of(network: Any) -> tuple[Joint, ...]:
    """Return the connections of a U-Net that get zero convolutions.

    These are its skip connections in the encoder's order, then its middle block.

    Raises:
        BadInput: the kind of U-Net is not supported.
    """
    if isinstance(network, Controllable):
        return tuple(network.joints)
    if is_transformer(network):
        raise BadInput(
            f"a {type(network).__name__} has no skip connections, so this needs a U-Net.",
            "Take a pipeline with a U-Net; `graft control train` knows SD3 and Flux, too.",
        )
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


@runtime_checkable
class Control(Protocol):
    """Computes the residuals of a U-Net at each evaluation."""

    def __call__(self, x: Tensor, times: Tensor, sigma: Sigma, inputs: Inputs) -> Residuals | None:
        """Return the residuals; None for none.

        Args:
            x: noisy images as the U-Net takes them.
            times: timesteps as the U-Net takes them.
            sigma: noise level of all rows, or of each.
            inputs: states of the prompts, under the argument names of diffusers.
        """
        ...


def prompt_inputs(
    network: Any, texts: TextStates, x: Float[Tensor, "b c h w"], factor: int
) -> dict[str, Any]:
    """Return the prompt inputs of a network, under the argument names of diffusers.

    Args:
        network: a U-Net or transformer.
        texts: the prompts.
        x: its rows: all of the first prompt before those of the second.
        factor: pixels per value of `x` along a side.
    """
    rows = len(x)
    if rows % len(texts):
        raise ValueError(f"{rows} rows for {len(texts)} prompts")
    each = rows // len(texts)
    if is_transformer(network):
        return inputs_of(network, texts, each, x)
    states = texts.states.to(x.device).repeat_interleave(each, dim=0)
    inputs: dict[str, Any] = {"encoder_hidden_states": states}
    if texts.pooled is not None:
        side = [x.shape[2] * factor, x.shape[3] * factor]
        # height and width of the training image, its crop, the requested size
        locations = torch.tensor([*side, 0, 0, *side], dtype=x.dtype, device=x.device)
        inputs["added_cond_kwargs"] = {
            "text_embeds": texts.pooled.to(x.device).repeat_interleave(each, dim=0),
            "time_ids": locations.expand(rows, -1),
        }
    return inputs


class NetworkDenoiser:
    """`denoise(x, sigma) -> x0` of a U-Net; see `types.Denoiser`.

    It is bound to a fixed number of prompts: a batch has the same number of rows for each of them,
    all rows of the first prompt before those of the second.
    """

    def __init__(
        self,
        network: Any,
        noise: Noise,
        texts: TextStates | None,
        *,
        factor: int = 1,
        keeps_prompts: bool = False,
        control: Control | None = None,
        perturbed: Collection[nn.Module] = (),
        held: tuple[int, bool] = (0, False),
    ) -> None:
        """Bind a U-Net to prompts.

        Args:
            network: the U-Net; its weights must not change during the lifetime of this object.
            noise: the noise schedule that it was trained with.
            texts: states of the prompts; None for an unconditional model.
            factor: pixels per value of `x` along a side.
            keeps_prompts: result of `keep_prompts` for the U-Net.
            control: None for the U-Net alone.
            perturbed: layers of self-attention that see each location alone, see `perturb`.
            held: rows whose attention the others take, and whether to words, too; see `hold`.
        """
        self._network = network
        self._dtype = getattr(network, "dtype", None)  # a user's own network may have none
        self._noise = noise
        self._texts = texts
        self._factor = factor
        self._keeps_prompts = keeps_prompts
        self._control = control
        self._perturbed, self._held = perturbed, held
        self._rows: dict[torch.Size, dict[str, Any]] = {}

    def controlled(self, control: Control) -> "NetworkDenoiser":
        """Return a denoiser with the same network and prompts, and this control."""
        return self._like(control, self._perturbed)

    def perturb(self, layers: Sequence[str]) -> "NetworkDenoiser":
        """Return a denoiser whose self-attention is the identity in some layers.

        Each location then attends to itself alone, as in perturbed-attention guidance.

        Args:
            layers: parts of their names, for example `mid` or `up_blocks.1`. The `mid` of a
                transformer is the block in its middle.

        Raises:
            BadInput: there is no such layer, or the network's attention is of another kind.
        """
        names = {n: m for n, m in self._network.named_modules() if n.endswith(".attn1")}
        if is_transformer(self._network):
            names = attention_of(self._network)
            count = len(self._network.transformer_blocks)
            layers = [f"blocks.{count // 2}" if one == "mid" else one for one in layers]
        elif not self._keeps_prompts:
            names = {}
        if not names:
            raise BadInput(
                "only the attention of a U-Net with prompts, of SD3 and of DiT can be perturbed.",
                "Leave --pag out.",
            )
        chosen = set()
        for layer in layers:
            # a number is a whole one: blocks.1 is not blocks.10
            ends = rf"{re.escape(layer)}(?!\d)"
            found = {m for name, m in names.items() if layer and re.search(ends, name)}
            if not found:
                raise UnknownName("layer of self-attention", layer, list(names))
            chosen |= found
        return self._like(self._control, frozenset(chosen))

    def hold(self, rows: int, words: bool) -> "NetworkDenoiser":
        """Return a denoiser whose rows attend as the first ones do, as in prompt-to-prompt.

        Raises:
            BadInput: the U-Net's attention is of another kind.
        """
        if not self._keeps_prompts:
            raise BadInput("--source edits with models that have a U-Net only.", "Leave it out.")
        return self._like(self._control, self._perturbed, (rows, words))

    def _like(
        self,
        control: Control | None,
        perturbed: Collection[nn.Module],
        held: tuple[int, bool] = (0, False),
    ) -> "NetworkDenoiser":
        made = copy.copy(self)
        made._control, made._perturbed, made._held, made._rows = control, perturbed, held, {}
        return made

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Sigma) -> Float[Tensor, "b c h w"]:
        """Predict the clean image behind `x` at noise level `sigma`."""
        level = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
        times = self._noise.times_of(sigma, x).expand(len(x))
        scaled, inputs = self._noise.scaled(x, level).to(self._dtype), self._inputs(x)
        residuals = None
        if self._control is not None:
            residuals = self._control(scaled, times, sigma, inputs)
        alone = self._perturbed if is_transformer(self._network) else ()
        with explained_compiler(), perturbed_attention(alone):
            output = run_with(self._network, scaled, times, inputs, residuals)
        output = output[:, : x.shape[1]].to(x)  # the other channels: variance
        return self._noise.x0_of(x, output, level)

    def _inputs(self, x: Float[Tensor, "b c h w"]) -> dict[str, Any]:
        """Return the prompt inputs of the U-Net, cached for batches of this shape."""
        if self._texts is None:
            return {}
        if x.shape not in self._rows:
            found = prompt_inputs(self._network, self._texts, x, self._factor)
            if self._keeps_prompts:
                # a cache that fills would be compiled for again and again
                cache: dict[str, Any] = {} if is_compiled(self._network) else {"prompt_keys": {}}
                found["cross_attention_kwargs"] = cache
            if self._perturbed and self._keeps_prompts:
                found["cross_attention_kwargs"]["perturbed"] = self._perturbed
            if self._held[0]:
                found["cross_attention_kwargs"]["held"] = self._held
            self._rows[x.shape] = found
        return self._rows[x.shape]
