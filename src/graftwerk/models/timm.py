"""Folders of the library timm, which the transformers library wraps (`TimmWrapperModel`).

Their `config.json` has timm's own keys. The library is needed to build the network, nothing else:
images are prepared by an ordinary image processor with the values of `pretrained_cfg`.
"""

import importlib.util
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadFile, BadInput

MODEL_TYPE = "timm_wrapper"
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")  # of an architecture: never a hub's address
_WORD = re.compile(r"[A-Za-z0-9_]{0,40}")
_RESAMPLE = {"nearest": 0, "bilinear": 2, "bicubic": 3}  # Pillow's numbers
_FETCHING = ("pretrained", "checkpoint_path", "cache_dir", "features_only", "scriptable")
_RAW = "pretrained_cfg"
_CROP = 0.875  # timm's default share of an image's side that is kept
_LARGEST = 4096  # side of an image, in pixels


def as_wrapped(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as the transformers library has it; others are returned as they are.

    Raises:
        BadFile: timm would fetch or read something else, or a value is malformed.
    """
    kind = config.get("model_type", MODEL_TYPE if _RAW in config else None)
    if kind != MODEL_TYPE:
        return dict(config)
    name, arguments = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise BadFile(f"{path} names the architecture {name!r}, no name of timm's.", "Fix it.")
    if not isinstance(arguments, dict) or not all(map(_is_plain, arguments.items())):
        raise BadFile(
            f"{path} has model_args that are not only sizes and switches: {arguments!r}.",
            "Take the others out.",
        )
    usual = {"architectures": ["TimmWrapperForImageClassification"], "model_type": MODEL_TYPE}
    return {**usual, **config}


def _is_plain(argument: tuple[str, Any]) -> bool:
    name, value = argument
    parts = value if isinstance(value, list) else [value]
    return not name.startswith(_FETCHING) and all(
        part is None
        or isinstance(part, bool | int | float)
        or (isinstance(part, str) and _WORD.fullmatch(part) is not None)
        for part in parts
    )


def require_installed(path: Path) -> None:
    """Refuse such a folder where timm is not installed."""
    if importlib.util.find_spec("timm") is None:
        raise BadInput(
            f"{path} is a model of the library timm, which is not installed.",
            "Install it: pip install timm, and the torchvision that belongs to your PyTorch.",
        )


def class_names(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a classifier's classes: the folder's, or timm's names of ImageNet."""
    if config.get("num_classes") == 0:
        return ()
    names = config.get("label_names")
    if not isinstance(names, list):
        require_installed(path)
        from transformers import TimmWrapperConfig

        names = [*TimmWrapperConfig.from_dict(dict(config)).id2label.values()]
    return tuple(" ".join(str(name).split()) for name in names)


def processor_config(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the image processor that does what timm does for evaluation.

    Raises:
        BadFile: a value is missing, or images are not prepared by resizing and cropping.
    """
    raw: Any = config.get(_RAW)
    try:
        _, height, width = (int(side) for side in raw["input_size"])
        share = float(raw.get("crop_pct") or _CROP)
        resample = _RESAMPLE[raw.get("interpolation") or "bilinear"]
        mean, deviation = ([float(value) for value in raw[name]] for name in ("mean", "std"))
        mode = raw.get("crop_mode") or "center"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadFile(f"{_RAW} in {path} is malformed: {error!r}.", "Copy it again.") from error
    if height != width or mode != "center":
        raise BadFile(
            f"{_RAW} in {path} asks for {width} x {height} pixels, cropped by the mode {mode!r}.",
            "Only square center crops are supported.",
        )
    values = np.array([*mean, *deviation])
    if (
        not (1 <= height <= _LARGEST and 0.1 <= share <= 1)
        or [len(mean), len(deviation)] != [3, 3]
        or not (np.isfinite(values).all() and min(deviation) > 0)
    ):
        raise BadFile(f"{_RAW} in {path} has values out of range: {raw!r}.", "Copy it again.")
    side = height
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": math.floor(side / share)},
        "resample": resample,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": deviation,
    }
