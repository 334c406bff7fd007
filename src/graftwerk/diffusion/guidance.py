"""Gradient guidance: a term added to the score while an image is drawn.

With `score = (D(x) - x) / sigma^2`, a term `s * grad log p(y | x)` of the score shifts the expected
clean image: `D'(x) = D(x) + s * sigma^2 * grad log p(y | x)`, so it serves every sampler. Dhariwal
and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021, have two forms. Algorithm 2
shifts the noise of DDIM by `-sqrt(1 - abar) * grad`, which is this shift exactly. Algorithm 1 moves
the mean of the ancestral step by `s * Sigma * grad`, which is this one to first order in the step
only: with the posterior's variance the shift here is
`(sigma / after)^2 * sqrt((1 + after^2) / (1 + sigma^2))` times as long, where a step goes from
`sigma` to `after`.

What wraps a denoiser, and the one order in which it does.

Everything here is a function from `denoise(x, sigma)` to `denoise(x, sigma)`, so a sampler never
learns of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput, Failure
from ..types import Denoiser
from .noise_schedule import Clamp, Sigma

Batch = Float[Tensor, "b c h w"]
DenoiserWrapper = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance.

    Attributes:
        weight: 1 is the prompt alone, above 1 exaggerates it, 0 ignores it.
        lowest: noise level below which it does not act.
        highest: noise level above which it does not act.
    """

    weight: float
    lowest: float = 0.0
    highest: float = inf


def compose(
    conditional: Denoiser,
    both: Denoiser | None = None,
    guidance: Guidance | None = None,
    clamp: Clamp | None = None,
    gradient: DenoiserWrapper | None = None,
) -> Denoiser:
    """Wrap a model for drawing: guided by the prompt first, then by gradients, kept in range last.

    What changes the network's evaluation (control) belongs inside `conditional` and `both`.

    Args:
        conditional: the model with its prompt.
        both: the model with its prompt and with the prompt to get away from, see `guided`.
        guidance: None for none.
        clamp: None for none.
        gradient: what guides by gradients (`steer.gradient`); None for none.
    """
    denoise = conditional
    if both is not None and guidance is not None:
        denoise = classifier_free(conditional, both, guidance)
    if gradient is not None:
        denoise = gradient(denoise)
    return denoise if clamp is None else clamped(denoise, clamp)


