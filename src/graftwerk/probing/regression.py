"""Linear probes: ridge regression from a model's activations to known values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ..metrics.intervals import percentile_interval, resample

_STRENGTHS = np.logspace(-2, 8, 21)  # tried, on values of unit spread
_RESAMPLES = 1_000
_TEST_SHARE = 0.25
FEWEST = 40  # images

Features = Float32[np.ndarray, "n d"]
Values = Float64[np.ndarray, "n k"]


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the training and test images."""

    train: Int64[np.ndarray, " t"]
    test: Int64[np.ndarray, " u"]


@dataclass(frozen=True, slots=True)
class Fit:
    """R2 of each target on test images, with 95 % intervals.

    Attributes:
        r2: 1 is exact, 0 is as good as always predicting the mean.
        low: 2.5th percentile over resampled test images.
        high: 97.5th percentile.
    """

    r2: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]


def split_of(count: int, seed: int) -> Split:
    """Hold out a quarter of the images for testing."""
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))).permutation(count)
    held = max(1, round(count * _TEST_SHARE))
    return Split(order[held:], order[:held])


def shuffled(values: Values, split: Split, seed: int) -> Values:
    """Permute the values within the training and within the test images."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    mixed = values.copy()
    for part in (split.train, split.test):
        mixed[part] = values[generator.permutation(part)]
    return mixed


def read_out(features: Features, values: Values, split: Split, seed: int) -> Fit:
    """Fit a probe on the training images and evaluate it on the test images.

    R2 is relative to the training mean, so predicting that mean scores exactly 0.
    """
    from sklearn.linear_model import Ridge

    known, requested = values[split.train], values[split.test]
    deviation = np.where(known.std(axis=0) > 0, known.std(axis=0), 1.0)
    middle = known.mean(axis=0)
    scaled = (known - middle) / deviation
    inputs = features.astype(np.float64) / max(float(features[split.train].std()), 1e-12)
    ridge = Ridge(alpha=_strengths(inputs[split.train], scaled))
    ridge.fit(inputs[split.train], scaled)
    found = ridge.predict(inputs[split.test]).reshape(requested.shape)
    return _score((requested - middle) / deviation, found, seed)


def _strengths(
    inputs: Float64[np.ndarray, "t d"], scaled: Float64[np.ndarray, "t k"]
) -> Float64[np.ndarray, " k"]:
    """Return, per target, the strongest ridge that leave-one-out cannot tell from the best one.

    This is the one-standard-error rule (Breiman et al., "Classification and Regression Trees",
    1984) on paired differences: the best of many strengths would fit noise where there is nothing
    to learn.
    """
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(alphas=_STRENGTHS, alpha_per_target=True, store_cv_results=True)
    ridge.fit(inputs, scaled)
    errors = ridge.cv_results_.reshape(len(scaled), scaled.shape[1], len(_STRENGTHS))
    chosen = []
    for own in errors.transpose(1, 0, 2):
        worse = own - own[:, [own.mean(axis=0).argmin()]]
        margins = worse.std(axis=0, ddof=1) / np.sqrt(len(own))
        chosen.append(_STRENGTHS[worse.mean(axis=0) <= margins].max())
    return np.array(chosen)


def _score(requested: Values, found: Values, seed: int) -> Fit:
    errors, total = (requested - found) ** 2, requested**2
    r2 = 1 - errors.sum(axis=0) / _safe(total.sum(axis=0))
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))

    def determination(rows: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " k"]:
        explained: Float64[np.ndarray, " k"] = 1 - errors[rows].sum(axis=0) / _safe(
            total[rows].sum(axis=0)
        )
        return explained

    resampled = resample(determination, len(requested), generator, _RESAMPLES)
    low, high = percentile_interval(np.array(resampled))
    return Fit(r2, low, high)


def _safe(total: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Avoid dividing by zero for a constant target; its R2 becomes 0 or below."""
    return np.where(total > 0, total, np.inf)


def directions_of(features: Features, values: Values, split: Split) -> Float64[np.ndarray, "k d"]:
    """Return how the activations change with each target while the others stay constant.

    This regresses activations on targets (the pattern of Haufe et al., "On the interpretation of
    weight vectors of linear models", 2014). Moving along the probe's own weights would leave the
    range of real activations; moving along patterns stays inside it. In units of one standard
    deviation of the target.
    """
    known = values[split.train]
    deviation = np.where(known.std(axis=0) > 0, known.std(axis=0), 1.0)
    scaled = (known - known.mean(axis=0)) / deviation
    centred = features[split.train].astype(np.float64)
    centred -= centred.mean(axis=0)
    found: Float64[np.ndarray, "k d"] = np.linalg.lstsq(scaled, centred, rcond=None)[0]
    return found
