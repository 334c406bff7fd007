"""What wraps a denoiser, and the zero law of guidance."""

import math

import pytest
import torch

from graftwerk.diffusion.guidance import Guidance, clamped, classifier_free, compose
from graftwerk.diffusion.noise_schedule import Clamp
from graftwerk.errors import BadInput
from graftwerk.requests.generate import parse_interval


class Linear:
    """A denoiser that shrinks `x`, each half of the rows by its own factor, and counts its rows."""

    def __init__(self, *factors):
        self.factors = factors
        self.rows = []

    def __call__(self, x, sigma):
        self.rows.append(len(x))
        each = len(x) // len(self.factors)
        factors = torch.tensor(self.factors, dtype=x.dtype).repeat_interleave(each)
        level = torch.as_tensor(sigma, dtype=x.dtype).view(-1, 1, 1, 1)
        return factors.view(-1, 1, 1, 1) * x / (1 + level)


def batch(rows=2):
    return torch.randn(rows, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_zero_law_weight_one_is_the_conditional_itself() -> None:
    conditional, both = Linear(0.3), Linear(0.3, 0.7)
    assert classifier_free(conditional, both, Guidance(1.0)) is conditional
    assert compose(conditional, both, Guidance(1.0)) is conditional
    assert compose(conditional, None, Guidance(7.0)) is conditional
    assert compose(conditional) is conditional
    x = batch()
    wrapped = compose(conditional, both, Guidance(1.0))
    assert torch.equal(wrapped(x, 2.0), conditional(x, 2.0))
    assert both.rows == []


def test_equal_halves_are_not_moved_by_any_weight() -> None:
    x = batch()
    for weight in (0.0, 1.5, 7.5, 100.0):
        wrapped = classifier_free(Linear(0.3), Linear(0.3, 0.3), Guidance(weight))
        assert torch.equal(wrapped(x, 2.0), Linear(0.3)(x, 2.0))


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_guidance_extrapolates_in_one_batch(weight) -> None:
    conditional, both, x = Linear(0.3), Linear(0.3, 0.7), batch()
    found = classifier_free(conditional, both, Guidance(weight))(x, 2.0)
    expected = (0.7 + weight * (0.3 - 0.7)) * x / 3
    assert torch.allclose(found, expected, atol=1e-6)
    assert both.rows == [4]
    assert conditional.rows == []


def test_outside_its_interval_the_second_evaluation_is_skipped() -> None:
    conditional, both, x = Linear(0.3), Linear(0.3, 0.7), batch()
    wrapped = classifier_free(conditional, both, Guidance(4.0, 0.5, 3.0))
    for sigma, acts in ((0.49, False), (0.5, True), (3.0, True), (3.01, False)):
        found = wrapped(x, sigma)
        assert torch.equal(found, Linear(0.3)(x, sigma)) is not acts
    assert (conditional.rows, both.rows) == ([2, 2], [4, 4])


def test_a_level_for_each_row() -> None:
    x = batch(3)
    levels = torch.tensor([0.1, 1.0, 9.0])
    wrapped = classifier_free(Linear(0.3), Linear(0.3, 0.7), Guidance(4.0, 0.5, 3.0))
    rows = [wrapped(x[i : i + 1], float(levels[i])) for i in range(3)]
    assert torch.allclose(wrapped(x, levels), torch.cat(rows))
    # outside the interval bit for bit: u + w (c - u) would not give c back
    assert torch.equal(wrapped(x, levels)[::2], Linear(0.3)(x, levels)[::2])
    outside = torch.tensor([0.1, 0.1, 9.0])
    assert torch.equal(wrapped(x, outside), Linear(0.3)(x, outside))


def test_a_plain_clamp() -> None:
    x = 10 * batch()
    found = compose(Linear(1.0), clamp=Clamp(2.0))(x, 1.0)
    assert torch.equal(found, (x / 2).clamp(-2, 2))


def test_dynamic_thresholding_scales_what_exceeds() -> None:
    x = torch.zeros(2, 1, 10, 10)
    x[0] = torch.linspace(-4, 4, 100).view(1, 10, 10)
    x[1] = 0.5
    found = clamped(lambda x, sigma: x, Clamp(limit=100.0, ratio=0.9))(x, 1.0)
    bound = x[0].abs().flatten().quantile(0.9)
    assert torch.allclose(found[0], x[0].clamp(-bound, bound) / bound)
    assert found.abs().max() == 1
    assert torch.equal(found[1], x[1])


def test_guidance_comes_before_the_clamp() -> None:
    x = batch()
    wrapped = compose(Linear(0.3), Linear(0.3, 0.7), Guidance(30.0), Clamp(0.1))
    inner = classifier_free(Linear(0.3), Linear(0.3, 0.7), Guidance(30.0))
    assert torch.equal(wrapped(x, 0.1), inner(x, 0.1).clamp(-0.1, 0.1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (0.0, math.inf)),
        ("0.3:3", (0.3, 3.0)),
        (":2", (0.0, 2.0)),
        ("1e-1:", (0.1, math.inf)),
    ],
)
def test_intervals(text, expected) -> None:
    assert parse_interval(text) == expected


@pytest.mark.parametrize("text", ["", "3", "3:1", "2:2", "-1:2", "a:b", "nan:1", "1:nan", "1:2:3"])
def test_impossible_intervals(text) -> None:
    with pytest.raises(BadInput, match="interval"):
        parse_interval(text)
