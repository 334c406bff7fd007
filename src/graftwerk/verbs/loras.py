"""`--lora DIR[:SCALE]`: saved low-rank steers on a diffusion model."""

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import BadInput
from ..frozen.diffusion.model import DiffusionModel
from ..steer.adapter import adapter_fingerprint
from ..steer.lowrank import load_several


def parse_lora(entry: str) -> tuple[Path, float]:
    """Folder and scale of one `DIR[:SCALE]`; the scale is 1 where none is given.

    Raises:
        BadInput: the scale is no finite number.
    """
    name, colon, tail = entry.rpartition(":")
    if not colon or not name or Path(entry).exists():
        return Path(entry), 1.0
    try:
        scale = float(tail)
    except ValueError:
        return Path(entry), 1.0
    if not math.isfinite(scale):
        raise BadInput(f"--lora {entry!r} has no finite scale.", "1 is what was learned, 0 none.")
    return Path(name), scale


def put_loras(model: DiffusionModel, entries: Sequence[str]) -> tuple[str, ...]:
    """Put all of them into the model's U-Net; gives their fingerprints.

    Those of scale 0 are left out, so with nothing else the model is the frozen one.

    Raises:
        WrongBase: one was made on another model; both are named.
        BadInput: one is no low-rank steer, or does not fit.
        Damaged: one of its files is damaged.
    """
    parts = [parse_lora(entry) for entry in entries]
    prints = tuple(adapter_fingerprint(folder) for folder, _ in parts)
    acting = [(folder, scale) for folder, scale in parts if scale != 0]
    if acting:
        load_several(acting, model.unet, model.name, model.fingerprint)
    return prints
