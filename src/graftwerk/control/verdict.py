"""What the convergence meter says: not yet, converging, converged, diverged, or not learning.

The condition gap is measured on the same pairs and noise each time, so it is hardly noisy. It must
stand clear of 0 by its own interval, by its mean or its ranks, and by a share of the loss; a
mispaired data set never gets there, for on it a true condition is no better than another pair's.

A gap that is not clear is no proof of the contrary. That the data are at fault is said only once
the branch has grown past the size at which others followed, and the upper end of the gap's interval
stayed below what would be worth it for a third of the steps: on true pairs it is above it before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .meter import Measurement

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
    """What is said after a measurement.

    Attributes:
        state: in one word.
        step: of the sudden change, where it converged.
        reason: why, in one sentence.
    """

    state: State
    step: int | None
    reason: str


def judge(measurements: Sequence[Measurement], frozen_loss: float, planned: int) -> Verdict:
    """Say where a training stands.

    Args:
        measurements: all so far, the first at step 0.
        frozen_loss: of the model alone, with the meter's noise.
        planned: steps in all.
    """
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
    """Whether a condition gap is above 0 beyond doubt, and worth it."""
    sure = one.gap > _CLEAR * one.error or one.rank > _CLEAR
    return sure and one.gap_low > 0 and one.gap > _WORTH * frozen_loss


def sudden_change(measurements: Sequence[Measurement]) -> tuple[int, float, float]:
    """Step of the fastest rise of the gap, that rise, and the present one, both a step.

    Rises are taken over two intervals, so that one measurement alone makes no change point.
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
    """Share of the present gap that came in the last third of the steps.

    A gap rises in steps with rests between them, and slowly where the learning rate falls: that
    its present rise is slow does not say that it is over, nor that one before it was clear fell.
    """
    last = measurements[-1]
    steps, gaps = [one.step for one in measurements], [one.gap for one in measurements]
    return 1 - float(np.interp(_LATE * last.step, steps, gaps)) / last.gap


def _has_diverged(measurements: Sequence[Measurement], frozen_loss: float) -> bool:
    """Whether the loss is far above where it began, and not on its way back."""
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
        f"{changed}, but another pair's condition serves as well as the true one: pictures and "
        "conditions do not belong together, or the condition says nothing of them.",
    )