def classifier_free(conditional: Denoiser, both: Denoiser, guidance: Guidance) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans, 2022), within an interval of noise levels.

    Outside the interval (Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves
    Sample and Distribution Quality in Diffusion Models", 2024) the second evaluation is not made.
    A weight of 1 gives `conditional` itself back.

    Args:
        conditional: the model with its prompt, for `b` rows.
        both: the same for `2 b` rows, the first half with the prompt, the second half with what to
            get away from: an empty or a negative prompt.
        guidance: weight and interval.
    """
    if guidance.weight == 1:
        return conditional

    def denoise(x: Batch, sigma: Sigma) -> Batch:
        lowest, highest = guidance.lowest, guidance.highest
        excess: float | Tensor = guidance.weight - 1
        levels = sigma
        if isinstance(sigma, Tensor):
            inside = (lowest <= sigma) & (sigma <= highest)
            excess = torch.where(inside, excess, 0.0).to(x).view(-1, 1, 1, 1)
            acts, levels = bool(inside.any()), torch.cat([sigma, sigma])
        else:
            acts = lowest <= sigma <= highest
        if not acts:
            return conditional(x, sigma)
        with_prompt, without = both(torch.cat([x, x]), levels).chunk(2)
        # Not u + w (c - u), which at w = 1 is not c in floating point.
        return with_prompt + excess * (with_prompt - without)

    return denoise


def clamped(denoise: Denoiser, clamp: Clamp) -> Denoiser:
    """Keep the expected image in range.

    A plain cut at the limit, or dynamic thresholding: a row whose values exceed 1 beyond the
    clamp's ratio is scaled back into it (Saharia et al., "Photorealistic Text-to-Image Diffusion
    Models with Deep Language Understanding", 2022).
    """

    def denoise_clamped(x: Batch, sigma: Sigma) -> Batch:
        denoised = denoise(x, sigma)
        if clamp.ratio is None:
            return denoised.clamp(-clamp.limit, clamp.limit)
        sizes = denoised.flatten(1).abs()
        bound = sizes.quantile(clamp.ratio, dim=1).clamp(1, max(clamp.limit, 1)).view(-1, 1, 1, 1)
        return denoised.clamp(-bound, bound) / bound

    return denoise_clamped


LogProb = Callable[[Batch, Sigma], Tensor]
# Root mean square, in units of noise and data together, of what no guide should make: data have
# about unit variance, and a model that knows little expects clean images as large as the noise.
_FAR = 100.0


@dataclass(frozen=True, slots=True)
class Term:
    """One guide.

    Attributes:
        name: what messages call it.
        log_prob: from a batch and its noise level to one number a row, whose gradient pulls: a
            log-probability, or minus an energy.
        scale: weight of the gradient; 0 takes the guide away.
        clean: whether `log_prob` reads the expected clean image instead of the noisy one. It
            then needs to know no noise, and a step costs a way back through the denoiser.
        lowest: noise level below which it does not act.
        highest: noise level above which it does not act.
        limit: root mean square, over the values of a row, of the largest shift that it makes; a
            longer one is scaled down to it.
        noise_limit: the same, over the noise level: of the largest change to the predicted noise.
    """

    name: str
    log_prob: LogProb
    scale: float
    clean: bool = False
    lowest: float = 0.0
    highest: float = math.inf
    limit: float = math.inf
    noise_limit: float = math.inf


@dataclass(frozen=True, slots=True)
class GuidanceTrace:
    """What guides did at one evaluation.

    Attributes:
        sigma: noise level; of several the highest.
        values: of each acting term, the mean of its `log_prob`.
        shifts: root mean square of each one's shift.
        cosines: between the gradients of each two, in the order of `itertools.combinations`.
        names: of the acting terms.
    """

    sigma: float
    names: tuple[str, ...]
    values: tuple[float, ...]
    shifts: tuple[float, ...]
    cosines: tuple[float, ...]


class Overflowed(Failure):
    """Guided values are not finite any more, or far beyond all data.

    Args:
        sigma: noise level at which it happened.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__(
            f"guided values overflow at noise level {sigma:.3g}.", "Take a smaller scale."
        )
        self.sigma = sigma


def guided(denoise: Denoiser, log_prob: LogProb, scale: float) -> Denoiser:
    """Guide by one function that reads noisy batches; a scale of 0 gives `denoise` itself back.

    Args:
        denoise: what is guided.
        log_prob: log p(y | x, sigma) [b] of each row of `x` [b c h w], differentiable in `x`.
        scale: weight of its gradient.

    Raises:
        BadInput: from the result, where `log_prob` gives values that are not finite or have no
            gradient.
        Overflowed: from the result, where the scale is so high that values leave all bounds.

    >>> import torch
    >>> def shrink(x, sigma):
    ...     return x / (1 + sigma**2)
    >>> def small(x, sigma):
    ...     return -x.square().sum(dim=(1, 2, 3))
    >>> guided(shrink, small, 0.5)(torch.ones(1, 1, 1, 1), 1.0).item()  # 0.5 - 0.5 * 2
    -0.5
    >>> guided(shrink, small, 0.0) is shrink
    True
    """
    return guided_by(denoise, [Term("the guide", log_prob, scale)])


def guided_by(
    denoise: Denoiser, terms: Sequence[Term], watch: Callable[[GuidanceTrace], None] | None = None
) -> Denoiser:
    """Guide by several terms, whose shifts add up; without any at work, `denoise` itself.

    Args:
        denoise: what is guided.
        terms: the guides.
        watch: told what they did at each evaluation.

    Raises:
        BadInput: from the result, where a term gives values that are not finite or have no
            gradient.
        Overflowed: from the result, where shifts are so long that values leave all bounds.
    """
    at_work = [term for term in terms if term.scale != 0]
    if not at_work:
        return denoise

    def denoise_guided(x: Batch, sigma: Sigma) -> Batch:
        level = float(sigma.max()) if isinstance(sigma, Tensor) else sigma
        acting = [term for term in at_work if term.lowest <= level <= term.highest]
        if not acting:
            return denoise(x, sigma)
        denoised, traces = _evaluate(denoise, acting, x, sigma)
        shifts = [
            _shift_of(term, gradient, sigma)
            for term, (_, gradient) in zip(acting, traces, strict=True)
        ]
        result = denoised
        for shift in shifts:
            result = result + shift
        if not _size(result) < _FAR * (1 + level):  # which is so for what is not finite too
            raise Overflowed(level)
        if watch is not None:
            watch(_pull(acting, traces, shifts, level))
        return result

    return denoise_guided


def _evaluate(
    denoise: Denoiser, terms: Sequence[Term], x: Batch, sigma: Sigma
) -> tuple[Batch, list[tuple[Tensor, Batch]]]:
    """The expected clean image, and value and gradient of each term."""
    traces = []
    # a sampler runs without gradients, and its tensors can have none
    with torch.inference_mode(False), torch.enable_grad():
        free = x.clone().detach().requires_grad_()
        if any(term.clean for term in terms):
            denoised = denoise(free, sigma)
        else:
            with torch.no_grad():
                denoised = denoise(x, sigma)
        for term in terms:
            value = term.log_prob(denoised if term.clean else free, sigma)
            _check_value(term, value, x, sigma)
            traces.append((value.detach(), _gradient(term, value, free)))
    return denoised.detach(), traces


def _gradient(term: Term, value: Tensor, free: Batch) -> Batch:
    gradient: Tensor | None = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(
            value.sum(), free, retain_graph=term.clean, allow_unused=True
        )
    if gradient is None:
        raise BadInput(
            f"{term.name} has no gradient: its value does not depend on the image in a way that "
            "PyTorch can differentiate.",
            "Compute it with PyTorch's operations alone, without .item(), .numpy() or argmax.",
        )
    return gradient


def _check_value(term: Term, value: Tensor, x: Batch, sigma: Sigma) -> None:
    """Refuse what is not one finite number a row.

    Raises:
        BadInput: the term is at fault.
        Overflowed: the batch was driven so far away before that nothing can be said of it.
    """
    level = float(sigma.max()) if isinstance(sigma, Tensor) else sigma
    if value.shape != (len(x),):
        raise BadInput(
            f"{term.name} gave values of shape {tuple(value.shape)} for {len(x)} rows.",
            "Give one number for each row of the batch.",
        )
    if bool(torch.isfinite(value).all()):
        return
    if not _size(x) < _FAR * (1 + level):
        raise Overflowed(level)
    raise BadInput(
        f"{term.name} gave a value that is not finite at noise level {level:.3g}.",
        "Keep logarithms and divisions away from 0, or use --guide-interval.",
    )


def _size(batch: Batch) -> float:
    """The largest root mean square of a row."""
    return float(batch.square().mean(dim=(1, 2, 3)).sqrt().max())


def _shift_of(term: Term, gradient: Batch, sigma: Sigma) -> Batch:
    """What a term adds: scale * variance * gradient, no longer in a row than the term allows.

    The gradient is brought to a largest value of 1 first, so that no scale makes it overflow.
    """
    levels = torch.as_tensor(sigma, dtype=gradient.dtype, device=gradient.device)
    levels = levels.expand(len(gradient)).view(-1, 1, 1, 1)
    if math.isinf(term.limit) and math.isinf(term.noise_limit):
        return term.scale * levels**2 * gradient
    limit = (term.noise_limit * levels).clamp(max=term.limit)
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    direction = gradient / largest.clamp(min=1e-30)
    size = direction.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-30)
    factor = torch.minimum(abs(term.scale) * levels**2 * largest, limit / size)
    return math.copysign(1.0, term.scale) * factor * direction


