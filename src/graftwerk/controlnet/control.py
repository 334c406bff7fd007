"""Control during sampling: one or several branches, each with a weight, an interval and a region.

The outputs of the branches are added (ControlNet, section 3.4, "composing multiple ControlNets").
Sample images of a branch in training always have the same conditions and noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..conditions.base import Condition
from ..data.images import write_image
from ..diffusion.guidance import Guidance
from ..diffusion.noise_schedule import Sigma, noise_levels
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextStates
from ..diffusion.sampling import Plan, batches, decode, sample_batch, stack
from ..diffusion.unet import Inputs, NetworkDenoiser, Residuals
from ..errors import BadInput
from ..metrics.plots import image_sheet
from .branch import Branch
from .convergence import cut
from .task import Batch, hint_input


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One control.

    Attributes:
        hint: the encoded control image, for one row or for all.
        weight: factor of its output; at 0 the branch is not evaluated.
        mask: region where it acts, 0 to 1; None for everywhere.
        blocks: factor of each connection, the middle block last; empty for none.
    """

    branch: Branch
    hint: Float[Tensor, "r c h w"]
    weight: float = 1.0
    lowest: float = 0.0
    highest: float = float("inf")
    mask: Float[Tensor, "1 1 y x"] | None = None
    blocks: tuple[float, ...] = ()

    def acts_at(self, sigma: float) -> bool:
        """Whether it is active at a noise level."""
        return self.weight != 0 and self.lowest <= sigma <= self.highest


@dataclass(frozen=True, slots=True)
class Controls:
    """All controls of a request.

    Attributes:
        by_size: whether small skips count more: the paper's weights `64 / h` of guidance without
            a prompt, where 64 is the height of what the U-Net draws and `h` that of the skip.
        prompted_only: whether the second half of a batch, without the prompt, is left alone.
        reuse: steps for which the branches' output is used; 1: evaluated again at each.
        decay: factor from the middle to each skip above it: below 1 outer skips count less.
    """

    terms: tuple[Term, ...]
    by_size: bool = False
    prompted_only: bool = False
    reuse: int = 1
    decay: float = 1.0

    def start(self, rows: int) -> "ControlledBatch":
        """Start sampling `rows` images."""
        return ControlledBatch(self, rows)


class ControlledBatch:
    """The controls of one batch during sampling."""

    def __init__(self, controls: Controls, rows: int) -> None:
        self._controls, self._rows = controls, rows
        self._inputs: dict[int, Inputs] = {}
        self._retained: dict[int, tuple[tuple[Term, ...], int, Residuals]] = {}

    @property
    def is_zero(self) -> bool:
        """Whether every weight is 0 or every branch is still zero-initialized."""
        terms = self._controls.terms
        return all(term.weight == 0 or term.branch.is_zero_initialized for term in terms)

    def apply(self, frozen: NetworkDenoiser) -> NetworkDenoiser:
        """Return the denoiser with the branches; at zero, the denoiser itself."""
        return frozen if self.is_zero else frozen.controlled(self)

    def __call__(self, x: Tensor, times: Tensor, sigma: Sigma, inputs: Inputs) -> Residuals | None:
        """Return what is added to the U-Net in this evaluation."""
        level = float(sigma.max()) if isinstance(sigma, Tensor) else sigma
        terms = tuple(term for term in self._controls.terms if term.acts_at(level))
        if not terms:
            return None
        retained = self._retained.get(len(x))
        if retained is not None and retained[0] == terms and retained[1] < self._controls.reuse:
            self._retained[len(x)] = (terms, retained[1] + 1, retained[2])
            return retained[2]
        found = self._evaluate(terms, x, times, inputs)
        self._retained[len(x)] = (terms, 1, found)
        return found

    def _evaluate(
        self, terms: Sequence[Term], x: Tensor, times: Tensor, inputs: Inputs
    ) -> Residuals:
        total = len(x)
        if self._controls.prompted_only and total > self._rows:
            inputs = self._first_rows(total, inputs)
            x, times = x[: self._rows], times[: self._rows]
        given = [term.branch(x, times, _hint_for(term, len(x)), inputs) for term in terms]
        if len({(len(one.skips), one.double) for one in given}) > 1:
            raise BadInput(
                "the branches of these controls have unlike numbers of connections.",
                "Combine branches that are copies of equally many blocks.",
            )
        found = [
            _weighed(term, one, self._controls, x) for term, one in zip(terms, given, strict=True)
        ]
        parts = [sum(same[1:], start=same[0]) for same in zip(*found, strict=True)]
        if len(x) < total:
            parts = [functional.pad(part, (0, 0) * 3 + (0, total - len(x))) for part in parts]
        return Residuals(tuple(parts[:-1]), parts[-1], given[0].double)

    def _first_rows(self, total: int, inputs: Inputs) -> Inputs:
        """Return the inputs of rows with a prompt, always the same object, so keys stay cached."""
        if total not in self._inputs:
            self._inputs[total] = _cut(inputs, self._rows)
        return self._inputs[total]


