"""Format reports of conditions for the terminal."""

from ..conditions.results import ConditionKinds, ConditionResult, EdgeEvaluation
from ..text_safety import printable
from .format import dim, table


def list_lines(report: ConditionKinds) -> list[str]:
    """List the kinds with their estimators and fidelity measures."""
    lines = []
    for kind in report.kinds:
        estimators = f"; --estimator: {kind.estimators}" if kind.estimators else ""
        lines.append(f"{kind.name}: {kind.about}")
        lines.append(f"  of an image by {kind.read_by}{estimators}")
        lines.append(f"  fidelity: {kind.measure}")
    return lines


def made_lines(report: ConditionResult) -> list[str]:
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


def edge_lines(report: EdgeEvaluation) -> list[str]:
    """Show the three figures of the benchmark."""
    return [
        *table(
            ["ODS", "OIS", "AP"], [[f"{report.ods:.3f}", f"{report.ois:.3f}", f"{report.ap:.3f}"]]
        ),
        f"at threshold {report.threshold:.2f}: precision {report.precision:.3f}, "
        f"recall {report.recall:.3f}",
        dim(
            f"{report.pictures} images, {report.people} people's boundaries, pairs within "
            f"{report.tolerance:g} of the diagonal, {report.method}, {report.seconds:.1f} s"
        ),
    ]
