"""One run of tuning: validations on the way, the best weights kept, an early end."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Monitor
from ..errors import BadInput
from ..frozen.loading import choose_device
from ..steer.head import LinearHead
from ..train.arithmetic import fast_precision
from ..train.loop import train
from ..train.session import Precision, Session
from ..train.task import Plan
from .linear import fit_linear
from .networks import load_network
from .problem import Problem
from .scoring import Score
from .settings import Settings
from .tuning import Tuning
from .watching import Watcher

_WARM_UP, _AVERAGE = 0.06, 0.97


@dataclass
class Run:
    """What a run came to.

    Attributes:
        tuning: the network with its best weights in place.
        settings: how it was tuned.
        measured: the score of the best weights on the validation examples.
        start: the same of the linear head that it began with.
        step: step of the best weights.
        steps: steps done.
        finished: whether it ended by itself.
        seconds: wall time of this run; features and states below the top count as if they had
            not been in the cache.
        parameters: numbers that were learned.
    """

    tuning: Tuning
    settings: Settings
    measured: Score
    start: float
    step: int
    steps: int
    finished: bool
    seconds: float
    parameters: int


def tune(
    problem: Problem,
    settings: Settings,
    folder: Path,
    monitor: Monitor,
    *,
    minutes: float | None = None,
    precision: Precision | None = None,
) -> Run:
    """Tune a network, or go on where a former run in the folder was stopped.

    Args:
        problem: the data.
        settings: how.
        folder: for log, checkpoints and the best weights.
        monitor: told about progress.
        minutes: stop after so long; 0: only put the best weights in their places.
        precision: of the arithmetic; None: the fastest of the device.

    Raises:
        BadInput: too few examples to validate on, or the folder holds another run.
        Diverged: the loss is not finite; the best weights before it stay in the folder.
        Cancelled: stopped by the user; the last step is kept.
        NoRoom: something cannot be written.
    """
    if not len(problem.split.validation):
        raise BadInput(
            f"{problem.examples.source} has too few examples to validate on.",
            "Give at least three of a class, or use --how linear.",
        )
    features_seconds = problem.features_seconds(monitor)
    own = time.perf_counter()
    start = starting_head(problem, monitor)
    device = choose_device("cpu" if problem.base.device == "auto" else problem.base.device)
    chosen = precision or fast_precision(device)
    tuning = Tuning(problem, load_network(problem.base, problem.examples.kind), start, settings)
    watcher = Watcher(problem, tuning, folder, chosen, plan_of(problem, settings).steps)
    places = problem.split.validation
    own, states_seconds = _filled(tuning, monitor, own)
    with tuning.running():
        finished = _train(problem, tuning, settings, watcher, monitor, minutes)
        best = watcher.take_best()
        measured = problem.measure(tuning.scores(places, chosen), places)
    history = watcher.history()
    return Run(
        tuning=tuning,
        settings=settings,
        measured=measured,
        start=history[0]["score"],
        step=best["step"],
        steps=history[-1]["step"],
        finished=finished,
        seconds=features_seconds + states_seconds + time.perf_counter() - own,
        parameters=sum(p.numel() for p in tuning.parameters().values()),
    )


def _filled(tuning: Tuning, monitor: Monitor, own: float) -> tuple[float, float]:
    """Fill the states below the top; a start that leaves this out, and what they took."""
    if tuning.kept is None:
        return own, 0.0
    begin = time.perf_counter()
    tuning.kept.fill(monitor)
    return own + time.perf_counter() - begin, tuning.kept.seconds


def _train(
    problem: Problem,
    tuning: Tuning,
    settings: Settings,
    watcher: Watcher,
    monitor: Monitor,
    minutes: float | None,
) -> bool:
    plan = plan_of(problem, settings)
    session = Session(
        folder=watcher.folder,
        configuration=_configuration(problem, settings),
        seed=problem.source.seed,
        minutes=minutes,
        precision=watcher.precision,
        watch=watcher.look,
        shares=tuning.shares(),
    )
    watcher.begin()
    if watcher.settled():
        return True
    if minutes == 0:
        return False
    return train(tuning, plan, session, monitor).finished


def plan_of(problem: Problem, settings: Settings) -> Plan:
    """Steps and rates."""
    steps = max(1, round(len(problem.split.train) * settings.epochs / settings.batch))
    return Plan(
        steps=steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        warm_up=max(1, round(_WARM_UP * steps)),
        average_decay=_AVERAGE,
    )


def _configuration(problem: Problem, settings: Settings) -> dict[str, Any]:
    """What the training is a function of."""
    values = problem.targets.values
    return {
        "model": problem.base.fingerprint,
        "data": problem.examples.hash,
        "labels": hash_of(values),
        "parts": [len(part) for part in (problem.split.train, problem.split.validation)],
        "balanced": problem.source.balanced,
        "seed": problem.source.seed,
        "settings": settings.as_json(),
    }


def hash_of(values: Any) -> str:
    """SHA-256 of an array."""
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def starting_head(problem: Problem, monitor: Monitor) -> LinearHead:
    """The linear head that tuning begins with: fitted on the training examples alone."""
    features = problem.features(monitor)
    return fit_linear(
        features,
        problem.targets,
        problem.split.train,
        problem.base.fingerprint,
        seed=problem.source.seed,
        balanced=problem.source.balanced,
    ).head
