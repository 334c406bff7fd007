"""Estimate conditions with models of the transformers library, BlazePose and HED.

HED is holistically-nested edge detection (Xie and Tu 2015): soft edges, and their thinning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ..blocks.map_images import PALETTE, draw_normals
from ..errors import BadFile, BadInput
from ..models.checkpoint import ModelFolder, open_folder, read_object
from ..models.hub import loading, locate
from ..models.image_encoder import load_processor
from ..models.trainable import load_own
from ..models.transformers import choose_device, load_network
from .base import ImageBatch, Read, smooth
from .blazepose import FROM_BLAZE, VISIBLE, load_blazepose
from .blazepose import MODEL_TYPE as BLAZEPOSE
from .fidelity import white_on_black
from .kinds.canny import followed, thin
from .kinds.maps import ADE20K, draw_nearness, normals_of_nearness
from .kinds.pose import draw_people
from .kinds.strokes import scribble_of

ImageArray = UInt8[np.ndarray, "h w 3"]

# What a condition can be estimated by, for people.
ESTIMATED = {
    "depth": "DPT, Depth Anything and others",
    "normals": "the same, by the slope of depth",
    "segmentation": "SegFormer, Mask2Former and others",
    "pose": "blazepose (graft models fetch), ViTPose",
    "scribble": "hed (graft models fetch)",
    "lineart": "hed (graft models fetch)",
}
ESTIMATOR_ADVICE = "a model for photographs can be named with --estimator"
_DEPTH = {
    "chmv2": "CHMv2ForDepthEstimation",
    "depth_anything": "DepthAnythingForDepthEstimation",
    "depth_pro": "DepthProForDepthEstimation",
    "dpt": "DPTForDepthEstimation",
    "glpn": "GLPNForDepthEstimation",
    "zoedepth": "ZoeDepthForDepthEstimation",
}
_METRIC = {"chmv2", "depth_pro", "glpn", "zoedepth"}  # these give distances, the others nearness
_SEGMENTATION = {
    "beit": "BeitForSemanticSegmentation",
    "data2vec-vision": "Data2VecVisionForSemanticSegmentation",
    "eomt": "EomtForUniversalSegmentation",
    "mask2former": "Mask2FormerForUniversalSegmentation",
    "maskformer": "MaskFormerForInstanceSegmentation",
    "mobilenet_v2": "MobileNetV2ForSemanticSegmentation",
    "mobilevit": "MobileViTForSemanticSegmentation",
    "mobilevitv2": "MobileViTV2ForSemanticSegmentation",
    "segformer": "SegformerForSemanticSegmentation",
    "upernet": "UperNetForSemanticSegmentation",
}
_POSE = {"vitpose": "VitPoseForPoseEstimation"}
_TABLES: Mapping[str, Mapping[str, str]] = {
    "depth": _DEPTH,
    "normals": _DEPTH,
    "segmentation": _SEGMENTATION,
    "pose": _POSE,
}
_OWN = {"pose": BLAZEPOSE, "scribble": "hed", "lineart": "hed"}  # types with readers of their own
_SURE = 0.3  # score from which a joint is drawn, by ViTPose
_FIRM = 0.5  # probability of an edge from which it is scribbled
_COCO_17 = 17  # key points of COCO, in its own order
# OpenPose's joints in COCO's order of 17; its second, the neck, is between the shoulders
_FROM_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_RIGHT_SHOULDER, _LEFT_SHOULDER, _NECK = 2, 5, 1


@dataclass(frozen=True, slots=True)
class _Model:
    """A network with its image processor; `run` returns its output for one image."""

    folder: ModelFolder
    network: Any
    processor: Any
    device: str

    def run(self, image: ImageArray, **more: Any) -> Any:
        inputs = self.processor(images=Image.fromarray(image), return_tensors="pt", **more)
        moved = {name: value.to(self.device) for name, value in inputs.items()}
        if _experts(self.folder) > 1:
            moved["dataset_index"] = torch.zeros(1, dtype=torch.long, device=self.device)
        with torch.inference_mode():
            return self.network(**moved)


def load_estimator(kind: str, name: str, device: str = "auto") -> Read:
    """Load a model that estimates one kind of condition, from images to condition images.

    Args:
        kind: name of the condition.
        name: a folder, or a hub id with a revision.
        device: where it runs.

    Raises:
        BadInput: no model estimates this kind, or this model estimates another.
        BadFile: the model cannot be read.
    """
    if kind not in _TABLES and kind not in _OWN:
        raise BadInput(
            f"no model estimates {kind}: it is computed by a classical method.",
            f"Models can be named for {', '.join(ESTIMATED)}.",
        )
    root = locate(name, "estimator")
    model_type = str(read_object(root / "config.json").get("model_type"))
    table = _TABLES.get(kind, {})
    if model_type == _OWN.get(kind):
        return _of_each(_own_reader(kind, root, device))
    network_class = table.get(model_type)
    if network_class is None:
        types = [*table, _OWN[kind]] if kind in _OWN else table
        raise BadInput(
            f"the model {name!r} is of type {model_type!r}, which does not estimate {kind}.",
            f"Types that do: {', '.join(types)}.",
        )
    folder = open_folder(root)
    location = choose_device(device)
    with loading(name):
        network: Any = load_network(folder, network_class, unused=("auxiliary_head.", "criterion."))
        model = _Model(folder, network.to(location), load_processor(folder)[0], location)
    readers: Mapping[str, Callable[[_Model, ImageArray], ImageArray]] = {
        "depth": _read_depth,
        "normals": _read_normals,
        "segmentation": _read_segmentation,
        "pose": _read_pose,
    }
    read_one = readers[kind]
    return _of_each(lambda image: read_one(model, image))


def _of_each(read_one: Callable[[ImageArray], ImageArray]) -> Read:
    def read(images: ImageBatch) -> ImageBatch:
        return np.stack([read_one(image) for image in images])

    return read


def _own_reader(kind: str, root: Path, device: str) -> Callable[[ImageArray], ImageArray]:
    """Return the reader of a fetched model that is not of the transformers library."""
    if kind == "pose":
        find = load_blazepose(root)
        return lambda image: draw_people(
            [openpose(points, scores, FROM_BLAZE, VISIBLE) for points, scores in find(image)],
            *image.shape[:2],
        )
    soft = load_hed(root, device)
    if kind == "lineart":
        return lambda image: white_on_black(np.rint(255 * soft(image)[None]))[0]
    return lambda image: white_on_black(scribble_of(thinned(soft(image)) >= _FIRM)[None])[0]


def _experts(folder: ModelFolder) -> int:
    backbone = folder.config.get("backbone_config")
    return int(backbone.get("num_experts") or 1) if isinstance(backbone, dict) else 1


def _nearness(model: _Model, image: ImageArray) -> Float32[np.ndarray, "h w"]:
    """Return 1 over the distance, up to scale and shift for relative depth models."""
    output = model.run(image)
    sizes = [image.shape[:2]]
    if model.folder.model_type == "zoedepth":  # undoes its own padding
        found = model.processor.post_process_depth_estimation(output, source_sizes=sizes)
    else:
        found = model.processor.post_process_depth_estimation(output, target_sizes=sizes)
    depth = found[0]["predicted_depth"].float().cpu().numpy()
    if not np.isfinite(depth).all():
        raise BadFile(
            f"the model in {model.folder.path} gives depths that are not finite.",
            "Copy the whole folder again.",
        )
    metric = (
        model.folder.model_type in _METRIC
        or model.folder.config.get("depth_estimation_type") == "metric"
    )
    nearness = 1 / np.maximum(depth, 1e-3) if metric else depth
    return np.ascontiguousarray(nearness, dtype=np.float32)


def _read_depth(model: _Model, image: ImageArray) -> ImageArray:
    drawn: ImageArray = draw_nearness(_nearness(model, image)[None])[0]
    return drawn


def _read_normals(model: _Model, image: ImageArray) -> ImageArray:
    return draw_normals(normals_of_nearness(_nearness(model, image)))


def _read_segmentation(model: _Model, image: ImageArray) -> ImageArray:
    output = model.run(image)
    sizes = [image.shape[:2]]
    found = model.processor.post_process_semantic_segmentation(output, target_sizes=sizes)
    classes: Int64[np.ndarray, "h w"] = found[0].cpu().numpy().astype(np.int64)
    return np.take(_class_colours(model.network.config.id2label), classes, axis=0)


def _class_colours(names: Mapping[int, str]) -> UInt8[np.ndarray, "c 3"]:
    """Return ADE20K's colors for 150 classes, else Blocks colors by name.

    Classes with other names get ADE20K's colors, starting from the end.
    """
    if len(names) == len(ADE20K):
        return np.array(ADE20K, dtype=np.uint8)
    colours = [
        PALETTE.get(names[number].lower(), ADE20K[-1 - number % len(ADE20K)])
        for number in sorted(names)
    ]
    return np.array(colours, dtype=np.uint8)


def _read_pose(model: _Model, image: ImageArray) -> ImageArray:
    """Estimate one person; a pose model expects a box around a person, here the whole image."""
    height, width = image.shape[:2]
    boxes = [[[0.0, 0.0, float(width), float(height)]]]
    output = model.run(image, boxes=boxes)
    found = model.processor.post_process_pose_estimation(output, boxes=boxes)[0][0]
    points = found["keypoints"].float().cpu().numpy()
    scores = found["scores"].float().cpu().numpy().reshape(-1)
    if len(points) < _COCO_17:
        raise BadInput(
            f"the model in {model.folder.path} finds {len(points)} key points.",
            "Name one that finds the 17 of COCO.",
        )
    return draw_people([openpose(points, scores, _FROM_COCO, _SURE)], height, width)


def openpose(
    points: np.ndarray, scores: np.ndarray, order: Sequence[int | None], sure: float
) -> Float32[np.ndarray, "18 3"]:
    """Return OpenPose's key points: x, y, and 1 where the score is at least `sure`, else 0.

    Args:
        points: key points of a model, [p 2].
        scores: one for each, [p].
        order: index of each of OpenPose's key points; None for the neck, which is in the middle
            of the shoulders.
        sure: least score of a key point that is shown.
    """
    joints = np.zeros((len(order), 3), dtype=np.float32)
    for location, source in enumerate(order):
        if source is not None:
            joints[location] = *points[source], scores[source] >= sure
    shoulders = joints[[_RIGHT_SHOULDER, _LEFT_SHOULDER]]
    joints[_NECK] = *shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()
    return joints


MODEL_TYPE = "hed"
_BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)  # channels of VGG16
_MEAN = (104.00699, 116.66877, 122.67892)  # blue, green, red, of what it was trained on
_SMOOTHING = 2.0  # pixels, of the ridges' direction
_LOW = 0.5  # of the high threshold, in hysteresis
_LONGEST = 1024  # pixels of a side; larger images are read smaller

_Image = UInt8[np.ndarray, "h w 3"]


class Hed(nn.Module):
    """VGG16 with an edge map after each of its blocks, and their weighted mean."""

    def __init__(self, _config: Mapping[str, Any]) -> None:
        super().__init__()
        before = 3
        self.blocks = nn.ModuleList()
        for widths in _BLOCKS:
            layers = nn.ModuleList()
            for width in widths:
                layers.append(nn.Conv2d(before, width, 3, padding=1))
                before = width
            self.blocks.append(layers)
        self.sides = nn.ModuleList([nn.Conv2d(widths[-1], 1, 1) for widths in _BLOCKS])
        self.fuse = nn.Conv2d(len(_BLOCKS), 1, 1)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the probability of an edge; values are blue, green, red from 0 to 255."""
        size, found = x.shape[2:], []
        x = x - x.new_tensor(_MEAN)[:, None, None]
        for number, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True)):
            if number:  # an odd row or column is padded, as in the package's own framework
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            for layer in block.children():
                x = functional.relu(layer(x))
            found.append(functional.interpolate(side(x), size, mode="bilinear"))
        return torch.sigmoid(self.fuse(torch.cat(found, dim=1)))


