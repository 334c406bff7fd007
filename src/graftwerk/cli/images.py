"""Format reports on images for the terminal: conditions, control, guidance, recipes."""

from typing import TYPE_CHECKING

from ..text_safety import counted, printable
from .format import dim, place, table

if TYPE_CHECKING:
    from ..blocks.results import RecipeEvaluation, RecipeList, RecipeResult
    from ..conditions.results import ConditionKinds, ConditionResult, EdgeEvaluation
    from ..controlnet.results import Ablation, ControlExported, ControlTrained
    from ..generation import results as reports


def trained_lines(report: "ControlTrained") -> list[str]:
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
        f"{counted(report.pairs, 'pair')}, {report.held_out:,} held out; {report.steps:,} of "
        f"{counted(report.planned, 'step')}, {report.items_per_second:.1f} pairs/s, "
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
        f"-> {location} ({kind}, {counted(report.parameters, 'parameter')} learned); generate with "
        f"it: graft generate ...{model} --control {report.condition}=FILE --branch "
        f"{report.condition}={location}",
    ]


def retained_lines(report: "reports.Generation") -> list[str]:
    """Show how well generated images follow their controls."""
    lines, kinds = [], [one.kind for one in report.controls]
    for one in report.controls:
        value = "not measured"
        if one.value is not None:
            value = f"{one.measure} {one.value:.3g}, by chance {one.chance:.3g}"
            value += "" if one.alone is None else f", without control {one.alone:.3g}"
        elif one.measure:
            value += " because it has a mask"
        weight = one.blocks or f"{one.weight:g}"
        of = f" of {printable(one.image)}" if kinds.count(one.kind) > 1 else ""
        lines.append(f"fidelity to {one.kind}{of} (weight {weight}): {value}")
        if one.reused is not None and one.anew is not None:
            lines.append(
                f"  reuse costs: {one.reused:.3g} with it, {one.anew:.3g} without, of the first "
                "images"
            )
    return lines


def ablation_lines(report: "Ablation") -> list[str]:
    """Show the table, its conclusions, the trainings and their paths."""
    chance = report.fidelity_by_chance
    by_chance = "" if chance is None else f", by chance {chance:.3f}"
    verdicts = [
        f"{one.branch}, seed {one.seed}: {one.verdict}"
        + ("" if one.converged_at is None else f" at step {one.converged_at:,}")
        + f", gap {one.gap:.4g}, {counted(one.parameters, 'parameter')}, {one.seconds:.0f} s"
        for one in report.trainings
    ]
    return [
        *table(list(type(report.rows[0]).HEADER), [row.cells() for row in report.rows]),
        f"{report.condition} on {printable(report.model)}, {counted(report.pairs, 'pair')}, "
        f"{counted(report.steps, 'step')}, {counted(report.seeds, 'seed')}, "
        f"{counted(report.count, 'image')} each; ± half of 95 % intervals over the seeds; fidelity "
        f"of real images {report.fidelity_of_real:.3f}{by_chance}; Frechet distance in features of "
        f"{printable(report.features)}",
        *report.findings,
        *verdicts,
        f"table {printable(report.table)}, sheet {printable(report.sheet)}, {report.seconds:.0f} s",
    ]


def exported_lines(report: "ControlExported") -> list[str]:
    """Show the path, and how to open it in diffusers."""
    return [
        f"{printable(report.branch)} on {printable(report.model)} -> {printable(report.out)}: a "
        f"whole ControlNet, {counted(report.parameters, 'parameter')}, {report.bytes / 1e6:.1f} MB",
        f"its pipeline: {printable(report.pipeline)}",
    ]


def guide_lines(report: "reports.Generation") -> list[str]:
    """Show what each guide did, and which guides conflict."""
    lines = []
    for guide in report.guides:
        reported = "did not act"
        if guide.first is not None and guide.last is not None and guide.shift is not None:
            reported = (
                f"{guide.first:.3g} at first, {guide.last:.3g} at last, shift {guide.shift:.3g}"
            )
        lines.append(f"guide {printable(guide.name)}:{guide.scale:g}: {reported}")
        lines += [] if guide.lost is None else [f"  {guide.lost}"]
    lines += [
        f"{printable(conflict.first)} and {printable(conflict.second)} pull against each other: "
        f"cosine {conflict.cosine:z.2f}"
        for conflict in report.fights
    ]
    return lines + check_table(report.verdicts) + self_test_lines(report.self_test)


_DISTANCES = ("residual", "spectrum", "neighbours", "probe", "squeezing")


def verdict_lines(report: "reports.GuideVerdicts") -> list[str]:
    """Show one line per image with a column per realism check."""
    requested = "" if report.label is None else f" of {printable(report.label)!r}"
    measured = {check.name for image in report.pictures for check in image.witnesses}
    distances = [name for name in _DISTANCES if name in measured]
    return [
        *check_table(report.pictures),
        f"real images{requested}? ! marks what speaks against it; {', '.join(distances)}: "
        f"distances from {report.real} real images, of which 95 % are within 1; the limit of each "
        f"is {report.limit:g} ({report.seconds:.1f} s)",
        *self_test_lines(report.self_test),
    ]


def inversion_lines(report: "reports.Inversion") -> list[str]:
    """Show the result, and its realism checks."""
    lines = [printable(path) for path in report.pictures]
    lines += [f"film: {printable(report.film)}", f"losses: {printable(report.losses_file)}"]
    if report.losses:
        count = len(report.losses) - 1
        lines.append(
            f"loss {report.losses[0]:.4g} -> {report.losses[-1]:.4g} in {counted(count, 'step')}"
        )
    if report.psnr_db is not None and report.psnr_db_of_decoder is not None:
        lines.append(
            f"back from its noise: PSNR {report.psnr_db:.1f} dB (the autoencoder alone: "
            f"{report.psnr_db_of_decoder:.1f} dB)"
        )
    lines += [*check_table(report.verdicts), *self_test_lines(report.self_test)]
    return [*lines, f"{report.seconds:.1f} s"]


