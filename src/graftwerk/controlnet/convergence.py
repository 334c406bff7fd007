"""The convergence meter: detects when a branch learns its condition, which the loss does not show.

A diffusion loss is mostly noise and does not reveal when a branch starts to follow its condition.
The meter therefore uses held-out pairs with fixed noise, the same at every measurement, and
compares the loss with the true condition to the loss with that of another pair. The mean
difference is the condition gap: 0 at initialization, and positive as soon as the condition helps.

From the gap it concludes: not yet, converging, converged, diverged, or not learning. The gap must
be clearly above 0 by its confidence interval, by its mean or its ranks, and by a share of the
loss. On a dataset with mismatched pairs this never happens, since a true condition is no better
than another.

A gap that is not clear does not prove the opposite. The meter blames the data only after the
branch has grown past the size at which others had converged, and the upper end of the gap's
interval has stayed below a useful size for a third of the steps; with correct pairs it exceeds
that size earlier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextStates
from ..diffusion.transformer import is_transformer, states_of
from ..diffusion.unet import encode_half
from ..metrics.intervals import bootstrap
from ..training.session import Precision
from ..training.state import arithmetic, generator_for
from .branch import Branch
from .task import Batch, Pairs, hint_input, inputs_of, losses_of, noised, sigmas_of

_BATCH = 32
_RESAMPLES = 400
_NOISE = 2**62  # seed of the held-out noise, which no training step has
_CHANGED = 0.01  # share of a skip's size from which it counts as changed
_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement of the meter.

    Attributes:
        loss: on held-out pairs with the meter's own noise.
        plain_loss: on the same pairs with fresh noise: what is usually watched.
        gap: loss with another pair's condition minus loss with the true one.
        gap_low: lower end of its 99 % bootstrap interval.
        error: standard error of the gap.
        norm: of all weights that join the branch to the U-Net.
        changed: share of skips and middle that the branch changes by more than 1 %.
        change: mean size of what is added, over that of what it is added to.
        fidelity: of generated images, 0 to 1; None where none were generated.
        hint_norm: of the hint encoder's last layer, which begins at zero; None where none does.
        chance: fidelity with the conditions of other images.
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
    chance: float | None = None

    @property
    def gain(self) -> float:
        """Product of the norms of the hint encoder's last layer and the zero convolutions."""
        return self.norm * (1.0 if self.hint_norm is None else self.hint_norm)


