"""Sample images of a branch in training, always from the same conditions and noise."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..conditions.base import Condition
from ..data.images import write_image
from ..data.pixels import stack
from ..diffusion.guidance import Guidance
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextStates
from ..diffusion.sampling import Plan, batches, decode, sample_batch
from ..metrics.plots import image_sheet
from .branch import Branch
from .control import Controls, Term
from .convergence import cut
from .task import Batch, hint_input

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
