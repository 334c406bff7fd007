"""From a network of pictures to one vector a picture, with gradients where they are wanted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .images import ImageModel

if TYPE_CHECKING:
    import torch


def picture_states(
    network: Any, kind: ImageModel, number: int | None, inputs: Mapping[str, "torch.Tensor"]
) -> "torch.Tensor":
    """One vector a picture, not yet of unit length, [b d].

    Args:
        network: of that kind.
        kind: what is known of it.
        number: hidden layer to take; None: the last.
        inputs: what the image processor gives, where the network is.
    """
    if kind.takes == "joint":
        features: torch.Tensor = network.get_image_features(**inputs).pooler_output
        return features
    output = network(**inputs, output_hidden_states=number is not None)
    states: torch.Tensor = (
        output.last_hidden_state if number is None else output.hidden_states[number]
    )
    return states[:, 0] if kind.takes == "class token" else states.mean(dim=(2, 3))
