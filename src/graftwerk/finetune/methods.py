"""The fitting methods, by name."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..errors import BadInput
from ..models.checkpoint import open_folder, read_object
from ..models.encoders import static_base
from ..models.image_encoder import last_layer, reads_two_sizes
from ..types import HiddenLayer, Monitor
from .base_model import NO_MODEL
from .linear import fit_linear
from .problem import Problem
from .results import Baseline, Score, Trial
from .saved import Made

if TYPE_CHECKING:
    from .run import Run


_NAMES: Mapping[HiddenLayer, str] = {
    None: "last layer", "all": "all layers", "multiscale": "all layers, two sizes"
}  # fmt: skip
_RETAINED = ("log.jsonl", "loss.png", "validations.jsonl")  # files of a run stored with its result


def save_nothing(folder: Path) -> None:
    """Write nothing: a linear fit learns only its head."""


def make_linear(problem: Problem, monitor: Monitor) -> Made:
    """Fit a head on frozen features, with the training and validation examples."""
    features = problem.features(monitor)
    fitted = fit_linear(
        features,
        problem.targets,
        problem.split.learned,
        problem.base.fingerprint,
        seed=problem.source.seed,
        balanced=problem.source.balanced,
        numbers=len(problem.examples.numbers),
    )
    test = problem.split.test
    scores = fitted.head.score(features[test])
    return Made(
        how="linear",
        head=fitted.head,
        score=problem.measure(scores, test) if len(test) else None,
        details=problem.details(scores, test) if len(test) else None,
        settings={
            "strength": fitted.strength,
            "loss": fitted.loss,
            "held_out_score": fitted.chosen,
        },
        save=save_nothing,
        open_encoder=problem.base.encoder,
        parameters=fitted.head.weight.size + fitted.head.bias.size,
    )


def make_tuned(problem: Problem, run: "Run", folder: Path, monitor: Monitor) -> Made:
    """Return the result of a tuning run, evaluated in float32, as it will predict.

    Args:
        problem: the problem it was tuned on.
        run: the run, with its best weights loaded.
        folder: folder of the run, whose log and plot are retained.
        monitor: informed about progress.
    """
    from .tune import ADAPTER, NetworkEncoder, encode, save_full

    head, tuning = run.tuning.head(), run.tuning
    if not run.step:
        monitor.note(
            f"{run.settings.how}: no step was better on the validation examples than the start, so "
            "the frozen network with its linear head was kept"
        )
    test = problem.split.test
    score = details = None
    if len(test):
        monitor.start("testing", len(test))
        items = [problem.examples.items[location] for location in test.tolist()]
        with tuning.merged():
            vectors = encode(tuning.trainable, items, monitor.advance)
        scores = head.score(vectors)
        score, details = problem.measure(scores, test), problem.details(scores, test)
    trainable, steer, name = tuning.trainable, tuning.steer, problem.base.name
    # read now: the folder of the training may be gone when the fit is saved
    retained = {n: (folder / n).read_bytes() for n in _RETAINED if (folder / n).is_file()}

    def save(target: Path) -> None:
        if steer is None:
            save_full(target, trainable)
        else:
            steer.save(target / ADAPTER, name, {})
        for file, content in retained.items():
            files.write_plain(target / file, content)

    return Made(
        how=run.settings.how,
        head=head,
        score=score,
        details=details,
        settings={
            **asdict(run.settings),
            "validation_score": run.measured.value,
            "validation_score_of_linear": run.start,
            "best_step": run.step,
            "steps": run.steps,
        },
        save=save,
        open_encoder=lambda: NetworkEncoder(trainable, steer),
        parameters=run.parameters,
    )


def has_network(problem: Problem) -> bool:
    """Whether there is a network to train, and nothing beside it that only a head reads."""
    name = problem.base.name
    return name != NO_MODEL and static_base(name) is None and not problem.examples.numbers


def other_methods(
    problem: Problem, made: Made, tried: Sequence[Trial], epochs: float, monitor: Monitor
) -> list[str]:
    """Say what the methods that were not tried would probably give, and what they would cost.

    The cost is counted in the time that the features took: a step takes about three times that of
    its examples forwards, and an epoch validates twice. Of the score only its bounds are known.
    """
    if not has_network(problem) or made.test_score is None:
        return []
    known = {made.how, *(trial.name.split()[0] for trial in tried)}
    count = len(problem.examples)
    seconds = problem.features_seconds(monitor)
    parts = 3 * len(problem.split.train) + 2 * len(problem.split.validation)
    minutes = seconds / max(1, count) * epochs * parts / 60
    score, found = made.test_score, []
    if made.how in {"lora", "full"} and "linear" not in known:
        before = float(made.settings["validation_score_of_linear"])
        after = float(made.settings["validation_score"])
        found.append(
            f"linear: {before:z.3f} on the validation examples, where {made.how} has {after:z.3f}; "
            f"{seconds:.0f} s (--how linear)"
        )
    best = max((trial.score for trial in tried), default=None)
    for how in ("lora", "full"):
        if how in known:
            continue
        gain = f"{score.name} not known; it learns from the training examples without validation"
        if score.high >= 1:
            gain = "no gain that this many test examples could show"
        elif best is not None and how == "full":
            gain = f"probably near the {best:z.3f} that was best on the validation examples"
        found.append(f"{how}: {gain}; up to about {minutes:.1f} min (--how {how})")
    return found


def sweep_layers(problem: Problem, monitor: Monitor) -> tuple[Problem, Sequence[Trial]]:
    """Return the problem on the hidden layer, or all, with the best score on held-out folds."""
    trials, problems = [], []
    for layer in hidden_layers(problem):
        begin = time.perf_counter()
        there = problem.at_layer(layer)
        made = make_linear(there, monitor)
        name = _NAMES.get(layer, f"layer {layer}")
        seconds = time.perf_counter() - begin
        held_out = float(made.settings["held_out_score"])
        trials.append(Trial(name=name, score=held_out, seconds=seconds))
        problems.append(there)
    best = max(range(len(trials)), key=lambda number: trials[number].score)
    retained = [
        one.model_copy(update={"kept": number == best}) for number, one in enumerate(trials)
    ]
    return problems[best], retained


def hidden_layers(problem: Problem) -> list[HiddenLayer]:
    """Return each hidden layer, the last as the model itself uses it, and all concatenated."""
    if problem.base.name == NO_MODEL:
        raise BadInput(
            "no pre-trained model is used, so there are no layers.", "Leave --sweep out."
        )
    config = read_object(problem.base.root / "config.json")
    if "vision_config" in config:
        raise BadInput(
            f"the layers of {problem.base.name} cannot be swept: only the last one is joint.",
            "Leave --sweep out.",
        )
    if problem.base.reads == {"image"}:
        folder = open_folder(problem.base.root)
        found = [*range(last_layer(folder)), None, "all"]
        return [*found, "multiscale"] if reads_two_sizes(folder) else found
    named = (config.get(key) for key in ("num_hidden_layers", "n_layers", "n_layer", "num_layers"))
    count = next((value for value in named if isinstance(value, int)), None)
    if not count:
        raise BadInput(f"{problem.base.name} has no hidden layers to sweep.", "Leave --sweep out.")
    return [*range(count), None, "all"]


_BOOSTED = 100  # maximum number of classes; one tree per class and round


def baselines(problem: Problem, monitor: Monitor) -> list[Baseline]:
    """Fit gradient boosting on a table's numbers, and linear heads on numbers or texts only.

    None of them is saved: scikit-learn can store its trees only with pickle.
    """
    count, test = len(problem.examples.numbers), problem.split.test
    if not count or not len(test):
        return []
    features, learned = problem.features(monitor), problem.split.learned
    found = []
    boosted = _boosted(problem, features[:, :count], features[:, count : 2 * count] > 0)
    if boosted is not None:
        found.append(Baseline(name="gradient boosting, numbers", score=boosted))
    if features.shape[1] > 2 * count:
        source, base = problem.source, problem.base.fingerprint
        for name, part, numbers in (
            ("linear, numbers", features[:, : 2 * count], count),
            ("linear, texts", features[:, 2 * count :], 0),
        ):
            head = fit_linear(
                part, problem.targets, learned, base, seed=source.seed,
                balanced=source.balanced, numbers=numbers,
            ).head  # fmt: skip
            score = problem.measure(head.score(np.asarray(part[test])), test)
            found.append(Baseline(name=name, score=score))
    return found


def _boosted(problem: Problem, numbers: Any, missing: Any) -> Score | None:
    """Return the score of scikit-learn's `HistGradientBoosting*`, which reads missing numbers."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    targets, learned, test = problem.targets, problem.split.learned, problem.split.test
    if targets.task == "labels" or targets.outputs > _BOOSTED:
        return None
    rows, seed = np.where(missing, np.nan, numbers), problem.source.seed % 2**32
    if targets.task == "number":
        model: Any = HistGradientBoostingRegressor(random_state=seed)
        predicted = model.fit(rows[learned], targets.values[learned]).predict(rows[test])
        return problem.measure(predicted[:, None].astype(np.float32), test)
    weights = "balanced" if problem.source.balanced else None
    model = HistGradientBoostingClassifier(random_state=seed, class_weight=weights)
    chances = model.fit(rows[learned], targets.values[learned]).predict_proba(rows[test])
    scores = np.full((len(test), targets.outputs), np.log(1e-12), dtype=np.float32)
    scores[:, model.classes_] = np.log(np.maximum(chances, 1e-12))
    return problem.measure(scores, test)
