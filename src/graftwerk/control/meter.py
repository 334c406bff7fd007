"""The convergence meter: what tells whether a control branch learns, which its loss does not.

A diffusion loss is mostly noise: it is blind to the moment from which a branch follows its
condition. So the meter takes held-out pairs, one draw of noise for each, the same at every
measurement, and compares the loss with the true condition and with that of another pair. The
mean difference is the condition gap: 0 at birth, above 0 as soon as the condition is of use.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from ..frozen.diffusion.halves import encode_half
from ..frozen.diffusion.model import DiffusionModel
from ..frozen.diffusion.noise import Noise
from ..frozen.diffusion.texts import TextStates
from ..steer.branch import Branch
from ..train.arithmetic import arithmetic
from ..train.session import Precision
from ..train.state import generator_for
from .task import Batch, Pairs, hint_input, inputs_of, losses_of, sigmas_of

_BATCH = 32
_DRAWS = 400  # of the bootstrap
_NOISE = 2**62  # seed of the held-out noise, which no training step has
_CHANGED = 0.01  # share of a skip's size from which it counts as changed
_CONFIDENCE = (0.5, 99.5)  # percentiles of the bootstrap


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the meter saw after a step.

    Attributes:
        step: steps done.
        loss: on held-out pairs with the meter's own noise.
        plain_loss: on the same pairs with fresh noise: what is usually watched.
        gap: loss with another pair's condition minus loss with the true one.
        gap_low: lower end of its 99 % bootstrap interval.
        gap_high: upper end.
        error: standard error of the gap.
        norm: of all weights that join the branch to the U-Net.
        changed: share of skips and middle that the branch changes by more than 1 %.
        change: mean size of what is added, over that of what it is added to.
        fidelity: of drawn pictures, 0 to 1; None where none were drawn.
        hint_norm: of the hint encoder's last layer, which begins at zero; None where none does.
        rank: standard score of Wilcoxon's signed ranks of the pairs' gaps.
    """

    step: int
    loss: float
    plain_loss: float
    gap: float
    gap_low: float
    gap_high: float
    error: float
    norm: float
    changed: float
    change: float
    fidelity: float | None = None
    hint_norm: float | None = None
    rank: float = 0.0

    @property
    def gain(self) -> float:
        """Norms of both ends of the condition's way, multiplied; of the joints where alone."""
        return self.norm * (1.0 if self.hint_norm is None else self.hint_norm)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the log."""
        return asdict(self)


class Meter:
    """Measures a branch on held-out pairs.

    Args:
        model: the frozen one.
        branch: what is trained.
        pairs: held-out pairs, two at least.
        count: of them that are used.
        precision: of the arithmetic.
    """

    def __init__(
        self,
        model: DiffusionModel,
        branch: Branch,
        pairs: Pairs,
        count: int,
        precision: Precision = "float32",
    ) -> None:
        self._model, self._branch, self._precision = model, branch, precision
        numbers = np.arange(min(count, len(pairs)))
        said = numbers % 2 == 0  # as in training, half of the prompts are left out
        self._batch = pairs.take(numbers, said)
        self._shift = np.roll(numbers, 1)
        steps = len(model.noise.sigmas)
        middles = (torch.arange(len(numbers)) + 0.5) / len(numbers) * steps
        self._times = middles.long().to(model.device)  # from low noise to high
        with torch.no_grad():
            self._frozen = self._losses(None, self._noise(0), shuffled=False)

    @property
    def frozen_loss(self) -> float:
        """Loss of the model alone with the meter's own noise."""
        return float(self._frozen.mean())

    @property
    def plain_guess(self) -> float:
        """Loss of the best guess that knows mean and spread of the pictures' values alone.

        For values of mean `m` and variance `v` behind noise of level `sigma` that is
        `m + v / (v + sigma^2) (x - m)`, which errs by `v sigma^2 / (v + sigma^2)`.
        """
        latents = self._batch.latents.double()
        spread = latents.var(dim=0, unbiased=True).mean()
        sigma = sigmas_of(self._model)[self._times].double().cpu()
        errors = spread * sigma**2 / (spread + sigma**2)
        return float((errors * weight_of(self._model.noise, sigma)).mean())

    def check_birth(self) -> bool:
        """Whether the newborn branch changes no loss at all, to the last bit."""
        with torch.no_grad():
            born = self._losses(self._branch, self._noise(0), shuffled=False)
        return bool(np.array_equal(born, self._frozen))

    def measure(self, step: int) -> Measurement:
        """Measure the branch as it is now."""
        with torch.no_grad():
            true = self._losses(self._branch, self._noise(0), shuffled=False)
            false = self._losses(self._branch, self._noise(0), shuffled=True)
            plain = self._losses(self._branch, self._noise(1 + step), shuffled=False)
            change = self._change()
        gaps = false - true
        low, high = bootstrap(gaps, step)
        return Measurement(
            step=step,
            loss=float(true.mean()),
            plain_loss=float(plain.mean()),
            gap=float(gaps.mean()),
            gap_low=low,
            gap_high=high,
            error=float(gaps.std(ddof=1) / len(gaps) ** 0.5),
            norm=norm_of(self._branch.joins),
            hint_norm=_hint_norm(self._branch),
            rank=signed_rank(gaps),
            changed=float(np.mean(change > _CHANGED)),
            change=float(change.mean()),
        )

    def _noise(self, number: int) -> Tensor:
        generator = generator_for(_NOISE, number, "cpu")
        return torch.randn(self._batch.latents.shape, generator=generator).to(self._model.device)

    def _losses(
        self, branch: Branch | None, noise: Tensor, *, shuffled: bool
    ) -> Float64[np.ndarray, " n"]:
        found = []
        maps = self._batch.maps[self._shift] if shuffled else self._batch.maps
        for start in range(0, len(self._batch), _BATCH):
            part = slice(start, start + _BATCH)
            rows = cut(Batch(self._batch.latents, maps, self._batch.texts), part)
            with arithmetic(self._model.device, self._precision):
                losses = losses_of(self._model, branch, rows, self._times[part], noise[part])
            found.append(losses.double().cpu())
        return torch.cat(found).numpy()

    def _change(self) -> Float64[np.ndarray, " joints"]:
        """Size of what is added at each joint over the size of what it is added to."""
        spread = slice(None, None, max(1, len(self._batch) // 16))
        rows, times = cut(self._batch, spread), self._times[spread]
        clean = rows.latents.to(self._model.device)
        sigma = sigmas_of(self._model)[times].view(-1, 1, 1, 1)
        x = (clean + sigma * self._noise(0)[spread]) / (1 + sigma**2).sqrt()
        inputs = inputs_of(self._model, rows.texts, clean)
        hint = self._branch.read(hint_input(rows.maps, self._model.device))
        moments = times.to(x.dtype)
        added = self._branch(x, moments, hint, inputs)
        network = self._model.unet
        if hasattr(network, "encoder"):
            skips, middle = network.encoder(x, moments, None, inputs)
        else:
            (skips, middle), _ = encode_half(network, x, moments, None, inputs)
        pairs = zip((*added.skips, added.middle), (*skips, middle), strict=True)
        return np.array([float(more.norm() / there.norm()) for more, there in pairs])


def weight_of(noise: Noise, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Factor from an error of the clean picture to one of what the network predicts."""
    match noise.prediction:
        case "epsilon":
            return 1 / sigma**2
        case "v_prediction":
            return (1 + sigma**2) / sigma**2
        case "sample":
            return torch.ones_like(sigma)


def cut(batch: Batch, part: slice) -> Batch:
    """Some rows of a batch."""
    texts = batch.texts
    if texts is not None:
        pooled = None if texts.pooled is None else texts.pooled[part]
        texts = TextStates(texts.states[part], pooled)
    return Batch(batch.latents[part], batch.maps[part], texts)


def norm_of(part: nn.Module) -> float:
    """Norm of all weights of a part."""
    total: Float[Tensor, ""] = torch.zeros(())
    for weight in part.parameters():
        total = total + weight.detach().float().square().sum().cpu()
    return float(total.sqrt())


def _hint_norm(branch: Branch) -> float | None:
    last = getattr(branch.hint_encoder, "conv_out", None)
    return norm_of(last) if isinstance(last, nn.Module) else None


def bootstrap(values: Float64[np.ndarray, " n"], seed: int) -> tuple[float, float]:
    """A 99 % interval of the mean (Efron's percentile bootstrap)."""
    generator = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(seed,)))
    rows: Int64[np.ndarray, "d n"] = generator.integers(0, len(values), (_DRAWS, len(values)))
    low, high = np.percentile(values[rows].mean(axis=1), _CONFIDENCE)
    return float(low), float(high)


def signed_rank(values: Float64[np.ndarray, " n"]) -> float:
    """How far values lie above 0, in standard deviations of Wilcoxon's signed-rank statistic.

    Gaps have a long tail: a few pairs behind much noise have most of it. Their mean is sure late,
    their ranks early. If the true condition is no better than another's, a pair's gap is as likely
    positive as negative, whatever its size, which is all that this needs.
    """
    from scipy.stats import wilcoxon

    if not values.any():
        return 0.0
    return float(wilcoxon(values, alternative="greater", method="asymptotic").zstatistic)


def from_json(entry: Mapping[str, Any]) -> Measurement:
    """A measurement as it stands in the log."""
    known = Measurement.__dataclass_fields__
    return Measurement(**{name: entry[name] for name in known if name in entry})