class Meter:
    """Measures a branch on held-out pairs."""

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
        predicted = numbers % 2 == 0  # as in training, half of the prompts are left out
        self._batch = pairs.take(numbers, predicted)
        self._shift = np.roll(numbers, 1)
        steps = len(model.noise.sigmas)
        middles = (torch.arange(len(numbers)) + 0.5) / len(numbers) * steps
        self._times = middles.long().to(model.device)  # from low noise to high
        with torch.no_grad():
            self._frozen = self._losses(None, self._noise(0), shuffled=False)

    @property
    def frozen_loss(self) -> float:
        """Loss of the frozen model with the meter's own noise."""
        return float(self._frozen.mean())

    @property
    def plain_guess(self) -> float:
        """Loss of the best prediction that only uses mean and variance of all values.

        For values with mean `m` and variance `v` at noise level `sigma` it predicts `m + v / (v +
        sigma^2) (x - m)`, with the error `v sigma^2 / (v + sigma^2)`. With flow matching, where
        `x` has the share `1 - sigma` of the values, that share squared goes with `v` in the sum.
        """
        latents = self._batch.latents.double()
        deviation = latents.var(dim=0, unbiased=True).mean()
        sigma = sigmas_of(self._model)[self._times].double().cpu()
        share = 1 - sigma if self._model.noise.flows else 1.0
        errors = deviation * sigma**2 / (share**2 * deviation + sigma**2)
        return float((errors * self._model.noise.error_weight(sigma)).mean())

    def check_birth(self) -> bool:
        """Whether the zero-initialized branch leaves every loss unchanged, bit for bit."""
        with torch.no_grad():
            born = self._losses(self._branch, self._noise(0), shuffled=False)
        return bool(np.array_equal(born, self._frozen))

    def measure(self, step: int) -> Measurement:
        """Measure the current branch."""
        with torch.no_grad():
            true = self._losses(self._branch, self._noise(0), shuffled=False)
            false = self._losses(self._branch, self._noise(0), shuffled=True)
            plain = self._losses(self._branch, self._noise(1 + step), shuffled=False)
            change = self._change()
        gaps = false - true
        low, high = gap_interval(gaps, step)
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
        """Return the norm of each addition relative to what it is added to."""
        deviation = slice(None, None, max(1, len(self._batch) // 16))
        rows, times = cut(self._batch, deviation), self._times[deviation]
        clean = rows.latents.to(self._model.device)
        x, moments, _ = noised(self._model, clean, self._noise(0)[deviation], times)
        inputs = inputs_of(self._model, rows.texts, clean)
        hint = self._branch.read(hint_input(rows.maps, self._model.device))
        added = self._branch(x, moments, hint, inputs)
        network = self._model.unet
        if is_transformer(network):
            states = states_of(network, x, moments, inputs, len(added.all), added.double)
        elif hasattr(network, "encoder"):
            skips, middle = network.encoder(x, moments, None, inputs)
            states = (*skips, middle)
        else:
            (skips, middle), _ = encode_half(network, x, moments, None, inputs)
            states = (*skips, middle)
        pairs = zip(added.all, states, strict=True)
        return np.array([float(more.norm() / there.norm()) for more, there in pairs])


def cut(batch: Batch, part: slice) -> Batch:
    """Return some rows of a batch."""
    texts = batch.texts
    if texts is not None:
        pooled = None if texts.pooled is None else texts.pooled[part]
        texts = TextStates(texts.states[part], pooled)
    return Batch(batch.latents[part], batch.maps[part], texts)


def norm_of(part: nn.Module) -> float:
    """Return the norm of all weights of a part."""
    total: Float[Tensor, ""] = torch.zeros(())
    for weight in part.parameters():
        total = total + weight.detach().float().square().sum().cpu()
    return float(total.sqrt())


def _hint_norm(branch: Branch) -> float | None:
    encoder = branch.hint_encoder
    whole = encoder if isinstance(encoder, nn.Linear) else None  # Flux's has one layer
    last = getattr(encoder, "conv_out", getattr(encoder, "proj", whole))
    return norm_of(last) if isinstance(last, nn.Module) else None


def gap_interval(gaps: Float64[np.ndarray, " n"], step: int) -> tuple[float, float]:
    """Return the interval of the mean gap, with a different seed for each step."""
    generator = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(step,)))

    def mean(rows: Int64[np.ndarray, " m"]) -> float:
        return float(gaps[rows].mean())

    return bootstrap(mean, len(gaps), generator, _RESAMPLES, _CONFIDENCE)


def signed_rank(values: Float64[np.ndarray, " n"]) -> float:
    """Return Wilcoxon's signed-rank statistic in standard deviations.

    Gaps have a long tail: a few pairs with much noise dominate the mean, which therefore becomes
    significant late, while ranks do so early. If the true condition is no better than another, a
    pair's gap is as likely positive as negative, whatever its size, which is all that this test
    assumes.
    """
    from scipy.stats import wilcoxon

    if not values.any():
        return 0.0
    return float(wilcoxon(values, alternative="greater", method="asymptotic").zstatistic)


def from_json(entry: Mapping[str, Any]) -> Measurement:
    """Restore a measurement from the log."""
    known = Measurement.__dataclass_fields__
    return Measurement(**{name: entry[name] for name in known if name in entry})


State = Literal["not yet", "converging", "converged", "diverged", "not learning"]

