"""Format reports of guidance for the terminal."""

from ..generation.results import (
    Generation,
    GuideSweepReport,
    GuideVerdicts,
    ImageVerdict,
    Inversion,
    SelfTest,
    SweepRow,
)
from ..text_safety import printable
from .format import table


def guide_lines(report: Generation) -> list[str]:
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
        f"cosine {conflict.cosine:.2f}"
        for conflict in report.fights
    ]
    return lines + check_table(report.verdicts) + self_test_lines(report.self_test)


def verdict_lines(report: GuideVerdicts) -> list[str]:
    """Show one line per image with a column per realism check."""
    requested = "" if report.label is None else f" of {printable(report.label)!r}"
    return [
        *check_table(report.pictures),
        f"real images{requested}? ! marks what speaks against it; residual, spectrum, "
        f"neighbours and probe are distances from {report.real} real images, 1 is what 95 % of "
        f"these keep, {report.limit:g} the limit of each ({report.seconds:.1f} s)",
        *self_test_lines(report.self_test),
    ]


def inversion_lines(report: Inversion) -> list[str]:
    """Show the result, and its realism checks."""
    lines = [printable(path) for path in report.pictures]
    lines += [f"film: {printable(report.film)}", f"losses: {printable(report.losses_file)}"]
    if report.losses:
        count = len(report.losses) - 1
        lines.append(f"loss {report.losses[0]:.4g} -> {report.losses[-1]:.4g} in {count} steps")
    if report.psnr_db is not None and report.psnr_db_of_decoder is not None:
        lines.append(
            f"back from its noise: PSNR {report.psnr_db:.1f} dB (the autoencoder alone: "
            f"{report.psnr_db_of_decoder:.1f} dB)"
        )
    lines += [*check_table(report.verdicts), *self_test_lines(report.self_test)]
    return [*lines, f"{report.seconds:.1f} s"]


def self_test_lines(test: SelfTest | None) -> list[str]:
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


def check_table(verdicts: list[ImageVerdict]) -> list[str]:
    """Format a row of realism checks per image; ! marks a failed check."""
    if not verdicts:
        return []
    names = list(dict.fromkeys(w.name for image in verdicts for w in image.witnesses))
    rows = []
    for image in verdicts:
        predicted = {w.name: f"{w.reading:.2f}{'' if w.agrees else ' !'}" for w in image.witnesses}
        row = [printable(image.path), image.verdict, f"{image.strangeness:.2f}"]
        rows.append([*row, *(predicted.get(name, "") for name in names)])
    return table(["image", "verdict", "strangeness", *names], rows)


def sweep_lines(report: GuideSweepReport) -> list[str]:
    """Show the table, ending with a fresh real sample, and a summary in words."""
    rows = [
        [name, *(f"{value:.2f} ±{margin:.2f}" for value, margin in _pairs(row))]
        for name, row in [*((f"{row.scale:g}", row) for row in report.rows), ("real", report.real)]
    ]
    header = ["scale", "Frechet", "precision", "recall", "requested class"]
    return [
        *table(header, rows),
        *([report.overflow] if report.overflow else []),
        report.shape,
        f"{report.count} images a scale of {len(report.classes)} classes, "
        f"{printable(report.guide_model)} on {printable(report.model)}, {report.seconds:.0f} s; "
        f"curves: {printable(report.curves)}",
    ]


def _pairs(row: SweepRow) -> list[tuple[float, float]]:
    return [
        (row.frechet, row.frechet_margin),
        (row.precision, row.precision_margin),
        (row.recall, row.recall_margin),
        (row.share, row.share_margin),
    ]
