"""Comparison of linear heads, LoRA and full fine-tuning on the same data.

Also computes the learning curve of the linear head, to tell whether more examples would help.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import folders
from ..adapters.linear_head import LinearHead
from ..blocks.captions import object_phrases
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..data.dataset import Item, OpenedData
from ..data.targets import Locations, Targets
from ..errors import BadInput
from ..metrics.plots import COLOURS, SOFT, Axes, Figure, Scale, text_width
from ..models.encoders import load_encoder
from ..models.zero_shot import label_vectors, require_joint, templates_of
from ..text_safety import counted
from ..types import Monitor
from .base_model import Base, Encode
from .linear import fit_linear
from .methods import make_linear, make_tuned
from .problem import Problem
from .results import CurvePoint, Method, Score
from .run import COST, Run, cheapest, tune
from .saved import TRAINING, describe_fit, is_retained
from .scoring import (
    Peak,
    Settings,
    drift,
    ignore,
    other_items,
    point,
    seconds_per_thousand,
    watched_memory,
)
from .tune import NetworkEncoder, Tuning, encode, loss_of

_WORLD = 4_004  # seed of the scenes; no model is trained on it
_SCENES, _SIDE = 400, 64  # number of scenes, and their side in pixels


@dataclass(frozen=True)
class PriorTask:
    """A head on the frozen features, and labeled items to evaluate it on.

    Attributes:
        name: name for people.
        head: head that reads the features.
        items: items, none of which was learned from.
        targets: their labels.
    """

    name: str
    head: LinearHead
    items: Sequence[Item]
    targets: Targets

    def measure(self, encode: Encode) -> tuple[float, float]:
        """Return score and mean loss of the head on the current features of `encode`.

        The loss is in nats for classes and labels, and the mean square error of a number.
        """
        scores = self.head.score(encode(self.items, ignore))
        values, task = self.targets.values, self.targets.task
        weights = torch.ones(self.targets.outputs)
        loss = loss_of(task, torch.from_numpy(scores), torch.from_numpy(values), weights)
        return point(scores, values, task), float(loss)


def of_head(name: str, head: LinearHead, problem: Problem) -> PriorTask:
    """Return a task from a previously fitted head and the test examples of its own data."""
    return PriorTask(name, head, *_tested(problem))


def of_words(problem: Problem) -> PriorTask:
    """Return zero-shot classification of the images' labels as a task."""
    if problem.targets.task != "class" or problem.examples.kind != "image":
        raise BadInput(
            f"{problem.examples.source} contains no images with a class each.",
            "Name a fit on these data with --old.",
        )
    items, targets = _tested(problem)
    head = _head_of_words(problem.base, targets.labels)
    name = (
        f"zero-shot, {counted(len(targets.labels), 'class', 'classes')} of "
        f"{problem.examples.source}"
    )
    return PriorTask(name, head, items, targets)


def of_scenes(base: Base) -> PriorTask:
    """Return zero-shot classification of kind and color of rendered objects as a task."""
    phrases = object_phrases()
    names, labels = list(phrases), tuple(phrases.values())
    items: list[Item] = []
    values = np.empty(_SCENES, dtype=np.int64)
    for number in range(_SCENES):
        scene = sample_scene(_WORLD, number, count=1)
        items.append(OpenedData(Image.fromarray(render(scene, _SIDE, _SIDE))))
        values[number] = names.index(f"{scene.objects[0].colour} {scene.objects[0].kind}")
    name = f"zero-shot, kind and color of {_SCENES} rendered objects, {len(labels)} classes"
    return PriorTask(name, _head_of_words(base, labels), items, Targets("class", labels, values))


def is_joint(base: Base) -> bool:
    """Whether the model's image features can be compared with text features."""
    return {"text", "image"} <= base.reads and base.layer is None


def _tested(problem: Problem) -> tuple[Sequence[Item], Targets]:
    test = problem.split.test
    targets = problem.targets
    items = [problem.examples.items[location] for location in test.tolist()]
    return items, Targets(targets.task, targets.labels, targets.values[test])


def _head_of_words(base: Base, labels: Sequence[str]) -> LinearHead:
    encoder = require_joint(load_encoder(base.name, device=base.device))
    heads = label_vectors(encoder, labels, templates_of(encoder.folder))
    return LinearHead(
        weight=heads * np.float32(encoder.logit_scale or 1.0),
        bias=np.zeros(len(labels), dtype=np.float32),
        task="class",
        labels=tuple(labels),
        base=base.fingerprint,
    )


_MIXES = (0.25, 0.5, 0.75)  # shares of the tuned weights


