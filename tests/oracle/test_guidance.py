"""Guidance against closed forms: in a Gaussian mixture the posterior of a class is known."""

import math
from itertools import pairwise

import pytest
import torch

from graftwerk.diffusion.guidance import Term, guided, guided_by
from graftwerk.diffusion.noise_schedule import karras
from graftwerk.diffusion.noisy_classifier import NoiseAwareClassifier, NoiseAwareNetwork
from graftwerk.diffusion.samplers import sample_ddpm, sample_heun
from graftwerk.training.state import initialise

pytestmark = pytest.mark.usefixtures("one_thread")
MEANS = torch.tensor([-1.5, 0.5, 2.0], dtype=torch.float64)
DEVIATIONS = torch.tensor([0.4, 0.7, 0.3], dtype=torch.float64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
LEVELS = (0.05, 0.5, 2.0, 20.0)


def log_joint(x, sigma):
    """log p(component, x) of each component and value, whose values are independent."""
    variance = DEVIATIONS**2 + sigma**2
    apart = (x[..., None] - MEANS) ** 2
    return SHARES.log() - apart / (2 * variance) - variance.log() / 2


def of_component(x, sigma, component):
    """The expected x0 behind `x` where the component is known."""
    share = DEVIATIONS[component] ** 2 / (DEVIATIONS[component] ** 2 + sigma**2)
    return MEANS[component] + share * (x - MEANS[component])


def of_mixture(x, sigma):
    """The expected x0 behind `x`."""
    posterior = log_joint(x, sigma).softmax(dim=-1)
    each = [of_component(x, sigma, component) for component in range(3)]
    return (posterior * torch.stack(each, dim=-1)).sum(dim=-1)


def log_class(component):
    """log p(component | x, sigma) of a row: the sum over its values, which have one each."""

    def log_prob(x, sigma):
        return log_joint(x, sigma).log_softmax(dim=-1)[..., component].sum(dim=(1, 2, 3))

    return log_prob


def batch(rows=4):
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(rows, 1, 2, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("sigma", LEVELS)
@pytest.mark.parametrize("component", range(3))
def test_guiding_a_mixture_to_a_class_gives_the_denoiser_of_that_class(sigma, component):
    found = guided(of_mixture, log_class(component), 1.0)(batch(), sigma)
    requested = of_component(batch(), sigma, component)
    torch.testing.assert_close(found, requested, rtol=1e-9, atol=1e-9)


def test_guided_samples_are_those_of_the_class():
    x = 20 * torch.randn(
        64, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    sigmas = karras(0.01, 20.0, 60)
    sampled = sample_heun(guided(of_mixture, log_class(2), 1.0), x, sigmas)
    requested = sample_heun(lambda y, sigma: of_component(y, sigma, 2), x, sigmas)
    torch.testing.assert_close(sampled, requested, rtol=1e-6, atol=1e-6)
    assert sampled.mean().item() == pytest.approx(2.0, abs=0.05)
    assert sampled.std().item() == pytest.approx(0.3, abs=0.05)


def literal_algorithm_1(x, sigmas, log_prob, scale, generator):
    """Algorithm 1 of Dhariwal and Nichol as it is printed, in variance-preserving coordinates.

    `x_{t-1} ~ N(mu + s Sigma grad log p(y | x_t), Sigma)`, with mu and Sigma of the posterior.
    """
    x = x / math.sqrt(1 + sigmas[0] ** 2)
    for sigma, after in pairwise(sigmas):
        abar, abar_after = 1 / (1 + sigma**2), 1 / (1 + after**2)
        alpha = abar / abar_after
        variance = (1 - abar_after) / (1 - abar) * (1 - alpha)

        def of_vp(y, sigma=sigma):
            return log_prob(y * math.sqrt(1 + sigma**2), sigma)

        clean = of_mixture(x * math.sqrt(1 + sigma**2), sigma)
        mean = math.sqrt(abar_after) * (1 - alpha) / (1 - abar) * clean
        mean = mean + math.sqrt(alpha) * (1 - abar_after) / (1 - abar) * x
        with torch.enable_grad():
            free = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(of_vp(free).sum(), free)
        x = mean + scale * variance * gradient
        if after > 0:
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + math.sqrt(variance) * noise
    return x


def test_algorithm_1_is_met_to_first_order_in_the_step():
    """Ours differs from its printed form, by less the smaller the steps are, as said."""
    apart = []
    for steps in (50, 100, 200, 400):
        sigmas = karras(0.01, 20.0, steps)[:-1]  # to the last level above 0, where Sigma is not 0
        start = 20 * torch.randn(
            32, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
        )
        theirs = literal_algorithm_1(
            start, sigmas, log_class(2), 1.5, torch.Generator().manual_seed(3)
        )
        ours = sample_ddpm(
            guided(of_mixture, log_class(2), 1.5),
            start,
            sigmas,
            generators=torch.Generator().manual_seed(3),
        )
        ours = ours / math.sqrt(1 + sigmas[-1] ** 2)
        apart.append(float((ours - theirs).square().mean().sqrt()))
    assert apart[0] > 1e-3  # not the same
    for coarse, fine in pairwise(apart):
        assert 1.6 < coarse / fine < 2.4, apart


@pytest.mark.parametrize(("sigma", "after"), [(3.0, 2.0), (0.5, 0.4), (20.0, 1.0)])
def test_a_step_of_algorithm_1_is_shorter_by_the_factor_that_is_documented(sigma, after):
    x = batch()
    ours, ours_plain = (
        sample_ddpm(
            guided(of_mixture, log_class(0), scale),
            x,
            [sigma, after],
            generators=torch.Generator().manual_seed(1),
        )
        for scale in (2.0, 0.0)
    )
    theirs, theirs_plain = (
        literal_algorithm_1(
            x, [sigma, after], log_class(0), scale, torch.Generator().manual_seed(1)
        )
        * math.sqrt(1 + after**2)
        for scale in (2.0, 0.0)
    )
    torch.testing.assert_close(ours_plain, theirs_plain, rtol=1e-9, atol=1e-9)
    factor = (sigma / after) ** 2 * math.sqrt((1 + after**2) / (1 + sigma**2))
    torch.testing.assert_close(ours - ours_plain, factor * (theirs - theirs_plain))


def test_levels_of_rows_may_differ():
    levels = torch.tensor([0.3, 1.0, 2.0, 5.0], dtype=torch.float64)

    def one_by_one(function):
        def rows(x, sigma):
            sigmas = sigma.tolist() if isinstance(sigma, torch.Tensor) else [sigma] * len(x)
            return torch.cat([function(x[i : i + 1], s) for i, s in enumerate(sigmas)])

        return rows

    found = guided(one_by_one(of_mixture), one_by_one(log_class(1)), 1.0)(batch(), levels)
    requested = one_by_one(lambda x, sigma: of_component(x, sigma, 1))(batch(), levels)
    torch.testing.assert_close(found, requested, rtol=1e-9, atol=1e-9)


def test_it_is_linear_in_the_scale():
    x, sigma = batch(), 1.3
    none, one = (guided(of_mixture, log_class(0), scale)(x, sigma) for scale in (0.0, 1.0))
    for scale in (-2.0, 0.25, 7.0):
        found = guided(of_mixture, log_class(0), scale)(x, sigma)
        torch.testing.assert_close(found, none + scale * (one - none), rtol=1e-12, atol=1e-12)


def test_pulls_of_several_guides_add_up():
    x, sigma = batch(), 0.8
    plain = of_mixture(x, sigma)
    terms = [Term("a", log_class(0), 2.0), Term("b", log_class(2), -0.5)]
    each = [guided_by(of_mixture, [term])(x, sigma) - plain for term in terms]
    found = guided_by(of_mixture, terms)(x, sigma)
    torch.testing.assert_close(found, plain + each[0] + each[1], rtol=1e-12, atol=1e-12)


def slope(function, x, step=1e-6):
    """The gradient of the sum of `function`, by central differences, value by value."""
    found = torch.zeros_like(x)
    for location in range(x.numel()):
        moved = torch.zeros_like(x).view(-1)
        moved[location] = step
        moved = moved.view_as(x)
        ahead, behind = (function(x + sign * moved).sum() for sign in (1, -1))
        found.view(-1)[location] = (ahead - behind) / (2 * step)
    return found


@pytest.mark.parametrize("sigma", [0.3, 3.0])
def test_a_clean_guide_follows_the_gradient_through_the_denoiser(sigma):
    def energy(clean, _):
        return -(clean - 1.0).square().sum(dim=(1, 2, 3)) + clean.sin().sum(dim=(1, 2, 3))

    x = batch(2)
    found = guided_by(of_mixture, [Term("energy", energy, 1.5, clean=True)])(x, sigma)
    gradient = slope(lambda y: energy(of_mixture(y, sigma), sigma), x)
    requested = of_mixture(x, sigma) + 1.5 * sigma**2 * gradient
    torch.testing.assert_close(found, requested, rtol=1e-6, atol=1e-6)


CONFIG = {
    "channels": 2,
    "side": 4,
    "widths": (8, 16),
    "layers": 1,
    "heads": 2,
    "labels": ("cone", "cube", "red"),
    "latents": "none",
}


@pytest.mark.parametrize("sigma", [0.05, 1.0, 10.0])
def test_the_gradient_of_the_noise_aware_network(sigma):
    network = NoiseAwareNetwork(CONFIG).eval().requires_grad_(False)
    initialise(network, torch.Generator().manual_seed(5))
    classifier = NoiseAwareClassifier("fake", network.double(), "none")
    generator = torch.Generator().manual_seed(6)
    x = sigma * torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=generator)

    def log_prob(y):
        return classifier.log_prob(y, sigma, "cube")

    free = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(log_prob(free).sum(), free)
    assert found.abs().max() > 1e-4 / math.sqrt(1 + sigma**2)
    torch.testing.assert_close(found, slope(log_prob, x), rtol=1e-5, atol=1e-8)


def test_labels_of_a_group_exclude_each_other_where_the_gradient_is_softened():
    """The slope is that of the softmax in the group, by finite differences; others do not count."""
    config = CONFIG | {"labels": ("cone", "cube", "red", "blue", "green"), "groups": [2, 3]}
    network = NoiseAwareNetwork(config).eval().requires_grad_(False)
    initialise(network, torch.Generator().manual_seed(5))
    classifier = NoiseAwareClassifier("fake", network.double(), "none")
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    free = x.clone().requires_grad_()
    value = classifier.log_prob(free, 1.0, "cube", "green", temperature=3.0)
    (found,) = torch.autograd.grad(value.sum(), free)

    def among_rivals(y):
        logits = network(y, 1.0) / 3.0
        rivals = [logits[:1, :2], logits[1:, 2:]]
        return 3.0 * torch.stack([rivals[0].log_softmax(1)[0, 1], rivals[1].log_softmax(1)[0, 2]])

    torch.testing.assert_close(found, slope(among_rivals, x), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(value, classifier.log_prob(x, 1.0, "cube", "green"))
    with pytest.raises(ValueError, match="groups"):
        NoiseAwareNetwork(config | {"groups": [2, 2]})
