"""Encoders as trainable networks: the vectors of `load_encoder`, with gradients.

`TruncatedForward` computes the output of the lower blocks separately, so that it can be cached and
is computed only once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from .. import folders
from ..errors import BadFile, BadInput
from ..types import HiddenLayer
from . import torch_text
from .checkpoint import SERIES_MODELS, check_safetensors, open_folder, read_object
from .fast_text import MODEL_TYPE
from .image_encoder import IMAGE_MODELS, ImageEncoder, geometry, image_processor, layer_of, sides
from .text_encoder import Recipe, TokenReader, read_recipe
from .transformers import load_network

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trainable:
    """An encoder that can be trained.

    Attributes:
        root: the folder it was loaded from.
        place: folder of the network, `root` itself or inside it.
        network: the network as the transformers library saves it.
        tower: the part of it that processes the items.
        prepare: maps texts, images or series to inputs, on the CPU; thread-safe.
        vectors: maps inputs on the network's device to unit vectors, [b d].
    """

    root: Path
    place: Path
    network: nn.Module
    tower: nn.Module
    prepare: Callable[[Sequence[Any]], Inputs]
    vectors: Callable[[Inputs], Tensor]

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    def encode(self, inputs: Inputs) -> Float[Tensor, "b d"]:
        """Return the unit vectors of inputs on any device."""
        return self.vectors({name: tensor.to(self.device) for name, tensor in inputs.items()})

    def blocks(self) -> nn.ModuleList:
        """Return the repeated blocks in the order in which they are called.

        Raises:
            BadInput: there are none.
        """
        lists = [module for module in self.tower.modules() if isinstance(module, nn.ModuleList)]
        if not lists:
            raise BadInput(f"the network in {self.root} has no list of blocks.", "Leave --top out.")
        return max(lists, key=len)


def load_trainable(root: Path, reads: str, layer: HiddenLayer, device: str) -> Trainable:
    """Load an encoder for training on `device`, without dropout.

    Args:
        root: folder of the encoder.
        reads: what it is trained on: `text`, `image` or `series`.
        layer: hidden layer that the vectors come from; see `types.HiddenLayer`.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        BadInput: it is static, or the layer is out of range.
        BadFile: weights, tokenizer or image processor are missing or do not fit.
    """
    recipe = read_recipe(root)
    kind = recipe.transformer.model_type
    if kind == MODEL_TYPE:
        raise BadInput(f"{root} is a static encoder: it has no network to train.", "Use linear.")
    if kind in SERIES_MODELS:
        series = torch_text.SeriesNetwork(recipe.transformer).to(device)
        return Trainable(
            root=root,
            place=recipe.transformer.path,
            network=series.saved,
            tower=series.network,
            prepare=series.prepare,
            vectors=lambda inputs: series(**inputs),
        )
    if kind in IMAGE_MODELS:
        joint = IMAGE_MODELS[kind].takes == "joint"
        if joint and reads == "text":
            return _joint_texts(root, recipe, device)
        return _images(root, recipe, layer, device)
    return _texts(root, recipe, layer, device)


def _texts(root: Path, recipe: Recipe, layer: HiddenLayer, device: str) -> Trainable:
    sentence = torch_text.SentenceNetwork(recipe, layer).to(device)
    tokens = torch_text.read_tokens(recipe)
    prompt = recipe.prompts.get("document", "")
    skip = 0 if recipe.pool_prompt or not prompt else max(0, len(tokens.read([prompt])[0]) - 1)

    def prepare(items: Sequence[Any]) -> Inputs:
        ids, mask = tokens.pad(tokens.read([prompt + str(item) for item in items]))
        pooled = mask.copy()
        pooled[:, :skip] = 0
        arrays = {"ids": ids, "mask": mask, "pooled": pooled}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    network = sentence.network
    return Trainable(
        root=root,
        place=recipe.transformer.path,
        network=network,
        tower=network,
        prepare=prepare,
        vectors=lambda inputs: sentence(**inputs),
    )


def _images(root: Path, recipe: Recipe, layer: HiddenLayer, device: str) -> Trainable:
    folder = recipe.transformer
    kind = IMAGE_MODELS[folder.model_type]
    joint = kind.takes == "joint"
    network: Any = load_network(folder, kind.network, unused=kind.unused)
    network.to(device)
    prepare = image_processor(folder)
    number = layer_of(network, kind, layer, prepare)

    def vectors(inputs: Inputs) -> Tensor:
        return nn.functional.normalize(
            torch_text.image_states(network, kind, number, inputs), dim=-1
        )

    return Trainable(
        root=root,
        place=folder.path,
        network=network,
        tower=network.vision_model if joint else network,
        prepare=prepare,
        vectors=vectors,
    )


def _joint_texts(root: Path, recipe: Recipe, device: str) -> Trainable:
    folder = recipe.transformer
    kind = IMAGE_MODELS[folder.model_type]
    network: Any = load_network(folder, kind.network).to(device)
    definition, pad_id = torch_text.tokenizer_definition(folder)
    length = int(network.config.text_config.max_position_embeddings)
    tokens = TokenReader(definition, length, pad_id, fixed_length=kind.fixed_length)

    def prepare(items: Sequence[Any]) -> Inputs:
        ids, mask = tokens.pad(tokens.read([str(item) for item in items]))
        inputs = {"input_ids": torch.from_numpy(ids)}
        if not kind.fixed_length:  # these were trained without a mask
            inputs["attention_mask"] = torch.from_numpy(mask)
        return inputs

    def vectors(inputs: Inputs) -> Tensor:
        return nn.functional.normalize(network.get_text_features(**inputs).pooler_output, dim=-1)

    return Trainable(
        root=root,
        place=folder.path,
        network=network,
        tower=network.text_model,
        prepare=prepare,
        vectors=vectors,
    )


class _Reached(Exception):
    """Raised when a block has returned its output and the rest of the network is not needed."""


class TruncatedForward:
    """The lower blocks of an encoder, whose output can be cached.

    Everything before the blocks (embeddings, masks) is computed each time, since it is cheap and
    the blocks need the masks.
    """

    def __init__(self, trainable: Trainable, block: int) -> None:
        """Split the encoder below block number `block`, which is at least 1.

        Raises:
            BadInput: there are no such blocks.
        """
        self._trainable = trainable
        self._blocks = list(trainable.blocks())
        if not 1 <= block < len(self._blocks):
            raise BadInput(
                f"the network has {len(self._blocks)} blocks; {len(self._blocks) - block} of them "
                "cannot be its top.",
                f"Allowed: 1 to {len(self._blocks) - 1}.",
            )
        self._block = block
        self._in_tuple = False
        self._given: Tensor | None = None

    def states(self, inputs: Inputs) -> Tensor:
        """Return the input of the block, [b t d] or [b c h w], without gradients."""
        caught: list[Tensor] = []

        def catch(_module: nn.Module, _arguments: Any, output: Any) -> None:
            self._in_tuple = isinstance(output, tuple)
            caught.append(output[0] if self._in_tuple else output)
            raise _Reached

        handle = self._blocks[self._block - 1].register_forward_hook(catch)
        try:
            with torch.no_grad():
                self._trainable.encode(inputs)
        except _Reached:
            pass
        finally:
            handle.remove()
        return caught[0]

    def encode(self, inputs: Inputs, states: Tensor) -> Tensor:
        """Return vectors from cached states; only inside `skipped`, and after `states`."""
        self._given = states.to(self._trainable.device)
        return self._trainable.encode(inputs)

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Within the context, let the lower blocks pass on the states given to `encode`."""

        def pass_on(*_inputs: Any, **_options: Any) -> Any:
            return (self._given,) if self._in_tuple else self._given

        below = self._blocks[: self._block]
        for module in below:
            module.forward = pass_on
        try:
            yield
        finally:
            for module in below:
                del module.forward
            self._given = None