class Comparison:
    """Run all methods, one after the other, each starting from the frozen model."""

    def __init__(
        self, problem: Problem, out: Path, before: PriorTask | None, monitor: Monitor
    ) -> None:
        self._problem, self._out, self._before, self._monitor = problem, out, before, monitor
        self._others = other_items(problem.examples.kind, problem.examples.items[0])
        encode_frozen = problem.base.encoder()
        self._frozen = encode_frozen(self._others, ignore)
        # large libraries are imported first, so that they do not count toward a method's time
        import peft  # noqa: F401
        import sklearn.linear_model  # noqa: F401

        test = problem.split.test.tolist()
        self._test_items = [problem.examples.items[location] for location in test]

    def linear(self) -> Method:
        """Fit a head on frozen features."""
        with watched_memory() as peak:
            seconds = self._problem.features_seconds(self._monitor)
            begin = time.perf_counter()
            made = make_linear(self._problem, self._monitor)
        seconds += time.perf_counter() - begin
        size = describe_fit(self._problem, made).save(self._out / "linear")
        encode_frozen = self._problem.base.encoder()
        old_score, old_loss = self._measure_before(encode_frozen)
        return Method(
            name="linear",
            score=made.test_score,
            parameters=made.parameters,
            bytes=size,
            train_seconds=seconds,
            predict_seconds=seconds_per_thousand(encode_frozen, self._test_items),
            peak_bytes=peak.bytes,
            drift=0.0,
            old_score=old_score,
            old_loss=old_loss,
            note=f"strength {made.settings['strength']:g}",
        )

    def tuned(self, candidates: Sequence[Settings]) -> list[Method]:
        """Run LoRA, or full fine-tuning and its interpolation with the frozen weights.

        Args:
            candidates: settings of one method; the best on the validation examples is used.
        """
        how = candidates[0].how
        training = folders.claim(self._out / f"{how}.{TRAINING}", TRAINING, verify=is_retained)
        with watched_memory() as peak:
            run, folder = self._best(candidates, training)
        made = make_tuned(self._problem, run, folder, self._monitor)
        size = describe_fit(self._problem, made).save(self._out / how)
        note = f"best of {run.steps} steps at {run.step}, {run.settings.pace}"
        if len(candidates) > 1:
            note += f" ({len(candidates)} tried)"
        method = self._method(how, run, peak, made.test_score, note)
        methods = [method.model_copy(update={"bytes": size})]
        if how == "full":
            methods.append(self._mixed(run, peak).model_copy(update={"bytes": size}))
        folders.remove(training)
        return methods

    def _best(self, candidates: Sequence[Settings], training: Path) -> tuple[Run, Path]:
        folders = [training / str(number) for number in range(len(candidates))]
        found: list[float] = []
        seconds = 0.0
        for settings, folder in zip(candidates, folders, strict=True):
            run = tune(self._problem, settings, folder, self._monitor)
            found.append(run.measured.value)
            seconds += run.seconds
            if len(candidates) > 1:
                del run  # keep one network in memory
        best = int(np.argmax(found))
        if len(candidates) > 1:  # its weights are on disk: this trains no further
            run = tune(self._problem, candidates[best], folders[best], self._monitor, minutes=0.0)
        return replace(run, seconds=seconds), folders[best]

    def _mixed(self, run: Run, peak: Peak) -> Method:
        """Apply WiSE-FT (Wortsman et al., 2022): interpolate between frozen and tuned weights."""
        tuning, problem = run.tuning, self._problem
        tuned = {name: p.detach().clone() for name, p in tuning.parameters().items()}
        validation = problem.split.validation
        found = []
        values = problem.targets.values[validation]
        for mix in _MIXES:
            _mix(tuning, tuned, mix)
            with tuning.running():
                scores = tuning.scores(validation, "float32")
            found.append(point(scores, values, problem.targets.task))
        mix = _MIXES[int(np.argmax(found))]
        _mix(tuning, tuned, mix)
        vectors = encode(tuning.trainable, self._test_items, ignore)
        score = problem.measure(tuning.head().score(vectors), problem.split.test)
        return self._method("wise-ft", run, peak, score, f"{mix:g} of the way from frozen to full")

    def _method(self, name: str, run: Run, peak: Peak, score: Score, note: str) -> Method:
        with run.tuning.merged():
            encode_tuned = NetworkEncoder(run.tuning.trainable)
            moved = drift(self._frozen, encode_tuned(self._others, ignore))
            seconds = seconds_per_thousand(encode_tuned, self._test_items)
            old_score, old_loss = self._measure_before(encode_tuned)
        return Method(
            name=name,
            score=score,
            parameters=run.parameters,
            bytes=0,
            train_seconds=run.seconds,
            predict_seconds=seconds,
            peak_bytes=peak.bytes,
            drift=moved,
            old_score=old_score,
            old_loss=old_loss,
            note=note,
        )

    def _measure_before(self, encode_items: Encode) -> tuple[float | None, float | None]:
        return (None, None) if self._before is None else self._before.measure(encode_items)


