"""Whether a folder holds a training of ours: told by what its files say, never by their names."""

from collections.abc import Collection
from pathlib import Path

from .. import folders
from ..errors import BadFile

_ENTRY = {"step", "loss", "learning_rate", "gradient_norm"}  # of every line of a log


def is_training(folder: Path) -> bool:
    """Whether it holds a sealed checkpoint or the log of a training."""
    from .checkpoint import holds_sealed
    from .log import Log
    from .loop import CHECKPOINTS, LOG

    if holds_sealed(folder / CHECKPOINTS):
        return True
    first = next(iter(Log(folder / LOG).read()), None)
    return first is not None and first.keys() >= _ENTRY


def require_no_others(folder: Path, known: Collection[str]) -> None:
    """Refuse a training's folder that is to be replaced and holds what the training did not write.

    Args:
        folder: of the training.
        known: names beside those of the training.

    Raises:
        BadFile: names what is there.
    """
    from .loop import CHECKPOINTS, LOG, PLOT

    others = [name for name in folders.entries(folder) if name not in known]
    strange = [name for name in others if name not in {CHECKPOINTS, LOG, PLOT}]
    if strange:
        raise BadFile(
            f"{folder} holds {strange[0]!r}, which is not of its training and would be lost.",
            "Move it away, or name another folder with --out.",
        )
