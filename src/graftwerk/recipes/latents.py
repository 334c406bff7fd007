"""Latents of stored scenes, encoded once and kept beside them."""

from typing import Any

import numpy as np
from torch import Tensor

from ..contracts import Monitor
from .autoencoder import encode_rows
from .chunks import Chunks, open_chunks
from .scenes import Scenes


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
