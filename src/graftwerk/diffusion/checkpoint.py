"""Safe reading of diffusers pipelines: which parts exist, and whether they are intact.

`model_index.json` names a library and a class for each part. Only classes of a fixed table are
built; a folder that asks for any other code is refused by name. The image sizes of a pipeline are
read from its configurations, without its networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import folders
from ..errors import BadFile, BadInput
from ..files import real_path, sha256_of_file, sha256_of_json
from ..models import checkpoint
from ..models.hub import locate

_CLIP, _PROJECTED, _T5 = "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"


def _tokenizers(kind: str) -> frozenset[tuple[str, str]]:
    return frozenset(("transformers", f"{kind}Tokenizer{fast}") for fast in ("", "Fast"))


# Parts that are built, each with its allowed classes.
_BUILT: Mapping[str, frozenset[tuple[str, str]]] = {
    "unet": frozenset({("diffusers", "UNet2DConditionModel"), ("diffusers", "UNet2DModel")}),
    "transformer": frozenset(
        ("diffusers", name)
        for name in (
            *("SD3Transformer2DModel", "FluxTransformer2DModel", "DiTTransformer2DModel"),
            "Transformer2DModel",  # the name of DiT's class in 2023
        )
    ),
    "vae": frozenset({("diffusers", "AutoencoderKL")}),
    "text_encoder": frozenset({("transformers", _CLIP), ("transformers", _PROJECTED)}),
    "text_encoder_2": frozenset({("transformers", _PROJECTED), ("transformers", _T5)}),
    "text_encoder_3": frozenset({("transformers", _T5)}),
    "tokenizer": _tokenizers("CLIP"),
    "tokenizer_2": _tokenizers("CLIP") | _tokenizers("T5"),
    "tokenizer_3": _tokenizers("T5"),
}
# Parts that a pipeline may contain but that are not used here.
_IGNORED = {"safety_checker", "feature_extractor", "image_encoder"}
_LIBRARIES = {"diffusers", "transformers", "stable_diffusion"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a pipeline class.

    Attributes:
        encoders: classes of its text encoders; each has a tokenizer with the same number.
        latent: whether it generates latents that a decoder converts to images.
        trunk: name of the part with the network.
        optional: text encoders that a folder may lack.
        flows: whether it was trained by flow matching.
        side: of the latents that diffusers generates, for a network that does not say it (Flux).
    """

    network: str
    encoders: Mapping[str, str] = field(default_factory=dict)
    latent: bool = False
    trunk: str = "unet"
    optional: tuple[str, ...] = ()
    flows: bool = False
    side: int = 0

    def patch(self, config: Mapping[str, Any]) -> int:
        """Return how many latents along a side the network reads as one; Flux packs 2 x 2."""
        return 2 if self.side else int(config.get("patch_size") or 1)

    @property
    def prompted(self) -> bool:
        """Whether it reads a prompt, or the name of a class."""
        return bool(self.encoders) or self.network == DIT

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are built."""
        tokenizers = tuple(tokenizer_of(encoder) for encoder in self.encoders)
        return (self.trunk, *(("vae",) if self.latent else ()), *self.encoders, *tokenizers)


DIT = "DiTTransformer2DModel"
PIPELINES: Mapping[str, Layout] = {
    "StableDiffusionPipeline": Layout("UNet2DConditionModel", {"text_encoder": _CLIP}, latent=True),
    "StableDiffusionXLPipeline": Layout(
        "UNet2DConditionModel", {"text_encoder": _CLIP, "text_encoder_2": _PROJECTED}, latent=True
    ),
    "StableDiffusion3Pipeline": Layout(
        "SD3Transformer2DModel",
        {"text_encoder": _PROJECTED, "text_encoder_2": _PROJECTED, "text_encoder_3": _T5},
        latent=True,
        trunk="transformer",
        optional=("text_encoder_3",),
        flows=True,
    ),
    "FluxPipeline": Layout(
        "FluxTransformer2DModel",
        {"text_encoder": _CLIP, "text_encoder_2": _T5},
        latent=True,
        trunk="transformer",
        flows=True,
        side=128,
    ),
    "DiTPipeline": Layout(DIT, latent=True, trunk="transformer"),
    "DDPMPipeline": Layout("UNet2DModel"),
    "DDIMPipeline": Layout("UNet2DModel"),
}


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """A checked pipeline folder.

    Attributes:
        index: content of its `model_index.json`.
        scheduler: content of its `scheduler_config.json`.
        file: a single file with all weights; None if each part has its own.
    """

    path: Path
    index: Mapping[str, Any]
    layout: Layout
    scheduler: Mapping[str, Any]
    file: Path | None = None

    @property
    def scheduler_file(self) -> Path:
        """Path of the scheduler's configuration."""
        return self.path / "scheduler" / "scheduler_config.json"

    @property
    def former(self) -> tuple[str, ...]:
        """Fingerprints of this pipeline with decoders that were replaced by a better one since."""
        return tuple(str(self.index.get("_former_fingerprints", "")).split())

    def fingerprint(self, latents: str | None = None) -> str:
        """Return the SHA-256 over every file and setting that affects an image.

        Args:
            latents: identity of the latent space, to be hashed in place of the autoencoder: its
                decoder does not affect what a network generates.
        """
        parts = {part: checkpoint.fingerprint(self.path / part, {}) for part in self.layout.parts}
        if latents is not None:
            parts["vae"] = latents
        if self.file is not None:
            parts["file"] = sha256_of_file(self.file)
        settings = {key: value for key, value in self.index.items() if key != "_diffusers_version"}
        content = {"parts": parts, "scheduler": dict(self.scheduler), "index": settings}
        return sha256_of_json(content)


