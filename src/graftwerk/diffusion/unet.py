"""A discrete-time U-Net as a denoiser, and its encoder and decoder run apart.

Between the two, a ControlNet branch adds to the skips and to the output of the middle block. The
keys and values of a prompt are computed once, not at every step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadInput
from .noise_schedule import Noise, Sigma
from .prompts import TextStates

# For each attention layer its keys and values, heads apart.
PromptKeys = dict[nn.Module, tuple[Tensor, Tensor]]


class PromptAttention:
    """Attention as diffusers computes it, with room for what does not change between steps.

    A U-Net's cross-attention reads the same prompt at every step. Small images spend a tenth of
    their time on its keys and values, and a third in a U-Net of Stable Diffusion's size.
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
    ) -> Float[Tensor, "b places d"]:
        """Attend; the parameters are named as diffusers names them.

        Args:
            attn: the layer, with its projections.
            hidden_states: the image.
            encoder_hidden_states: the prompt; None for self-attention.
            attention_mask: handed on.
            temb: handed on.
            prompt_keys: where keys and values are kept; they hold for one prompt, one batch and
                the present weights. Not used while gradients are recorded.
        """
        # In training the weights of keys and values may change.
        if encoder_hidden_states is None or prompt_keys is None or torch.is_grad_enabled():
            found: Tensor = self._plain(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return found
        if attn not in prompt_keys:
            keys, values = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
            prompt_keys[attn] = (_by_head(keys, attn.heads), _by_head(values, attn.heads))
        keys, values = prompt_keys[attn]
        queries = _by_head(attn.to_q(hidden_states), attn.heads)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        projected: Tensor = attn.to_out[0](attended.transpose(1, 2).flatten(2))
        return projected


def _by_head(values: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b heads n each"]:
    batch, locations, width = values.shape
    return values.view(batch, locations, heads, width // heads).transpose(1, 2)


def keep_prompts(unet: Any) -> bool:
    """Let the cross-attention of a U-Net keep a prompt's keys and values.

    Returns:
        False where its attention is of another kind, which is then left as it is.
    """
    plain = all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())
    simple = all(_is_simple(m) for name, m in unet.named_modules() if name.endswith(".attn2"))
    if plain and simple:
        unet.set_attn_processor(PromptAttention())
    return plain and simple


def _is_simple(attn: Any) -> bool:
    """Whether a layer has projections only: no norms of its own, no residual, no scaling."""
    norms = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross)
    extras = attn.residual_connection or attn.rescale_output_factor != 1
    return not extras and all(norm is None or norm is False for norm in norms)


Inputs = Mapping[str, Any]  # what a U-Net takes beside image and time: the prompt's states
Handed = tuple[tuple[Tensor, ...], Tensor]  # skips, middle


@dataclass(frozen=True, slots=True)
class Joint:
    """A place between the halves.

    Attributes:
        channels: of what is handed over there.
        halvings: of its sides, counted from those of the U-Net's own image.
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
        encoder: its encoder and middle as one module; called with image, times, hint and inputs
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
        x: noisy images as the U-Net takes them.
        times: one for each row.
        hint: of the size that the first layer gives, for one row or for all.
        inputs: states of the prompts, by the names of the library.

    Returns:
        What is handed over, and the embedding of the time.
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
    """A U-Net's output with something added between its halves; None: the U-Net as it is.

    Args:
        network: a `UNet2DConditionModel`, a `UNet2DModel` or a `Controllable`.
        x: noisy images as the U-Net takes them.
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


def zero_convolutions_of(network: Any) -> tuple[Joint, ...]:
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


@runtime_checkable
class Control(Protocol):
    """What is added between the halves of a U-Net at each evaluation."""

    def __call__(self, x: Tensor, times: Tensor, sigma: Sigma, inputs: Inputs) -> Residuals | None:
        """What is added; None: nothing.

        Args:
            x: noisy images as the U-Net takes them.
            times: as the U-Net takes them.
            sigma: noise level of all rows, or of each.
            inputs: states of the prompts, by the names of the library.
        """
        ...


class NetworkDenoiser:
    """`denoise(x, sigma) -> x0` of a U-Net; see `contracts.Denoiser`.

    Holds for prompts of a fixed number: a batch has the same number of rows for each of them, all
    rows of the first prompt before those of the second.
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
    ) -> None:
        """Bind a U-Net to prompts.

        Args:
            network: the U-Net; its weights stay as they are while this lives.
            noise: the noise that it was trained with.
            texts: states of the prompts; None for an unconditional model.
            factor: pixels to a side of one value of `x`.
            keeps_prompts: what `attention.keep_prompts` said of the U-Net.
            control: None: the U-Net alone.
        """
        self._network = network
        self._noise = noise
        self._texts = texts
        self._factor = factor
        self._keeps_prompts = keeps_prompts
        self._control = control
        self._rows: dict[torch.Size, dict[str, Any]] = {}

    def controlled(self, control: Control) -> "NetworkDenoiser":
        """The same network and prompts with something added between the halves."""
        return NetworkDenoiser(
            self._network,
            self._noise,
            self._texts,
            factor=self._factor,
            keeps_prompts=self._keeps_prompts,
            control=control,
        )

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Sigma) -> Float[Tensor, "b c h w"]:
        """The clean image that the network expects behind `x`, at noise level `sigma`."""
        level = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
        times = self._noise.times_of(sigma, x).expand(len(x))
        scaled, inputs = x / (1 + level**2) ** 0.5, self._inputs(x)
        residuals = None
        if self._control is not None:
            residuals = self._control(scaled, times, sigma, inputs)
        output = run_with(self._network, scaled, times, inputs, residuals)
        return self._noise.x0_of(x, output[:, : x.shape[1]], level)  # further channels: variance

    def _inputs(self, x: Float[Tensor, "b c h w"]) -> dict[str, Any]:
        """What the U-Net takes of the prompts, made once for a batch of this shape."""
        if self._texts is None:
            return {}
        if x.shape not in self._rows:
            self._rows[x.shape] = self._new_inputs(self._texts, x)
        return self._rows[x.shape]

    def _new_inputs(self, texts: TextStates, x: Float[Tensor, "b c h w"]) -> dict[str, Any]:
        rows = len(x)
        if rows % len(texts):
            raise ValueError(f"{rows} rows for {len(texts)} prompts")
        each = rows // len(texts)
        inputs: dict[str, Any] = {
            "encoder_hidden_states": texts.states.repeat_interleave(each, dim=0)
        }
        if texts.pooled is not None:
            side = [x.shape[2] * self._factor, x.shape[3] * self._factor]
            # height and width of the training image, its crop, the size requested
            locations = torch.tensor([*side, 0, 0, *side], dtype=x.dtype, device=x.device)
            inputs["added_cond_kwargs"] = {
                "text_embeds": texts.pooled.repeat_interleave(each, dim=0),
                "time_ids": locations.expand(rows, -1),
            }
        if self._keeps_prompts:
            inputs["cross_attention_kwargs"] = {"prompt_keys": {}}
        return inputs
