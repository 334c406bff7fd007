"""Format reports of ControlNet training for the terminal."""

from ..controlnet.results import Ablation, AblationRow, ControlExported, ControlTrained
from ..generation.results import Generation
from ..text_safety import printable
from .format import table


def trained_lines(report: ControlTrained) -> list[str]:
    """Show the verdict first, then figures and paths."""
    at = "" if report.converged_at is None else f" at step {report.converged_at:,}"
    left = "" if report.finished else "; run it again to go on"
    fidelity = "" if report.fidelity is None else f"; fidelity {report.fidelity:.2f}"
    if report.fidelity_chance is not None:
        fidelity += f", by chance {report.fidelity_chance:.2f}"
    lines = [
        f"{report.verdict}{at}: {report.reason}",
        f"condition gap {report.gap:.4g} ({report.gap_low:.4g} to {report.gap_high:.4g}), "
        f"held-out loss {report.loss:.4g}, of the model alone {report.frozen_loss:.4g}{fidelity}",
        report.forecast,
        f"{report.pairs:,} pairs, {report.held_out:,} held out; {report.steps:,} of "
        f"{report.planned:,} steps, {report.items_per_second:.1f} pairs/s, "
        f"{report.seconds / 60:.1f} min{left}",
    ]
    lines += [
        f"left out: {printable(one.name)}: {printable(one.reason)}" for one in report.left_out
    ]
    if report.unlocked is not None:
        lines.append(
            f"not frozen: the decoder was trained too; {printable(report.unlocked)} is a new "
            f"model, a whole pipeline of diffusers, and the branch belongs to it, not to "
            f"{printable(report.model)}"
        )
    model = "" if report.unlocked is None else f" --model {printable(report.unlocked)}"
    location = printable(report.branch)
    kind = "a ControlNet of diffusers" if report.controlnet else "graftwerk's own form"
    return [
        *lines,
        f"plot {printable(report.plot)}",
        f"-> {location} ({kind}, {report.parameters:,} parameters learned); generate with it: "
        f"graft generate ...{model} --control {report.condition}=FILE "
        f"--branch {report.condition}={location}",
    ]


def retained_lines(report: Generation) -> list[str]:
    """Show how well generated images follow their controls."""
    lines = []
    for one in report.controls:
        value = "not measured, as it has a mask"
        if one.value is not None:
            value = f"{one.value:.3g}, by chance {one.chance:.3g}"
            value += "" if one.alone is None else f", without control {one.alone:.3g}"
        weight = one.blocks or f"{one.weight:g}"
        lines.append(f"kept of {one.kind} (weight {weight}): {one.measure} {value}")
        if one.reused is not None and one.anew is not None:
            lines.append(
                f"  reuse costs: {one.reused:.3g} with it, {one.anew:.3g} without, of the first "
                "images"
            )
    return lines


def ablation_lines(report: Ablation) -> list[str]:
    """Show the table, its conclusions, the trainings and their paths."""
    chance = report.fidelity_by_chance
    by_chance = "" if chance is None else f", by chance {chance:.3f}"
    verdicts = [
        f"{one.branch}, seed {one.seed}: {one.verdict}"
        + ("" if one.converged_at is None else f" at step {one.converged_at:,}")
        + f", gap {one.gap:.4g}, {one.parameters:,} parameters, {one.seconds:.0f} s"
        for one in report.trainings
    ]
    return [
        *table(list(AblationRow.HEADER), [row.cells() for row in report.rows]),
        f"{report.condition} on {printable(report.model)}, {report.pairs:,} pairs, "
        f"{report.steps:,} steps, {report.seeds} seeds, {report.count:,} images each; ± half of "
        "95 % intervals over the seeds; fidelity of real images "
        f"{report.fidelity_of_real:.3f}{by_chance}; Frechet distance in features of "
        f"{printable(report.features)}",
        *report.findings,
        *verdicts,
        f"table {printable(report.table)}, sheet {printable(report.sheet)}, {report.seconds:.0f} s",
    ]


def exported_lines(report: ControlExported) -> list[str]:
    """Show the path, and how to open it in diffusers."""
    return [
        f"{printable(report.branch)} on {printable(report.model)} -> {printable(report.out)}: a "
        f"whole ControlNet, {report.parameters:,} parameters, {report.bytes / 1e6:.1f} MB",
        f"its pipeline: {printable(report.pipeline)}",
    ]
