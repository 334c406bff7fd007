"""Shared parts of LoRA training on a model's own task: training, evaluation, saving."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from .. import files, folders
from ..adapters.lora import KIND, LowRank, Rank
from ..adapters.manifest import files_of, write_bundle
from ..metrics.intervals import paired
from ..training.session import Outcome, Plan, Session, Task
from ..types import Monitor
from .saved import KINDS as FITS

TRAINING = "fit training"


@dataclass(frozen=True, slots=True)
class LoraJob:
    """Inputs and settings of a training.

    Attributes:
        data: folder of images, or file of plain text.
        model: name of the pipeline, or of the language model.
        out: folder for the adapter.
        rank: rank, scale and target layers of the adapter.
        plan: hyperparameters of the training; an item is an image, or a window of tokens.
        seed: seed of all random numbers.
        device: `auto`, `cpu`, `cuda` or `mps`.
        caption: one caption for all images; None for a caption each.
    """

    data: Path
    model: str
    out: Path
    rank: Rank
    plan: Plan
    seed: int = 0
    device: str = "auto"
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A loss before and after, on the same held-out noise or text.

    Attributes:
        before: mean with the frozen model.
        after: mean with the adapter.
        gain: mean of before minus after.
        margin: half the width of the 95 % interval of `gain`.
    """

    before: float
    after: float
    gain: float
    margin: float


@dataclass(frozen=True, slots=True)
class LoraTraining:
    """Result of training an adapter.

    Attributes:
        outcome: outcome of the training.
        change: change of the loss.
        parameters: number of learned parameters.
        layers: number of layers that they change.
    """

    outcome: Outcome
    change: Change
    parameters: int
    layers: int


def require_free(out: Path, *inputs: str | Path) -> None:
    """Refuse to overwrite anything but such a training or its result.

    Args:
        out: the folder.
        inputs: data and model, which must be outside that folder.
    """
    folders.require_outside(inputs, out)
    folders.require_replaceable(out, "fit", verify=_is_trained)


def claim(out: Path) -> None:
    """Mark a folder as that of a training, to be replaced by its result."""
    folders.claim(out, TRAINING, "fit", verify=_is_trained)


def _is_trained(folder: Path) -> bool:
    """Whether a folder contains only such a training, unfinished or finished."""
    from ..training.loop import is_training, require_no_others

    finished = files_of(folder, KIND, *FITS)
    if finished is None and folders.kind_of(folder) != TRAINING and not is_training(folder):
        return False
    require_no_others(folder, {name.partition("/")[0] for name in finished or ()})
    return True


def teach(
    task: Task,
    plan: Plan,
    session: Session,
    steer: LowRank,
    measure: Callable[[], Float64[np.ndarray, " n"]],
    monitor: Monitor,
) -> LoraTraining:
    """Train an adapter and set it to the averaged weights.

    Args:
        task: task whose parameters are exactly those of the adapter.
        plan: hyperparameters of the training.
        session: where the training is stored.
        steer: zero-initialized adapter, installed in its network.
        measure: returns the network's current losses, on the same samples in every call.
        monitor: informed about progress.
    """
    from ..training.loop import train

    steer.scale = 0.0
    before = measure()
    steer.scale = 1.0
    outcome = train(task, plan, session, monitor)
    with torch.no_grad():
        for name, parameter in steer.parameters().items():
            parameter.copy_(outcome.average[name])
    monitor.start("measuring")
    after = measure()
    parameters = steer.parameters()
    return LoraTraining(
        outcome=outcome,
        change=Change(float(before.mean()), float(after.mean()), *paired(before, after)),
        parameters=sum(p.numel() for p in parameters.values()),
        layers=len(parameters) // 2,
    )


def save_trained(
    out: Path, steer: LowRank, base_name: str, content: Mapping[str, Any], part: str | None = None
) -> int:
    """Replace the training's folder by the adapter, log and plot; return the size in bytes."""
    from ..training.loop import LOG, PLOT

    name = str(Path(base_name).absolute()) if Path(base_name).is_dir() else base_name
    with folders.working_folder(out, _is_trained) as working:
        steer.write_into(working, name, part)
        for retained in (LOG, PLOT):
            if (out / retained).is_file():
                shutil.copyfile(out / retained, working / retained)
        write_bundle(working, KIND, name, steer.base, content)
    return files.size_of(out)
