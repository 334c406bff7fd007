"""Where a fit's training is kept until it is finished: a hidden folder of ours beside the fit."""

from pathlib import Path

from .. import folders

TRAINING = "training"
_NAMES = {"best.safetensors", "validations.jsonl"}  # beside those of every training


def training_place(out: Path) -> Path:
    """The folder for the training of a fit; what a version without markers left is taken over.

    Raises:
        BadFile: all names for it are taken.
        NoRoom: the folder cannot be written.
    """
    place = folders.beside(out, TRAINING)
    former = out.with_name(f"{out.name}.{TRAINING}")
    if former.is_dir() and not former.is_symlink() and not place.exists() and is_kept(former):
        folders.claim(former, TRAINING, verify=is_kept)
        former.rename(place)
    return place


def is_kept(folder: Path) -> bool:
    """Whether all in a folder is one training, or several in numbered folders."""
    from ..train.begun import is_training
    from ..train.loop import CHECKPOINTS, LOG, PLOT

    names = folders.entries(folder)
    several = [folder / name for name in names if name.isdecimal()]
    if several:
        return len(several) == len(names) and all(is_kept(one) for one in several)
    return {*names} <= {CHECKPOINTS, LOG, PLOT, *_NAMES} and is_training(folder)
