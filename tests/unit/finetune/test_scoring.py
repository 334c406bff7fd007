"""Scores and their intervals against known values."""

import numpy as np
import pytest
from sklearn import metrics

from graftwerk.finetune.scoring import point, score
from graftwerk.metrics.intervals import wilson


@pytest.fixture
def generator():
    return np.random.default_rng(3)


def test_wilson_holds_the_truth_as_often_as_it_says(generator):
    hits = generator.binomial(200, 0.9, 4_000)
    inside = [low <= 0.9 <= high for low, high in (wilson(int(h), 200) for h in hits)]
    assert 0.93 < np.mean(inside) < 0.97


def test_classes_as_scikit_learn_has_them(generator):
    scores = generator.standard_normal((80, 3)).astype(np.float32)
    truth = generator.integers(0, 3, 80)
    found = score(scores, truth, "class")
    predicted = scores.argmax(axis=1)
    assert found.value == metrics.accuracy_score(truth, predicted) == point(scores, truth, "class")
    assert found.figures["macro F1"] == pytest.approx(
        metrics.f1_score(truth, predicted, average="macro")
    )
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert found.figures["log loss"] == pytest.approx(metrics.log_loss(truth, chances), rel=1e-5)
    assert found.baseline == np.bincount(truth).max() / 80


def test_labels_as_scikit_learn_has_them(generator):
    scores = generator.standard_normal((80, 3)).astype(np.float32)
    truth = generator.integers(0, 2, (80, 3)).astype(np.float32)
    found = score(scores, truth, "labels")
    assert found.value == pytest.approx(metrics.f1_score(truth, scores > 0, average="micro"))
    assert found.low < found.value < found.high
    assert found.figures["exact"] == metrics.accuracy_score(truth, scores > 0)


def test_numbers_as_scikit_learn_has_them(generator):
    truth = generator.standard_normal(90)
    scores = (truth + 0.3 * generator.standard_normal(90)).astype(np.float32)[:, None]
    found = score(scores, truth, "number")
    assert found.value == pytest.approx(metrics.r2_score(truth, scores[:, 0]))
    assert found.low < found.value < found.high
    expected = metrics.mean_absolute_error(truth, scores[:, 0])
    assert found.figures["mean absolute error"] == pytest.approx(expected)


@pytest.mark.parametrize("truth", [[2.5], [2.5, 2.5, 2.5]])
def test_determination_of_equal_numbers(truth):
    """There is no spread to explain: 0, as scikit-learn has it, and 1 where all are hit."""
    truth = np.array(truth)
    off = score(truth[:, None] + 1, truth, "number")
    assert (off.value, off.low, off.high) == (0, 0, 0)
    assert score(truth[:, None], truth, "number").value == 1
    if len(truth) > 1:
        assert metrics.r2_score(truth, truth + 1) == 0
