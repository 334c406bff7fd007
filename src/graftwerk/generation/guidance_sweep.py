"""Sweep over the scale of a guide: inputs, metrics and plot.

Images of requested classes are generated at each scale, judged, and compared with real images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from ..blocks.networks import Judge, load_judge
from ..diffusion.guidance import GradientGuide, Guidance
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.sampling import ImageArray, Plan, batches, decode, sample_batch, stretch
from ..errors import BadInput
from ..metrics.distributions import frechet_distance, inside
from ..metrics.intervals import bootstrap_margin, wilson_margin
from ..metrics.plots import COLOURS, Axes, Figure, Scale, lighter
from ..models.hub import builtin_folder
from ..recipes.noisy_classifier import LABELS, PAIRS, labels_of
from ..recipes.registry import HELD_OUT_WORLD
from ..recipes.scenes import open_scenes
from ..requests.control import GuideSweep
from ..requests.generate import parse_interval, require_sampler
from ..types import Monitor
from .authenticity import ImageBatch, draws_blocks, shows
from .guides import GuideModels, Settings
from .results import SweepRow

_FIGURES = ("frechet", "precision", "recall", "share")
_TITLES = ("Frechet distance", "precision", "recall", "requested class, by the judge")
_PANEL, _GAP, _TOP = (300, 240), 64, 40  # pixels


def plot_sweep(rows: Sequence[SweepRow], real: SweepRow) -> Image.Image:
    """Plot the metrics over the scale in four panels, with 95 % intervals.

    The green line is a fresh sample of real images. Scales are evenly spaced, whatever their
    values.
    """
    (width, height), blue, green = _PANEL, COLOURS[0], COLOURS[2]
    note = "bars: 95 % intervals; green line: a fresh sample of real images"
    side = len(_FIGURES) * (width + _GAP) + _GAP // 2
    figure = Figure(side, _TOP + height + 76, note=note)
    scales = Scale.of([f"{row.scale:g}" for row in rows])
    locations = [float(location) for location in range(len(rows))]
    for number, (name, title) in enumerate(zip(_FIGURES, _TITLES, strict=True)):
        left = _GAP + number * (width + _GAP)
        values = [float(getattr(row, name)) for row in rows]
        margins = [float(getattr(row, f"{name}_margin")) for row in rows]
        ends = [(max(v - m, 0.0), v + m) for v, m in zip(values, margins, strict=True)]
        expected = float(getattr(real, name))
        highest = max(0.0 if name == "frechet" else 1.0, expected, *(high for _, high in ends))
        box = (left, _TOP, left + width, _TOP + height)
        axes = Axes(figure, box, scales, Scale(0.0, highest or 1.0), title, "scale of the guide")
        axes.rule(green, y=expected)
        axes.whiskers(
            [(location, location) for location in locations], ends, lighter(blue, 0.6), width=6
        )
        axes.line(locations, values, blue, width=3).scatter(locations, values, blue)
    return figure.image


_FRESH_WORLD = 4  # of the real images whose metrics are shown for comparison
_RARE = 0.03  # smallest share of scenes that contain the rarest class
_RESAMPLES = 50
Features = Float32[np.ndarray, "n d"]


@dataclass(frozen=True)
class Ground:
    """Models, labels and real images that all scales share.

    Attributes:
        labels: the requested class of each image.
        real: metrics of the same number of other real images.
    """

    request: GuideSweep
    model: DiffusionModel
    models: GuideModels
    judge: Judge
    labels: list[str]
    reference: Features
    real: SweepRow

    def draw(self, scale: float, monitor: Monitor) -> tuple[list[ImageArray], ImageBatch]:
        """Generate all images at one scale, with the same noise at every scale."""
        model, request = self.model, self.request
        images: list[ImageArray] = []
        for numbers in batches(len(self.labels), *model.size, model.device):
            requested = [self.labels[number] for number in numbers]
            log_prob, clean, _ = self.models.each(requested)
            term = self.models.term("the guide", log_prob, scale, clean)
            plan = Plan(
                texts=None if model.reader is None else model.reader.read([""]),
                away=None,
                guidance=Guidance(1.0),
                sampler=request.sampler,
                eta=0.0,
                sigmas=noise_levels(model.noise_at(*model.size), request.steps, "karras"),
                shape=model.shape(*model.size),
                seed=request.seed,
                pull=GradientGuide((term,)).apply,
            )
            images += decode(model, sample_batch(model, plan, numbers))
            monitor.advance(len(numbers))
        return images, stretch(images, model.size)

    def step_of(self, sigma: float) -> int:
        """Return the step, from 1, that begins at a noise level."""
        noise = self.model.noise_at(*self.model.size)
        levels = noise_levels(noise, self.request.steps, "karras")
        return 1 + sum(level > sigma * 1.0001 for level in levels)

    def measure(self, scale: float, images: ImageBatch) -> SweepRow:
        """Return the metrics of the images of one scale."""
        return figures(self.judge, scale, images, self.labels, self.reference)


def figures(
    judge: Judge, scale: float, images: ImageBatch, labels: Sequence[str], reference: Features
) -> SweepRow:
    """Return distance, precision, recall and success rate with margins of 95 % intervals.

    Margins are half-widths of the intervals.
    """
    features = judge.features(images)
    right = [
        shows(predicted, label)
        for predicted, label in zip(judge.judge(images), labels, strict=True)
    ]
    near, reached = inside(features, reference), inside(reference, features)
    generator = np.random.default_rng(0)

    def distance(rows: Int64[np.ndarray, " m"]) -> float:
        return frechet_distance(features[rows], reference)

    return SweepRow(
        scale=scale,
        frechet=frechet_distance(features, reference),
        frechet_margin=bootstrap_margin(distance, len(features), generator, _RESAMPLES),
        precision=float(near.mean()),
        precision_margin=wilson_margin(float(near.mean()), len(near)),
        recall=float(reached.mean()),
        recall_margin=wilson_margin(float(reached.mean()), len(reached)),
        share=float(np.mean(right)),
        share_margin=wilson_margin(float(np.mean(right)), len(right)),
    )


def open_ground(request: GuideSweep, monitor: Monitor) -> Ground:
    """Load the models and the real images.

    Raises:
        UnknownName: a class that the guide does not have, or an unknown sampler.
        BadInput: the model does not generate Blocks scenes, the only ones with known real images.
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
    reference, fresh = (
        _real(labels, world, model.size[0], monitor) for world in (HELD_OUT_WORLD, _FRESH_WORLD)
    )
    features = judge.features(reference)
    real = figures(judge, 0.0, fresh, labels, features)
    return Ground(request, model, models, judge, labels, features, real)


def _real(labels: Sequence[str], world: int, side: int, monitor: Monitor) -> ImageBatch:
    most = max(labels.count(label) for label in set(labels))
    scenes = open_scenes("pictures", world, max(500, round(2 * most / _RARE)), side, monitor)
    holds = labels_of(scenes)
    left = {
        label: iter(np.flatnonzero(holds[:, LABELS.index(label)]).tolist()) for label in set(labels)
    }
    try:
        numbers = [next(left[label]) for label in labels]
    except StopIteration as error:
        raise BadInput("too few real images hold a class.", "Take a smaller --count.") from error
    images: ImageBatch = scenes.rows(np.array(numbers))["picture"]
    return images
