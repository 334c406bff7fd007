"""Encoders of time series: PatchTST and TimesFM of the transformers library.

A series is one row of numbers. These networks scale each one to mean 0 and standard deviation 1
themselves, so its level is lost and only its shape matters.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadInput
from .checkpoint import SERIES_MODELS, ModelFolder
from .transformers import load_network


class SeriesNetwork(nn.Module):
    """A network and its pooling, from series to unit vectors.

    Attributes:
        saved: the network as the library saves it.
        network: the part of it that encodes.
        kind: its type.
    """

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__()
        known = SERIES_MODELS[folder.model_type]
        self.saved: Any = load_network(folder, known.network)
        self.network: Any = getattr(self.saved, known.inner) if known.inner else self.saved
        self.kind = folder.model_type
        if self.kind == "patchtst":
            read_one_channel(self.network)

    def prepare(self, series: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the network's inputs; series are padded on the left.

        Raises:
            BadInput: a series is longer than the network takes.
        """
        longest = max(len(row) for row in series)
        width = self._width(longest)
        values = np.zeros((len(series), width), dtype=np.float32)
        padding = np.ones((len(series), width), dtype=np.float32)
        for location, row in enumerate(series):
            values[location, width - len(row) :] = row
            padding[location, width - len(row) :] = 0
        return {"values": torch.from_numpy(values), "padding": torch.from_numpy(padding)}

    def forward(
        self, values: Float[Tensor, "b t"], padding: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b d"]:
        """Encode a batch; `padding` is 1 for padded values."""
        if self.kind == "patchtst":
            observed = (1 - padding).unsqueeze(-1)
            output = self.network(past_values=values.unsqueeze(-1), past_observed_mask=observed)
            states = output.last_hidden_state.mean(dim=(1, 2))  # [b c p d] -> [b d]
            return nn.functional.normalize(states, dim=-1)
        options: dict[str, Any] = {"past_values_padding": padding.long()}
        if self.kind == "timesfm":
            options["freq"] = torch.zeros((len(values), 1), dtype=torch.long, device=values.device)
        states = self.network(past_values=values, **options).last_hidden_state  # [b p d]
        length = self.network.config.patch_length
        seen = 1 - padding.view(len(values), -1, length).amin(dim=-1)  # [b p]
        pooled = (states * seen.unsqueeze(-1)).sum(dim=1) / seen.sum(dim=1, keepdim=True)
        return nn.functional.normalize(pooled, dim=-1)

    def _width(self, longest: int) -> int:
        config = self.network.config
        if self.kind != "patchtst":
            return -(-longest // int(config.patch_length)) * int(config.patch_length)
        if longest > config.context_length:
            raise BadInput(
                f"a series has {longest} values; this PatchTST takes {config.context_length}.",
                "Name fewer columns with --content.",
            )
        return int(config.context_length)


def read_one_channel(network: Any) -> None:
    """Let a PatchTST of several channels, whose embedding they share, read a single one.

    Raises:
        BadInput: it has an embedding, or a head, for each.
    """
    config = network.config
    if config.num_input_channels == 1:
        return
    if not config.share_embedding or not config.share_projection:
        raise BadInput(
            f"this PatchTST reads {config.num_input_channels} series at once, each by weights of "
            "its own, and here one is read at a time.",
            "Name one with share_embedding and share_projection, or of one input channel.",
        )
    for module in network.modules():
        if hasattr(module, "num_input_channels"):
            module.num_input_channels = 1
