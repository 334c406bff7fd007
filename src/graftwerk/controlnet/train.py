"""Train a branch: the check at step 0, the loop, and the meter that watches it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from torch import Tensor, nn

from .. import files
from ..conditions.base import Condition
from ..diffusion.pipeline import DiffusionModel
from ..errors import Failure
from ..training.loop import CHECKPOINTS, Log, train
from ..training.session import Outcome, Plan, Session
from ..training.state import load_newest
from ..types import Monitor
from .branch import Branch, set_weights, weights_of
from .control import Grid
from .convergence import Measurement, Meter, Verdict, from_json, judge
from .forecast import SHARE as FORECAST
from .forecast import Forecast, forecast, plot_meter, reported_forecast
from .task import DROPPED, SHARE, ControlTask, Pairs, put_back

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
        former, due = self.verdict.state, FORECAST * self._job.plan.steps
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