def self_test_lines(test: "reports.SelfTest | None") -> list[str]:
    """What the realism checks can tell at all."""
    if test is None:
        return []
    shares = {"noise": test.noise, "blurred": test.blurred, "shuffled": test.shuffled}
    found = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    line = f"self-test, found strange: {found}; its networks know {printable(test.world)}"
    if test.unlike is not None and test.unlike > 0.1:
        line += f", and {test.unlike:.0%} of the real images are unlike these"
    if test.passed:
        return [line]
    return [f"{line}: it cannot tell real images here, so it calls none real"]


def check_table(verdicts: "list[reports.ImageVerdict]") -> list[str]:
    """Format a row of realism checks per image; ! marks a failed check."""
    if not verdicts:
        return []
    names = list(dict.fromkeys(w.name for image in verdicts for w in image.witnesses))
    rows = []
    for image in verdicts:
        predicted = {w.name: f"{w.reading:.2f}{'' if w.agrees else ' !'}" for w in image.witnesses}
        row = [place(image.path), image.verdict, f"{image.strangeness:.2f}"]
        rows.append([*row, *(predicted.get(name, "") for name in names)])
    return table(["image", "verdict", "strangeness", *names], rows)


_SWEPT = ("frechet", "precision", "recall", "share")


def sweep_lines(report: "reports.GuideSweepReport") -> list[str]:
    """Show the table, ending with a fresh real sample, and a summary in words."""
    rows = [
        [name, *(f"{row[one]:.2f} ±{row[f'{one}_margin']:.2f}" for one in _SWEPT)]
        for name, row in [
            *((f"{row.scale:g}", row.model_dump()) for row in report.rows),
            ("real", report.real.model_dump()),
        ]
    ]
    header = ["scale", "Frechet", "precision", "recall", "requested class"]
    return [
        *table(header, rows),
        *([report.overflow] if report.overflow else []),
        report.shape,
        f"{counted(report.count, 'image')} a scale of {len(report.classes)} classes, "
        f"{printable(report.guide_model)} on {printable(report.model)}, {report.seconds:.0f} s; "
        f"curves: {printable(report.curves)}",
    ]


def list_lines(report: "ConditionKinds") -> list[str]:
    """List the kinds with their estimators and fidelity measures."""
    lines = []
    for kind in report.kinds:
        estimators = f"; --estimator: {kind.estimators}" if kind.estimators else ""
        lines.append(f"{kind.name}: {kind.about}")
        lines.append(f"  of an image by {kind.read_by}{estimators}")
        lines.append(f"  fidelity: {kind.measure}")
    return lines


def made_lines(report: "ConditionResult") -> list[str]:
    """Show what was computed, how, and the path."""
    chosen = (
        ""
        if report.thresholds is None
        else f", low {report.thresholds[0]:.1f}, high {report.thresholds[1]:.1f}"
    )
    return [
        f"{report.kind}: {report.width} x {report.height} pixels, {report.drawn:.1%} drawn",
        f"-> {printable(report.out)}",
        dim(f"{printable(report.made_by)}{chosen}, {report.seconds:.1f} s"),
    ]


def edge_lines(report: "EdgeEvaluation") -> list[str]:
    """Show the three figures of the benchmark."""
    return [
        *table(
            ["ODS", "OIS", "AP"], [[f"{report.ods:.3f}", f"{report.ois:.3f}", f"{report.ap:.3f}"]]
        ),
        f"at threshold {report.threshold:.2f}: precision {report.precision:.3f}, "
        f"recall {report.recall:.3f}",
        dim(
            f"{counted(report.pictures, 'image')}, {report.people} people's boundaries, pairs "
            f"within {report.tolerance:g} of the diagonal, {report.method}, {report.seconds:.1f} s"
        ),
    ]


def recipe_list_lines(report: "RecipeList") -> list[str]:
    """List what each recipe trains, and its target figures."""
    lines = []
    for recipe in report.recipes:
        aims = ", ".join(f"{name} {value:g}" for name, value in recipe["aims"].items())
        lines.append(f"{recipe['name']}: {recipe['about']}")
        lines.append(f"  {recipe['layout']}; aims at {aims}")
        if recipe["needs"]:
            lines.append(f"  made from {' and '.join(recipe['needs'])}")
    return lines


def result_lines(report: "RecipeResult") -> list[str]:
    """Show figures, steps, and the path of the model."""
    left = "" if report.finished else "; run it again to go on"
    return [
        *(f"{name}: {value:.4g}" for name, value in report.figures.items()),
        f"{report.steps:,} of {report.planned:,} steps, loss {report.loss:.4g}, "
        f"{report.items_per_second:.1f} items/s, {report.seconds / 60:.1f} min{left}",
        f"-> {printable(report.model)}",
    ]


def evaluation_lines(report: "RecipeEvaluation") -> list[str]:
    """Show figures next to their targets."""
    rows = []
    for name, value in report.figures.items():
        aim = f"{report.aims[name]:g}" if name in report.aims else ""
        reached = {True: "yes", False: "no", None: ""}[report.reached.get(name)]
        rows.append([name, f"{value:.4g}", aim, reached])
    return [
        *table(["figure", "measured", "aim", "reached"], rows),
        f"{counted(report.count, 'held-out scene')}, {report.seconds:.1f} s",
    ]
