"""Files that a control names: pictures, finished maps, and masks of where it acts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from ..conditions import condition_named
from ..errors import BadInput
from ..search.readers import read_image


def map_of(
    kind: str, file: Path, finished: bool, size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """The condition picture of a file.

    Args:
        kind: of the condition.
        file: a picture, or a finished map.
        finished: whether it is a map.
        size: width and height of what is drawn.

    Raises:
        BadInput: a map of another size or kind, or one that is empty.
    """
    condition = condition_named(kind)
    picture = read_image(str(file)).convert("RGB")
    if finished:
        if picture.size != size:
            raise BadInput(
                f"the {kind} map {file} has {picture.width} x {picture.height} pixels, "
                f"the pictures have {size[0]} x {size[1]}.",
                "Make it of that size, or draw with --width and --height.",
            )
        given = np.asarray(picture)
        condition.check_map(given, str(file))
        return given
    fitted = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    made = condition.from_picture(np.asarray(fitted))
    if not made.any():
        raise BadInput(
            f"the {kind} map of {file} is empty, so there is nothing to follow.",
            f"Look at it with `graft condition {kind} {file}`, or bring a map of your "
            f"own: {kind}-map=FILE.",
        )
    return made


def mask_of(
    paths: Sequence[Path], size: tuple[int, int], device: str
) -> Float[Tensor, "1 1 h w"] | None:
    """Where a control acts, 0 to 1: where all its masks are white; None: it has none.

    Raises:
        BadInput: the masks leave no region.
    """
    region = None
    for path in paths:
        picture = ImageOps.fit(read_image(str(path)).convert("L"), size, Image.Resampling.LANCZOS)
        values = torch.from_numpy(np.asarray(picture).copy()).float()[None, None] / 255
        if not bool(values.any()):
            raise BadInput(
                f"the mask {path} is black all over.", "White is where the control acts."
            )
        region = values if region is None else region * values
    if region is None:
        return None
    if not bool(region.any()):
        names = " and ".join(str(path) for path in paths)
        raise BadInput(
            f"the masks {names} leave no region: nowhere are all of them white.",
            "It acts where all its masks are white; give a control of its own for each place.",
        )
    return region.to(device)
