"""Report what guides did while images were generated, and explain overflows."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float

from ..diffusion.guidance import GradientGuide, GuidanceTrace, Overflowed, Term
from ..diffusion.sampling import ImageArray, stretch, to_values
from ..errors import Failure
from ..requests.base import DEFAULT_IMAGE_ENCODER
from ..types import Monitor
from .authenticity import ImageBatch, can_testify, open_realism_check
from .guides import GuideModels
from .results import GradientConflict, GuideReport, ImageVerdict, SelfTest
from .spec import Guide
from .steered import SteeredModel

_CONFLICT = -0.2  # mean cosine below which two gradients conflict
_LOST_TO_PROMPT = "the prompt (--cfg {cfg:g}) was stronger than this guide: lower --cfg"
_LOST = "this guide lost ground: what else steers was stronger; raise its scale"
_WEAKEST = 1e-3  # scale; if it overflows too, scales are not the cause


@dataclass
class GradientTraces:
    """Collects the guidance traces of a request."""

    all: list[GuidanceTrace] = field(default_factory=list)

    def __call__(self, gradient: GuidanceTrace) -> None:
        """Add a trace."""
        self.all.append(gradient)

    def reports(self, terms: Sequence[Term], cfg: float | None) -> list[GuideReport]:
        """Return the report of each guide over all steps.

        Args:
            terms: the guides.
            cfg: weight of the prompt that acted along with them; None if there was none.
        """
        return [self._report(term, cfg) for term in terms]

    def _report(self, term: Term, cfg: float | None) -> GuideReport:
        found = [
            (gradient.sigma, gradient.values[location], gradient.shifts[location])
            for gradient in self.all
            for location, name in enumerate(gradient.names)
            if name == term.name
        ]
        levels = [sigma for sigma, _, _ in found]
        ends = {max(levels): "first", min(levels): "last"} if levels else {}
        at = {
            name: float(np.mean([value for sigma, value, _ in found if sigma == level]))
            for level, name in ends.items()
        }
        lost = None
        if len(at) == 2 and term.scale > 0 and at["last"] < at["first"]:
            lost = _LOST if cfg is None else _LOST_TO_PROMPT.format(cfg=cfg)
            lost += "" if math.isinf(term.limit) else ", or take --guide-plain: longer shifts"
        return GuideReport(
            name=term.name,
            scale=term.scale,
            clean=term.clean,
            first=at.get("first"),
            last=at.get("last"),
            shift=float(np.mean([shift for *_, shift in found])) if found else None,
            lost=lost,
        )

    def fights(self) -> list[GradientConflict]:
        """Return pairs of guides with conflicting gradients."""
        cosines: dict[tuple[str, str], list[float]] = defaultdict(list)
        for gradient in self.all:
            for pair, cosine in zip(combinations(gradient.names, 2), gradient.cosines, strict=True):
                cosines[pair].append(cosine)
        means = {pair: float(np.mean(found)) for pair, found in cosines.items()}
        return [
            GradientConflict(first=first, second=second, cosine=mean)
            for (first, second), mean in means.items()
            if mean < _CONFLICT
        ]


def explain_overflow(
    error: Overflowed,
    step: int,
    steps: int,
    steer: GradientGuide,
    draw: Callable[[GradientGuide], object],
) -> Failure:
    """Return the error for scales that are too high, with scales that stayed finite.

    Args:
        error: the overflow.
        step: the step at which it was raised, from 1.
        steps: number of steps of the sampler.
        steer: the guides.
        draw: samples with other guides; raises `Failure` if these overflow too.
    """
    scales = ", ".join(f"{term.name} at {term.scale:g}" for term in steer.terms)
    message = (
        f"guided values overflow at step {step} of {steps} (noise level {error.sigma:.3g}) with "
        f"{scales}."
    )
    largest = max(abs(term.scale) for term in steer.terms)
    most = max(1, math.ceil(math.log10(largest / _WEAKEST)))  # exponents of 1/10
    if not _holds(_weaker(steer, most), draw):
        return Failure(message, "No weaker scale held either; look at the model without guides.")
    held = 1 + bisect_left(range(1, most), True, key=lambda n: _holds(_weaker(steer, n), draw))
    predicted = ", ".join(f"{term.name}:{term.scale:g}" for term in _weaker(steer, held).terms)
    return Failure(message, f"Largest scale that stayed finite: {predicted}.")


def _weaker(steer: GradientGuide, power: int) -> GradientGuide:
    """Return the guides with their scales multiplied by 10 ** -power."""
    terms = tuple(replace(term, scale=term.scale * 10.0**-power) for term in steer.terms)
    return replace(steer, terms=terms, watch=None)


def _holds(steer: GradientGuide, draw: Callable[[GradientGuide], object]) -> bool:
    try:
        draw(steer)
    except Failure:
        return False
    return True


def verdicts_on(
    steered: SteeredModel, paths: Sequence[str], images: Sequence[ImageArray], monitor: Monitor
) -> tuple[list[ImageVerdict], SelfTest | None]:
    """Run realism checks on guided images, for the first class that they were guided to.

    Images of another size than the model was trained on, and models without known real images, get
    no verdicts.
    """
    model = steered.model
    if not can_testify(model, None) or images[0].size != model.size:
        return [], None
    classes = [guide for guide in steered.guides if guide.label and guide.term.scale > 0]
    label = classes[0].label if classes else None
    pictures = stretch(images, model.size)
    chances = None if not classes else chances_of(classes[0].models, label, pictures)
    requested = [guide.models.networks for guide in steered.guides if guide.models is not None]
    encoder = requested[0].opened(DEFAULT_IMAGE_ENCODER) if requested else None
    realism_check = open_realism_check(model, None, monitor, encoder)
    return realism_check.testify(paths, pictures, label, chances), realism_check.self_test


def chances_of(
    models: GuideModels | None, label: str | None, images: ImageBatch
) -> Float[np.ndarray, " n"] | None:
    """Return the guide's probability of a class for each image; None without a class."""
    if label is None or models is None:
        return None
    ask = models.of_images(Guide("class", label, 1.0))
    values = to_values(images)
    with torch.no_grad():
        found = torch.cat([ask(part.to(models.device)) for part in torch.split(values, 32)])
    return found.exp().cpu().numpy()
