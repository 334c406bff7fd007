"""Image encoders and joint text-image encoders, from an explicit table of network types."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64

from ..allocation import reused_memory
from ..errors import BadFile, BadInput
from ..results import Modality
from ..types import Advance, Encoder, HiddenLayer, Role, Vectors
from . import timm
from .checkpoint import ModelFolder, own_classes, read_object
from .ood import Familiar, States, load_familiar
from .text_encoder import TextEncoder, TokenIds, TokenReader, cannot_read, check_finite
from .transformers import choose_device, load_network, quiet

if TYPE_CHECKING:
    import torch

Inputs = Mapping[str, "torch.Tensor"]  # of a network
Prepare = Callable[[Sequence[Any]], Inputs]
_BATCH = 16  # images
_HALVED = 64  # smallest side of inputs that are read at half their size too
_CROPS_BELOW = 384  # images are cropped only below this size


@dataclass(frozen=True, slots=True)
class ImageModel:
    """How a type of image network is loaded and pooled.

    Attributes:
        network: its class in the transformers library.
        takes: how its output becomes one vector per image: the state of the class token, the mean
            over positions, the network's own pooling, or the projection of a joint model.
        fixed_length: whether texts are always padded to the maximum length.
        any_size: whether it is convolutional and reads images of any size.
        separate: whether the network inside its classifier gives no hidden states.
    """

    network: str
    takes: Literal["class token", "mean", "pooled", "joint"]
    fixed_length: bool = False
    any_size: bool = False
    separate: bool = False

    @property
    def classifier(self) -> str:
        """The library's class with a classification head."""
        return self.network.removesuffix("Model") + "ForImageClassification"

    @property
    def unused(self) -> tuple[str, ...]:
        """Prefixes of weights that may be missing because they are not used."""
        return ("pooler.",) if self.takes in {"class token", "mean"} else ()


