"""What a sweep stands on: its model, guide, judge, and real pictures of the wanted classes.

The curves of a sweep as a picture: one panel a figure, over the scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw

from ..blocks.judge import Judge, load_judge
from ..diffusion.guidance import GradientGuide, Guidance
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.options import parse_interval, require_sampler
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.sampling import Picture, Plan, batches, decode, draw_batch
from ..errors import BadInput
from ..metrics.distributions import frechet_distance, inside
from ..models.hub import builtin_folder
from ..recipes.noisy_classifier import LABELS, PAIRS, labels_of
from ..recipes.registry import HELD_OUT_WORLD, SIDE
from ..recipes.scenes import open_scenes
from ..requests.guide import GuideSweep
from ..types import Monitor
from .authenticity import Pictures, as_pictures, draws_blocks, shows
from .guides import GuideModels, Settings
from .results import SweepRow

_PANEL, _GAP = (300, 240), 60
_PAPER, _INK, _GRID = (255, 255, 255), (40, 40, 40), (225, 225, 225)
_LINE, _REAL, _BAND = (30, 90, 180), (60, 150, 60), (190, 210, 235)
_FIGURES = ("frechet", "precision", "recall", "share")
_TITLES = ("Frechet distance", "precision", "recall", "wanted class by the judge")


def draw_sweep(rows: Sequence[SweepRow], real: SweepRow) -> Image.Image:
    """Four panels with 95 % bars; the green line is a fresh real sample.

    Scales are evenly spaced, whatever they are.
    """
    width = len(_FIGURES) * (_PANEL[0] + _GAP) + _GAP // 2
    canvas = Image.new("RGB", (width, _PANEL[1] + 110), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (figure, title) in enumerate(zip(_FIGURES, _TITLES, strict=True)):
        left = _GAP + place * (_PANEL[0] + _GAP)
        draw.text((left, 12), title, fill=_INK, font_size=16)
        _draw_panel(draw, left, rows, figure, getattr(real, figure))
    foot = "scale of the guide; bars: 95 % intervals; green: a fresh real sample"
    draw.text((_GAP, _PANEL[1] + 84), foot, fill=_INK, font_size=13)
    return canvas


def _draw_panel(
    draw: ImageDraw.ImageDraw, left: int, rows: Sequence[SweepRow], figure: str, real: float
) -> None:
    top, (width, height) = 44, _PANEL
    values = [(getattr(row, figure), getattr(row, f"{figure}_margin")) for row in rows]
    highest = max(1.0 if figure != "frechet" else 0.0, real, *(v + m for v, m in values)) or 1.0

    def y(value: float) -> float:
        return top + height * (1 - max(value, 0.0) / highest)

    def x(place: int) -> float:
        return left + width * (place + 0.5) / len(rows)

    for mark in range(5):
        level = highest * mark / 4
        draw.line([(left, y(level)), (left + width, y(level))], fill=_GRID)
        draw.text((left - 6, y(level)), f"{level:.3g}", fill=_INK, font_size=12, anchor="rm")
    draw.line([(left, y(real)), (left + width, y(real))], fill=_REAL, width=2)
    for place, (row, (value, margin)) in enumerate(zip(rows, values, strict=True)):
        draw.line(
            [(x(place), y(value - margin)), (x(place), y(value + margin))], fill=_BAND, width=6
        )
        where = (x(place), top + height + 8)
        draw.text(where, f"{row.scale:g}", fill=_INK, font_size=12, anchor="ma")
    points = [(x(place), y(value)) for place, (value, _) in enumerate(values)]
    if len(points) > 1:
        draw.line(points, fill=_LINE, width=3)
    for px, py in points:
        draw.ellipse([(px - 3, py - 3), (px + 3, py + 3)], fill=_LINE)


_FRESH_WORLD = 4  # of real pictures beside which the drawn ones are measured
_RARE = 0.03  # share of scenes that hold the rarest class, at the least
_RESAMPLES = 50
Features = Float32[np.ndarray, "n d"]


@dataclass(frozen=True)
class Ground:
    """What every scale is drawn and measured with.

    Attributes:
        request: what was asked for.
        model: draws without a prompt.
        models: of the guide.
        judge: names what is there, and gives the features.
        labels: the wanted class of each picture.
        reference: features of real pictures of these classes.
        real: figures of as many further real pictures.
    """

    request: GuideSweep
    model: DiffusionModel
    models: GuideModels
    judge: Judge
    labels: list[str]
    reference: Features
    real: SweepRow

    def draw(self, scale: float, monitor: Monitor) -> tuple[list[Picture], Pictures]:
        """All pictures at one scale, from the same noise at every scale."""
        model, request = self.model, self.request
        images: list[Picture] = []
        for numbers in batches(len(self.labels), *model.size, model.device):
            wanted = [self.labels[number] for number in numbers]
            log_prob, clean, _ = self.models.each(wanted)
            term = self.models.term("the guide", log_prob, scale, clean)
            plan = Plan(
                texts=None if model.reader is None else model.reader.read([""]),
                away=None,
                guidance=Guidance(1.0),
                sampler=request.sampler,
                eta=0.0,
                sigmas=noise_levels(model.noise, request.steps, "karras"),
                shape=model.shape(*model.size),
                seed=request.seed,
                pull=GradientGuide((term,), model.space.identity).apply,
            )
            images += decode(model, draw_batch(model, plan, numbers))
            monitor.advance(len(numbers))
        return images, as_pictures(images, model.size)

    def step_of(self, sigma: float) -> int:
        """The step, from 1, that begins at a noise level."""
        levels = noise_levels(self.model.noise, self.request.steps, "karras")
        return 1 + sum(level > sigma * 1.0001 for level in levels)

    def measure(self, scale: float, pictures: Pictures) -> SweepRow:
        """Figures of the pictures of one scale."""
        return figures(self.judge, scale, pictures, self.labels, self.reference)


def figures(
    judge: Judge, scale: float, pictures: Pictures, labels: Sequence[str], reference: Features
) -> SweepRow:
    """Distance, precision, recall and success of pictures, with half-widths of 95 % intervals."""
    features = judge.features(pictures)
    right = [shows(said, label) for said, label in zip(judge.judge(pictures), labels, strict=True)]
    near, reached = inside(features, reference), inside(reference, features)
    generator = np.random.default_rng(0)
    again = [
        frechet_distance(features[generator.integers(len(features), size=len(features))], reference)
        for _ in range(_RESAMPLES)
    ]
    return SweepRow(
        scale=scale,
        frechet=frechet_distance(features, reference),
        frechet_margin=1.96 * float(np.std(again)),
        precision=float(near.mean()),
        precision_margin=_margin(float(near.mean()), len(near)),
        recall=float(reached.mean()),
        recall_margin=_margin(float(reached.mean()), len(reached)),
        share=float(np.mean(right)),
        share_margin=_margin(float(np.mean(right)), len(right)),
    )


def _margin(share: float, count: int) -> float:
    """Half of Wilson's 95 % interval of a share."""
    z = 1.96
    spread = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(z * spread / (1 + z**2 / count))


