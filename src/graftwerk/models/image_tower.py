"""Pictures to unit vectors with a gradient, for what guides by a picture encoder.

The encoders themselves keep no gradient: their image processors work on Pillow pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from .checkpoint import open_folder, read_object
from .image_encoder import IMAGE_MODELS, ImageEncoder
from .transformers import load_network

Look = Callable[[Float[Tensor, "b 3 y x"]], Float[Tensor, "b d"]]


def differentiable(encoder: ImageEncoder, device: str) -> Look:
    """The picture half of a joint encoder, from values 0 to 1 to unit vectors.

    Args:
        encoder: an encoder of texts and pictures.
        device: where it runs.

    Raises:
        BadInput: the encoder is not joint, or prepares pictures in a way that is not known here.
    """
    folder = open_folder(encoder.folder)
    kind = IMAGE_MODELS[folder.model_type]
    if kind.takes != "joint":
        raise BadInput(
            f"encoder {encoder.name!r} reads pictures only.",
            "Choose a joint model: builtin/blocks-clip, or a CLIP or SigLIP folder.",
        )
    network: Any = load_network(folder, kind.network).to(device)
    network.requires_grad_(False)
    prepare = _preparation(read_object(folder.path / "preprocessor_config.json"), encoder.name)

    def look(pictures: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b d"]:
        found = network.get_image_features(pixel_values=prepare(pictures)).pooler_output
        return functional.normalize(found, dim=-1)

    return look


def _preparation(
    config: Mapping[str, Any], name: str
) -> Callable[[Float[Tensor, "b 3 y x"]], Float[Tensor, "b 3 v u"]]:
    """Resizing, cropping and scaling as an image processor does them, on tensors."""
    if config.get("do_pad"):
        raise BadInput(f"encoder {name!r} pads pictures, which cannot guide.", "Choose another.")
    resize = config.get("size") if config.get("do_resize", True) else None
    crop = _sides(config.get("crop_size")) if config.get("do_center_crop") else None
    scaled = config.get("do_normalize", True)
    mean, std = (_row(config.get(key) if scaled else None, plain) for key, plain in _SCALES)

    def prepare(pictures: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 v u"]:
        height, width = pictures.shape[-2:]
        wanted = _resized(resize, height, width)
        if wanted != (height, width):
            pictures = functional.interpolate(pictures, wanted, mode="bicubic", antialias=True)
        if crop is not None and crop != wanted:
            top, left = ((have - want) // 2 for have, want in zip(wanted, crop, strict=True))
            pictures = pictures[..., top : top + crop[0], left : left + crop[1]]
        return (pictures - mean.to(pictures)) / std.to(pictures)

    return prepare


_SCALES = (("image_mean", 0.0), ("image_std", 1.0))


def _row(values: Sequence[float] | None, plain: float) -> Float[Tensor, "1 3 1 1"]:
    found = torch.tensor([plain] * 3 if values is None else list(values), dtype=torch.float32)
    return found.view(1, 3, 1, 1)


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    return None


def _resized(size: Any, height: int, width: int) -> tuple[int, int]:
    """Height and width after resizing; a lone number is the shorter side's."""
    if isinstance(size, Mapping) and "shortest_edge" in size:
        scale = int(size["shortest_edge"]) / min(height, width)
        return round(height * scale), round(width * scale)
    return _sides(size) or (height, width)