IMAGE_MODELS: Mapping[str, ImageModel] = {
    "clip": ImageModel("CLIPModel", "joint"),
    "siglip": ImageModel("SiglipModel", "joint", fixed_length=True),
    "siglip2": ImageModel("Siglip2Model", "joint", fixed_length=True),
    "beit": ImageModel("BeitModel", "pooled"),
    "bit": ImageModel("BitModel", "pooled"),
    "convnext": ImageModel("ConvNextModel", "pooled", any_size=True),
    "convnextv2": ImageModel("ConvNextV2Model", "pooled", any_size=True),
    "deit": ImageModel("DeiTModel", "class token"),
    "dinov2": ImageModel("Dinov2Model", "class token"),
    "dinov2_with_registers": ImageModel("Dinov2WithRegistersModel", "class token"),
    "efficientnet": ImageModel("EfficientNetModel", "pooled", any_size=True),
    "focalnet": ImageModel("FocalNetModel", "pooled"),
    "hiera": ImageModel("HieraModel", "pooled"),
    "ijepa": ImageModel("IJepaModel", "mean"),
    "levit": ImageModel("LevitModel", "pooled"),
    "mobilenet_v1": ImageModel("MobileNetV1Model", "pooled", any_size=True),
    "mobilenet_v2": ImageModel("MobileNetV2Model", "pooled", any_size=True),
    "mobilevit": ImageModel("MobileViTModel", "pooled"),
    "poolformer": ImageModel("PoolFormerModel", "mean"),
    "pvt_v2": ImageModel("PvtV2Model", "mean"),
    "regnet": ImageModel("RegNetModel", "pooled", any_size=True),
    "resnet": ImageModel("ResNetModel", "mean", any_size=True),
    timm.MODEL_TYPE: ImageModel("TimmWrapperModel", "pooled", separate=True),
    "swiftformer": ImageModel("SwiftFormerModel", "mean"),
    "swin": ImageModel("SwinModel", "pooled"),
    "swinv2": ImageModel("Swinv2Model", "pooled"),
    "vit": ImageModel("ViTModel", "class token"),
    "vit_msn": ImageModel("ViTMSNModel", "class token"),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """Vectors and hidden states of images.

    Attributes:
        vectors: unit vectors.
        states: means of the middle hidden layer over all positions.
    """

    vectors: Vectors
    states: States


@dataclass
class ImageEncoder:
    """A frozen encoder of images and, if it is joint, of texts; see `types.Encoder`.

    Attributes:
        look: maps the output of `prepare` to vectors and states, as in `Examined`.
        prepare: maps images to the network's inputs.
        texts: the text encoder of a joint model.
        width: length of a state.
        folder: the model's folder.
        logit_scale: learned factor that turns a joint model's cosines into logits.
        familiar: statistics of its training images, if its folder has them.
        classes: class names of its own head, if it has one.
        classify: maps the output of `prepare` to the logits of those classes.
        unit_length: whether vectors are scaled to unit length.
    """

    name: str
    fingerprint: str
    dimension: int
    reads: frozenset[Modality]
    prepare: Prepare
    look: Callable[[Inputs], Examined]
    texts: TextEncoder | None
    width: int
    folder: Path
    logit_scale: float | None = None
    familiar: Familiar | None = None
    rescorer: str | None = None
    classes: tuple[str, ...] = ()
    classify: Callable[[Inputs], Vectors] | None = None
    unit_length: bool = True

    def encode_texts(
        self, texts: Sequence[str], role: Role = "document", advance: Advance | None = None
    ) -> Vectors:
        """Encode texts with a joint model.

        Raises:
            BadInput: the model reads images only.
        """
        if self.texts is None:
            raise cannot_read(self.name, "texts", self.reads)
        return self.texts.encode_texts(texts, role, advance)

    def encode_images(self, images: Sequence[Any], advance: Advance | None = None) -> Vectors:
        """Encode `PIL.Image` images, in order.

        Raises:
            Damaged: the model gives vectors that are not finite.
        """
        return self.examine(images, advance).vectors

    def examine(self, images: Sequence[Any], advance: Advance | None = None) -> Examined:
        """Return the vectors and hidden states of images; raises as `encode_images` does."""
        vectors = np.empty((len(images), self.dimension), dtype=np.float32)
        states = [np.empty((0, self.width), dtype=np.float32)]
        with reused_memory() if len(images) >= _BATCH else nullcontext():
            for start, batch in _in_batches(images):
                seen = self.look(self.prepare(batch))
                found = check_finite(self.name, seen.vectors)
                vectors[start : start + len(batch)] = unit(found) if self.unit_length else found
                states.append(check_finite(self.name, seen.states))
                if advance is not None:
                    advance(len(batch))
        return Examined(vectors, np.concatenate(states))

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in `text`.

        Raises:
            BadInput: the model reads images only.
        """
        if self.texts is None:
            raise cannot_read(self.name, "texts", self.reads)
        return self.texts.count_tokens(text)


def load_images(
    name: str, folder: ModelFolder, fingerprint: str, usual: str, layer: HiddenLayer, device: str
) -> ImageEncoder:
    """Load an image or joint encoder; `usual` is its fingerprint where no layer is named.

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
    classes = () if joint else own_classes(folder.path)
    name_of_class = kind.classifier if classes else kind.network
    network: Any = load_network(folder, name_of_class, unused=kind.unused)
    location = choose_device(device)
    network.to(location)
    prepare = image_processor(folder)
    trunk = network.base_model if classes else network
    if classes and kind.separate:
        trunk = load_network(folder, kind.network, unused=kind.unused).to(location)
    look = _looker(trunk, kind, layer, prepare)
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
        familiar=load_familiar(folder.path, usual),  # of a middle layer, whichever is read
        classes=classes,
        classify=_classifier(network, location) if classes else None,
    )


def _classifier(network: Any, location: str) -> Callable[[Inputs], Vectors]:
    import torch

    def classify(inputs: Inputs) -> Vectors:
        moved = {key: value.to(location) for key, value in inputs.items()}
        with torch.inference_mode():
            logits: Vectors = network(**moved).logits.float().cpu().numpy()
        return logits

    return classify


def as_logits(encoder: ImageEncoder) -> ImageEncoder:
    """Return the same network as an encoder whose vectors are the logits of its own classes."""
    classify = encoder.classify
    if classify is None:
        raise TypeError(f"{encoder.name} has no classes of its own")

    def look(inputs: Inputs) -> Examined:
        logits = classify(inputs)
        return Examined(logits, np.empty((len(logits), 0), dtype=np.float32))

    return replace(
        encoder,
        dimension=len(encoder.classes),
        look=look,
        width=0,
        familiar=None,
        unit_length=False,
    )


