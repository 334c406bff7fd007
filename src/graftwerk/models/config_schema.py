"""The one schema for configurations of models: what each number in them may be.

A configuration comes with the model, so from anywhere. A library takes from it how much memory it
needs and how many layers it builds, and computes on with a NaN without a word.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadFile

CHECKED = {"config.json", "scheduler_config.json", "preprocessor_config.json"}

_LAYERS = (0, 1_000)
_HEADS = (1, 10_000)
_WIDTH = (1, 262_144)  # the widest known layers have some 60,000 values
_PIXELS = (1, 16_384)
_EPSILON = (0, 1)
_BOUNDS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "depths"),
        _LAYERS,
    ),
    **dict.fromkeys(
        ("decoder_layers", "num_decoder_layers", "layers_per_block", "reverse_layers_per_block"),
        _LAYERS,
    ),
    **dict.fromkeys(("transformer_layers_per_block", "blocks"), _LAYERS),
    **dict.fromkeys(
        ("num_attention_heads", "num_heads", "n_head", "n_heads", "num_key_value_heads"), _HEADS
    ),
    **dict.fromkeys(
        ("encoder_attention_heads", "decoder_attention_heads", "attention_head_dim"), _HEADS
    ),
    **dict.fromkeys(("hidden_size", "intermediate_size", "d_model", "d_ff", "d_kv"), _WIDTH),
    **dict.fromkeys(("n_embd", "cross_attention_dim", "projection_dim", "head_dim"), _WIDTH),
    **dict.fromkeys(("block_out_channels", "in_channels", "out_channels"), _WIDTH),
    **dict.fromkeys(("latent_channels", "conditioning_channels", "num_channels"), _WIDTH),
    **dict.fromkeys(("in_features", "norm_num_groups"), _WIDTH),
    **dict.fromkeys(("sample_size", "image_size", "patch_size", "height", "width"), _PIXELS),
    **dict.fromkeys(("shortest_edge", "longest_edge"), _PIXELS),
    **dict.fromkeys(("layer_norm_eps", "rms_norm_eps", "norm_eps"), _EPSILON),
    **dict.fromkeys(("layer_norm_epsilon", "beta_start", "beta_end"), _EPSILON),
    "vocab_size": (1, 10_000_000),
    "max_position_embeddings": (1, 100_000_000),
    "num_train_timesteps": (1, 100_000),
    "scaling_factor": (1e-6, 1e6),
    "resample": (0, 5),
    "rescale_factor": (0, 1e6),
    "image_mean": (-1e6, 1e6),
    "image_std": (1e-6, 1e6),
}
_MAY_BE_INFINITE = {"time_step_limit"}  # of state-space models: no upper limit
_LARGEST = 1e38  # what a 32-bit number holds


def check_config(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a number that no model has, and what is no number where one belongs.

    Args:
        path: the file, for messages.
        content: what it holds.

    Raises:
        BadFile: names the field, its value, and what is allowed.
    """
    for name, value in _values("", content):
        key = name.rpartition(".")[2]
        bounds = _BOUNDS.get(key)
        if value is None or isinstance(value, bool) or key in _MAY_BE_INFINITE:
            continue
        if isinstance(value, int | float):
            low, high = bounds or (-_LARGEST, _LARGEST)
            if math.isfinite(value) and low <= value <= high:
                continue
            allowed = f"a number from {low:,g} to {high:,g}" if bounds else "a finite number"
        elif isinstance(value, str) and bounds is not None:
            allowed = "a number"
        else:
            continue
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
        raise BadFile(
            f"{path}: {name} is {shown}; allowed is {allowed}.",
            "Copy the file again from where the model comes from, or correct that entry.",
        )


def _values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value inside, with the names that lead to it; an entry of a list has the list's."""
    pending = [(name, value)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend((f"{name}.{key}" if name else str(key), v) for key, v in value.items())
        elif isinstance(value, list):
            pending.extend((name, entry) for entry in value)
        else:
            yield name, value
