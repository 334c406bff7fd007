"""Linear heads by logistic or ridge regression, with cross-validated regularization.

Classes are predicted by least squares on their indicators instead of logistic regression where that
is better on held-out folds: by more than a standard error, or at all with more dimensions than
examples.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from ..adapters.linear_head import LinearHead, probabilities
from ..data.targets import Locations, Targets, Values

# C of scikit-learn's logistic regression, on features of unit variance
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_FOR_NUMBERS = (3.0, 10.0)  # additional values for few columns of numbers
_RIDGES = tuple(float(value) for value in np.logspace(-3, 4, 15))  # penalties
_PENALTIES = tuple(float(value) for value in np.logspace(-3, 3, 13))  # of least squares, per row
_SLOPES = tuple(float(value) for value in np.geomspace(0.5, 50, 21))  # its scores to logits
_AS_LIKELY = 1e-3  # nats an example that a smaller slope may cost
_WIDEST = 3_000  # dimensions, or rows if fewer, of the matrix that least squares decomposes
_BITS = 14  # of its weights, relative to the largest
_MANY = 100  # classes beyond which least squares is not tried
_FOLDS = 3
_CHOSEN_ON = 6_000  # rows for choosing the strength; the fit uses all rows
_ITERATIONS = 1_000
Rows = Float32[np.ndarray, "n d"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A linear head and how it was chosen.

    Attributes:
        head: the head.
        strength: C of the logistic regression, alpha of the ridge regression, or penalty per row
            of least squares on indicators.
        chosen: mean score over the held-out folds, higher is better; NaN if none was chosen.
        loss: `logistic`, or `squared` for numbers and for least squares on indicators.
    """

    head: LinearHead
    strength: float
    chosen: float
    loss: str = "logistic"


def fit_linear(
    features: Rows,
    targets: Targets,
    locations: Locations,
    base: str,
    *,
    seed: int = 0,
    balanced: bool = False,
    strength: float | None = None,
    numbers: int = 0,
    for_training: bool = False,
) -> Fitted:
    """Fit a head on the rows at `locations`.

    Args:
        features: features of all items, [n d].
        targets: targets of all items.
        locations: rows to learn from.
        base: fingerprint of the encoder.
        seed: seed of the folds.
        balanced: whether rare classes have the same weight as common ones.
        strength: use this value instead of choosing one.
        numbers: number of leading columns that are numbers of a table, 0 for missing ones; as many
            columns after them are missing-value indicators.
        for_training: whether a training of the encoder starts from it: of two fits, the one that
            leaves more to learn.
    """
    rows = np.asarray(features[locations], dtype=np.float32)
    values = targets.values[locations]
    middle: Any = rows.mean(axis=0)
    # One factor for all dimensions: their relative scales in the encoder are informative.
    deviation: Any = np.float32(float((rows - middle).std()) or 1.0)
    filled = np.zeros(numbers)
    if numbers:
        middle, deviation, filled = _scales(rows, numbers)
        rows[:, :numbers] += rows[:, numbers : 2 * numbers] * filled
    rows = ((rows - middle) / deviation).astype(np.float32)
    if targets.task == "number":
        weight, bias, strength, chosen = _ridge(rows, values, seed, strength)
        loss = "squared"
    else:
        slope, chosen = None, float("nan")
        if strength is None:
            tried = (*STRENGTHS, *_FOR_NUMBERS) if numbers else STRENGTHS
            strength, chosen, slope = _choose(
                rows, targets, values, seed, balanced, tried, for_training
            )
        weight, bias = _classes(rows, targets, values, strength, balanced, slope)
        loss = "logistic" if slope is None else "squared"
    weight = weight / (deviation if numbers else float(deviation))
    bias = bias - weight @ middle
    weight[:, numbers : 2 * numbers] += weight[:, :numbers] * filled
    head = LinearHead(
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
        task=targets.task,
        labels=targets.labels,
        base=base,
    )
    return Fitted(head, strength, chosen, loss)


def _scales(
    rows: Rows, numbers: int
) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"], Float64[np.ndarray, " m"]]:
    """Return mean and standard deviation of each dimension, and fill-ins for missing numbers.

    Numbers have individual scales and are standardized separately; the other features share a
    single factor, as they do without numbers.
    """
    missing = rows[:, numbers : 2 * numbers]
    there = np.maximum(len(rows) - missing.sum(axis=0, dtype=np.float64), 1)
    filled = rows[:, :numbers].sum(axis=0, dtype=np.float64) / there  # mean of the values present
    whole = rows.astype(np.float64)
    whole[:, :numbers] += missing * filled
    middle, deviation = whole.mean(axis=0), whole.std(axis=0)
    # columns that are constant except for rounding must not be amplified by the division
    deviation[deviation <= 1e-7 * np.abs(middle)] = np.inf
    if whole.shape[1] > 2 * numbers:
        deviation[2 * numbers :] = (whole - middle)[:, 2 * numbers :].std() or 1.0
    return middle, deviation, filled


