"""Reports of LoRA on a model's own task for people."""

from .. import reports
from .printable import printable


def taught_lines(report: reports.TaughtResult) -> list[str]:
    """Loss before and after, cost, place, and what to do with it."""
    what = "noise" if report.task == "generate" else "text"
    lines = [
        f"loss on held-out {what}: {report.loss_before:.4f} before, {report.loss_after:.4f} after; "
        f"gain {report.gain:.4f} ({report.gain_low:.4f} to {report.gain_high:.4f})"
    ]
    before, after = report.perplexity_before, report.perplexity_after
    if before is not None and after is not None:
        lines.append(f"perplexity: {before:.2f} before, {after:.2f} after")
    items = "pictures" if report.task == "generate" else "tokens"
    lines.append(
        f"{report.items:,} {items}, {report.steps:,} steps, {report.seconds:.0f} s; "
        f"{report.parameters:,} parameters in {report.layers} layers, {report.bytes / 1e6:.2f} MB"
    )
    lines += [
        f"left out: {printable(one.name)}: {printable(one.reason)}" for one in report.left_out
    ]
    place = printable(report.out)
    if report.task == "generate":
        return [*lines, f"-> {place}; draw with it: graft generate ... --lora {place}"]
    return [*lines, f"-> {place}"]
