"""Where a probe reads a model: autoencoder latents, U-Net layers, or an image encoder's layers."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..diffusion.pipeline import DiffusionModel, LatentSpace, load_diffusion, load_part
from ..diffusion.sampling import to_images, to_levels
from ..errors import BadInput
from ..models.checkpoint import fingerprint, read_object
from ..models.encoders import encoder_fingerprint, model_folder
from ..models.hub import loading, locate
from ..models.image_encoder import IMAGE_MODELS
from ..models.text_encoder import read_recipe
from ..models.trainable import Trainable, load_trainable
from ..models.transformers import choose_device
from ..training.state import generator_for, initialise


@dataclass(frozen=True)
class EncoderLayer:
    """A hidden layer of an image encoder; see `Location`.

    Attributes:
        name: of the model.
        fingerprint: hash of the model and the layer.
        encoder: its network.
        layer: index of the hidden layer; None for the model's own output.
        size: width and height of the images in pixels.
        device: where it runs.
        sigma: always 0: images have no noise.
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
        """Return unit vectors of images with values from 0 to 1."""
        images = to_images(to_levels(pictures))
        return self.encoder.encode(self.encoder.prepare(images))

    def randomised(self, seed: int) -> "EncoderLayer":
        """Return the same layer of the same architecture with re-initialized weights."""
        fresh = load_trainable(self.encoder.root, "image", self.layer, self.device)
        _sampled_again(fresh.network, seed)
        return replace(self, encoder=fresh)


def open_encoder_location(name: str, layer: int | None, device: str) -> EncoderLayer:
    """Open an image encoder."""
    root: Path = model_folder(name)
    recipe = read_recipe(root)
    if recipe.transformer.model_type not in IMAGE_MODELS:
        raise BadInput(
            f"model {name!r} of type {recipe.transformer.model_type!r} reads no images.",
            f"Name a diffusion pipeline, or a model of type {', '.join(sorted(IMAGE_MODELS))}.",
        )
    if layer is not None and IMAGE_MODELS[recipe.transformer.model_type].takes == "joint":
        raise BadInput(
            f"layer {layer} cannot be taken from {name!r}: only the last one is joint.",
            "Leave the layer out.",
        )
    location = choose_device(device)
    encoder = load_trainable(root, "image", layer, location)
    config = recipe.transformer.config
    side = config.get("vision_config", config).get("image_size", 224)
    width = int(side[-1] if isinstance(side, list | tuple) else side)
    return EncoderLayer(
        name=name,
        fingerprint=encoder_fingerprint(root, recipe, layer),
        encoder=encoder,
        layer=layer,
        size=(width, width),
        device=location,
    )


At = Literal["latent", "middle", "encoder"]
_NOISE_SEED = 2**61


@dataclass(frozen=True)
class Location:
    """A layer of a frozen diffusion model that can be read and modified.

    Attributes:
        name: of the model.
        fingerprint: hash of the model.
        at: which layer.
        space: the autoencoder.
        model: the diffusion model; None if only the autoencoder is probed.
        sigma: noise level at which the U-Net is probed; 0 for noise-free latents.
        size: width and height of the images in pixels.
        device: where it runs.
    """

    name: str
    fingerprint: str
    at: At
    space: LatentSpace
    model: DiffusionModel | None
    sigma: float
    size: tuple[int, int]
    device: str

    @torch.no_grad()
    def read(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b d"]:
        """Return the flattened activations for images with values from 0 to 1."""
        latents = self.space.encode(images.to(self.device))
        if self.model is None:
            return latents.flatten(1)
        seen: list[Tensor] = []
        with self._looking(seen.append):
            self._denoise(latents)
        return seen[0].flatten(1)

    @torch.no_grad()
    def draw(
        self, images: Float[Tensor, "b k y x"], change: Float[Tensor, " d"]
    ) -> Float[Tensor, "b k y x"]:
        """Generate the images with `change` added to the activations.

        Inside the U-Net these are one-step predictions of the clean images from noised ones.
        """
        latents = self.space.encode(images.to(self.device))
        change = change.to(self.device, latents.dtype)
        if self.model is None:
            return self.space.decode(latents + change.view(latents.shape[1:]))
        with self._looking(lambda values: values + change.view(values.shape[1:])):
            sampled = self._denoise(latents)
        return self.space.decode(sampled)

    def randomised(self, seed: int) -> "Location":
        """Return the same layer of the same architecture with re-initialized weights."""
        if self.model is None:
            network = copy.deepcopy(self.space.network)
            space = LatentSpace(_sampled_again(network, seed))
            return replace(self, space=space)
        unet = _sampled_again(copy.deepcopy(self.model.unet), seed)
        return replace(self, model=replace(self.model, unet=unet))

    def _denoise(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        assert self.model is not None  # noqa: S101  for the type checker
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        noise = torch.randn(latents.shape[1:], generator=generator).to(latents)
        texts = None if self.model.reader is None else self.model.reader.read([""])
        return self.model.denoiser(texts)(latents + self.sigma * noise, self.sigma)

    @contextmanager
    def _looking(self, look: Any) -> Iterator[None]:
        """Call `look` with the layer's output, which it may replace."""
        assert self.model is not None  # noqa: S101  for the type checker
        unet = self.model.unet
        layer = unet.mid_block if self.at == "middle" else unet.down_blocks[-1]

        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            changed = look(first)
            if changed is None:
                return None
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handle = layer.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


def is_pipeline(name: str) -> bool:
    """Whether a name refers to a diffusion model, or a part of one, rather than to an encoder."""
    folder = locate(name)
    if (folder / "model_index.json").is_file():
        return True
    if not (folder / "config.json").is_file():
        return False
    return "_class_name" in read_object(folder / "config.json")


def open_location(name: str, at: At, sigma: float, device: str) -> Location:
    """Open a diffusion pipeline, or for `latent` just an autoencoder."""
    folder = locate(name)
    if (folder / "config.json").is_file():
        return _open_autoencoder(name, folder, at, device)
    model = load_diffusion(name, device)
    if at == "latent" and model.decoder is None:
        raise BadInput(f"model {name!r} draws pixels and has no latents.", "Say --at middle.")
    if at != "latent" and model.trunk != "unet":
        raise BadInput(f"model {name!r} has a transformer, not a U-Net.", "Say --at latent.")
    return Location(
        name=name,
        fingerprint=model.fingerprint,
        at=at,
        space=model.space,
        model=None if at == "latent" else model,
        sigma=0.0 if at == "latent" else sigma,
        size=model.size,
        device=model.device,
    )


def _open_autoencoder(name: str, folder: Path, at: At, device: str) -> Location:
    kind = read_object(folder / "config.json").get("_class_name")
    if kind != "AutoencoderKL" or at != "latent":
        raise BadInput(
            f"{folder} is of the class {kind!r}, which has no place {at!r}.",
            "Name a diffusion pipeline, or an AutoencoderKL with --at latent.",
        )
    location = choose_device(device)
    with loading(name):
        network: Any = load_part(folder).to(location)
    side = int(network.config.sample_size)
    return Location(
        name=name,
        fingerprint=fingerprint(folder, {}),
        at=at,
        space=LatentSpace(network),
        model=None,
        sigma=0.0,
        size=(side, side),
        device=location,
    )


def _sampled_again(network: nn.Module, seed: int) -> nn.Module:
    device = next(network.parameters()).device.type
    initialise(network, generator_for(seed, 0, device))
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d):
            module.reset_parameters()
    return network
