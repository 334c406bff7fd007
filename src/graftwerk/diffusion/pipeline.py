"""Load a pipeline by name as a frozen diffusion model, from its configurations and safetensors."""

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import diffusers
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import BadFile, BadInput, UnknownName
from ..models.hub import loading
from ..models.transformers import choose_device
from . import checkpoint
from .flow import read_flow, shifted
from .noise_schedule import Noise, read_noise
from .placement import Placement
from .prompts import TextReader, TextStates, make_reader
from .single_file import read_parts
from .transformer import FLUX, KNOWN, SD3
from .unet import NetworkDenoiser, keep_prompts

Precision = Literal["float32", "bfloat16", "float16"]
# Decoders of 2022 were saved before these layers got their current names.
_FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_part(
    folder: Path, weights: Mapping[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Load a network of a pipeline, or a ControlNet, in evaluation mode, on the CPU.

    Its class is looked up in a table by the name in its configuration.

    Raises:
        BadFile: the class is unknown, or the weights do not fit the configuration.
        Damaged: a weight file is truncated or malformed.
    """
    config = checkpoint.read_config(folder)
    network_class = _network_class(folder, config)
    state = _read_weights(folder, dtype) if weights is None else dict(weights)
    try:
        with quiet(), torch.device("meta"):  # no memory until the weights are known to fit
            network: nn.Module = network_class.from_config(config)
        requested = network.state_dict()
        state = {_present_name(key, requested): value for key, value in state.items()}
        network.load_state_dict(state, assign=True)
        _fill_tables(network, network_class, config)
        with quiet():
            network.to(dtype)  # tables that are not saved too
    except (RuntimeError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise BadFile(
            f"the weights in {folder} do not fit its config.json: {error}",
            "Copy the whole folder again.",
        ) from error
    return network.eval().requires_grad_(False)


_CLASSES = (
    *("UNet2DConditionModel", "UNet2DModel", "AutoencoderKL", "ControlNetModel"),
    *(*KNOWN, "SD3ControlNetModel", "FluxControlNetModel"),
)


def _network_class(folder: Path, config: Mapping[str, Any]) -> Any:
    name = config.get("_class_name")
    if name == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
        name = checkpoint.DIT  # as diffusers does with checkpoints of 2023
    if name not in _CLASSES:
        raise BadFile(
            f"{folder / 'config.json'} is of the class {name!r}, which is not known here.",
            f"Known: {', '.join(_CLASSES)}.",
        )
    return getattr(diffusers, name)


def _fill_tables(network: nn.Module, network_class: Any, config: Mapping[str, Any]) -> None:
    """Fill in the tables of a network that are not saved, from one with a single layer."""
    missing = [name for name, table in network.named_buffers() if table.is_meta]
    if missing:
        tables = dict(network_class.from_config({**config, "num_layers": 1}).named_buffers())
        for name in missing:
            parent, _, own = name.rpartition(".")
            network.get_submodule(parent).register_buffer(own, tables[name], persistent=False)


def _read_weights(folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for file in checkpoint.weight_files(folder):
        state |= {key: value.to(dtype) for key, value in load_file(file).items()}
    return state


def _present_name(key: str, requested: Mapping[str, Tensor]) -> str:
    """Return the name of a weight in the library's current code."""
    if key in requested:
        return key
    module, _, kind = key.rpartition(".")
    parent, _, layer = module.rpartition(".")
    return f"{parent}.{_FORMER_NAMES.get(layer, layer)}.{kind}"


@contextmanager
def quiet() -> Iterator[None]:
    """Drop diffusers' own log and its warnings about its own code, while networks are made."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)


LATENTS_OF = "_latents_of"  # in an autoencoder's config: the identity of the latents it kept
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class LatentSpace:
    """An autoencoder and the scale of its latents; without one, pixels from -1 to 1.

    Attributes:
        network: an `AutoencoderKL` of diffusers, or None.
        precise: reads its weights again where they were rounded for the network.
    """

    network: Any
    precise: Callable[[], Any] | None = None

    @property
    def factor(self) -> int:
        """Pixels per value along a side."""
        if self.network is None:
            return 1
        return int(2 ** (len(self.network.config.block_out_channels) - 1))

    @cached_property
    def identity(self) -> str:
        """Hash of everything that determines the latents; `pixels` without an autoencoder.

        An autoencoder for larger images with the latents of another one has that one's.
        """
        if self.network is None:
            return "pixels"
        if self.is_double:
            return str(self.network.config[LATENTS_OF])
        digest = hashlib.sha256(repr(self.network.config.scaling_factor).encode())
        if shift := self.network.config.get("shift_factor"):
            digest.update(repr(shift).encode())
        network = self.precise() if self.precise else self.network
        for name, weight in sorted(network.state_dict().items()):
            if is_encoder(name):
                digest.update(f"{name}\0".encode() + weight.half().cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def is_double(self) -> bool:
        """Whether it has the latents of an autoencoder for images of half the side."""
        kept = None if self.network is None else self.network.config.get(LATENTS_OF)
        return bool(_HASH.fullmatch(str(kept)))

    def encode(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode images with values from 0 to 1; latents are the mode of their distribution."""
        values = images * 2 - 1
        if self.network is None:
            return values
        latents: Tensor = self.network.encode(values.to(self.network.dtype)).latent_dist.mode()
        latents = latents.float()
        scale, mean, std = self._scale(latents)
        return (latents - mean) / std * scale

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k y x"]:
        """Decode generated values to images with values from 0 to 1."""
        values = latents
        if self.network is not None:
            scale, mean, std = self._scale(latents)
            values = (latents * std / scale + mean).to(self.network.dtype)
            values = self.network.decode(values, return_dict=False)[0].float()
        return (values / 2 + 0.5).clamp(0, 1)

    def _scale(self, like: Tensor) -> tuple[float, Tensor | float, Tensor | float]:
        config = self.network.config
        scale = float(config.scaling_factor)
        if config.latents_mean is None or config.latents_std is None:
            return scale, float(config.get("shift_factor") or 0.0), 1.0
        mean, std = (
            torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return scale, mean, std


def is_encoder(name: str) -> bool:
    """Whether a weight of this name affects an autoencoder's latents."""
    return name.startswith(("encoder.", "quant_conv."))


@dataclass(frozen=True)
class DiffusionModel:
    """A frozen diffusion model.

    Attributes:
        fingerprint: hash of weights and of everything else that affects an image.
        factor: pixels per value along a side; 1 if the U-Net generates pixels.
        unet: the U-Net or transformer.
        reader: encodes prompts; None for an unconditional model.
        decoder: the autoencoder that decodes latents to images; None for a model of pixels.
        keeps_prompts: whether the U-Net's attention can cache a prompt's keys and values.
        placement: where its networks run; None for a user's own, which are where they are.
    """

    name: str
    fingerprint: str
    noise: Noise
    channels: int
    factor: int
    multiple: int
    size: tuple[int, int]
    device: str
    unet: Any
    reader: TextReader | None
    decoder: Any
    keeps_prompts: bool
    trunk: str = "unet"
    folder: checkpoint.PipelineFolder | None = None
    placement: Placement | None = None

    @cached_property
    def denoiser_fingerprint(self) -> str:
        """Hash of all but the decoder, recorded with what is trained: it fits every decoder."""
        if self.folder is None or self.folder.file is not None or self.decoder is None:
            return self.fingerprint
        return self.folder.fingerprint(self.space.identity)

    @property
    def bases(self) -> tuple[str, ...]:
        """Fingerprints that a LoRA or branch for this model may have recorded."""
        former = self.folder.former if self.folder else ()
        return (self.fingerprint, self.denoiser_fingerprint, *former)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the U-Net's weights and arithmetic."""
        found: torch.dtype = next(self.unet.parameters()).dtype
        return found

    @property
    def networks(self) -> dict[str, Any]:
        """The U-Net or transformer, first, and the text encoders, by the names of their parts."""
        encoders = {} if self.reader is None else self.reader.encoders
        return {self.trunk: self.unet, **encoders}

    def with_networks(self, networks: Mapping[str, Any]) -> "DiffusionModel":
        """Return the same model with some of its networks replaced."""
        if self.placement is not None:
            for part, network in networks.items():
                self.placement.put(network, is_trunk=part == self.trunk)
        encoders = {part: net for part, net in networks.items() if part != self.trunk}
        reader = self.reader
        if reader is not None and encoders:
            reader = reader.with_encoders(encoders)
        return replace(self, unet=networks.get(self.trunk, self.unet), reader=reader)

    def denoiser(self, texts: TextStates | None) -> NetworkDenoiser:
        """Return the model as `denoise(x, sigma)` for these prompts.

        Args:
            texts: None for an unconditional model.

        Raises:
            BadInput: the model needs prompts and there are none, or the other way round.
        """
        if (texts is None) != (self.reader is None):
            raise BadInput(
                f"model {self.name!r} {'takes no' if self.reader is None else 'needs a'} prompt.",
                "Leave the prompt out." if self.reader is None else "Give it an empty prompt.",
            )
        return NetworkDenoiser(
            self.unet, self.noise, texts, factor=self.factor, keeps_prompts=self.keeps_prompts
        )

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return channels, height and width of the U-Net's values for an image size in pixels.

        Raises:
            BadInput: the model cannot generate that size.
        """
        checkpoint.require_multiples(self.name, self.multiple, width, height)
        if self.largest and max(width, height) > self.largest:
            raise BadInput(
                f"{width} x {height} pixels are more than {self.name!r} has positions for.",
                f"Take at most {self.largest} a side.",
            )
        if self.is_square and width != height:
            raise BadInput(
                f"model {self.name!r} generates squares, not {width} x {height} pixels.",
                f"Leave --width and --height out: {self.size[0]} x {self.size[1]}.",
            )
        return self.channels, height // self.factor, width // self.factor

    @property
    def is_square(self) -> bool:
        """Whether it generates squares alone, as DiT does."""
        return type(self.unet).__name__ == checkpoint.DIT

    @property
    def largest(self) -> int:
        """The largest side in pixels that the network has positions for; 0: any."""
        return int(self._config.get("pos_embed_max_size") or 0) * self.multiple

    @property
    def guides_itself(self) -> bool:
        """Whether the network reads the guidance scale (guidance-distilled, as FLUX.1-dev)."""
        return bool(self._config.get("guidance_embeds"))

    @property
    def weighs_prompts(self) -> bool:
        """Whether guidance is usual: Flux without a guidance input is for few steps without it."""
        return self._config.get("guidance_embeds") is not False

    @property
    def _config(self) -> Mapping[str, Any]:
        return getattr(self.unet, "config", {})  # a user's own network may have none

    def noise_at(self, width: int, height: int) -> Noise:
        """Return the noise for images of this size in pixels; it may shift the levels."""
        return shifted(self.noise, (width // self.multiple) * (height // self.multiple))

    @cached_property
    def space(self) -> LatentSpace:
        """The space in which the U-Net generates: latents or pixels."""
        folder = self.folder
        if self.decoder is None or folder is None or folder.file or self.dtype == torch.float32:
            return LatentSpace(self.decoder)
        return LatentSpace(self.decoder, lambda: load_part(folder.path / "vae"))

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k y x"]:
        """Decode the U-Net's values to images with values from 0 to 1."""
        return self.space.decode(latents)


def load_diffusion(
    name: str,
    device: str = "auto",
    folder: checkpoint.PipelineFolder | None = None,
    precision: Precision = "float32",
    *,
    offload: bool = False,
    compiled: bool = False,
) -> DiffusionModel:
    """Load a diffusion model.

    Args:
        name: `builtin/blocks`, a local folder in the layout of diffusers, a single safetensors
            file with configurations next to it, or a hub id `owner/name@revision`, which is
            downloaded only inside `hub.named_by_user`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        folder: of that name, if it is already open.
        precision: of its weights and arithmetic; samplers always compute in float32.
        offload: whether its networks are on the device only while they run.
        compiled: whether its U-Net or transformer is compiled.

    Raises:
        BadInput: the name, folder or device cannot be used, or the device lacks this precision.
        Damaged: a weight file is truncated.
    """
    with loading(name):
        placement = Placement(choose_device(device), offload=offload, compiled=compiled)
        found = folder or checkpoint.open_pipeline(checkpoint.locate_pipeline(name))
        return _load(name, placement, found, precision)


def _load(
    name: str, placement: Placement, folder: checkpoint.PipelineFolder, precision: Precision
) -> DiffusionModel:
    location, known = placement.device, get_args(Precision)
    if precision not in known:
        raise UnknownName("precision", str(precision), known)
    dtype: torch.dtype = getattr(torch, precision)
    if location == "cpu" and precision == "float16":
        raise BadInput(
            "float16 on a CPU: its convolutions take a hundred times as long as those of float32.",
            "Pass bfloat16, which needs half the memory too, or a GPU: --device cuda.",
        )
    layout = folder.layout
    read = read_flow if layout.flows else read_noise
    noise = read(folder.scheduler, folder.scheduler_file, str(folder.index["_class_name"]))
    parts: Mapping[str, Any] = {}
    if folder.file is not None:
        parts = read_parts(folder.file, folder.path, layout.encoders)
    trunk = folder.path / layout.trunk
    unet = placement.put(load_part(trunk, parts.get(layout.trunk), dtype), is_trunk=True)
    if layout.trunk == "unet":
        checkpoint.check_unet(unet.config, trunk)
    decoder: Any = None
    if layout.latent:
        decoder = load_part(folder.path / "vae", parts.get("vae"), dtype)
        placement.put(decoder, by_parts=True)
    reader = make_reader(folder, location, parts or None)
    for encoder in [] if reader is None else reader.encoders.values():
        placement.put(encoder.to(dtype))
    factor = LatentSpace(decoder).factor
    patch = layout.patch(unet.config)
    # A U-Net on pixels downsamples them itself and does not handle odd sides.
    multiple = factor * patch if layout.latent else 2 ** (len(unet.config.block_out_channels) - 1)
    model = DiffusionModel(
        name=name,
        fingerprint=folder.fingerprint(),
        noise=noise,
        channels=int(unet.config.in_channels) // (patch**2 if layout.side else 1),
        factor=factor,
        multiple=multiple,
        size=_trained_size(layout.side or unet.config.sample_size, factor, folder),
        device=location,
        unet=unet,
        reader=reader,
        decoder=decoder,
        keeps_prompts=layout.trunk == "unet" and reader is not None and keep_prompts(unet),
        trunk=layout.trunk,
        folder=folder,
        placement=placement,
    )
    _check_fit(model, folder)
    return model


def _trained_size(
    sample_size: Any, factor: int, folder: checkpoint.PipelineFolder
) -> tuple[int, int]:
    sides: Sequence[Any] = sample_size if isinstance(sample_size, list | tuple) else [sample_size]
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        raise BadFile(
            f"the U-Net in {folder.path} does not say which size it draws (sample_size).",
            "Set sample_size in its config.json.",
        )
    return sides[-1] * factor, sides[0] * factor


_WORDS = {"unet": "U-Net", "transformer": "transformer"}


def _check_fit(model: DiffusionModel, folder: checkpoint.PipelineFolder) -> None:
    config = model.unet.config
    found: str | None = None
    if model.decoder is None:
        if model.channels not in {1, 3}:
            found = f"its U-Net draws {model.channels} channels, an image has 1 or 3"
    elif model.decoder.config.latent_channels != model.channels:
        found = (
            f"its {_WORDS[model.trunk]} reads {model.channels} channels, its autoencoder has "
            f"{model.decoder.config.latent_channels}"
        )
    if model.reader is not None and model.trunk == "unet":
        texts = model.reader.read([""])
        if texts.states.shape[-1] != config.cross_attention_dim:
            found = (
                f"its text encoders give {texts.states.shape[-1]} values a token, its U-Net reads "
                f"{config.cross_attention_dim}"
            )
        if (texts.pooled is None) != (config.addition_embed_type is None):
            found = "its U-Net and its text encoders are not of the same kind"
    if model.reader is not None and type(model.unet).__name__ in {SD3, FLUX}:
        texts = model.reader.read([""])
        given = (texts.states.shape[-1], 0 if texts.pooled is None else texts.pooled.shape[-1])
        taken = (config.joint_attention_dim, config.pooled_projection_dim)
        if given != taken:
            found = f"its text encoders give {given} values, its transformer reads {taken}"
    if found is not None:
        raise BadFile(f"the parts of {folder.path} do not fit: {found}.", "Copy it again.")
