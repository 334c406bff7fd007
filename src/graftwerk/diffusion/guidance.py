"""Guidance: wrappers of a denoiser, and the order in which they are applied.

Everything here maps a function `denoise(x, sigma)` to another such function, so a sampler does not
need to know about it.

Gradient guidance adds a term to the score. With `score = (D(x) - x) / sigma^2`, a term `s * grad
log p(y | x)` shifts the predicted clean image: `D'(x) = D(x) + s * sigma^2 * grad log p(y | x)`,
so it works with every sampler. Dhariwal and Nichol, "Diffusion Models Beat GANs on Image
Synthesis", 2021, have two forms. Algorithm 2 shifts the noise of DDIM by `-sqrt(1 - abar) * grad`,
which is exactly this shift. Algorithm 1 moves the mean of the ancestral step by `s * Sigma *
grad`, which equals this shift only to first order in the step: with the posterior's variance the
shift here is `(sigma / after)^2 * sqrt((1 + after^2) / (1 + sigma^2))` times as long for a step
from `sigma` to `after`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput, Failure, finite
from ..text_safety import counted
from ..types import Denoiser
from .noise_schedule import Clamp, Noise, Sigma

Batch = Float[Tensor, "b c h w"]
DenoiserWrapper = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance.

    Attributes:
        weight: 1 uses the prompt alone, above 1 exaggerates it, 0 ignores it.
        lowest: noise level below which it is inactive.
        highest: noise level above which it is inactive.
        rescale: how far the standard deviation of what the network predicts is set back to that
            without guidance, 0 to 1 (Lin et al., "Common Diffusion Noise Schedules and Sample
            Steps are Flawed", 2023).
    """

    weight: float
    lowest: float = 0.0
    highest: float = inf
    rescale: float = 0.0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A worse denoiser, which a better one is moved away from.

    Attributes:
        worse: the same model with perturbed attention, or a weaker model.
        scale: weight of the difference; at 0 it is not evaluated.
    """

    worse: Denoiser
    scale: float


def compose(
    conditional: Denoiser,
    both: Denoiser | None = None,
    guidance: Guidance | None = None,
    clamp: Clamp | None = None,
    gradient: DenoiserWrapper | None = None,
    contrasts: Sequence[Contrast] = (),
    noise: Noise | None = None,
) -> Denoiser:
    """Wrap a model for sampling: classifier-free guidance, then gradients, then clamping.

    Control changes the network's evaluation, so it belongs inside `conditional` and `both`. Most
    arguments are those of `classifier_free`; `gradient` is for example `GradientGuide.apply`.
    """
    denoise = conditional
    if guidance is not None:
        denoise = classifier_free(conditional, both, guidance, contrasts, noise)
    if gradient is not None:
        denoise = gradient(denoise)
    return denoise if clamp is None else clamped(denoise, clamp)


def classifier_free(
    conditional: Denoiser,
    both: Denoiser | None,
    guidance: Guidance,
    contrasts: Sequence[Contrast] = (),
    noise: Noise | None = None,
) -> Denoiser:
    """Apply classifier-free guidance, and contrasts, within an interval of noise levels.

    Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022. Outside the interval (Kynkäänniemi
    et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in
    Diffusion Models", 2024) the other evaluations are skipped. A contrast adds `scale * (c -
    worse)`, where `c` is the prediction with the prompt: perturbed-attention guidance (Ahn et al.,
    "Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance", 2024) and autoguidance
    (Karras et al., "Guiding a Diffusion Model with a Bad Version of Itself", 2024, whose `w` is `1
    + scale`). With a weight of 1 and contrasts of scale 0, `conditional` itself is returned.

    Args:
        conditional: the model with its prompt, for `b` rows.
        both: the model for `2 b` rows, the first half with the prompt, the second half with an
            empty or a negative prompt; None for none.
        guidance: weight, interval and rescaling.
        contrasts: worse denoisers.
        noise: of the model, whose predicted quantity is rescaled; needed for rescaling only.
    """
    prompted = None if guidance.weight == 1 else both
    acting = [contrast for contrast in contrasts if contrast.scale != 0]
    if prompted is None and not acting:
        return conditional

    def denoise(x: Batch, sigma: Sigma) -> Batch:
        lowest, highest = guidance.lowest, guidance.highest
        share: float | Tensor = 1.0  # of each row
        levels = sigma
        if isinstance(sigma, Tensor):
            inside = (lowest <= sigma) & (sigma <= highest)
            share = inside.to(x).view(-1, 1, 1, 1)
            acts, levels = bool(inside.any()), torch.cat([sigma, sigma])
        else:
            acts = lowest <= sigma <= highest
        if not acts:
            return conditional(x, sigma)
        if prompted is None:
            found = with_prompt = conditional(x, sigma)
        else:
            with_prompt, without = prompted(torch.cat([x, x]), levels).chunk(2)
            # Not u + w (c - u), which for w = 1 does not equal c in floating point.
            found = with_prompt + share * (guidance.weight - 1) * (with_prompt - without)
        for contrast in acting:
            found = found + share * contrast.scale * (with_prompt - contrast.worse(x, sigma))
        if guidance.rescale == 0 or noise is None:
            return found
        rescaled = _rescaled(noise, x, found, with_prompt, sigma, guidance.rescale)
        return torch.where(torch.as_tensor(share, device=x.device) > 0, rescaled, found)

    return denoise


def _rescaled(
    noise: Noise, x: Batch, guided: Batch, plain: Batch, sigma: Sigma, amount: float
) -> Batch:
    """Bring the deviation of the network's guided output nearer to that of the plain one."""
    level = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
    output, reference = (noise.output_of(x, x0, level) for x0 in (guided, plain))
    ratio = reference.std(dim=(1, 2, 3), keepdim=True) / output.std(dim=(1, 2, 3), keepdim=True)
    return noise.x0_of(x, output * (1 + amount * (ratio - 1)), level)


def clamped(denoise: Denoiser, clamp: Clamp) -> Denoiser:
    """Keep the predicted clean image in range.

    Values are either clipped at the limit or dynamically thresholded: a row whose quantile of
    magnitudes at the clamp's ratio exceeds 1 is clipped at that quantile (at most the limit) and
    scaled back to 1 (Saharia et al., "Photorealistic Text-to-Image Diffusion Models with Deep
    Language Understanding", 2022).
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
# Root mean square, relative to noise and data together, that no guide should reach: data have
# about unit variance, and a poor model predicts clean images as large as the noise.
_FAR = 100.0


@dataclass(frozen=True, slots=True)
class Term:
    """One guide.

    Attributes:
        log_prob: maps a batch and its noise level to one number per row, whose gradient guides: a
            log-probability, or a negative energy.
        clean: whether `log_prob` reads the predicted clean image instead of the noisy one. It then
            need not handle noise, and a step costs backpropagation through the denoiser.
        limit: maximum root mean square, over the values of a row, of the shift; a longer one is
            scaled down to it.
        noise_limit: the same relative to the noise level: it limits the change to the predicted
            noise.
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
    """The effect of the guides at one evaluation.

    Attributes:
        values: mean of `log_prob` of each active term.
        shifts: root mean square of the shift of each active term.
        cosines: cosine similarities between the gradients of each pair of terms, in the order of
            `itertools.combinations`.
    """

    sigma: float
    names: tuple[str, ...]
    values: tuple[float, ...]
    shifts: tuple[float, ...]
    cosines: tuple[float, ...]


class Overflowed(Failure):
    """Guided values are no longer finite, or far outside the range of any data."""

    def __init__(self, sigma: float) -> None:
        super().__init__(
            f"guided values overflow at noise level {sigma:.3g}.", "Take a smaller scale."
        )
        self.sigma = sigma


def guided(denoise: Denoiser, log_prob: LogProb, scale: float) -> Denoiser:
    """Guide by one function that reads noisy batches; a scale of 0 returns `denoise` itself.

    Args:
        denoise: the denoiser to guide.
        log_prob: log p(y | x, sigma) [b] of each row of `x` [b c h w], differentiable in `x`.
        scale: weight of its gradient.

    Raises:
        BadInput: the scale is no number; by the returned function, if `log_prob` is not finite or
            has no gradient.
        Overflowed: by the returned function, if the scale is so high that values exceed all bounds.

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
    finite("scale", scale, "Use 0 for a guide that does nothing.")
    return guided_by(denoise, [Term("the guide", log_prob, scale)])


def guided_by(
    denoise: Denoiser, terms: Sequence[Term], watch: Callable[[GuidanceTrace], None] | None = None
) -> Denoiser:
    """Guide by several terms, whose shifts add up.

    Without any enabled term, `denoise` itself is returned.

    Raises:
        BadInput: by the returned function, if a term is not finite or has no gradient.
        Overflowed: by the returned function, if shifts are so long that values exceed all bounds.
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
        if not _size(result) < _FAR * (1 + level):  # also true for values that are not finite
            raise Overflowed(level)
        if watch is not None:
            watch(_pull(acting, traces, shifts, level))
        return result

    return denoise_guided


def _evaluate(
    denoise: Denoiser, terms: Sequence[Term], x: Batch, sigma: Sigma
) -> tuple[Batch, list[tuple[Tensor, Batch]]]:
    """Return the predicted clean image, and value and gradient of each term."""
    traces = []
    # samplers run in inference mode, whose tensors cannot have gradients
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
    level = float(sigma.max()) if isinstance(sigma, Tensor) else sigma
    if value.shape != (len(x),):
        raise BadInput(
            f"{term.name} gave values of shape {tuple(value.shape)} for {counted(len(x), 'row')}.",
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
    return float(batch.square().mean(dim=(1, 2, 3)).sqrt().max())


def _shift_of(term: Term, gradient: Batch, sigma: Sigma) -> Batch:
    """Return a term's shift, scale * variance * gradient, within the term's limits.

    The gradient is first normalized to a largest value of 1, so that no scale makes it overflow.
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
    """Several guides, and an optional observer."""

    terms: tuple[Term, ...]
    watch: Callable[[GuidanceTrace], None] | None = None

    @property
    def is_zero(self) -> bool:
        """Whether `apply` changes nothing."""
        return all(term.scale == 0 for term in self.terms)

    def apply(self, frozen: Denoiser) -> Denoiser:
        """Return the guided denoiser; at zero `frozen` itself."""
        return guided_by(frozen, self.terms, self.watch)