def load_hed(folder: Path, device: str) -> Callable[[_Image], Float64[np.ndarray, "h w"]]:
    """Return the function from an image to the probabilities of an edge.

    Raises:
        BadFile: the weights are missing or of another network.
    """
    location = choose_device(device)
    network = load_own(folder, MODEL_TYPE, Hed).to(location)

    def soft(image: _Image) -> Float64[np.ndarray, "h w"]:
        small, longest = image, max(image.shape[:2])
        if longest > _LONGEST:  # its outlines are those of photographs of 481 pixels
            height, width = (round(side * _LONGEST / longest) or 1 for side in image.shape[:2])
            small = np.rint(smooth(image.astype(np.float32), height, width)).astype(np.uint8)
        values = torch.from_numpy(np.ascontiguousarray(small[..., ::-1])).to(location)
        with torch.inference_mode():
            found = network(values.permute(2, 0, 1)[None].float())[0, 0, :, :, None].cpu().numpy()
        if small is not image:
            found = smooth(found, *image.shape[:2])
        edges: np.ndarray = found[..., 0].astype(np.float64)
        return edges

    return soft


def thinned(soft: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Return soft edges one pixel wide: their ridges, by the second derivatives."""
    from scipy.ndimage import gaussian_filter

    def second(down: int, across: int) -> Float64[np.ndarray, "h w"]:
        found: np.ndarray = gaussian_filter(soft, _SMOOTHING, order=(down, across), mode="nearest")
        return found

    across, down, both = second(0, 2), second(2, 0), second(1, 1)
    angle = np.arctan2(2 * both, across - down) / 2 + np.pi / 2  # of the smaller eigenvalue
    smooth = gaussian_filter(soft, 1.0, mode="nearest")  # without ties
    ridges = thin(np.round(smooth, 9)[None], np.cos(angle)[None], np.sin(angle)[None])
    return np.where(ridges[0] > 0, soft, 0.0)


def hed_strength(soft: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Return the highest of 99 thresholds at which a pixel is an edge, for `graft eval edges`."""
    return followed(thinned(soft)[None], _LOW)