def _mix(tuning: Tuning, tuned: Mapping[str, Tensor], share: float) -> None:
    """Set the weights to the interpolation from initial to tuned weights at this share."""
    with torch.no_grad():
        for name, parameter in tuning.parameters().items():
            parameter.copy_(torch.lerp(tuning.initial[name], tuned[name], share))


def recommend(methods: Sequence[Method]) -> tuple[str, str]:
    """Return the recommended method and one sentence that gives the reason."""
    retained = methods[cheapest([(method.name, method.score) for method in methods])]
    best = max(methods, key=lambda method: method.score.value)
    name = best.score.name
    interval = f"{best.score.low:z.3f} to {best.score.high:z.3f}"
    if retained is best:
        rest = [
            method
            for method in methods
            if method is not best and COST.index(method.name) < COST.index(best.name)
        ]
        if not rest:
            return retained.name, (
                f"Take {retained.name}: it is the cheapest and has the best {name}, "
                f"{best.score.value:z.3f} ({interval})."
            )
        next_best = max(rest, key=lambda method: method.score.value)
        return retained.name, (
            f"Take {retained.name}: its {name} of {best.score.value:z.3f} ({interval}) is beyond "
            f"what cheaper ways reach, at most {next_best.score.value:z.3f} by {next_best.name}."
        )
    return retained.name, (
        f"Take {retained.name}: its {name} of {retained.score.value:z.3f} lies within the 95 % "
        f"interval of the best, {best.name} with {best.score.value:z.3f} ({interval}), and it "
        f"learns {retained.parameters:,} numbers instead of {best.parameters:,}."
    )


_SHARES = (0.125, 0.25, 0.5, 1.0)  # of the examples to learn from
_DRAWS = 3
_FEWEST = 4  # examples
_WORTH = 0.005  # smaller gains are ignored


def learning_curve(problem: Problem, monitor: Monitor) -> list[CurvePoint]:
    """Fit linear heads on stratified shares of the examples, each twice as large as the last."""
    features = problem.features(monitor)
    test = problem.split.test
    truth = problem.targets.values[test]
    points = []
    monitor.start("learning curve", len(_SHARES))
    for share in _SHARES:
        scores, count = [], 0
        for draw in range(1 if share == 1 else _DRAWS):
            locations = _some(problem, share, draw)
            if len(locations) < _FEWEST:
                continue
            base, seed = problem.base.fingerprint, problem.source.seed
            head = fit_linear(
                features,
                problem.targets,
                locations,
                base,
                seed=seed,
                balanced=problem.source.balanced,
            ).head
            scores.append(point(head.score(features[test]), truth, problem.targets.task))
            count = len(locations)
        if scores:
            mean, deviation = float(np.mean(scores)), float(np.std(scores))
            points.append(CurvePoint(examples=count, score=mean, spread=deviation))
        monitor.advance()
    return points


def verdict(points: list[CurvePoint], name: str) -> str:
    """Return one sentence on whether more examples would help."""
    if len(points) < 3:
        return "too few examples for a learning curve"
    before, half, whole = points[-3:]
    gain, former = whole.score - half.score, half.score - before.score
    noise = 2 * half.spread / np.sqrt(_DRAWS)
    reported = (
        f"from {half.examples:,} to {counted(whole.examples, 'example')} {name} of the linear head "
        f"went from {half.score:z.3f} to {whole.score:z.3f}"
    )
    if gain > max(_WORTH, noise):
        ratio = float(np.clip(gain / former, 0, 1)) if former > 0 else 1.0
        return f"more examples would help: {reported}; twice as many may gain {gain * ratio:.3f}"
    return f"no gain from more examples could be shown: {reported}, within the noise of {noise:.3f}"


def _some(problem: Problem, share: float, draw: int) -> Locations:
    learned = problem.split.learned
    if share == 1:
        return learned
    generator = np.random.default_rng([problem.source.seed, draw])
    if problem.targets.task != "class":
        return np.sort(generator.permutation(learned)[: max(1, round(share * len(learned)))])
    values = problem.targets.values[learned]
    parts = []
    for number in np.unique(values):
        rows = generator.permutation(learned[values == number])
        parts.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(parts))