_CLEAR = 4.0  # standard errors by which a gap, or its rank, is above 0
_WORTH = 0.004  # share of the frozen model's loss by which it is
_SETTLED = 0.5  # of the steepest rise; a slower one is no sudden change any more
_RECENT = 3  # measurements over which the present rise is taken
_LATE, _GREW = 2 / 3, 0.25  # of the steps so far, and the share of the gap that came since: settled
_DIVERGED = 1.5  # times the frozen model's loss
_PATIENCE = 0.4  # share of the planned steps after which a branch should have begun
_FEWEST = 6  # measurements before anything is said of not learning
_STILL = 0.03  # change of the skips below which a learning rate is too small
# Gain from which a gap that is surely not worth it is held against the data. On builtin/blocks the
# upper end of its interval was above that from 2.1 on in every training on true pairs.
_GROWN_UP = 2.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Conclusion after a measurement.

    Attributes:
        step: of the sudden convergence, if it has happened.
    """

    state: State
    step: int | None
    reason: str


def judge(measurements: Sequence[Measurement], frozen_loss: float, planned: int) -> Verdict:
    """Return the state of a training."""
    last = measurements[-1]
    if _has_diverged(measurements, frozen_loss):
        return Verdict(
            "diverged",
            None,
            f"the held-out loss is {last.loss:.4g}, that of the model alone {frozen_loss:.4g}: "
            "lower the learning rate.",
        )
    clear = [is_clear(one, frozen_loss) for one in measurements]
    if not (clear[-1] and clear[-2:].count(True) == 2):
        return _not_clear(measurements, frozen_loss, planned)
    step, rise, recent = sudden_change(measurements)
    late = [
        sure for one, sure in zip(measurements, clear, strict=True) if one.step >= _LATE * last.step
    ]
    if all(late) and recent <= _SETTLED * rise and _late_share(measurements) <= _GREW:
        return Verdict(
            "converged",
            step,
            f"the condition gap rose fastest at step {step:,} and now rises at "
            f"{max(recent, 0) / rise:.0%} of that speed.",
        )
    return Verdict(
        "converging",
        None,
        f"the condition gap is {last.gap:.4g} ({last.gap_low:.4g} to {last.gap_high:.4g}) and "
        "rises.",
    )


def is_clear(one: Measurement, frozen_loss: float) -> bool:
    """Whether a condition gap is significantly above 0 and large enough to be useful."""
    sure = one.gap > _CLEAR * one.error or one.rank > _CLEAR
    return sure and one.gap_low > 0 and one.gap > _WORTH * frozen_loss


def sudden_change(measurements: Sequence[Measurement]) -> tuple[int, float, float]:
    """Return the step of the gap's fastest rise, that rise, and the current one, per step.

    Rises are measured over two intervals, so that a single measurement cannot cause a change point.
    """
    steps = np.array([one.step for one in measurements], dtype=np.float64)
    gaps = np.array([one.gap for one in measurements])
    if len(steps) < 3:
        return int(steps[-1]), float("nan"), float("inf")
    rises = (gaps[2:] - gaps[:-2]) / (steps[2:] - steps[:-2])
    best = int(rises.argmax())
    back = min(_RECENT, len(steps) - 1 - (best + 1))
    if back < _RECENT:  # too near to say that it is over
        return int(steps[best + 1]), float(rises[best]), float("inf")
    recent = np.polyfit(steps[-_RECENT - 1 :], gaps[-_RECENT - 1 :], 1)[0]
    return int(steps[best + 1]), float(rises[best]), float(recent)


def _late_share(measurements: Sequence[Measurement]) -> float:
    """Return the share of the current gap gained in the last third of the steps.

    A gap rises in phases with pauses between them, and more slowly as the learning rate decays, so
    a slow current rise does not mean that it is over.
    """
    last = measurements[-1]
    steps, gaps = [one.step for one in measurements], [one.gap for one in measurements]
    return 1 - float(np.interp(_LATE * last.step, steps, gaps)) / last.gap


def _has_diverged(measurements: Sequence[Measurement], frozen_loss: float) -> bool:
    last = measurements[-1].loss
    if not np.isfinite(last):
        return True
    began = max(frozen_loss, measurements[0].loss)
    two = [one.loss for one in measurements[-2:]]
    return len(measurements) > 2 and min(two) > _DIVERGED * began and two[-1] >= two[0]


def _not_clear(measurements: Sequence[Measurement], frozen_loss: float, planned: int) -> Verdict:
    last = measurements[-1]
    gap = f"the condition gap is {last.gap:.4g} ({last.gap_low:.4g} to {last.gap_high:.4g})"
    end = "; the training ends here, so give it more steps" if last.step >= planned else ""
    if last.step < _PATIENCE * planned or len(measurements) < _FEWEST:
        return Verdict("not yet", None, f"{gap}, not clear of 0{end}.")
    late = [one.gap_high for one in measurements if one.step >= _LATE * last.step]
    if max(late) >= _WORTH * frozen_loss:
        return Verdict("not yet", None, f"{gap}: it may be of use, but is not clear of 0{end}.")
    changed = (
        f"after {last.step:,} steps the branch changes what it is joined to by {last.change:.1%}"
    )
    if last.change < _STILL:
        return Verdict(
            "not learning",
            None,
            f"{changed}: the learning rate is too small, or there were too few steps.",
        )
    if last.gain < _GROWN_UP:
        return Verdict(
            "not yet",
            None,
            f"{gap}, and the branch is small: its gain is {last.gain:.2g}, and "
            f"only from {_GROWN_UP:.2g} on a gap of nothing means something{end}.",
        )
    return Verdict(
        "not learning",
        None,
        f"{changed}, but another pair's condition serves as well as the true one: images and "
        "conditions do not belong together, or the condition says nothing of them.",
    )
