"""Train a branch: the check at step 0, the loop, the meter that watches it, and its forecast.

At initialization both ends of the condition's path are zero: the hint encoder's last layer `V` and
the zero convolutions `W`. The gradient of each is proportional to the other: a saddle point. Under
gradient descent both grow exponentially near it, at a rate set by the data and the learning rate
(Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", 2014). Adam normalizes gradients, so norms grow with the cumulative learning
rate, the clock used here. Neither law is assumed: both are fitted.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64
from torch import Tensor, nn

from .. import files
from ..conditions.base import Condition
from ..diffusion.pipeline import DiffusionModel
from ..errors import Failure
from ..metrics.plots import Curve, Panel, plot_panels
from ..training.loop import CHECKPOINTS, Log, train
from ..training.session import Outcome, Plan, Session
from ..training.state import load_newest
from ..types import Monitor
from .branch import Branch, set_weights, weights_of
from .control import Grid
from .convergence import Measurement, Meter, Verdict, from_json, judge
from .task import DROPPED, SHARE, ControlTask, Pairs, put_back

_FORECAST = 0.2  # of the planned steps, from which the rest is predicted
_LEVEL = 0.06  # of the frozen model's loss: a gap of this size came with the sudden change
_CLEAR = 2.0  # standard errors, of a gap or its rank, above 0 from which it is fitted
_FEWEST = 4  # points of a fit
_GOOD = 0.95  # R^2 from which the law of the gap is relied on
# Gain at which branches of builtin/blocks followed their conditions: 1.2 to 1.9 in two trainings at
# a low rate, at 1e-3 2.5 to 6.8: more in small batches. On another model it is a first guess.
_GAIN, _GAINS = 3.0, (1.2, 6.8)
_DEVIATION = 2.0  # standard deviations of the interval
Law = Literal["power", "exponential"]


@dataclass(frozen=True, slots=True)
class Fit:
    """A growth law: `exp(offset) * clock ** rate`, or `exp(offset + rate * clock)`.

    Attributes:
        offset: logarithm of the factor.
        rate: the exponent, or the growth per unit of the clock.
        covariance: of rate and offset, in this order.
    """

    law: Law
    offset: float
    rate: float
    r_squared: float
    covariance: Float64[np.ndarray, "2 2"]

    def at(self, clock: float) -> float:
        """Return the value at a clock above 0."""
        return math.exp(self.offset + self.rate * self._location(clock))

    def reaches(self, value: float) -> tuple[float, float, float]:
        """Return the clock at which a value is reached, and the ends of its interval."""
        location = (math.log(value) - self.offset) / self.rate
        slope = np.array([-location / self.rate, -1 / self.rate])
        deviation = _DEVIATION * math.sqrt(max(float(slope @ self.covariance @ slope), 0.0))
        low, mean, high = (self._clock(location + shift) for shift in (-deviation, 0.0, deviation))
        return mean, low, high

    def _location(self, clock: float) -> float:
        return math.log(clock) if self.law == "power" else clock

    def _clock(self, location: float) -> float:
        return math.exp(min(location, 700.0)) if self.law == "power" else location


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast from the first steps.

    Attributes:
        step: of the expected convergence; None if unknown or beyond the plan.
        high: upper end; None if beyond the plan.
        until: last step that was used.
    """

    step: int | None
    low: int | None
    high: int | None
    until: int
    gap: Fit | None
    gain: Fit | None
    reason: str


def fit_growth(
    clocks: Sequence[float], values: Sequence[float], law: Law | None = None
) -> Fit | None:
    """Fit the growth law that describes positive values better, or the requested one.

    Returns None for fewer than four points.
    """
    pairs = [(c, v) for c, v in zip(clocks, values, strict=True) if c > 0 and v > 0]
    if len(pairs) < _FEWEST:
        return None
    clock, value = np.array(pairs).T
    fits = []
    for kind, locations in (("power", np.log(clock)), ("exponential", clock)):
        if law in {None, kind}:
            fits.append(_line(kind, locations, np.log(value)))  # type: ignore[arg-type]
    return max(fits, key=lambda fit: fit.r_squared)


def _line(law: Law, locations: Float64[np.ndarray, " n"], logs: Float64[np.ndarray, " n"]) -> Fit:
    design = np.stack([locations, np.ones_like(locations)], axis=1)
    (rate, offset), *_ = np.linalg.lstsq(design, logs, rcond=None)
    rest = logs - design @ np.array([rate, offset])
    variance = float(rest @ rest) / (len(logs) - 2)
    covariance = variance * np.linalg.pinv(design.T @ design)
    total = float(np.square(logs - logs.mean()).sum())
    r_squared = 1 - float(rest @ rest) / total if total else 0.0
    return Fit(law, float(offset), float(rate), r_squared, covariance)


