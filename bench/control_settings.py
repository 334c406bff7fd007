"""Ways of controlled drawing that the bench compares, and what makes one as good as another."""

from collections.abc import Sequence
from dataclasses import dataclass

WITHIN = 0.98  # of the pipeline's fidelity and judge score
EVERYWHERE = (0.0, float("inf"))
MIDDLE = (0.3, 5.0)  # noise levels in which guidance acts


@dataclass(frozen=True)
class Setting:
    """A way to draw.

    Attributes:
        name: for the table.
        ours: or the pipeline's.
        steps: of DPM-Solver++(2M) on Karras' levels, or of UniPC as the pipeline takes them.
        reuse: steps for which the branch's output is used.
        interval: noise levels in which guidance acts.
    """

    name: str
    ours: bool
    steps: int
    reuse: int = 1
    interval: tuple[float, float] = EVERYWHERE


@dataclass(frozen=True)
class Sampled:
    """What came of a setting.

    Attributes:
        name: of the setting.
        setting: itself.
        fidelity: of the condition, 0 to 1.
        judge: share of images with exactly the objects of their captions.
        seconds: CPU time an image.
    """

    name: str
    setting: Setting
    fidelity: float
    judge: float
    seconds: float


THEIRS = [Setting(f"diffusers, UniPC, {steps} steps", False, steps) for steps in (5, 8, 12, 20)]
OURS = [
    Setting(f"graftwerk, {steps} steps{told}", True, steps, reuse, interval)
    for steps in (6, 8, 10, 12)
    for told, reuse, interval in (
        ("", 1, EVERYWHERE),
        (", reuse 2", 2, EVERYWHERE),
        (", reuse 2, interval", 2, MIDDLE),
    )
]


def retained_within(one: Sampled, bound: Sampled) -> bool:
    """Whether fidelity and judge score are at most 2 % below another's."""
    return one.fidelity >= WITHIN * bound.fidelity and one.judge >= WITHIN * bound.judge


def fastest(ours: Sequence[Sampled], bound: Sampled) -> Sampled | None:
    """The fastest that keeps within it."""
    there = [one for one in ours if retained_within(one, bound)]
    return min(there, key=lambda one: one.seconds, default=None)
