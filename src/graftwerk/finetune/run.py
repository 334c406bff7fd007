"""One tuning run: periodic validation, best weights on disk, early stopping."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from .. import files
from ..adapters.linear_head import LinearHead
from ..errors import BadInput, Damaged
from ..models.transformers import choose_device
from ..training.loop import Log, train
from ..training.session import Plan, Precision, Session
from ..training.state import fast_precision
from ..types import Monitor
from .linear import fit_linear
from .methods import make_linear, make_tuned
from .problem import Problem
from .results import Score, Trial
from .saved import Made
from .scoring import Settings, point
from .tune import Tuning, load_network

_BEST, _VALIDATIONS = "best.safetensors", "validations.jsonl"
_PER_EPOCH = 2  # validations per epoch
_NOTICED = 1e-3  # relative decrease of the loss; smaller ones are ignored
_FEWEST_STEPS = 10  # steps between two validations


class Watcher:
    """Validate periodically, store the best weights on disk, and stop early."""

    def __init__(
        self, problem: Problem, tuning: Tuning, folder: Path, precision: Precision, last: int
    ) -> None:
        """Watch a run.

        Args:
            problem: the problem it is tuned on.
            tuning: the network that is trained.
            folder: folder of the run.
            precision: precision of the arithmetic.
            last: number of the last step.
        """
        self.folder, self.precision = folder, precision
        self._problem, self._tuning, self._settings = problem, tuning, tuning.settings
        self._log = Log(folder / _VALIDATIONS)
        epoch = max(1, len(problem.split.train) // tuning.settings.batch)
        self._every = max(_FEWEST_STEPS, epoch // _PER_EPOCH)
        self._last = last

    def begin(self) -> None:
        """Validate the initial weights, unless that was done before."""
        if not self.history():
            weights = {n: p.detach().clone() for n, p in self._tuning.parameters().items()}
            self.look(0, weights)

    def history(self) -> list[dict[str, Any]]:
        """Return all validations so far."""
        return self._log.read()

    def look(self, step: int, average: Mapping[str, Tensor]) -> bool:
        """Validate if it is due; return whether the run has stopped improving."""
        if step % self._every and step != self._last:
            return False
        self._log.rewind(step - 1)
        score, loss = self._validate(average)
        self._log.add({"step": step, "score": score, "loss": loss})
        best, found = self._read_best(), {"step": step, "score": score, "loss": loss}
        if best is None or _is_better(found, best):
            self._write_best(found, average)
        return self.settled()

    def settled(self) -> bool:
        """Whether the last validations did not improve."""
        history = self.history()
        best, since = history[0], 0
        for entry in history[1:]:
            better = _is_better(entry, best)
            best, since = (entry, 0) if better else (best, since + 1)
        return since >= self._settings.patience

    def take_best(self) -> dict[str, Any]:
        """Load the best weights into the network; return their step, score and loss."""
        best = self._read_best()
        if best is None:
            raise Damaged(f"{self.folder} has no best weights.", "Remove it and run again.")
        tensors = load((self.folder / _BEST).read_bytes())
        with torch.no_grad():
            for name, parameter in self._tuning.parameters().items():
                parameter.copy_(tensors[name])
        return best

    def _validate(self, average: Mapping[str, Tensor]) -> tuple[float, float]:
        parameters = self._tuning.parameters()
        present = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        locations = self._problem.split.validation
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(average[name])
            scores = self._tuning.scores(locations, self.precision)
            for name, parameter in parameters.items():
                parameter.copy_(present[name])
        loss = self._tuning.mean_loss(scores, locations)
        targets = self._problem.targets
        return point(scores, targets.values[locations], targets.task), loss

    def _read_best(self) -> dict[str, Any] | None:
        path = self.folder / _BEST
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as opened:
                facts: dict[str, Any] = files.parse_json(opened.metadata()["best"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{path} is damaged.", "Remove its folder and run again.") from error
        return facts

    def _write_best(self, facts: dict[str, Any], average: Mapping[str, Tensor]) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in average.items()}
        content = save(tensors, metadata={"best": json.dumps(facts)})
        files.write_bytes(self.folder / _BEST, content)


def _is_better(found: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Whether a validation has a higher score, or the same one and a noticeably lower loss."""
    if found["score"] != best["score"]:
        return bool(found["score"] > best["score"])
    return bool(found["loss"] < (1 - _NOTICED) * best["loss"])


_WARM_UP, _AVERAGE = 0.06, 0.97


@dataclass
class Run:
    """Result of a run.

    Attributes:
        tuning: the network with its best weights loaded.
        settings: settings of the run.
        measured: score of the best weights on the validation examples.
        start: the same score for the linear head that it started from.
        step: step of the best weights.
        steps: number of steps done.
        finished: whether the run ended by itself.
        seconds: wall time of this run; features and cached lower-layer states count as if they had
            not been in the cache.
        parameters: number of learned parameters.
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
    """Tune a network, or resume a stopped run in the folder.

    Args:
        problem: the data.
        settings: settings of the run.
        folder: folder for log, checkpoints and the best weights.
        monitor: informed about progress.
        minutes: time limit; 0 to only load the best weights.
        precision: precision of the arithmetic; None for the fastest on the device.
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
    locations = problem.split.validation
    own, states_seconds = _filled(tuning, monitor, own)
    with tuning.running():
        finished = _train(problem, tuning, settings, watcher, monitor, minutes)
        best = watcher.take_best()
        measured = problem.measure(tuning.scores(locations, chosen), locations)
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
    """Compute the lower-layer states; return a start time that excludes it, and its seconds."""
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
    """Return the plan: steps, batch size and learning rate."""
    steps = max(1, round(len(problem.split.train) * settings.epochs / settings.batch))
    return Plan(
        steps=steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        warm_up=max(1, round(_WARM_UP * steps)),
        average_decay=_AVERAGE,
    )