def forecast(measurements: Sequence[Measurement], frozen_loss: float, plan: Plan) -> Forecast:
    """Forecast from the first fifth of a plan when the branch will follow its condition."""
    early = [one for one in measurements if one.step <= _FORECAST * plan.steps]
    until = early[-1].step
    clocks = [plan.rates_until(one.step) for one in early]
    gain = fit_growth(clocks, [one.gain for one in early])
    level = _LEVEL * frozen_loss
    if early[-1].gap >= level:
        reason = f"the condition is followed within the first {until:,} steps already"
        return Forecast(None, None, None, until, None, gain, reason)
    rising = _rising(early)
    gap = fit_growth(clocks[-len(rising) :], [one.gap for one in rising]) if rising else None
    if gap is not None and gap.rate > 0 and gap.r_squared >= _GOOD:
        what, law, requested = "the condition gap grows", gap, level
    elif gain is not None and gain.rate > 0:
        what, law, requested = (
            "the gap is not clear yet; the norms of both ends, multiplied, grow",
            gain,
            _GAIN,
        )
    else:
        reason = f"in the first {until:,} steps nothing grows" if until else "too few steps"
        return Forecast(None, None, None, until, gap, gain, reason)
    clocks_at = law.reaches(requested)
    if law is gain:  # what is unsure is the level, far more than the law
        clocks_at = (clocks_at[0], law.reaches(_GAINS[0])[1], law.reaches(_GAINS[1])[2])
    steps = [_step_of(plan, clock) for clock in clocks_at]
    reason = f"in the first {until:,} steps {what} {_fitted_law(law)}"
    if law is gain:
        reason += (
            f"; on builtin/blocks branches followed at about {_GAIN:g}, if the condition was of use"
        )
    if steps[0] is None:
        reason += f"; too slowly for {plan.steps:,} steps"
    return Forecast(steps[0], steps[1], steps[2], until, gap, gain, reason)


def _fitted_law(law: Fit) -> str:
    if law.law == "power":
        reported = f"like the {law.rate:.1f}th power of the summed learning rates"
    else:
        reported = f"exponentially, by {law.rate:.3g} a unit of the summed learning rates"
    return f"{reported} (R^2 {law.r_squared:.3f})"


def _rising(early: Sequence[Measurement]) -> list[Measurement]:
    """Return the last measurements, starting after the last gap that is not positive."""
    found: list[Measurement] = []
    for one in reversed(early):
        sure = one.gap > _CLEAR * one.error or one.rank > _CLEAR
        if not (sure and one.gap > 0):
            break
        found.append(one)
    return found[::-1]


def _step_of(plan: Plan, clock: float) -> int | None:
    """Return the first step that reaches a clock; None if beyond the plan."""
    step = bisect_left(range(plan.steps + 1), clock, key=plan.rates_until)
    return step if step <= plan.steps else None


def reported_forecast(found: Forecast, verdict: Verdict) -> str:
    """Return the forecast in one line, with its error once that is known."""
    if found.step is None:
        return f"no forecast: {found.reason}"
    high = "beyond the plan" if found.high is None else f"{found.high:,}"
    line = f"forecast: step {found.step:,} ({found.low:,} to {high}); {found.reason}"
    if verdict.state != "converged" or verdict.step is None:
        return line
    ratio = found.step / verdict.step
    return f"{line}; it was step {verdict.step:,}, so the forecast was {ratio:.2f} of it"


def plot_meter(
    measurements: Sequence[Measurement],
    frozen_loss: float,
    verdict: Verdict,
    plan: Plan,
    found: Forecast,
) -> bytes:
    """Return a PNG of loss, gap, norms, fidelity and the forecast over the steps."""
    steps = [float(one.step) for one in measurements]
    fidelity = [math.nan if one.fidelity is None else one.fidelity for one in measurements]

    def of(field: str) -> list[float]:
        return [getattr(one, field) for one in measurements]

    losses = (
        Curve("fresh noise", steps, of("plain_loss")),
        Curve("same noise", steps, of("loss")),
        Curve("model alone", steps, [frozen_loss for _ in steps]),
    )
    sizes = (
        Curve("norm of the zero convolutions", steps, of("norm")),
        Curve("change of the skips", steps, of("change")),
    )
    gap = Curve("shuffled minus true", steps, of("gap"), of("gap_low"), of("gap_high"))
    panels = [
        Panel("held-out loss", losses),
        Panel("condition gap", (gap,)),
        Panel("size", sizes, logarithmic=True),
        _growth(measurements, plan, found),
    ]
    if any(math.isfinite(value) for value in fidelity):
        panels.insert(3, Panel("fidelity of generated images", (Curve("0 to 1", steps, fidelity),)))
    marks = [] if verdict.step is None else [float(verdict.step)]
    at = "" if verdict.step is None else f" at step {verdict.step:,}"
    made = f"; forecast made at step {found.until:,}: step {found.step or 0:,}"
    title = f"{verdict.state}{at}{made if found.step is not None else ''}"
    return plot_panels(panels, title, marks)


