"""Image encoders and joint encoders of texts and images, from an explicit table of types."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64

from ..errors import BadFile, BadInput
from ..results import Modality
from ..types import Encoder, HiddenLayer, Role, Vectors
from .checkpoint import ModelFolder, read_object
from .ood import Familiar, States, load_familiar
from .text_encoder import TextEncoder, TokenIds, TokenReader, cannot_read, check_finite
from .transformers import choose_device, load_network, quiet

if TYPE_CHECKING:
    import torch


_BATCH = 16  # images


@dataclass(frozen=True, slots=True)
class ImageModel:
    """What is known of a type of network.

    Attributes:
        network: its class in the transformers library.
        takes: from its output to one vector an image: the state of the class token, the mean
            over places, or a joint model's own projection.
        fixed_length: whether its texts are always filled up to the longest length.
    """

    network: str
    takes: Literal["class token", "mean", "joint"]
    fixed_length: bool = False


IMAGE_MODELS: Mapping[str, ImageModel] = {
    "clip": ImageModel("CLIPModel", "joint"),
    "siglip": ImageModel("SiglipModel", "joint", fixed_length=True),
    "siglip2": ImageModel("Siglip2Model", "joint", fixed_length=True),
    "dinov2": ImageModel("Dinov2Model", "class token"),
    "vit": ImageModel("ViTModel", "class token"),
    "resnet": ImageModel("ResNetModel", "mean"),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """What an encoder makes of images.

    Attributes:
        vectors: their unit vectors.
        states: means over all places of the middle hidden layer.
    """

    vectors: Vectors
    states: States


@dataclass
class ImageEncoder:
    """A frozen encoder of images, and of texts where it is joint; see `contracts.Encoder`.

    Attributes:
        look: from what `prepare` gives to vectors and states, as in `Examined`.
        prepare: from images to the network's inputs.
        texts: the text half of a joint model.
        width: length of a state.
        folder: where it lies.
        logit_scale: by which a joint model's cosines become logits, as it learned it.
        familiar: what it was trained on, where its folder tells.
    """

    name: str
    fingerprint: str
    dimension: int
    reads: frozenset[Modality]
    prepare: Callable[[Sequence[Any]], Mapping[str, "torch.Tensor"]]
    look: Callable[[Mapping[str, "torch.Tensor"]], Examined]
    texts: TextEncoder | None
    width: int
    folder: Path
    logit_scale: float | None = None
    familiar: Familiar | None = None
    rescorer: str | None = None

    def encode_texts(
        self,
        texts: Sequence[str],
        role: Role = "document",
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Encode texts, where the model is joint.

        Raises:
            BadInput: the model reads images only.
        """
        if self.texts is None:
            raise cannot_read(self.name, "texts", self.reads)
        return self.texts.encode_texts(texts, role, advance)

    def encode_images(
        self, images: Sequence[Any], advance: Callable[[int], None] | None = None
    ) -> Vectors:
        """Encode `PIL.Image` images in their order.

        Raises:
            Damaged: the model gives vectors that are not finite.
        """
        return self.examine(images, advance).vectors

    def examine(
        self, images: Sequence[Any], advance: Callable[[int], None] | None = None
    ) -> Examined:
        """Encode images, and tell the states on the way; raises as `encode_images` does."""
        vectors = np.empty((len(images), self.dimension), dtype=np.float32)
        states = [np.empty((0, self.width), dtype=np.float32)]
        for start, batch in _in_batches(images):
            seen = self.look(self.prepare(batch))
            vectors[start : start + len(batch)] = unit(check_finite(self.name, seen.vectors))
            states.append(check_finite(self.name, seen.states))
            if advance is not None:
                advance(len(batch))
        return Examined(vectors, np.concatenate(states))

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`; raises `BadInput` where the model reads images only."""
        if self.texts is None:
            raise cannot_read(self.name, "texts", self.reads)
        return self.texts.count_tokens(text)


def load_images(
    name: str, folder: ModelFolder, fingerprint: str, layer: HiddenLayer, device: str
) -> ImageEncoder:
    """Load an image or joint encoder.

    Raises:
        BadInput: the layer is out of range, or the model is joint and a layer was named.
        BadFile: weights or image processor are missing or do not fit.
    """
    kind = IMAGE_MODELS[folder.model_type]
    joint = kind.takes == "joint"
    if joint and layer is not None:
        raise BadInput(
            f"layer {layer} cannot be taken from {name!r}: only the last one is joint.",
            "Leave the layer out.",
        )
    network: Any = load_network(folder, kind.network, unused=() if joint else ("pooler.",))
    location = choose_device(device)
    network.to(location)
    prepare = image_processor(folder)
    look = _looker(network, kind, layer, location)
    seen = look(prepare([_blank()]))
    texts, logit_scale = None, None
    if joint:
        texts = _text_half(name, folder, fingerprint, network=network, location=location)
        logit_scale = float(network.logit_scale.exp())
    return ImageEncoder(
        name=name,
        fingerprint=fingerprint,
        dimension=seen.vectors.shape[1],
        reads=frozenset({"text", "image"} if joint else {"image"}),
        prepare=prepare,
        look=look,
        texts=texts,
        width=seen.states.shape[1],
        folder=folder.path,
        logit_scale=logit_scale,
        familiar=load_familiar(folder.path, fingerprint) if layer is None else None,
    )


def encode_and_compare(
    encoder: Encoder, images: Sequence[Any], advance: Callable[[int], None] | None = None
) -> tuple[Vectors, Float64[np.ndarray, " n"] | None]:
    """Encode images, and tell how far each lies from what is familiar to the encoder.

    Returns:
        Vectors, and distances in units of the limit; None where the encoder's folder does not
        tell what it was trained on.
    """
    if not isinstance(encoder, ImageEncoder) or encoder.familiar is None:
        return encoder.encode_images(images, advance), None
    seen = encoder.examine(images, advance)
    return seen.vectors, encoder.familiar.distances(seen.states)


def unit(vectors: Vectors) -> Vectors:
    """Scale rows to length 1."""
    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def _in_batches(images: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    for start in range(0, len(images), _BATCH):
        yield start, images[start : start + _BATCH]


def _blank() -> Any:
    from PIL import Image

    return Image.new("RGB", (8, 8))


def image_processor(
    folder: ModelFolder,
) -> Callable[[Sequence[Any]], Mapping[str, "torch.Tensor"]]:
    """From images to the network's inputs, as the folder says.

    Raises:
        BadFile: the folder has no image processor that can be used.
    """
    import transformers

    processors: Any = transformers.AutoImageProcessor
    read_object(folder.path / "preprocessor_config.json")
    with quiet():
        try:
            processor = processors.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
            raise BadFile(
                f"{folder.path / 'preprocessor_config.json'} cannot be used: {error}",
                "Copy the whole folder again.",
            ) from error

    def prepare(images: Sequence[Any]) -> Mapping[str, "torch.Tensor"]:
        pictures = [image.convert("RGB") for image in images]
        inputs: Mapping[str, torch.Tensor] = processor(images=pictures, return_tensors="pt")
        return inputs

    return prepare


def _looker(
    network: Any, kind: ImageModel, layer: HiddenLayer, location: str
) -> Callable[[Mapping[str, "torch.Tensor"]], Examined]:
    """The network on images: inputs to vectors, not yet of unit length, and states."""
    import torch

    from .torch_text import pooled, resolve_layer

    number = resolve_layer(network, layer)

    def look(inputs: Mapping[str, "torch.Tensor"]) -> Examined:
        moved = {key: value.to(location) for key, value in inputs.items()}
        with torch.inference_mode():
            if kind.takes == "joint":
                output = network.get_image_features(**moved, output_hidden_states=True)
                found = output.pooler_output
            else:
                output = network(**moved, output_hidden_states=True)
                found = pooled(output, kind, number)
            middle = output.hidden_states[len(output.hidden_states) // 2]
            # [b t c] of transformers, [b c h w] of convolutions
            states = middle.mean(dim=1) if middle.ndim == 3 else middle.mean(dim=(2, 3))
        return Examined(found.float().cpu().numpy(), states.float().cpu().numpy())

    return look


def _text_half(
    name: str, folder: ModelFolder, fingerprint: str, *, network: Any, location: str
) -> TextEncoder:
    import torch

    from .torch_text import tokenizer_definition

    kind = IMAGE_MODELS[folder.model_type]
    definition, pad_id = tokenizer_definition(folder)
    length = int(network.config.text_config.max_position_embeddings)
    tokens = TokenReader(definition, length, pad_id, fixed_length=kind.fixed_length)

    def forward(ids: TokenIds, mask: TokenIds, pooled: TokenIds) -> Vectors:  # noqa: ARG001
        inputs = {"input_ids": torch.from_numpy(ids).to(location)}
        if not kind.fixed_length:  # these were trained without a mask
            inputs["attention_mask"] = torch.from_numpy(mask).to(location)
        with torch.inference_mode():
            features = network.get_text_features(**inputs).pooler_output
        return unit(features.float().cpu().numpy())

    ids, mask = tokens.pad(tokens.read([""]))
    return TextEncoder(
        name=name,
        fingerprint=fingerprint,
        dimension=forward(ids, mask, mask).shape[1],
        tokens=tokens,
        forward=forward,
        backend="pytorch",
        batch_tokens=2048,
    )
