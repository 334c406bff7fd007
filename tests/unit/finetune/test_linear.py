"""The linear head: strength, balance, every kind of target."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from graftwerk.data.targets import Targets
from graftwerk.finetune.linear import fit_linear
from graftwerk.finetune.scoring import point


@pytest.fixture
def features():
    rows = np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def held_out(features, targets, **options):
    head = fit_linear(features, targets, np.arange(300), "base", **options).head
    scores = head.score(features[300:])
    return head, point(scores, targets.values[300:], targets.task)


def test_it_finds_a_linear_border(features):
    values = (features @ np.arange(12) > 0).astype(np.int64)
    head, accuracy = held_out(features, Targets("class", ("no", "yes"), values))
    assert accuracy > 0.95
    assert head.weight.shape == (2, 12)
    assert head.base == "base"


def test_three_classes_of_which_one_is_not_among_the_rows(features):
    values = (features[:, 0] > 0).astype(np.int64)
    head, accuracy = held_out(features, Targets("class", ("a", "b", "never"), values))
    assert accuracy > 0.95
    assert not (head.score(features).argmax(axis=1) == 2).any()


@pytest.mark.parametrize("there", [[0], [0, 1], [0, 1, 2]])
def test_a_class_that_is_not_among_the_rows_is_unlikely(features, there):
    values = np.resize(np.array(there), 400).astype(np.int64)
    targets = Targets("class", ("a", "b", "c", "never"), values)
    head = fit_linear(features, targets, np.arange(300), "base", strength=1.0).head
    scores = head.score(features)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    absent = [number for number in range(4) if number not in there]
    assert chances[:, absent].max() < 1e-6


def test_labels_are_independent(features):
    values = np.stack([features[:, 0] > 0, features[:, 1] > 0.1], axis=1).astype(np.float32)
    assert held_out(features, Targets("labels", ("a", "b"), values))[1] > 0.93


def test_numbers_in_their_own_units(features):
    values = 5_000 + 300 * (features @ np.arange(12)).astype(np.float64)
    assert held_out(features, Targets("number", (), values))[1] > 0.99


def test_noise_is_answered_with_a_strong_penalty(features):
    values = np.random.default_rng(1).integers(0, 2, 400)
    targets = Targets("class", ("a", "b"), values)
    clear = Targets("class", ("a", "b"), (features[:, 0] > 0).astype(np.int64))
    locations = np.arange(300)
    noisy = fit_linear(features, targets, locations, "b").strength
    assert noisy < fit_linear(features, clear, locations, "b").strength


def test_balance_finds_the_rare_class(features):
    # The rare class overlaps with the common one, so that ignoring it pays without weights.
    values = (features[:, 0] + 0.5 * np.random.default_rng(2).standard_normal(400) > 0.8).astype(
        int
    )
    targets = Targets("class", ("common", "rare"), values.astype(np.int64))
    found = []
    for balanced in (False, True):
        head, _ = held_out(features, targets, balanced=balanced)
        rare = features[values == 1]
        found.append((head.score(rare).argmax(axis=1) == 1).mean())
    assert found[1] > found[0] + 0.3


def test_the_same_seed_gives_the_same_bytes(features):
    targets = Targets("class", ("a", "b"), (features[:, 0] > 0).astype(np.int64))
    first, second = (fit_linear(features, targets, np.arange(300), "b").head for _ in range(2))
    assert first.weight.tobytes() == second.weight.tobytes()


def wide(count, seed=2, apart=0.2):
    """Rows of 200 dimensions, 160 of which say something of the class, and targets."""
    random = np.random.default_rng(seed)
    values = np.arange(count) % 3
    rows = random.standard_normal((count, 200))
    rows[:, :160] += apart * random.standard_normal((3, 160))[values]
    rows[:, 160:] *= 1.8
    return rows.astype(np.float32), Targets("class", ("a", "b", "c"), values.astype(np.int64))


def test_with_more_dimensions_than_rows_least_squares_need_no_margin():
    rows, targets = wide(150)
    narrow = fit_linear(rows, targets, np.arange(150), "b")
    assert narrow.loss == "squared"


def loss_of(fitted, rows, targets):
    logits = fitted.head.score(rows)
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(rows)), targets.values].mean()


def test_a_training_starts_from_least_squares_only_if_they_leave_more_to_learn():
    rows, targets = wide(150)
    locations = np.arange(150)
    start = fit_linear(rows, targets, locations, "b", for_training=True)
    assert start.loss == "squared"
    rows, targets = wide(150, seed=7, apart=0.22)
    free = fit_linear(rows, targets, locations, "b")
    start = fit_linear(rows, targets, locations, "b", for_training=True)
    assert (free.loss, start.loss) == ("squared", "logistic")
    assert loss_of(start, rows, targets) > 10 * loss_of(free, rows, targets)


def test_least_squares_are_the_same_wherever_the_rows_lie():
    """Their last bits are not, so the weights are rounded: a training starts from them."""
    rows, targets = wide(150)
    apart = np.empty((150, 211), dtype=np.float32)[:, 3:203]  # another stride and alignment
    apart[:] = rows
    first, second = (fit_linear(one, targets, np.arange(150), "b") for one in (rows, apart))
    assert first.loss == "squared"
    assert first.head.weight.tobytes() == second.head.weight.tobytes()
    assert first.head.bias.tobytes() == second.head.bias.tobytes()


def test_least_squares_where_they_are_clearly_better():
    """Classes along many directions, with strong directions that say nothing of them."""
    random = np.random.default_rng(5)
    values = np.minimum(np.arange(900) % 8, 5)
    sought = random.standard_normal((6, 400))[values] * 0.16 + random.standard_normal((900, 400))
    noise = 8 * random.standard_normal((900, 60))
    rows = np.concatenate([sought, noise], axis=1).astype(np.float32)
    targets = Targets("class", tuple("abcdef"), values.astype(np.int64))
    fitted = fit_linear(rows, targets, np.arange(600), "b")
    assert fitted.loss == "squared"
    scores = fitted.head.score(rows[600:])
    scaled = (rows - rows[:600].mean(axis=0)) / (rows[:600] - rows[:600].mean(axis=0)).std()
    ridge = Ridge(fitted.strength * 600).fit(scaled[:600], 2 * np.eye(6)[values[:600]] - 1)
    expected = ridge.predict(scaled[600:])
    slope = (scores * expected).sum() / (expected**2).sum()
    np.testing.assert_allclose(scores, slope * expected, atol=0.01 * slope)
    right = scores.argmax(axis=1) == values[600:]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    sure = (chances.max(axis=1) / chances.sum(axis=1)).mean()
    assert right.mean() > 0.7 and abs(sure - right.mean()) < 0.12  # honest probabilities
    few = fit_linear(rows, targets, np.arange(600), "b", balanced=True)
    assert few.loss == "logistic"
