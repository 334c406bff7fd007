"""`--control KIND=FILE...`: what is wanted of a picture, and how far it was kept.

Files that a control names: pictures, finished maps, and masks of where it acts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from ..conditions.base import Condition
from ..conditions.kinds import condition_named
from ..data.images import ImageNotes, read_image
from ..data.pixels import fit, stack, to_values
from ..diffusion.pipeline import DiffusionModel
from ..errors import BadInput
from ..requests.generate import Generate
from .checkpoint import branch_fingerprint, read_branch
from .control import Controls, Term
from .spec import Asked, branch_folders, parse_control


def map_of(
    kind: str,
    file: Path,
    finished: bool,
    size: tuple[int, int],
    notes: ImageNotes | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The condition picture of a file.

    Args:
        kind: of the condition.
        file: a picture, or a finished map.
        finished: whether it is a map.
        size: width and height of what is drawn.
        notes: counts what reading changed of the image.

    Raises:
        BadInput: a map of another size or kind, or one that is empty.
    """
    condition = condition_named(kind)
    picture = read_image(str(file), notes, depth=finished and kind == "depth")
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
    made = condition.from_picture(fit(picture, *size))
    if not made.any():
        raise BadInput(
            f"the {kind} map of {file} is empty, so there is nothing to follow.",
            f"Look at it with `graft condition {kind} {file}`, or bring a map of your "
            f"own: {kind}-map=FILE.",
        )
    return made


def mask_of(
    paths: Sequence[Path], size: tuple[int, int], device: str, notes: ImageNotes | None = None
) -> Float[Tensor, "1 1 h w"] | None:
    """Where a control acts, 0 to 1: where all its masks are white; None: it has none.

    Raises:
        BadInput: the masks leave no region.
    """
    region = None
    for path in paths:
        gray = read_image(str(path), notes).convert("L")
        picture = ImageOps.fit(gray, size, Image.Resampling.LANCZOS)
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


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A condition that pictures are to keep.

    Attributes:
        asked: as it was asked for.
        condition: its kind.
        finished: the map.
        fingerprint: of map, mask and branch.
    """

    asked: Asked
    condition: Condition
    finished: UInt8[np.ndarray, "h w 3"]
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class OpenControls:
    """The controls of a request, ready to draw with.

    Attributes:
        wanted: each of them.
        controls: what the drawing takes; None where there is none.
        notes: what reading changed of their images.
    """

    wanted: tuple[Wanted, ...] = ()
    controls: Controls | None = None
    notes: ImageNotes = field(default_factory=ImageNotes)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of each control."""
        return tuple(one.fingerprint for one in self.wanted)


def open_controls(
    request: Generate,
    model: DiffusionModel,
    sigmas: Sequence[float],
    size: tuple[int, int],
    guess: bool,
) -> OpenControls:
    """Read branches, pictures and masks.

    Args:
        request: what is drawn.
        model: draws it.
        sigmas: noise levels of the steps.
        size: width and height of the pictures.
        guess: whether there is no prompt: the branch then steers one half of the guidance, and
            small skips count more (ControlNet, section 3.4).

    Raises:
        WrongBase: a branch was made on another model; both are named.
        BadInput: a file, map, mask or number cannot be used.
        Damaged: a file of a branch is damaged.
    """
    if not request.control:
        return OpenControls()
    folders = branch_folders(request)
    wanted, terms, notes = [], [], ImageNotes()
    for entry in request.control:
        asked = parse_control(entry)
        folder = folders[asked.kind]
        branch = read_branch(folder, model.unet, model.factor, model.name, model.fingerprint)
        condition = condition_named(asked.kind)
        finished = map_of(asked.kind, asked.file, asked.finished, size, notes)
        mask = mask_of(asked.masks, size, model.device, notes)
        content = finished.tobytes() + (b"" if mask is None else mask.cpu().numpy().tobytes())
        digest = hashlib.sha256(branch_fingerprint(folder).encode() + content).hexdigest()
        wanted.append(Wanted(asked, condition, finished, digest))
        with torch.inference_mode():
            hint = branch.read(to_values(finished[None]).to(model.device))
        lowest, highest = levels_of(asked.first, asked.last, sigmas)
        terms.append(Term(branch, hint, asked.weight, lowest, highest, mask))
    controls = Controls(tuple(terms), by_size=guess, prompted_only=guess, reuse=request.reuse)
    return OpenControls(tuple(wanted), controls, notes)


def levels_of(first: float, last: float, sigmas: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest noise level at which a control acts.

    Step `i` of `n` is within where `i / n >= first` and `(i + 1) / n <= last`, as in diffusers.

    Raises:
        BadInput: no step is.
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


def kept(
    wanted: Sequence[Wanted], pictures: Sequence[Image.Image]
) -> list[tuple[dict[str, float], float]]:
    """What each picture keeps: values by the kind of condition, and the mean score, 0 to 1.

    A control with a mask wants nothing outside of it, so it is not measured.
    """
    rows = stack(pictures)
    values: list[dict[str, float]] = [{} for _ in pictures]
    scores: list[list[float]] = [[] for _ in pictures]
    for one in wanted:
        if one.asked.masks:
            continue
        maps = np.repeat(one.finished[None], len(rows), axis=0)
        found = one.condition.fidelity(maps, rows)
        for place, (value, score) in enumerate(zip(found.values, found.scores, strict=True)):
            if not np.isnan(score):
                values[place][one.asked.kind] = float(value)
                scores[place].append(float(score))
    means = [float(np.mean(some)) if some else 0.0 for some in scores]
    return list(zip(values, means, strict=True))