_SIZE = (1200, 520)
_TOP, _BOTTOM = 92, 430
_SCORES, _COSTS, _CURVE = (84, 384), (496, 776), (864, 1170)  # left and right edges


def plot_comparison(
    methods: Sequence[Method], curve: Sequence[CurvePoint], title: str, recommended: str
) -> bytes:
    """Return a PNG with three panels.

    Args:
        methods: rows of the table, the linear head first.
        curve: learning curve of the linear head.
        title: title above the panels.
        recommended: name of the recommended method.
    """
    note = "Intervals are 95 %. Bars are on logarithmic scales: the longest costs most."
    figure = Figure(*_SIZE, title, note)
    _scores(figure, methods, recommended)
    _costs(figure, methods)
    _learning(figure, curve, methods[0].score.name)
    return figure.png()


def _scores(figure: Figure, methods: Sequence[Method], recommended: str) -> None:
    scores = [method.score for method in methods]
    x = Scale.over([end for score in scores for end in (score.low, score.high)], room=0.12)
    if x is None:
        return
    y = Scale.of([method.name for method in methods][::-1])  # first method on top
    title = f"{scores[0].name} on test examples"
    axes = Axes(figure, (_SCORES[0], _TOP, _SCORES[1], _BOTTOM), x, y, title, grid="x")
    for number, (method, score) in enumerate(zip(methods, scores, strict=True)):
        height, colour = float(len(methods) - 1 - number), COLOURS[number % len(COLOURS)]
        axes.whiskers([(score.low, score.high)], [(height, height)], colour)
        axes.scatter([score.value], [height], colour, 7)
        label = f"{score.value:z.3f}" + (" (recommended)" if method.name == recommended else "")
        across, down = axes.at(score.value, height)
        half = text_width(label, 13) / 2  # keep labels inside the panel
        across = min(max(across, _SCORES[0] + half), _SCORES[1] - half)
        figure.text((across, down - 12), label, size=13, anchor="md")


def _costs(figure: Figure, methods: Sequence[Method]) -> None:
    left, right = _COSTS
    kinds: tuple[tuple[str, Callable[[Method], float], str], ...] = (
        ("parameters learned", lambda method: float(method.parameters), "{:,.0f}"),
        ("stored", lambda method: method.bytes / 1e6, "{:,.2f} MB"),
        ("training", lambda method: method.train_seconds, "{:,.1f} s"),
        ("1,000 predictions", lambda method: method.predict_seconds, "{:,.1f} s"),
    )
    figure.text((left - 60, _TOP - 8), "what each costs", size=14, anchor="ld")
    high = (_BOTTOM - _TOP) / len(kinds)
    names = Scale.of([method.name for method in methods][::-1])
    for location, (title, value, shown) in enumerate(kinds):
        top = _TOP + location * high + 24
        figure.text((left - 60, top - 4), title, colour=SOFT, anchor="ld")
        values = [max(value(method), 1e-9) for method in methods]
        bars = [math.log10(one / min(values)) + 0.1 for one in values]
        box = (left, top, right - 60, top + high - 28)
        axes = Axes(figure, box, Scale(0.0, max(bars), labels=()), names, grid="")
        thick = (high - 28) / len(methods) - 3
        for number, (length, method) in enumerate(zip(bars, methods, strict=True)):
            colour = COLOURS[number % len(COLOURS)]
            label = shown.format(value(method))
            axes.bar(float(len(methods) - 1 - number), length, colour, label, thick)


def _learning(figure: Figure, curve: Sequence[CurvePoint], name: str) -> None:
    left, right = _CURVE
    title = f"learning curve of linear: {name}"
    ends = [(point.score - point.spread, point.score + point.spread) for point in curve]
    y = Scale.over([end for pair in ends for end in pair], room=0.12)
    if len(curve) < 2 or y is None:
        figure.text((left, _TOP - 8), title, size=14, anchor="ld")
        figure.text((left, _TOP + 8), "too few examples", colour=SOFT)
        return
    counts = [float(point.examples) for point in curve]
    ticks = [(count, f"{count:,.0f}") for count in counts]
    x = Scale(counts[0], max(counts[-1], counts[0] * 1.01), logarithmic=True, labels=ticks)
    axes = Axes(figure, (left, _TOP, right, _BOTTOM), x, y, title, "examples learned from")
    scores = [point.score for point in curve]
    axes.whiskers([(count, count) for count in counts], ends, COLOURS[0], width=2)
    axes.line(counts, scores, COLOURS[0], width=3).scatter(counts, scores, COLOURS[0], 5)
