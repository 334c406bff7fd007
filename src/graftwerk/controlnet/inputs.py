"""Load the condition images, masks and branches of a request, and measure fidelity."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from ..conditions.base import Condition, Read, downsampled_to
from ..conditions.fidelity import looks_finished
from ..conditions.kinds import condition_named
from ..data.images import ImageNotes
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.sampling import fit, stack, to_values
from ..errors import BadInput
from ..models.checkpoint import read_object
from ..requests.generate import ControlMode
from ..text_safety import counted
from ..types import Monitor
from .branch import Branch
from .checkpoint import branch_fingerprint, open_branch
from .control import Controls, Term
from .spec import CUSTOM, ControlInput, NamedImage
from .transformer import TransformerBranch


def require_map(control: ControlInput) -> None:
    """See that an image is a finished map of its kind; a custom branch may read any image.

    Raises:
        BadInput: it is not, or it is empty.
    """
    if control.kind != CUSTOM:
        image = np.asarray(control.source.image)
        condition_named(control.kind).check_map(image, control.source.name)


_WHOLE = ("segmentation", "pose")  # their colors have no values between them
_LINES = ("canny", "hough", "scribble", "lineart")  # maps of white lines on black


def note_finished_maps(controls: Sequence[ControlInput], monitor: Monitor) -> None:
    """Note images that look like finished maps but are given as images of a scene."""
    for one in controls:
        if one.finished or one.kind not in _LINES:
            continue
        if looks_finished(np.asarray(one.source.image.convert("RGB"))):
            monitor.note(
                f"{one.source.name} looks like a finished map of white lines, but its own "
                f"{one.kind} map was made of it; if it is one, give it as "
                f"{one.kind}-map={one.source.name} (in Python: is_map=True)"
            )


def map_of(
    control: ControlInput, size: tuple[int, int], read: Read | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The condition image of a control, cropped and resized to what is generated.

    Raises:
        BadInput: a map of another kind, or one that is empty.
    """
    kind, name = control.kind, control.source.name
    if control.finished:
        require_map(control)
        method = Image.Resampling.NEAREST if kind in _WHOLE else Image.Resampling.LANCZOS
        return np.asarray(ImageOps.fit(control.source.image, size, method))
    reader = read or condition_named(kind).read
    made: UInt8[np.ndarray, "h w 3"] = reader(fit(control.source.image, *size)[None])[0]
    if not made.any():
        raise BadInput(
            f"the {kind} map of {name} is empty, so there is nothing to follow.",
            f"Look at it with `graft condition {kind} {name}`, or bring a map of your "
            f"own: {kind}-map=FILE.",
        )
    return made


