"""Latents of stored scenes, encoded once and kept beside them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Monitor
from ..frozen.judge import as_input
from .chunks import Chunks, open_chunks
from .rendering import Rows
from .scenes import Scenes, as_tensors

_BATCH = 64


def encode_rows(network: Any, rows: Rows, device: str) -> Float[Tensor, "n c y x"]:
    """Mean latents of stored scenes, in the autoencoder's own scale."""
    pictures = as_tensors(rows)["picture"]
    with torch.inference_mode():
        found = [
            network.encode(as_input(part.to(device))).latent_dist.mean.float().cpu()
            for part in torch.split(pictures, _BATCH)
        ]
    return torch.cat(found)


def open_latents(
    network: Any, identity: str, scenes: Scenes, device: str, monitor: Monitor
) -> Chunks:
    """Encode scenes where that was not done yet: [c y x] each, scaled to unit variance.

    Args:
        network: the autoencoder, on the device.
        identity: of what decides its latents.
        scenes: what is encoded, in their order.
        device: where it runs.
        monitor: told about it.

    Raises:
        NoRoom, Cancelled, Damaged: see `chunks.open_chunks`.
    """

    def make(span: range) -> Tensor:
        latents = encode_rows(network, scenes.rows(np.array(span)), device)
        scaled: Tensor = latents * network.config.scaling_factor
        return scaled

    place = f"latents/{scenes.name}-{identity[:16]}"
    return open_chunks(place, len(scenes), 4, "encoding scenes", make, monitor)
