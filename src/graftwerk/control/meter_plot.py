"""The picture of a training: loss, condition gap, norms, fidelity, and what was foretold."""

import math
from collections.abc import Sequence

from ..train.panels import Curve, Panel, draw_panels
from ..train.task import Plan
from .growth import Forecast
from .meter import Measurement
from .verdict import Verdict


def draw_meter(
    measurements: Sequence[Measurement],
    frozen_loss: float,
    verdict: Verdict,
    plan: Plan,
    found: Forecast,
) -> bytes:
    """A PNG of loss, gap, norms, fidelity, and what was foretold, over the steps.

    Args:
        measurements: all so far.
        frozen_loss: of the model alone.
        verdict: its step is marked.
        plan: of the training.
        found: the forecast from its first part.
    """
    steps = [float(one.step) for one in measurements]
    fidelity = [math.nan if one.fidelity is None else one.fidelity for one in measurements]
    panels = [
        Panel(
            "held-out loss",
            (
                Curve("fresh noise", steps, [one.plain_loss for one in measurements]),
                Curve("same noise", steps, [one.loss for one in measurements]),
                Curve("model alone", steps, [frozen_loss for _ in steps]),
            ),
        ),
        Panel(
            "condition gap",
            (
                Curve(
                    "shuffled minus true",
                    steps,
                    [one.gap for one in measurements],
                    [one.gap_low for one in measurements],
                    [one.gap_high for one in measurements],
                ),
            ),
        ),
        Panel(
            "size",
            (
                Curve("norm of the joints", steps, [one.norm for one in measurements]),
                Curve("change of the skips", steps, [one.change for one in measurements]),
            ),
            logarithmic=True,
        ),
        _growth(measurements, plan, found),
    ]
    if any(math.isfinite(value) for value in fidelity):
        panels.insert(3, Panel("fidelity of drawn pictures", (Curve("0 to 1", steps, fidelity),)))
    marks = [] if verdict.step is None else [float(verdict.step)]
    at = "" if verdict.step is None else f" at step {verdict.step:,}"
    foretold = "" if found.step is None else f"; foretold from step {found.until:,}: {found.step:,}"
    return draw_panels(panels, f"{verdict.state}{at}{foretold}", marks)


def _growth(measurements: Sequence[Measurement], plan: Plan, found: Forecast) -> Panel:
    """Gap and gain with the laws that were fitted to their first part, up to the present."""
    steps = [float(one.step) for one in measurements]
    clocks = [plan.rates_until(one.step) for one in measurements]
    curves = [
        Curve("gap", steps, [one.gap for one in measurements]),
        Curve("norms of both ends, multiplied", steps, [one.gain for one in measurements]),
    ]
    highest = max(max(curve.values) for curve in curves)
    for name, fit in (("foretold", found.gap), ("foretold", found.gain)):
        if fit is not None:
            values = [fit.at(clock) if clock > 0 else math.nan for clock in clocks]
            shown = [value if value <= highest else math.nan for value in values]
            curves.append(Curve(name, steps, shown))
    title = f"growth, fitted up to step {found.until:,}"
    return Panel(title, tuple(curves), logarithmic=True)