def map_for(
    control: ControlInput, size: tuple[int, int], own: tuple[int, int], read: Read | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The condition image of a control as its branch reads it.

    Args:
        control: the control.
        size: width and height of the images.
        own: width and height of the branch's control images, `size` or a whole fraction of it.
        read: detects the condition in an image.

    Raises:
        BadInput: a map of another kind, or one that is empty.
    """
    times = size[0] // own[0]
    if times == 1 or not control.finished or control.source.image.width <= own[0]:
        return map_of(control, own, read)
    rows = map_of(control, size)
    parts = rows.reshape(own[1], times, own[0], times, 3)
    made: UInt8[np.ndarray, "h w 3"]
    if control.kind in _LINES:  # a mean would fade them
        made = parts.max(axis=(1, 3))
    elif control.kind in _WHOLE:
        made = np.ascontiguousarray(parts[:, times // 2, :, times // 2])
    else:
        made = downsampled_to(rows[None], (own[1], own[0]))[0]
    return made


def mask_of(
    masks: Sequence[NamedImage], size: tuple[int, int], device: str
) -> Float[Tensor, "1 1 h w"] | None:
    """Return the region of a control, 0 to 1: the intersection of its masks; None for no masks.

    Raises:
        BadInput: the intersection is empty.
    """
    region = None
    for mask in masks:
        fitted = ImageOps.fit(mask.image.convert("L"), size, Image.Resampling.LANCZOS)
        values = torch.from_numpy(np.asarray(fitted).copy()).float()[None, None] / 255
        if not bool(values.any()):
            raise BadInput(f"the mask {mask.name} is black all over.", "White is where it acts.")
        region = values if region is None else region * values
    if region is None:
        return None
    if not bool(region.any()):
        names = " and ".join(mask.name for mask in masks)
        raise BadInput(
            f"the masks {names} leave no region: nowhere are all of them white.",
            "A control acts where all its masks are white. Add one control for each place.",
        )
    return region.to(device)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBranch:
    """A branch that fits a model.

    Attributes:
        condition: kind that it was trained on; None where its folder does not say.
    """

    branch: Branch
    fingerprint: str
    condition: str | None = None


def load_branch(folder: Path, model: DiffusionModel) -> LoadedBranch:
    """Load a branch for a model, which must be the frozen one since a branch copies its encoder.

    Raises:
        WrongBase: it belongs to another model; both are named.
        BadFile: it is not a branch.
        Damaged: one of its files is damaged.
    """
    branch = open_branch(folder, model).to(model.device, model.dtype)
    condition = read_object(folder / "config.json").get("condition")
    known = condition if isinstance(condition, str) else None
    return LoadedBranch(branch, branch_fingerprint(folder), known)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedControl:
    """A control, the branch that follows it, and what reads its condition."""

    control: ControlInput
    branch: LoadedBranch
    read: Read | None = None


def note_other_conditions(controls: Sequence[LoadedControl], monitor: Monitor) -> None:
    """Note controls whose branch was trained on another kind of condition."""
    for one in controls:
        trained, kind = one.branch.condition, one.control.kind
        if trained not in {None, kind} and kind != CUSTOM:
            monitor.note(f"the branch of the {kind} control was trained on {trained} conditions")


@dataclass(frozen=True, slots=True, eq=False)
class ControlTarget:
    """A condition that images should follow.

    Attributes:
        name: its kind; with a number from the second of that kind on.
        condition: computes and measures it; None for a custom branch.
        fingerprint: of map, mask and branch.
        read: how the condition is read out of generated images; None: as of Blocks scenes.
    """

    name: str
    control: ControlInput
    condition: Condition | None
    map: UInt8[np.ndarray, "h w 3"]
    fingerprint: str
    read: Read | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OpenControls:
    """The controls of a request, ready for sampling.

    Attributes:
        controls: for the sampler; None if there are none.
    """

    targets: tuple[ControlTarget, ...] = ()
    controls: Controls | None = None
    notes: ImageNotes = field(default_factory=ImageNotes)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint of each control."""
        return tuple(target.fingerprint for target in self.targets)


def open_controls(
    loaded: Sequence[LoadedControl],
    model: DiffusionModel,
    sigmas: Sequence[float],
    size: tuple[int, int],
    *,
    guess: bool,
    reuse: int,
    of_scenes: bool,
    mode: ControlMode = "balanced",
) -> OpenControls:
    """Compute the condition images of controls and encode them.

    Args:
        loaded: the controls, each with its branch.
        model: the diffusion model.
        sigmas: noise levels of the steps.
        size: width and height of the images.
        guess: whether there is no prompt: the branch then steers one half of the guidance, and
            small skips count more (ControlNet, section 3.4).
        reuse: steps for which a branch's output is used.
        mode: which of control and prompt is more important, see `_DECAY`.
        of_scenes: whether the model draws Blocks scenes, whose conditions are read as such.

    Raises:
        BadInput: a map, mask or number cannot be used.
    """
    if not loaded:
        return OpenControls()
    targets: list[ControlTarget] = []
    terms, notes = [], ImageNotes()
    for one in loaded:
        control, branch = one.control, one.branch.branch
        for image in (control.source, *control.masks):
            notes.add(image.notes)
        own = branch.size_of_maps(size, model.factor)
        finished = map_for(control, size, own, one.read)
        condition = None if control.kind == CUSTOM else condition_named(control.kind)
        read = one.read or (None if of_scenes or condition is None else condition.read)
        mask = mask_of(control.masks, size, model.device)
        content = finished.tobytes() + (b"" if mask is None else mask.cpu().numpy().tobytes())
        digest = hashlib.sha256(one.branch.fingerprint.encode() + content).hexdigest()
        number = 1 + sum(other.control.kind == control.kind for other in targets)
        name = control.kind if number == 1 else f"{control.kind} {number}"
        targets.append(ControlTarget(name, control, condition, finished, digest, read))
        with torch.inference_mode():
            hint = branch.read(to_values(finished[None]).to(model.device, model.dtype))
        lowest, highest = levels_of(control.first, control.last, sigmas)
        weight = 0.0 if control.is_zero else control.weight
        blocks = _blocks_of(control, len(branch.joins))
        terms.append(Term(branch, hint, weight, lowest, highest, mask, blocks))
    controls = Controls(
        tuple(terms),
        by_size=guess,
        prompted_only=guess or _all_pool(loaded) or mode == "control",
        reuse=reuse,
        decay=1.0 if guess or mode == "balanced" else _DECAY,
    )
    return OpenControls(tuple(targets), controls, notes)


# The modes of the ControlNet extension of Stable Diffusion web UI: in both others each skip counts
# 0.825 of the one below it, and where the control is more important, the half of the guidance that
# is moved away from goes without it.
_DECAY = 0.825


def _all_pool(loaded: Sequence[LoadedControl]) -> bool:
    """Whether all branches pool: then they act with the prompt only, as in diffusers."""
    found = [one.branch.branch for one in loaded]
    return all(one.pools and not isinstance(one, TransformerBranch) for one in found)


def _blocks_of(control: ControlInput, count: int) -> tuple[float, ...]:
    if control.blocks == "soft":
        return tuple(_DECAY ** (count - 1 - number) for number in range(count))
    if len(control.blocks) not in {0, count}:
        raise BadInput(
            f"the {control.kind} control has {counted(len(control.blocks), 'weight')}; its branch "
            f"has {counted(count, 'connection')}.",
            f"Give one weight, soft, or {count} from the outermost skip to the middle block.",
        )
    return control.blocks


def levels_of(first: float, last: float, sigmas: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest noise level at which a control is active.

    Step `i` of `n` is active if `i / n >= first` and `(i + 1) / n <= last`, as in diffusers.

    Raises:
        BadInput: no step is active.
    """
    count = len(sigmas) - 1
    inside = [
        sigma
        for number, sigma in enumerate(sigmas[:-1])
        if number / count >= first and (number + 1) / count <= last
    ]
    if not inside:
        raise BadInput(
            f"from {first:g} to {last:g} there is no whole step among {count}.",
            "Widen the interval or take more steps.",
        )
    return min(inside), max(inside)


@dataclass(frozen=True, slots=True)
class ControlFidelity:
    """Fidelity of an image to its controls, by their name.

    Attributes:
        values: in each measure's unit.
        chance: the same with shuffled conditions.
        scores: of each, 0 to 1.
    """

    values: dict[str, float] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The mean score."""
        return float(np.mean(self.scores)) if self.scores else 0.0


def measure_controls(
    targets: Sequence[ControlTarget], images: Sequence[Image.Image]
) -> list[ControlFidelity]:
    """Measure how well each image follows its controls.

    A control with a mask requests nothing outside of it, so it is not measured.
    """
    rows = stack(images)
    found_all = [ControlFidelity() for _ in images]
    for target in targets:
        if target.condition is None or not target.control.is_measured:
            continue
        maps = np.repeat(target.map[None], len(rows), axis=0)
        name, found = target.name, target.condition.fidelity(maps, rows, target.read)
        columns = (found.values, found.chance, found.scores)
        for one, value, chance, score in zip(found_all, *columns, strict=True):
            if not np.isnan(score):
                one.values[name], one.chance[name] = float(value), float(chance)
                one.scores.append(float(score))
    return found_all
