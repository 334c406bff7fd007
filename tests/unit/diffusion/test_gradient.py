"""What guides refuse, and when they act."""

import math

import pytest
import torch

from graftwerk.diffusion.guidance import GradientGuide, Overflowed, Term, guided, guided_by
from graftwerk.errors import BadInput


def half(x, sigma):
    return x / 2


def total(x, sigma):
    return x.sum(dim=(1, 2, 3))


X = torch.ones(2, 1, 2, 2)


def test_a_scale_of_0_gives_the_same_callable_back():
    assert guided(half, total, 0.0) is half
    assert guided_by(half, []) is half
    assert GradientGuide((Term("a", total, 0.0),)).apply(half) is half


def test_outside_of_its_levels_a_guide_is_not_even_asked():
    requested = []

    def log_prob(x, sigma):
        requested.append(sigma)
        return total(x, sigma)

    denoise = guided_by(half, [Term("a", log_prob, 1.0, lowest=0.5, highest=2.0)])
    for sigma in (0.4, 2.1):
        assert torch.equal(denoise(X, sigma), half(X, sigma))
    assert requested == []
    assert torch.equal(denoise(X, 2.0), half(X, 2.0) + 4.0)
    assert requested == [2.0]


def test_a_noise_aware_guide_asks_the_denoiser_once_and_without_gradients():
    requested = []

    def denoise(x, sigma):
        requested.append(torch.is_grad_enabled())
        return x / 2

    guided(denoise, total, 1.0)(X, 1.0)
    assert requested == [False]
    requested.clear()
    guided_by(denoise, [Term("a", total, 1.0, clean=True)])(X, 1.0)
    assert requested == [True]


def test_long_shifts_are_shortened_row_by_row():
    def uneven(x, sigma):
        return (x * torch.tensor([0.01, 100.0]).view(2, 1, 1, 1)).sum(dim=(1, 2, 3))

    shift = guided_by(half, [Term("a", uneven, 1.0, limit=0.5)])(X, 1.0) - half(X, 1.0)
    torch.testing.assert_close(shift[0], torch.full((1, 2, 2), 0.01))
    torch.testing.assert_close(shift[1], torch.full((1, 2, 2), 0.5))


def test_at_low_noise_shifts_are_shorter_in_proportion():
    term = Term("a", lambda x, sigma: 100 * total(x, sigma), 1.0, limit=0.5, noise_limit=0.25)
    sigma = torch.tensor([0.1, 4.0])
    shift = guided_by(half, [term])(X, sigma) - half(X, sigma)
    torch.testing.assert_close(shift[0], torch.full((1, 2, 2), 0.025))
    torch.testing.assert_close(shift[1], torch.full((1, 2, 2), 0.5))
    torch.testing.assert_close(guided_by(half, [term])(X, 1.0) - half(X, 1.0), X * 0.25)


@pytest.mark.parametrize("scale", [1e9, 1e30, 1e38, -1e300])
def test_a_shift_that_is_kept_short_is_as_long_at_any_scale(scale):
    term = Term("a", total, scale, limit=0.5)
    shift = guided_by(half, [term])(X, 3.0) - half(X, 3.0)
    torch.testing.assert_close(shift, torch.full_like(X, 0.5 if scale > 0 else -0.5))


@pytest.mark.parametrize("scale", [1e3, 1e30, 1e300])
def test_a_scale_that_is_too_high_overflows(scale):
    with pytest.raises(Overflowed) as caught:
        guided(half, total, scale)(X, 3.0)
    assert caught.value.sigma == 3.0


def test_after_an_overflow_the_guide_is_not_blamed():
    def undefined(x, sigma):
        return total(x, sigma) * math.nan

    with pytest.raises(Overflowed):
        guided(half, undefined, 1.0)(X * 1e9, 1.0)


@pytest.mark.parametrize(
    ("log_prob", "words"),
    [
        (lambda x, sigma: total(x, sigma) * math.nan, "not finite"),
        (lambda x, sigma: (x.sum(dim=(1, 2, 3)) - 4).log(), "not finite"),
        (lambda x, sigma: x.detach().sum(dim=(1, 2, 3)), "no gradient"),
        (lambda x, sigma: x.flatten(1).argmax(dim=1).float(), "no gradient"),
        (lambda x, sigma: torch.ones(2, requires_grad=True), "no gradient"),
        (lambda x, sigma: x.sum(), r"shape \(\) for 2 rows"),
    ],
)
def test_bad_energies_are_refused_by_name(log_prob, words):
    with pytest.raises(BadInput, match=f"my energy .*{words}"):
        guided_by(half, [Term("my energy", log_prob, 1.0)])(X, 1.0)


def test_guides_tell_what_they_did_and_whether_they_fight():
    traces = []
    terms = [
        Term("more", total, 1.0),
        Term("less", lambda x, sigma: -3 * total(x, sigma), 1.0),
        Term("left", lambda x, sigma: (x * torch.tensor([1.0, -1.0])).sum(dim=(1, 2, 3)), 1.0),
    ]
    guided_by(half, terms, traces.append)(X, 1.0)
    (gradient,) = traces
    assert gradient.names == ("more", "less", "left")
    assert gradient.values == (4.0, -12.0, 0.0)
    assert gradient.shifts == (1.0, 3.0, 1.0)
    assert gradient.cosines == pytest.approx((-1.0, 0.0, 0.0), abs=1e-6)


def test_works_inside_inference_mode():
    with torch.inference_mode():
        x = torch.ones(2, 1, 2, 2)
        found = guided_by(half, [Term("a", total, 1.0, clean=True)])(x, 1.0)
    torch.testing.assert_close(found, torch.full_like(X, 1.0))
