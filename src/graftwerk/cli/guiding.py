"""Reports of guiding for people."""

from .. import reports
from .printable import printable


def guide_lines(report: reports.Generation) -> list[str]:
    """What each guide did, and which fight."""
    lines = []
    for guide in report.guides:
        told = "did not act"
        if guide.first is not None and guide.last is not None and guide.shift is not None:
            told = f"{guide.first:.3g} at first, {guide.last:.3g} at last, shift {guide.shift:.3g}"
        lines.append(f"guide {printable(guide.name)}:{guide.scale:g}: {told}")
    lines += [
        f"{printable(fight.first)} and {printable(fight.second)} pull against each other: cosine "
        f"{fight.cosine:.2f}"
        for fight in report.fights
    ]
    return lines