def _ridge(
    rows: Rows, values: Float64[np.ndarray, " n"], seed: int, strength: float | None
) -> tuple[Float64[np.ndarray, "1 d"], Float64[np.ndarray, " 1"], float, float]:
    from sklearn.linear_model import Ridge, RidgeCV

    middle, deviation = float(values.mean()), float(values.std()) or 1.0
    scaled = (values - middle) / deviation
    if strength is None:
        model: Any = RidgeCV(_RIDGES).fit(rows, scaled)  # leave-one-out in closed form
        strength = float(model.alpha_)
        chosen = 1 - _left_out_error(rows, scaled, strength, seed)
    else:
        model = Ridge(strength).fit(rows, scaled)
        chosen = float("nan")
    weight = np.asarray(model.coef_, dtype=np.float64).reshape(1, -1) * deviation
    bias = np.array([float(model.intercept_) * deviation + middle])
    return weight, bias, strength, chosen


def _left_out_error(
    rows: Rows, scaled: Float64[np.ndarray, " n"], strength: float, seed: int
) -> float:
    from sklearn.linear_model import Ridge

    errors = []
    for inside, outside in _folds(scaled, False, seed):
        predicted = Ridge(strength).fit(rows[inside], scaled[inside]).predict(rows[outside])
        errors.append(float(((predicted - scaled[outside]) ** 2).mean()))
    return float(np.mean(errors))


def _choose(
    rows: Rows,
    targets: Targets,
    values: Values,
    seed: int,
    balanced: bool,
    tried: Sequence[float] = STRENGTHS,
    for_training: bool = False,
) -> tuple[float, float, float | None]:
    """Return the strength with the best score on held-out folds, that score, and the slope.

    The slope is None for logistic regression. Among equals the strongest regularization, the
    smallest strength, is chosen. Least squares has to be ahead by a standard error, except where
    rows are wide. Before a training it must not fit the rows closer than logistic regression does
    either: what is fitted almost exactly leaves the training no gradient.
    """
    if len(rows) > _CHOSEN_ON:
        some = np.sort(np.random.default_rng(seed).permutation(len(rows))[:_CHOSEN_ON])
        rows, values = rows[some], values[some]
    stratified = targets.task == "class" and bool(np.bincount(values).max() >= _FOLDS)
    parts = list(_folds(values, stratified, seed))
    scores = dict.fromkeys(tried, 0.0)
    for strength in tried:
        for inside, outside in parts:
            weight, bias = _logistic(rows[inside], targets, values[inside], strength, balanced)
            predicted = rows[outside] @ weight.T + bias
            scores[strength] += _agreement(predicted, values[outside], targets, balanced) / len(
                parts
            )
    best = max(tried, key=lambda strength: round(scores[strength], 6))
    if targets.task == "class" and not balanced and tried is STRENGTHS:
        squared = _choose_penalty(rows, values, len(targets.labels), parts)
        wide = rows.shape[1] > rows.shape[0]
        error = 1e-6 if wide else (scores[best] * (1 - scores[best]) / len(rows)) ** 0.5
        if squared is not None and squared[1] > scores[best] + error:
            if not for_training:
                return squared
            losses = []
            for strength, slope in ((squared[0], squared[2]), (best, None)):
                weight, bias = _classes(rows, targets, values, strength, balanced, slope)
                losses.append(_loss(rows @ weight.T + bias, values))
            if losses[0] > losses[1]:
                return squared
    return best, scores[best], None


def _classes(
    rows: Rows,
    targets: Targets,
    values: Values,
    strength: float,
    balanced: bool,
    slope: float | None,
) -> tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]]:
    """Return weights and biases by logistic regression, or by least squares if there is a slope."""
    if slope is None:
        return _logistic(rows, targets, values, strength, balanced)
    weight, bias = _squares(rows, values, len(targets.labels), strength)
    return slope * weight, slope * bias


def _loss(logits: Float64[np.ndarray, "n k"], values: Values) -> float:
    """Return the mean negative log probability of the right classes, in nats."""
    chances = probabilities(logits, "class")[np.arange(len(values)), values]
    return -float(np.log(np.maximum(chances, 1e-12)).mean())


Parts = Sequence[tuple[Locations, Locations]]


def _choose_penalty(
    rows: Rows, values: Values, count: int, parts: Parts
) -> tuple[float, float, float] | None:
    """Return a penalty for least squares, its accuracy on held-out folds, and the slope.

    The penalty is the one with the best leave-one-out accuracy. The slope is the smallest one at
    which the left-out classes are about as likely as at any: where the scores separate them, the
    likelihood has no maximum, and the largest slope would leave a training no gradient.
    """
    if min(rows.shape) > _WIDEST or count > _MANY:
        return None
    signs, (sizes, basis) = 2.0 * np.eye(count)[values] - 1, _spectrum(rows)
    if rows.shape[0] > rows.shape[1]:
        basis = (rows - rows.mean(axis=0, dtype=np.float64)) @ basis / np.sqrt(sizes)
    best: tuple[float, float, Any] = (-1.0, 0.0, None)
    for penalty in _PENALTIES:
        kept = sizes / (sizes + penalty * len(rows))
        fitted = signs.mean(axis=0) + (basis * kept) @ (basis.T @ signs)
        own = 1 / len(rows) + (basis**2) @ kept
        left_out = signs - (signs - fitted) / (1 - own)[:, None]
        accuracy = float((left_out.argmax(axis=1) == values).mean())
        best = max(best, (accuracy, penalty, left_out), key=lambda one: one[:2])

    right = 0
    for inside, outside in parts:
        weight, bias = _squares(rows[inside], values[inside], count, best[1])
        right += int(((rows[outside] @ weight.T + bias).argmax(axis=1) == values[outside]).sum())
    losses = [_loss(slope * best[2], values) for slope in _SLOPES]
    slope = next(
        s for s, loss in zip(_SLOPES, losses, strict=True) if loss <= min(losses) + _AS_LIKELY
    )
    return best[1], right / len(rows), slope


