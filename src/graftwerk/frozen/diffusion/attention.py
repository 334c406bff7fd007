"""Attention that computes the keys and values of a prompt once, not at every step."""

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn

# For each attention layer its keys and values, heads apart.
PromptKeys = dict[nn.Module, tuple[Tensor, Tensor]]


class PromptAttention:
    """Attention as diffusers computes it, with room for what does not change between steps.

    A U-Net's cross-attention reads the same prompt at every step. Small pictures spend a tenth of
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
            hidden_states: the picture.
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
    batch, places, width = values.shape
    return values.view(batch, places, heads, width // heads).transpose(1, 2)


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