def _pull(
    terms: Sequence[Term],
    traces: Sequence[tuple[Tensor, Batch]],
    shifts: Sequence[Batch],
    level: float,
) -> GuidanceTrace:
    rows = [
        (gradient * term.scale).flatten(1)
        for term, (_, gradient) in zip(terms, traces, strict=True)
    ]
    cosines = [
        float(functional.cosine_similarity(a, b, dim=1).mean())
        for location, a in enumerate(rows)
        for b in rows[location + 1 :]
    ]
    return GuidanceTrace(
        sigma=level,
        names=tuple(term.name for term in terms),
        values=tuple(float(value.mean()) for value, _ in traces),
        shifts=tuple(float(shift.square().mean().sqrt()) for shift in shifts),
        cosines=tuple(cosines),
    )


@dataclass(frozen=True)
class GradientGuide:
    """Guides together, and what watches them.

    Attributes:
        terms: the guides.
        watch: told what they did.
    """

    terms: tuple[Term, ...]
    watch: Callable[[GuidanceTrace], None] | None = None

    @property
    def is_zero(self) -> bool:
        """True when `apply` changes nothing."""
        return all(term.scale == 0 for term in self.terms)

    def apply(self, frozen: Denoiser) -> Denoiser:
        """Return the guided denoiser; at zero `frozen` itself."""
        return guided_by(frozen, self.terms, self.watch)