def _configuration(problem: Problem, settings: Settings) -> dict[str, Any]:
    values = problem.targets.values
    return {
        "model": problem.base.fingerprint,
        "data": problem.examples.hash,
        "labels": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest(),
        "parts": [len(part) for part in (problem.split.train, problem.split.validation)],
        "balanced": problem.source.balanced,
        "seed": problem.source.seed,
        "settings": asdict(settings),
    }


def starting_head(problem: Problem, monitor: Monitor, *, for_training: bool = True) -> LinearHead:
    """Fit a linear head on the training examples only, by default the one tuning starts from."""
    features = problem.features(monitor)
    return fit_linear(
        features,
        problem.targets,
        problem.split.train,
        problem.base.fingerprint,
        seed=problem.source.seed,
        balanced=problem.source.balanced,
        for_training=for_training,
    ).head


COST = ("linear", "lora", "full", "wise-ft")  # cheapest first
_APART = 3.0  # ratio of successive learning rates
_LORA_PLUS = 16.0  # learning rate of B over that of A (LoRA+: Hayou et al., 2024, section 5)
_RATES = {"lora": (5e-4, 2e-3), "full": (3e-5, 1e-4)}


def cheapest(scores: Sequence[tuple[str, Score]]) -> int:
    """Return the index of the cheapest method within the 95 % interval of the best one."""
    best = max(scores, key=lambda pair: pair[1].value)[1]
    good = [n for n, (_, score) in enumerate(scores) if score.value >= best.low]
    return min(good, key=lambda n: (COST.index(scores[n][0]), -scores[n][1].value))


def choose(
    problem: Problem, settings: Sequence[Settings], minutes: float, folder: Path, monitor: Monitor
) -> tuple[Made, list[Trial]]:
    """Spend the budget by successive halving and return the cheapest sufficiently good method.

    All settings get an equal share of the first third of the budget; the better half continues
    with the next third, and the best with the last (Jamieson and Talwalkar, 2016, with fixed
    rungs). Runs resume from their checkpoints. The linear head takes part without a budget.

    Args:
        problem: the data; choices are made on its validation examples.
        settings: candidates in addition to the linear head.
        minutes: total budget.
        folder: folder for the runs.
        monitor: informed about progress.
    """
    deadline = time.monotonic() + 60 * minutes
    begin = time.perf_counter()
    head = starting_head(problem, monitor, for_training=False)
    locations = problem.split.validation
    linear = problem.measure(head.score(problem.features(monitor)[locations]), locations)
    spent = {"linear": time.perf_counter() - begin}
    runs: dict[int, Score] = {}
    ended: dict[int, bool] = {}
    alive = list(range(len(settings)))
    rungs = len(settings).bit_length()
    for rung in range(rungs):
        left = max(0.0, deadline - time.monotonic()) / 60
        share = left / (rungs - rung) / len(alive)
        for number in alive:
            name = _name(settings[number])
            monitor.note(f"round {rung + 1} of {rungs}: {name}, {share:.1f} min")
            run = tune(problem, settings[number], folder / str(number), monitor, minutes=share)
            spent[name] = spent.get(name, 0.0) + run.seconds
            runs[number], ended[number] = run.measured, run.finished
            del run  # keep one network in memory
        alive.sort(key=lambda number: -runs[number].value)
        alive = alive[: max(1, len(alive) // 2)]
        if all(ended[number] for number in alive):
            break
    tried = [("linear", linear)] + [(settings[n].how, runs[n]) for n in sorted(runs)]
    retained = cheapest(tried)
    names = ["linear", *(_name(settings[n]) for n in sorted(runs))]
    trials = [
        Trial(name=name, score=score.value, seconds=spent[name], kept=number == retained)
        for number, (name, (_, score)) in enumerate(zip(names, tried, strict=True))
    ]
    if retained == 0:
        return make_linear(problem, monitor), trials
    number = sorted(runs)[retained - 1]
    # The weights are on disk: this trains no further and loads the best of them.
    run = tune(problem, settings[number], folder / str(number), monitor, minutes=0.0)
    return make_tuned(problem, run, folder / str(number), monitor), trials


def candidates(settings: Settings, count: int) -> list[Settings]:
    """Return settings at `count` learning rates a factor of 3 apart, around the given rate.

    The best rate of LoRA is not that of full fine-tuning, and a comparison at one rate may compare
    rates (Biderman et al., "LoRA Learns Less and Forgets Less", 2024, section 4). If there are
    several rates, LoRA is also tried with a faster B, and A at half its rate.
    """
    highest = (count - 1) // 2
    rates = [settings.learning_rate * _APART ** (highest - number) for number in range(count)]
    found = [replace(settings, learning_rate=min(1.0, rate)) for rate in rates]
    if settings.how == "lora" and settings.lora_plus == 1 and count > 1:
        slower = settings.learning_rate / 2
        found.append(replace(settings, learning_rate=slower, lora_plus=_LORA_PLUS))
    return found


def usual(settings: Settings) -> list[Settings]:
    """Return settings at the two usual learning rates of their method."""
    return [replace(settings, learning_rate=rate) for rate in _RATES[settings.how]]


def _name(settings: Settings) -> str:
    rank = f" rank {settings.rank}" if settings.how == "lora" else ""
    return f"{settings.how}{rank} {settings.pace}"