def encode_and_compare(
    encoder: Encoder, images: Sequence[Any], advance: Advance | None = None
) -> tuple[Vectors, Float64[np.ndarray, " n"] | None]:
    """Encode images, and measure how far each is from the encoder's training distribution.

    Returns:
        Vectors, and distances in units of the limit; None if the encoder's folder has no statistics
        of its training images.
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


def image_processor(folder: ModelFolder) -> Prepare:
    """Return the function that turns images into the network's inputs, as the folder specifies.

    Raises:
        BadFile: the folder has no image processor that can be used.
    """
    import torch

    processor, config = load_processor(folder)
    _, crop, whole = geometry(config)
    uncropped = {"crop_pct": 1.0} if config.get("crop_pct") else {"size": whole}

    def prepare(images: Sequence[Any]) -> Inputs:
        pictures = [image.convert("RGB") for image in images]
        small = [whole and crop and min(picture.size) < min(crop) for picture in pictures]
        if not any(small):
            inputs: Inputs = processor(images=pictures, return_tensors="pt")
            return inputs
        values = [
            processor(images=[one], return_tensors="pt", **(uncropped if is_small else {}))
            for one, is_small in zip(pictures, small, strict=True)
        ]
        return {name: torch.cat([value[name] for value in values]) for name in values[0]}

    return prepare


def load_processor(folder: ModelFolder) -> tuple[Any, dict[str, Any]]:
    """Return a folder's image processor and its configuration.

    Raises:
        BadFile: the folder has none that can be used.
    """
    import transformers

    path = folder.path / "preprocessor_config.json"
    processors: Any = transformers.AutoImageProcessor
    if folder.model_type == timm.MODEL_TYPE:
        from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

        config = timm.processor_config(folder.path / "config.json", folder.config)
        return BitImageProcessorPil(**config), config
    config = read_object(path)
    with quiet():
        try:
            processor = processors.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
            raise BadFile(
                f"{path} cannot be used: {error}", "Copy the whole folder again."
            ) from error
    return processor, config


def geometry(config: Mapping[str, Any]) -> tuple[Any, tuple[int, int] | None, Any]:
    """Return the size that an image is resized to and the size that it is cropped to.

    The third value is the size for images smaller than the crop, None for the usual one: these are
    resized to the crop, since a margin would cost content, which small images have up to the edge.
    """
    resize: Any = config.get("size") if config.get("do_resize", True) else None
    crop = sides(config.get("crop_size")) if config.get("do_center_crop") else None
    shortest = isinstance(resize, Mapping) and "shortest_edge" in resize
    share = config.get("crop_pct")  # used by the ConvNeXt processor, which has no crop_size
    if share and shortest and crop is None:
        side = int(resize["shortest_edge"])
        if side >= _CROPS_BELOW:
            return {"height": side, "width": side}, None, None
        resize, crop = {"shortest_edge": int(side / share)}, (side, side)
    if not shortest or crop is None or int(resize["shortest_edge"]) <= max(crop):
        return resize, crop, None
    return resize, crop, {"shortest_edge": max(crop)}


def sides(size: Any) -> tuple[int, int] | None:
    """Return height and width of a size in an image processor's configuration, if it has both."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    return None


def _looker(
    network: Any, kind: ImageModel, layer: HiddenLayer, prepare: Prepare
) -> Callable[[Inputs], Examined]:
    """Return the function from inputs to vectors, not yet of unit length, and states."""
    import torch

    from .torch_text import averaged, image_states_and_output

    location = next(network.parameters()).device
    number = layer_of(network, kind, layer, prepare)

    def look(inputs: Inputs) -> Examined:
        moved = {key: value.to(location) for key, value in inputs.items()}
        with torch.inference_mode():
            found, output = image_states_and_output(network, kind, number, moved)
            middle = output.hidden_states[len(output.hidden_states) // 2]
            states = averaged(middle)
        return Examined(found.float().cpu().numpy(), states.float().cpu().numpy())

    return look


def layer_of(network: Any, kind: ImageModel, layer: HiddenLayer, prepare: Prepare) -> HiddenLayer:
    """Return the index of a hidden layer among the states that the network actually returns.

    Raises:
        BadInput: the network has fewer layers.
    """
    from .torch_text import resolve_layer

    if kind.takes == "joint" or (layer == "multiscale" and _reads_two_sizes(kind, prepare)):
        return layer
    return resolve_layer(network, layer, _last_layer(network, prepare))


def reads_two_sizes(folder: ModelFolder) -> bool:
    """Whether a network also reads images at half its size: convolutions, from 64 pixels on."""
    return _reads_two_sizes(IMAGE_MODELS[folder.model_type], image_processor(folder))


def _reads_two_sizes(kind: ImageModel, prepare: Prepare) -> bool:
    return kind.any_size and min(prepare([_blank()])["pixel_values"].shape[2:]) >= _HALVED


def last_layer(folder: ModelFolder) -> int:
    """Return the index of the last hidden state that an image network actually returns."""
    kind = IMAGE_MODELS[folder.model_type]
    network = load_network(folder, kind.network, unused=kind.unused)
    return _last_layer(network, image_processor(folder))


def _last_layer(network: Any, prepare: Prepare) -> int:
    import torch

    location = next(network.parameters()).device
    inputs = {key: value.to(location) for key, value in prepare([_blank()]).items()}
    with torch.inference_mode():
        return len(network(**inputs, output_hidden_states=True).hidden_states) - 1


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