WEIGHTS = "model.safetensors"
Network = TypeVar("Network", bound=nn.Module)


def load_own(
    folder: Path, model_type: str, make: Callable[[Mapping[str, Any]], Network]
) -> Network:
    """Load a network in float32, ready to run, on the CPU.

    Args:
        folder: the model's folder.
        model_type: the required type in its `config.json`.
        make: creates the network from the configuration.

    Raises:
        BadFile: it is of another type, or its parts do not fit.
        Damaged: the weight file is cut short or malformed.
    """
    config = read_object(folder / "config.json")
    if config.get("model_type") != model_type:
        raise BadFile(
            f"{folder} holds a model of type {config.get('model_type')!r}, not {model_type!r}.",
            folders.hint_for(folder, "Name a folder that the recipe of that model wrote."),
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise BadFile(f"{folder} lacks its weights {path.name}.", "Copy the whole folder again.")
    check_safetensors(path)
    try:
        network = make(config)
        network.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadFile(
            f"the weights in {folder} do not fit its config.json: {error}",
            "Copy the whole folder again.",
        ) from error
    return network.eval().requires_grad_(False)


Look = Callable[[Float[Tensor, "b 3 y x"]], Float[Tensor, "b d"]]


def differentiable(encoder: ImageEncoder, device: str) -> Look:
    """Return a joint model's image encoder as a function from values 0 to 1 to unit vectors.

    Args:
        encoder: an encoder of texts and images.
        device: device that it runs on.

    Raises:
        BadInput: the encoder is not joint, or prepares images in a way that is not known here.
    """
    folder = open_folder(encoder.folder)
    kind = IMAGE_MODELS[folder.model_type]
    if kind.takes != "joint":
        raise BadInput(
            f"encoder {encoder.name!r} reads images only.",
            "Choose a joint model: builtin/blocks-clip, or a CLIP or SigLIP folder.",
        )
    network: Any = load_network(folder, kind.network).to(device)
    network.requires_grad_(False)
    prepare = _agreeing(encoder)

    def look(images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b d"]:
        found = network.get_image_features(pixel_values=prepare(images)).pooler_output
        return functional.normalize(found, dim=-1)

    return look


def differentiable_head(encoder: ImageEncoder, device: str) -> Look:
    """Return a classifier as a function from values 0 to 1 to the logits of its own classes.

    Raises:
        BadInput: it prepares images in a way that is not known here.
    """
    folder = open_folder(encoder.folder)
    kind = IMAGE_MODELS[folder.model_type]
    network: Any = load_network(folder, kind.classifier, unused=kind.unused).to(device)
    network.requires_grad_(False)
    prepare = _agreeing(encoder)

    def look(images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b d"]:
        logits: Tensor = network(pixel_values=prepare(images)).logits
        return logits

    return look


Prepare = Callable[[Float[Tensor, "b 3 y x"]], Float[Tensor, "b 3 v u"]]
_SCALES = (("image_mean", 0.0), ("image_std", 1.0))
_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_AGREES = 0.1  # maximum difference in the network's input units, on a smooth image


def _agreeing(encoder: ImageEncoder) -> Prepare:
    """Return the resizing, cropping and scaling of the encoder's image processor, on tensors."""
    config = read_object(encoder.folder / "preprocessor_config.json")
    prepare = _preparation(config, encoder.name)
    for width, height in ((48, 40), (480, 400)):  # below and above the size of a crop
        down, across = np.mgrid[:height, :width] / width
        channels = np.stack([across, down, np.full_like(down, 0.3)], axis=-1)
        image = Image.fromarray((channels * 255).astype(np.uint8))
        expected = encoder.prepare([image])["pixel_values"].float()
        values = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
        found = prepare(values)
        if found.shape != expected.shape or float((found - expected).abs().max()) > _AGREES:
            raise BadInput(
                f"encoder {encoder.name!r} prepares images in a way that has no gradient here.",
                "Choose another.",
            )
    return prepare


def _preparation(config: Mapping[str, Any], name: str) -> Prepare:
    if config.get("do_pad"):
        raise BadInput(f"encoder {name!r} pads images, which cannot guide.", "Choose another.")
    resize, crop, whole = geometry(config)
    scaled = config.get("do_normalize", True)
    mean, std = (_row(config.get(key) if scaled else None, plain) for key, plain in _SCALES)
    mode = _FILTERS.get(int(config.get("resample") or 3), "bicubic")

    def prepare(images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 v u"]:
        height, width = images.shape[-2:]
        small = crop is not None and min(height, width) < min(crop)
        requested = _resized(whole if small and whole else resize, height, width)
        if requested != (height, width):
            images = functional.interpolate(images, requested, mode=mode, antialias=True)
        if crop is not None and crop != requested:
            top, left = ((have - want) // 2 for have, want in zip(requested, crop, strict=True))
            images = images[..., top : top + crop[0], left : left + crop[1]]
        return (images - mean.to(images)) / std.to(images)

    return prepare


def own_size(encoder: ImageEncoder) -> tuple[int, int]:
    """Return the width and height of the images that a model reads without resizing."""
    return own_shape(encoder)[0]


def own_shape(encoder: ImageEncoder) -> tuple[tuple[int, int], bool]:
    """Return `own_size`, and whether other images are resized by their shorter side."""
    resize, crop, _ = geometry(read_object(encoder.folder / "preprocessor_config.json"))
    if isinstance(resize, Mapping) and "shortest_edge" in resize:
        side = int(resize["shortest_edge"])
        return (side, side), True
    height, width = sides(resize) or crop or (224, 224)
    return (width, height), False


def _row(values: Sequence[float] | None, plain: float) -> Float[Tensor, "1 3 1 1"]:
    found = torch.tensor([plain] * 3 if values is None else list(values), dtype=torch.float32)
    return found.view(1, 3, 1, 1)


def _resized(size: Any, height: int, width: int) -> tuple[int, int]:
    """Return height and width after resizing; a single number is the shorter side."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        scale = int(size["shortest_edge"]) / min(height, width)
        return round(height * scale), round(width * scale)
    return sides(size) or (height, width)
