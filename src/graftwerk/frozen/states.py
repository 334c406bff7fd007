"""From what a network gives to one vector an item, with gradients where they are wanted."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..contracts import HiddenLayer

if TYPE_CHECKING:
    from .images import ImageModel


def picture_states(
    network: Any, kind: "ImageModel", layer: HiddenLayer, inputs: Mapping[str, Tensor]
) -> Float[Tensor, "b d"]:
    """One vector a picture, not yet of unit length.

    Args:
        network: of that kind.
        kind: what is known of it.
        layer: which is taken.
        inputs: what the image processor gives, where the network is.
    """
    if kind.takes == "joint":
        features: Tensor = network.get_image_features(**inputs).pooler_output
        return features
    return pooled(network(**inputs, output_hidden_states=layer is not None), kind, layer)


def pooled(output: Any, kind: "ImageModel", layer: HiddenLayer) -> Float[Tensor, "b d"]:
    """One vector a picture from the output of a network that reads pictures only."""
    token = kind.takes == "class token"
    return joined(
        [states[:, 0] if token else states.mean(dim=(2, 3)) for states in layers_of(output, layer)]
    )


def layers_of(output: Any, layer: HiddenLayer) -> Sequence[Tensor]:
    """States of the layers that are taken, of what a network of transformers gives."""
    if layer is None:
        return [output.last_hidden_state]
    states: Sequence[Tensor] = output.hidden_states
    return states[1:] if layer == "all" else [states[layer]]


def joined(vectors: Sequence[Float[Tensor, "b _"]]) -> Float[Tensor, "b d"]:
    """Vectors of several layers side by side, each of unit length, so that they weigh alike."""
    if len(vectors) == 1:
        return vectors[0]
    return torch.cat([functional.normalize(one, dim=-1) for one in vectors], dim=-1)