def _cut(inputs: Inputs, rows: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Tensor):
            found[name] = value[:rows]
        elif name == "cross_attention_kwargs":  # keys of half a batch are others
            found[name] = {"prompt_keys": {}}
        else:
            found[name] = {key: part[:rows] for key, part in value.items()}
    return found


def _hint_for(term: Term, rows: int) -> Tensor:
    hint = term.hint
    if len(hint) not in {1, rows}:  # rows without the prompt follow those with it
        hint = hint.repeat(rows // len(hint), 1, 1, 1)
    return hint


def _weighed(term: Term, given: Residuals, controls: Controls, x: Tensor) -> tuple[Tensor, ...]:
    weighed = []
    for number, part in enumerate(given.all):
        scaled = controls.by_size and not term.branch.pools  # as in diffusers
        weight = term.weight * (x.shape[2] / part.shape[2] if scaled else 1.0)
        weight *= controls.decay ** (len(given.skips) - number)
        weight *= term.blocks[number] if term.blocks else 1.0
        part = part * weight if weight != 1 else part  # noqa: PLW2901
        if term.mask is not None:
            share = functional.adaptive_avg_pool2d(term.mask, (part.shape[2], part.shape[3]))
            part = part * share.to(part)  # noqa: PLW2901
        weighed.append(part)
    return tuple(weighed)


_STEPS, _SAMPLER, _GUIDANCE = 10, "dpmpp_2m", 3.0
_SHOWN, _GAP = 8, 2
_BETWEEN = 7  # rows of the strips around the convergence, between those at even distances
ImageBatch = UInt8[np.ndarray, "n h w 3"]


def sample_controlled(
    model: DiffusionModel,
    branch: Branch | None,
    batch: Batch,
    steps: int = _STEPS,
    guidance: float = _GUIDANCE,
    seed: int = 0,
) -> ImageBatch:
    """Generate one image for each pair's condition and prompt; deterministic for a seed."""
    height, width = batch.latents.shape[2] * model.factor, batch.latents.shape[3] * model.factor
    images = []
    for numbers in batches(len(batch), width, height, model.device):
        rows = cut(batch, slice(numbers.start, numbers.stop))
        texts = away = None
        if rows.texts is not None and model.reader is not None:
            texts = TextStates(rows.texts.states.to(model.device), rows.texts.pooled)
            nothing = model.reader.read_nothing(texts)
            pooled = nothing.pooled
            away = TextStates(
                nothing.states.expand(len(rows), -1, -1),
                None if pooled is None else pooled.expand(len(rows), -1),
            )
        control = None
        if branch is not None:
            hint = branch.read(hint_input(rows.maps, model.device)).detach()
            control = Controls((Term(branch, hint),))
        plan = Plan(
            texts=texts,
            away=away,
            guidance=Guidance(1.0 if away is None or model.guides_itself else guidance),
            sampler=_SAMPLER,
            eta=0.0,
            sigmas=noise_levels(model.noise_at(width, height), steps, "karras"),
            shape=model.shape(width, height),
            seed=seed,
            control=control,
        )
        images += decode(model, sample_batch(model, plan, numbers))
    return stack(images)


class Grid:
    """A fixed grid of conditions, sampled repeatedly during training."""

    def __init__(
        self,
        model: DiffusionModel,
        branch: Branch,
        condition: Condition | None,
        batch: Batch,
        folder: Path,
    ) -> None:
        self._model, self._branch, self._condition = model, branch, condition
        self._batch, self._folder = batch, folder
        self._between: set[int] = set()

    def draw(self, step: int) -> tuple[float | None, float | None]:
        """Draw the grid, write it, and give its fidelity, 0 to 1, and what chance has of it."""
        images = sample_controlled(self._model, self._branch, self._batch)
        write_image(self._folder / f"{step:08d}.png", strip_of(images[:_SHOWN]))
        if self._condition is None:
            return None, None
        found = self._condition.fidelity(self._batch.maps, images)
        score, chance = found.score, found.chance_score
        return None if math.isnan(score) else score, None if math.isnan(chance) else chance

    def glimpse(self, step: int) -> None:
        """Sample the images of one row of the strips, without measuring them."""
        images = sample_controlled(self._model, self._branch, cut(self._batch, slice(_SHOWN)))
        write_image(self._folder / f"{step:08d}.png", strip_of(images))
        self._between.add(step)

    def write_strips(self, near: int | None = None) -> None:
        """Write the rows; of those between two measured ones, the closest to a step."""
        paths = {int(path.stem): path for path in self._folder.glob("[0-9]" * 8 + ".png")}
        between = sorted(self._between, key=lambda step: abs(step - (near or 0)))
        rows, shown = [strip_of(self._batch.maps[:_SHOWN])], {*paths} - {*between[_BETWEEN:]}
        for step in sorted(shown):
            with Image.open(paths[step]) as image:
                rows.append(image.convert("RGB"))
        labels = ["target", *(f"{step:,}" for step in sorted(shown))]
        write_image(self._folder / "strips.png", image_sheet(rows, 1, left=labels, gap=_GAP))


def strip_of(images: ImageBatch) -> Image.Image:
    """Arrange images in a row."""
    return image_sheet(list(images), len(images), gap=_GAP, border=False)
