"""What guides did while a request was drawn, and what to say where they drove it too far."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from ..diffusion.guidance import GradientGuide, GuidanceTrace, Overflowed, Term
from ..diffusion.sampling import Picture
from ..errors import Failure
from ..requests.base import DEFAULT_PICTURE_ENCODER
from ..types import Monitor
from .authenticity import Pictures, as_pictures, can_testify, open_witnesses
from .guides import GuideModels
from .results import FightReport, GuideReport, PictureVerdict
from .steered import SteeredModel

_FIGHT = -0.2  # mean cosine below which two guides pull against each other
_WEAKEST = 1e-3  # scale; where that overflows too, scales are not at fault


@dataclass
class Pulls:
    """Collects what guides did."""

    all: list[GuidanceTrace] = field(default_factory=list)

    def __call__(self, pull: GuidanceTrace) -> None:
        """Take one."""
        self.all.append(pull)

    def reports(self, terms: Sequence[Term]) -> list[GuideReport]:
        """What each guide did, over all steps."""
        return [self._report(term) for term in terms]

    def _report(self, term: Term) -> GuideReport:
        found = [
            (pull.sigma, pull.values[place], pull.shifts[place])
            for pull in self.all
            for place, name in enumerate(pull.names)
            if name == term.name
        ]
        levels = [sigma for sigma, _, _ in found]
        ends = {max(levels): "first", min(levels): "last"} if levels else {}
        at = {
            name: float(np.mean([value for sigma, value, _ in found if sigma == level]))
            for level, name in ends.items()
        }
        return GuideReport(
            name=term.name,
            scale=term.scale,
            clean=term.clean,
            first=at.get("first"),
            last=at.get("last"),
            shift=float(np.mean([shift for *_, shift in found])) if found else None,
        )

    def fights(self) -> list[FightReport]:
        """Pairs whose gradients point against each other."""
        cosines: dict[tuple[str, str], list[float]] = defaultdict(list)
        for pull in self.all:
            for pair, cosine in zip(combinations(pull.names, 2), pull.cosines, strict=True):
                cosines[pair].append(cosine)
        means = {pair: float(np.mean(found)) for pair, found in cosines.items()}
        return [
            FightReport(first=first, second=second, cosine=mean)
            for (first, second), mean in means.items()
            if mean < _FIGHT
        ]


def explain_overflow(
    error: Overflowed,
    step: int,
    steps: int,
    steer: GradientGuide,
    draw: Callable[[GradientGuide], object],
) -> Failure:
    """The error of a scale that is too high, with a scale that is not.

    Args:
        error: what was raised.
        step: at which step, from 1.
        steps: of the sampler.
        steer: the guides.
        draw: draws with other guides; raises `Failure` where they drive it too far as well.
    """
    scales = ", ".join(f"{term.name} at {term.scale:g}" for term in steer.terms)
    message = (
        f"guided values overflow at step {step} of {steps} (noise level {error.sigma:.3g}) with "
        f"{scales}."
    )
    largest = max(abs(term.scale) for term in steer.terms)
    held, overflows = max(1, math.ceil(math.log10(largest / _WEAKEST))), 0  # powers of a tenth
    if not _holds(_weaker(steer, held), draw):
        return Failure(message, "No weaker scale held either; look at the model without guides.")
    while held - overflows > 1:
        middle = (held + overflows) // 2
        if _holds(_weaker(steer, middle), draw):
            held = middle
        else:
            overflows = middle
    said = ", ".join(f"{term.name}:{term.scale:g}" for term in _weaker(steer, held).terms)
    return Failure(message, f"This held: {said}.")


def _weaker(steer: GradientGuide, power: int) -> GradientGuide:
    """The same guides at so many tenths of tenths of their scales."""
    terms = tuple(replace(term, scale=term.scale * 10.0**-power) for term in steer.terms)
    return replace(steer, terms=terms, watch=None)


def _holds(steer: GradientGuide, draw: Callable[[GradientGuide], object]) -> bool:
    try:
        draw(steer)
    except Failure:
        return False
    return True


def verdicts_on(
    steered: SteeredModel, paths: Sequence[str], images: Sequence[Picture], monitor: Monitor
) -> list[PictureVerdict]:
    """What witnesses say of guided pictures, of the first class that they were guided to.

    Pictures of another size than the model was trained on, and models of which no real pictures
    are known, get none.
    """
    model = steered.model
    if not can_testify(model, None) or images[0].size != model.size:
        return []
    classes = [guide for guide in steered.guides if guide.label and guide.term.scale > 0]
    label = classes[0].label if classes else None
    pictures = as_pictures(images, model.size)
    chances = None if not classes else chances_of(classes[0].models, label, pictures)
    asked = [guide.models.networks for guide in steered.guides if guide.models is not None]
    encoder = asked[0].opened(DEFAULT_PICTURE_ENCODER) if asked else None
    witnesses = open_witnesses(model, None, monitor, encoder)
    return witnesses.testify(paths, pictures, label, chances)


def chances_of(
    models: GuideModels | None, label: str | None, pictures: "Pictures"
) -> "Float[np.ndarray, ' n'] | None":
    """The guide's probability of a class in each picture; None without a class."""
    if label is None or models is None:
        return None
    import torch

    from ..diffusion.latents import values_of
    from ..generation.guide_spec import Guide

    ask = models.of_pictures(Guide("class", label, 1.0))
    values = values_of(pictures)
    with torch.no_grad():
        found = torch.cat([ask(part.to(models.device)) for part in torch.split(values, 32)])
    chances: Float[np.ndarray, " n"] = found.exp().cpu().numpy()
    return chances