def _growth(measurements: Sequence[Measurement], plan: Plan, found: Forecast) -> Panel:
    """Plot gap and gain with the fitted growth laws."""
    steps = [float(one.step) for one in measurements]
    clocks = [plan.rates_until(one.step) for one in measurements]
    curves = [
        Curve("gap", steps, [one.gap for one in measurements]),
        Curve("norms of both ends, multiplied", steps, [one.gain for one in measurements]),
    ]
    highest = max(max(curve.values) for curve in curves)
    for name, fit in (("forecast of the gap", found.gap), ("forecast of the norms", found.gain)):
        if fit is not None:
            values = [fit.at(clock) if clock > 0 else math.nan for clock in clocks]
            shown = [value if value <= highest else math.nan for value in values]
            curves.append(Curve(name, steps, shown))
    title = f"growth, fitted up to step {found.until:,}"
    return Panel(title, tuple(curves), logarithmic=True)


_AFTER = 3  # measurements after the convergence that are still shown
METER, PLOT, SAMPLES = "meter.jsonl", "convergence.png", "samples"
_MEASUREMENTS = 50  # over a whole training
_GRIDS = 8
_GRID_IMAGES = 16
_IGNORANT = 0.9  # share of a plain guess's loss from which a model knows little of the images


@dataclass(frozen=True)
class TrainingJob:
    """A branch and its training data.

    Attributes:
        condition: measures fidelity; None for no figure.
        stops: whether it ends early once it has converged or does not learn.
        measurements: number over the whole training.
        grids: number of measurements with sample images.
        unlocked: weights of the model that are trained too; see `task.unlock`.
    """

    model: DiffusionModel
    branch: Branch
    pairs: Pairs
    held_out: Pairs
    condition: Condition | None
    plan: Plan
    dropped: float = DROPPED
    measured: int = 128
    stops: bool = False
    measurements: int = _MEASUREMENTS
    grids: int = _GRIDS
    unlocked: Mapping[str, nn.Parameter] = field(default_factory=dict)

    @property
    def every(self) -> int:
        """Steps between two measurements."""
        return max(1, math.ceil(self.plan.steps / self.measurements))

    @property
    def sampled_every(self) -> int:
        """Measurements between two grids."""
        return max(1, math.ceil(self.measurements / self.grids)) if self.grids else 0


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes:
        forecast: from the first fifth of the steps.
    """

    outcome: Outcome
    measurements: tuple[Measurement, ...]
    verdict: Verdict
    frozen_loss: float
    forecast: Forecast


class Watcher:
    """Measures the branch at intervals during training; see `training.session.Session`."""

    def __init__(self, job: TrainingJob, session: Session, monitor: Monitor) -> None:
        self._job, self._monitor = job, monitor
        self._folder = session.folder
        self._leads = session.group.leads
        self._log = Log(session.folder / METER)
        self._meter = Meter(job.model, job.branch, job.held_out, job.measured, session.precision)
        self.measurements: list[Measurement] = []
        self.verdict = Verdict("not yet", None, "nothing was measured yet.")
        self._grid: Grid | None = None
        if job.grids:
            count = min(_GRID_IMAGES, len(job.held_out))
            batch = job.held_out.take(np.arange(count), np.ones(count, dtype=bool))
            self._grid = Grid(job.model, job.branch, job.condition, batch, self._folder / SAMPLES)

    @property
    def frozen_loss(self) -> float:
        """Loss of the frozen model."""
        return self._meter.frozen_loss

    @property
    def forecast(self) -> Forecast:
        """Forecast from the first fifth of the plan, as far as it is done."""
        return forecast(self.measurements, self.frozen_loss, self._job.plan)

    def begin(self, monitor: Monitor) -> None:
        """Check a zero-initialized branch, or restore the measurements of a resumed training.

        Raises:
            Failure: the zero-initialized branch changes the frozen model's loss.
        """
        loaded = load_newest(self._folder / CHECKPOINTS, monitor.note)
        if loaded is not None:
            done = loaded[1].step
            entries = [entry for entry in self._log.read() if entry["step"] <= done]
            self.measurements = [from_json(entry) for entry in entries]
            return
        if self._job.branch.shape.start == "zero" and not self._meter.check_birth():
            raise Failure(
                "at step 0 the controlled loss is not the frozen model's, to the last bit.",
                "Something other than the branch's zeros changes the model: do not train it.",
            )
        guess = self._meter.plain_guess
        if self.frozen_loss > _IGNORANT * guess:
            monitor.note(
                f"the model alone scores badly on these images: its loss is "
                f"{self.frozen_loss:.4g}, a guess from their mean and spread has {guess:.4g}. A "
                "branch has little to steer there: train or choose a better model first."
            )
        self._measure(0)

    def watch(self, step: int, average: Mapping[str, Tensor]) -> bool:  # noqa: ARG002
        """Measure if it is time; return True to end the training."""
        if step % self._job.every and step < self._job.plan.steps:
            return False
        former, due = self.verdict.state, _FORECAST * self._job.plan.steps
        self._measure(step)
        if step - self._job.every < due <= step:
            self._monitor.note(f"step {step:,}: {reported_forecast(self.forecast, self.verdict)}")
        if self.verdict.state != former:
            self._monitor.note(f"step {step:,}: {describe(self.verdict)}")
        if self.verdict.state == "diverged":
            return True
        return self._job.stops and self.verdict.state in {"converged", "not learning"}

    def _measure(self, step: int) -> None:
        found = self._meter.measure(step)
        self.measurements = [one for one in self.measurements if one.step < step]
        number = len(self.measurements)
        last, sampled = step >= self._job.plan.steps, False
        if self._grid is not None and (number % self._job.sampled_every == 0 or last):
            sampled = True
            fidelity, chance = self._grid.draw(step)
            found = replace(found, fidelity=fidelity, chance=chance)
        self.measurements.append(found)
        self.verdict = judge(self.measurements, self.frozen_loss, self._job.plan.steps)
        if self._grid is not None:
            self._show_jump(self._grid, step, sampled)
        self._monitor.chart(_figures(self.measurements))
        if self._leads:
            files.write_text(self._folder / METER, lines(self.measurements))
            image = plot_meter(
                self.measurements, self.frozen_loss, self.verdict, self._job.plan, self.forecast
            )
            files.write_bytes(self._folder / PLOT, image)

    def _show_jump(self, grid: Grid, step: int, sampled: bool) -> None:
        """Sample more rows of the strips while the branch begins to follow its condition."""
        state, at = self.verdict.state, self.verdict.step
        soon = at is not None and step <= at + _AFTER * self._job.every
        if not sampled and (state == "converging" or (state == "converged" and soon)):
            grid.glimpse(step)
            sampled = True
        if sampled:
            grid.write_strips(at)


def train_branch(job: TrainingJob, session: Session, monitor: Monitor) -> Trained:
    """Train a branch or resume its training; the branch ends with the averaged weights.

    Raises:
        Failure: the zero-initialized branch changes the frozen model's loss.
        BadInput: the folder contains a training with another configuration.
        Diverged: the loss is no longer finite.
        Cancelled: stopped; running it again resumes it.
        NoRoom: the folder cannot be written.
    """
    session.folder.mkdir(parents=True, exist_ok=True)
    watcher = Watcher(job, session, monitor)
    watcher.begin(monitor)
    task = ControlTask(job.model, job.branch, job.pairs, session.seed, job.dropped, job.unlocked)
    shares = dict.fromkeys(job.unlocked, SHARE)
    watched = replace(session, watch=watcher.watch, shares=shares)
    outcome = train(task, job.plan, watched, monitor)
    learned = outcome.average
    set_weights(job.branch, {name: learned[name] for name in weights_of(job.branch)})
    put_back(job.unlocked, learned)
    return Trained(
        outcome, tuple(watcher.measurements), watcher.verdict, watcher.frozen_loss, watcher.forecast
    )


def describe(verdict: Verdict) -> str:
    """Return a verdict in one line."""
    at = "" if verdict.step is None else f" at step {verdict.step:,}"
    return f"{verdict.state}{at}: {verdict.reason}"


def _figures(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
    return {
        "held-out loss": [one.loss for one in measurements],
        "condition gap": [one.gap for one in measurements],
        "norm of the joints": [one.norm for one in measurements],
        "fidelity": [math.nan if one.fidelity is None else one.fidelity for one in measurements],
    }


def lines(measurements: Sequence[Measurement]) -> str:
    """Return measurements as JSON Lines."""
    return "".join(json.dumps(asdict(one)) + "\n" for one in measurements)
