"""Estimate conditions with models of the transformers library, BlazePose and HED."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from ..blocks.map_images import PALETTE, draw_normals
from ..errors import BadFile, BadInput
from ..models.checkpoint import ModelFolder, open_folder, read_object
from ..models.hub import loading, locate
from ..models.image_encoder import load_processor
from ..models.transformers import choose_device, load_network
from .base import ImageBatch, Read
from .blazepose import FROM_BLAZE, VISIBLE, load_blazepose
from .blazepose import MODEL_TYPE as BLAZEPOSE
from .fidelity import white_on_black
from .kinds.maps import ADE20K, draw_nearness, normals_of_nearness
from .kinds.pose import draw_people
from .kinds.strokes import scribble_of
from .soft_edges import load_hed, thinned

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
            f"{kind} is read by a classical method, not by --estimator.",
            f"An estimator can be named for {', '.join(ESTIMATED)}.",
        )
    root = locate(name)
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