def tokenizer_of(encoder: str) -> str:
    """Return the name of the tokenizer that belongs to a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


def locate_pipeline(name: str) -> Path:
    """Return the folder of a pipeline, or its single file; see `models.hub.locate`."""
    path = Path(name).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return real_path(path)
    return locate(name, "diffusion pipeline")


def _open_file(file: Path) -> PipelineFolder:
    """Check a single file and the folder with its configurations.

    A single file contains neither a tokenizer nor the architecture of its networks. These are
    looked up in a folder with the file's name, in the file's own folder, or in the hub's cache.
    """
    checkpoint.check_safetensors(file)
    for folder in (file.with_suffix(""), file.parent):
        if (folder / "model_index.json").is_file():
            return _with_file(open_pipeline(folder), file)
    from .single_file import cached_configuration, inferred_folder, kind_of, shapes_of

    shapes, near = shapes_of(file), (file.with_suffix(""), file.parent)
    kind, repository = kind_of(file, shapes)
    found = cached_configuration(repository) or inferred_folder(file, shapes, kind, near)
    if found is not None:
        return _with_file(open_pipeline(found), file)
    raise BadFile(
        f"{file} holds weights alone, and no tokenizer is in {near[0] / 'tokenizer'} or "
        f"{near[1] / 'tokenizer'}.",
        "Copy the folder tokenizer of any Stable Diffusion there (vocab.json, merges.txt and "
        f"tokenizer_config.json; for example of {repository}).",
    )


def _with_file(folder: PipelineFolder, file: Path) -> PipelineFolder:
    if folder.layout.trunk != "unet":
        from .single_file import refuse_transformer

        refuse_transformer(file, str(folder.index["_class_name"]))
    return replace(folder, file=file)


def open_pipeline(path: Path) -> PipelineFolder:
    """Open and check a pipeline's folder or single file.

    Weights are checked when they are read.

    Raises:
        BadFile: the folder does not exist, a part is missing, or unknown code would have to run.
    """
    if path.is_file():
        return _open_file(path)
    if not (path / "model_index.json").is_file():
        raise BadFile(
            f"{path} has no model_index.json, so it is not a diffusion pipeline.",
            folders.hint_for(
                path, "Name a folder as StableDiffusionPipeline.save_pretrained writes it."
            ),
        )
    index = checkpoint.read_object(path / "model_index.json")
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in PIPELINES:
        raise BadFile(
            f"{path} is a pipeline of the class {name!r}, which is not known here.",
            f"Known: {', '.join(PIPELINES)}.",
        )
    layout = _without_missing(PIPELINES[name], index)
    for part, value in index.items():
        if isinstance(value, list):
            _check_part(path, part, value)
    for part in layout.parts:
        if not _is_present(index.get(part)):
            raise BadFile(
                f"{path / 'model_index.json'} names no {part}, which {name} needs.",
                "Copy the whole folder again.",
            )
        if not (path / part).is_dir():
            raise BadFile(
                f"the pipeline {path} lacks its part {part!r}.", "Copy the whole folder again."
            )
    for part, requested in {layout.trunk: layout.network, **layout.encoders}.items():
        found = index[part][1]
        if found != requested and (found, requested) != ("Transformer2DModel", DIT):
            raise BadFile(
                f"{path} is a {name} with a {found}, not a {requested}.",
                "Copy the whole folder again.",
            )
    return PipelineFolder(
        path, index, layout, checkpoint.read_object(path / "scheduler" / "scheduler_config.json")
    )


def _without_missing(layout: Layout, index: Mapping[str, Any]) -> Layout:
    missing = [part for part in layout.optional if not _is_present(index.get(part))]
    held = {part: name for part, name in layout.encoders.items() if part not in missing}
    return replace(layout, encoders=held) if missing else layout


def _is_present(value: Any) -> bool:
    return isinstance(value, list) and any(entry is not None for entry in value)


def _check_part(path: Path, part: str, value: list[Any]) -> None:
    """Refuse an unknown part, or one that needs code outside of the known libraries."""
    if not _is_present(value):
        return
    requested = tuple(map(str, value))  # whatever they are
    if part in _BUILT:
        allowed = requested in _BUILT[part]
    else:  # the scheduler's class is checked by `read_noise`
        allowed = part in _IGNORED | {"scheduler"} and requested[0] in _LIBRARIES
    if not allowed:
        raise BadFile(
            f"{path / 'model_index.json'} asks for {'.'.join(requested)} as "
            f"{part}, which is not known here.",
            f"Pipelines of the diffusers library that are read: {', '.join(PIPELINES)}.",
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the `config.json` of one part."""
    config = checkpoint.read_object(folder / "config.json")
    checkpoint.refuse_unsafe(folder / "config.json")
    return config


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the checked weight files of a part saved by diffusers, sharded or not.

    Raises:
        BadFile: there are none, or a shard is missing.
        Damaged: one is truncated or malformed.
    """
    _, files = checkpoint.select_weights(folder, "diffusion_pytorch_model")
    if not files:
        kind = read_config(folder).get("_class_name", "DiffusionPipeline")
        pickled = any(path.suffix == ".bin" for path in folder.iterdir())
        raise BadFile(
            f"{folder} lacks its weights diffusion_pytorch_model.safetensors; only safetensors are "
            "read, for other formats can run code.",
            f"Convert it where you trust it: diffusers.{kind}.from_pretrained({str(folder)!r}, "
            f"use_safetensors=False).save_pretrained({str(folder)!r})."
            if pickled
            else "Copy the whole folder again.",
        )
    for file in files:
        checkpoint.check_safetensors(file)
    return files


@dataclass(frozen=True, slots=True)
class Sizes:
    """Image sizes of a pipeline.

    Attributes:
        multiple: a side in pixels must be a multiple of this.
        own: width and height in pixels that it was trained on.
    """

    multiple: int
    own: tuple[int, int]


def read_sizes(folder: PipelineFolder) -> Sizes | None:
    """Return the sizes of a checked folder; None if its files rely on defaults of diffusers.

    Raises:
        BadFile: a configuration cannot be read.
    """
    network = read_config(folder.path / folder.layout.trunk)
    coder = read_config(folder.path / "vae") if folder.layout.latent else network
    side, widths = network.get("sample_size"), coder.get("block_out_channels")
    sides: list[Any] = side if isinstance(side, list) else [side]
    if folder.layout.side:
        sides = [folder.layout.side]
    if not isinstance(widths, list) or not sides or not all(isinstance(s, int) for s in sides):
        return None
    multiple = 2 ** max(len(widths) - 1, 0)
    factor = multiple if folder.layout.latent else 1
    return Sizes(multiple * folder.layout.patch(network), (sides[-1] * factor, sides[0] * factor))


def require_multiples(model: str, multiple: int, width: int, height: int) -> None:
    """Refuse an image size that a model cannot generate.

    Raises:
        BadInput: a side is not a multiple.
    """
    for name, side in (("width", width), ("height", height)):
        if side % multiple:
            near = max(round(side / multiple), 1) * multiple
            raise BadInput(
                f"{name} {side} is not possible with model {model!r}.",
                f"Its sides are multiples of {multiple}, for example {near}.",
            )


# Options of a U-Net that require an input other than a prompt.
_UNET_REFUSED = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")


def check_unet(config: Any, folder: Path) -> None:
    """Refuse a U-Net that needs inputs other than a noisy image, a timestep and a prompt.

    Raises:
        BadFile: it does.
    """
    reasons = [key for key in _UNET_REFUSED if config.get(key) is not None]
    if config.get("addition_embed_type") not in {None, "text_time"}:
        reasons.append("addition_embed_type")
    if config.get("time_cond_proj_dim") is not None:
        reasons.append("time_cond_proj_dim")
    if config.get("time_embedding_type", "positional") != "positional":
        reasons.append("time_embedding_type")
    if config.out_channels not in {config.in_channels, 2 * config.in_channels}:
        reasons.append("in_channels")
    if reasons:
        raise BadFile(
            f"the U-Net in {folder} is of a kind that is not known here ({', '.join(reasons)}).",
            "Take a model that draws from noise and a prompt alone.",
        )