def _spectrum(rows: Rows) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, "m r"]]:
    """Return the eigenvalues and vectors of the smaller of the two matrices of squares."""
    centered = rows - rows.mean(axis=0, dtype=np.float64)
    wide = rows.shape[0] <= rows.shape[1]
    sizes, vectors = np.linalg.eigh(centered @ centered.T if wide else centered.T @ centered)
    return np.maximum(sizes, 1e-9 * max(float(sizes[-1]), 1e-9)), vectors


def _squares(
    rows: Rows, values: Values, count: int, penalty: float
) -> tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]]:
    """Return the weights of least squares on indicators, -1 or 1, for a penalty per row.

    They are rounded, because the last bits of the library's solution depend on where arrays lie in
    memory, and a training has to start from the same numbers each time.
    """
    signs = 2.0 * np.eye(count)[values] - 1
    means, middle = signs.mean(axis=0), rows.mean(axis=0, dtype=np.float64)
    sizes, vectors = _spectrum(rows)
    wide = rows.shape[0] <= rows.shape[1]
    right = signs - means if wide else (rows - middle).T @ (signs - means)
    solved = vectors @ ((vectors.T @ right) / (sizes + penalty * len(rows))[:, None])
    weight = ((rows - middle).T @ solved if wide else solved).T
    unit = 2.0 ** (np.ceil(np.log2(max(float(np.abs(weight).max()), 1e-9))) - _BITS)
    weight = np.round(weight / unit) * unit
    bias = np.round((means - weight @ middle) / unit) * unit
    return weight, np.where(means > -1, bias, -20.0)


def _agreement(
    predicted: Float64[np.ndarray, "n k"], truth: Values, targets: Targets, balanced: bool
) -> float:
    if targets.task == "class":
        right = predicted.argmax(axis=1) == truth
        if not balanced:
            return float(right.mean())
        return float(np.mean([right[truth == number].mean() for number in np.unique(truth)]))
    chances = np.clip(probabilities(predicted, "labels"), 1e-12, 1 - 1e-12)
    return float((truth * np.log(chances) + (1 - truth) * np.log(1 - chances)).mean())


def _folds(
    values: Values, stratified: bool, seed: int
) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    from sklearn.model_selection import KFold, StratifiedKFold

    count = min(_FOLDS, len(values))
    kind = StratifiedKFold if stratified else KFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer rows than folds
        yield from kind(count, shuffle=True, random_state=seed).split(values, values)


def _logistic(
    rows: Rows, targets: Targets, values: Values, strength: float, balanced: bool
) -> tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]]:
    """Return one row of weights per class or label; classes not in the rows are unlikely."""
    count = len(targets.labels)
    if targets.task == "labels":
        pairs = [_one_label(rows, values[:, n], strength, balanced) for n in range(count)]
        return np.stack([weight for weight, _ in pairs]), np.array([bias for _, bias in pairs])
    weight, bias = np.zeros((count, rows.shape[1])), np.full(count, -20.0)
    there = np.unique(values)
    if len(there) == 1:
        bias[there] = 0
        return weight, bias
    model = _solved(rows, values, strength, balanced)
    if len(there) == 2:  # the library returns one row: the second class against the first
        half = model.coef_[0] / 2
        weight[there[0]], weight[there[1]] = -half, half
        bias[there] = np.array([-0.5, 0.5]) * model.intercept_[0]
    else:
        weight[there], bias[there] = model.coef_, model.intercept_
    return weight, bias


def _one_label(
    rows: Rows, holds: Float32[np.ndarray, " n"], strength: float, balanced: bool
) -> tuple[Float64[np.ndarray, " d"], float]:
    if holds.min() == holds.max():
        return np.zeros(rows.shape[1]), 20.0 if holds[0] > 0 else -20.0
    model = _solved(rows, holds, strength, balanced)
    return model.coef_[0], float(model.intercept_[0])


def _solved(rows: Rows, values: Values, strength: float, balanced: bool) -> Any:
    """Return the fitted model; in single precision its line search may find no step any more."""
    from sklearn.linear_model import LogisticRegression

    weights = "balanced" if balanced else None
    model = LogisticRegression(C=strength, class_weight=weights, max_iter=_ITERATIONS)
    return model.fit(rows.astype(np.float64), values)
