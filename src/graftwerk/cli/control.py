"""Reports of training control branches for people."""

from .. import reports
from .printable import printable


def trained_lines(report: reports.ControlTrained) -> list[str]:
    """The verdict first, then figures and places."""
    at = "" if report.converged_at is None else f" at step {report.converged_at:,}"
    left = "" if report.finished else "; run it again to go on"
    fidelity = "" if report.fidelity is None else f"; fidelity {report.fidelity:.2f}"
    lines = [
        f"{report.verdict}{at}: {report.reason}",
        f"condition gap {report.gap:.4g} ({report.gap_low:.4g} to {report.gap_high:.4g}), "
        f"held-out loss {report.loss:.4g}, of the model alone {report.frozen_loss:.4g}{fidelity}",
        f"{report.pairs:,} pairs, {report.held_out:,} held out; {report.steps:,} of "
        f"{report.planned:,} steps, {report.items_per_second:.1f} pairs/s, "
        f"{report.seconds / 60:.1f} min{left}",
    ]
    lines += [
        f"left out: {printable(one.name)}: {printable(one.reason)}" for one in report.left_out
    ]
    place = printable(report.branch)
    kind = "a ControlNetModel of diffusers" if report.controlnet else "graftwerk's own form"
    return [
        *lines,
        f"plot {printable(report.plot)}",
        f"-> {place} ({kind}, {report.parameters:,} parameters learned); draw with it: "
        f"graft generate ... --control {report.condition}=FILE --branch {report.condition}={place}",
    ]


def kept_lines(report: reports.Generation) -> list[str]:
    """What drawn pictures keep of their controls."""
    lines = []
    for one in report.controls:
        value = "not measured, as it has a mask" if one.value is None else f"{one.value:.3g}"
        lines.append(f"kept of {one.kind} (weight {one.weight:g}): {one.measure} {value}")
    return lines