def open_ground(request: GuideSweep, monitor: Monitor) -> Ground:
    """Load the models and the real pictures.

    Raises:
        UnknownName: a class that the guide does not have, or a sampler.
        BadInput: the model does not draw Blocks scenes, of which alone real pictures are known.
    """
    require_sampler(request.sampler, 0.0)
    interval = parse_interval(request.guide_interval)
    monitor.start("loading the models")
    model = load_diffusion(request.model, request.device)
    if not draws_blocks(model):
        raise BadInput(
            f"model {request.model!r} draws no Blocks scenes, of which alone the judge knows.",
            "Sweep builtin/blocks, or a model trained by `graft recipe run diffusion`.",
        )
    settings = Settings(request.guide_model, (), "", interval, request.guide_plain)
    models = GuideModels(settings, model)
    classes = [part.strip() for part in request.classes.split(",") if part.strip()]
    classes = list(PAIRS) if classes == ["all"] else classes
    if not classes:
        raise BadInput(
            f"classes {request.classes!r} name none.", "Write for example cone,red cube."
        )
    models.each(classes)
    labels = [classes[number % len(classes)] for number in range(request.count)]
    judge = load_judge(builtin_folder("builtin/blocks-judge"), model.device)
    reference, fresh = (_real(labels, world, monitor) for world in (HELD_OUT_WORLD, _FRESH_WORLD))
    features = judge.features(reference)
    real = figures(judge, 0.0, fresh, labels, features)
    return Ground(request, model, models, judge, labels, features, real)


def _real(labels: Sequence[str], world: int, monitor: Monitor) -> Pictures:
    """A real picture for each label, which holds it."""
    most = max(labels.count(label) for label in set(labels))
    scenes = open_scenes("pictures", world, max(500, round(2 * most / _RARE)), SIDE, monitor)
    holds = labels_of(scenes)
    left = {
        label: iter(np.flatnonzero(holds[:, LABELS.index(label)]).tolist()) for label in set(labels)
    }
    try:
        numbers = [next(left[label]) for label in labels]
    except StopIteration as error:
        raise BadInput("too few real pictures hold a class.", "Take a smaller --count.") from error
    pictures: Pictures = scenes.rows(np.array(numbers))["picture"]
    return pictures
