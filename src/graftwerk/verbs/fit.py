"""`graft fit`: labelled data and a frozen model to a classifier or regressor."""

import time
from collections.abc import Sequence
from pathlib import Path

from .. import folders
from ..adapt.problem import Problem
from ..adapt.resuming import TRAINING, training_place
from ..adapt.saved import Made, require_free, save_fit
from ..adapt.ways import Trial, make_linear, make_tuned, sweep_layers
from ..contracts import Monitor
from ..errors import BadInput
from ..reports import FitResult, TaughtResult, Tried
from ..requests import Fit
from .fitting import facts_of, problem_of, score_report, settings_of
from .teaching import teach


def run(request: Fit, monitor: Monitor) -> FitResult | TaughtResult:
    """Fit, measure on the test examples, write the folder.

    Raises:
        BadInput: data, labels or model cannot be used as given.
        Damaged: a weight file is damaged.
        Diverged: a training's loss is not finite any more; the best state before it is kept.
        Cancelled: stopped by the user; a training's last step is kept.
        NoRoom: something cannot be written.
    """
    if request.task in {"generate", "write"}:
        return teach(request, monitor)
    begin = time.perf_counter()
    out = request.out.absolute()
    inputs = (request.data, request.test, request.model)
    folders.require_outside(inputs, out)
    require_free(out)
    training = training_place(out)  # what a run that was stopped goes on from
    folders.require_outside(inputs, training)
    if request.sweep and request.how != "linear":
        raise BadInput("--sweep is for --how linear.", "Leave it out, or name --layer.")
    if request.layer == "all" and request.how != "linear":
        raise BadInput("--layer all is for --how linear.", "Leave it out, or name one layer.")
    problem, made, tried = _make(problem_of(request, monitor), request, training, monitor)
    size = save_fit(out, problem, made)
    folders.remove(training)
    return FitResult(
        out=str(request.out),
        how=made.how,
        model=problem.base.name,
        data=facts_of(problem),
        score=score_report(made.score),
        tried=[
            Tried(name=one.name, score=one.score, seconds=one.seconds, kept=one.kept)
            for one in tried
        ],
        parameters=made.parameters,
        bytes=size,
        seconds=time.perf_counter() - begin,
    )


def _make(
    problem: Problem, request: Fit, training: Path, monitor: Monitor
) -> tuple[Problem, Made, Sequence[Trial]]:
    tried: Sequence[Trial] = ()
    if request.how == "linear":
        if request.sweep:
            problem, tried = sweep_layers(problem, monitor)
        return problem, make_linear(problem, monitor), tried
    from ..adapt.choosing import candidates, choose, usual
    from ..adapt.run import tune

    folders.claim(training, TRAINING)

    if request.how == "auto":
        ways = [settings_of(request, how) for how in ("lora", "full")]
        alone = request.learning_rate is None and request.rates == 1
        listed = [
            one for way in ways for one in (usual(way) if alone else candidates(way, request.rates))
        ]
        made, tried = choose(problem, listed, request.minutes, training, monitor)
        return problem, made, tried
    run = tune(problem, settings_of(request, request.how), training, monitor)
    return problem, make_tuned(problem, run, training, monitor), tried
