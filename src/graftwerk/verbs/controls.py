"""`--control KIND=FILE...`: what is wanted of a picture, and how far it was kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from ..conditions import Condition, condition_named
from ..errors import BadInput
from ..frozen.diffusion.latents import values_of
from ..frozen.diffusion.model import DiffusionModel
from ..requests import Generate
from ..steer.branch_folder import branch_fingerprint, read_branch
from ..steer.control import Controls, Term
from .control_entries import Asked, branch_folders, parse_control
from .control_files import map_of, mask_of


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
    """

    wanted: tuple[Wanted, ...] = ()
    controls: Controls | None = None

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
    wanted, terms = [], []
    for entry in request.control:
        asked = parse_control(entry)
        folder = folders[asked.kind]
        branch = read_branch(folder, model.unet, model.factor, model.name, model.fingerprint)
        condition = condition_named(asked.kind)
        finished = map_of(asked.kind, asked.file, asked.finished, size)
        mask = mask_of(asked.masks, size, model.device)
        content = finished.tobytes() + (b"" if mask is None else mask.cpu().numpy().tobytes())
        digest = hashlib.sha256(branch_fingerprint(folder).encode() + content).hexdigest()
        wanted.append(Wanted(asked, condition, finished, digest))
        with torch.inference_mode():
            hint = branch.read(values_of(finished[None]).to(model.device))
        lowest, highest = levels_of(asked.first, asked.last, sigmas)
        terms.append(Term(branch, hint, asked.weight, lowest, highest, mask))
    controls = Controls(tuple(terms), by_size=guess, prompted_only=guess, reuse=request.reuse)
    return OpenControls(tuple(wanted), controls)


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
    rows = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
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
