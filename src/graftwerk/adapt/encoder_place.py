"""A read-out from a hidden layer of an encoder of pictures, which draws nothing."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadInput
from ..frozen.encoders import encoder_fingerprint, model_folder
from ..frozen.images import IMAGE_MODELS
from ..frozen.loading import choose_device
from ..frozen.recipe import read_recipe
from ..frozen.trainable import Trainable, load_trainable
from ..train.initialise import initialise
from ..train.state import generator_for


@dataclass(frozen=True)
class EncoderPlace:
    """A hidden layer; see `places.Place`.

    Attributes:
        name: of the model.
        fingerprint: hash of the model and the layer.
        encoder: its network.
        layer: hidden layer; None: the last, as the model itself takes it.
        size: width and height of the pictures in pixels.
        device: where it runs.
        sigma: 0: it looks at pictures without noise.
    """

    name: str
    fingerprint: str
    encoder: Trainable
    layer: int | None
    size: tuple[int, int]
    device: str
    sigma: float = 0.0

    @torch.no_grad()
    def read(self, pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, "b d"]:
        """Unit vectors of pictures with values 0 to 1."""
        from PIL import Image

        levels = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        images = [Image.fromarray(np.ascontiguousarray(row)) for row in levels]
        return self.encoder.encode(self.encoder.prepare(images))

    def randomised(self, seed: int) -> "EncoderPlace":
        """The same layer of a network of this form whose weights are drawn anew."""
        fresh = load_trainable(self.encoder.root, "image", self.layer, self.device)
        initialise(fresh.network, generator_for(seed, 0, self.device))
        for module in fresh.network.modules():
            if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d):
                module.reset_parameters()
        return replace(self, encoder=fresh)


def open_encoder_place(name: str, layer: int | None, device: str) -> EncoderPlace:
    """Open an encoder of pictures.

    Raises:
        BadInput: the model reads no pictures, or the layer is out of range.
        Damaged: a weight file is cut short.
    """
    root: Path = model_folder(name)
    recipe = read_recipe(root)
    if recipe.transformer.model_type not in IMAGE_MODELS:
        raise BadInput(
            f"model {name!r} of type {recipe.transformer.model_type!r} reads no pictures.",
            f"Name a diffusion pipeline, or a model of type {', '.join(sorted(IMAGE_MODELS))}.",
        )
    place = choose_device(device)
    encoder = load_trainable(root, "image", layer, place)
    config = recipe.transformer.config
    side = config.get("vision_config", config).get("image_size", 224)
    width = int(side[-1] if isinstance(side, list | tuple) else side)
    return EncoderPlace(
        name=name,
        fingerprint=encoder_fingerprint(root, recipe, layer),
        encoder=encoder,
        layer=layer,
        size=(width, width),
        device=place,
    )
