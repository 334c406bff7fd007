"""Reports of latent read-outs for people."""

from ..probing.results import ReadoutResult, Share, Shift
from ..text_safety import printable
from .format import table

_WITH_INTERVALS = 7  # columns at most that a terminal has room for


def readout_lines(report: ReadoutResult) -> list[str]:
    """R2 beside its controls, then what moved along each direction."""
    header = ["R2", "model", "95 %", "shuffled", "95 %", "random weights", "95 %"]
    rows = [
        [printable(one.name), *_cells(one.model), *_cells(one.shuffled), *_cells(one.random)]
        for one in report.read
    ]
    where = report.at if report.sigma is None else f"{report.at} at noise level {report.sigma:g}"
    lines = [
        *table(header, rows),
        f"{report.dimension:,} values of {where}, {report.train:,} pictures to learn from, "
        f"{report.test:,} to measure on, {report.left_out:,} of other scenes left out",
    ]
    if report.moved:
        names = list(report.moved[0].shifts)
        say = _shift if len(names) <= _WITH_INTERVALS else _short
        rows = [
            [f"asked: {printable(one.name)}", *(say(one.shifts[name]) for name in names)]
            for one in report.moved
        ]
        agreed = ", ".join(f"{name} {value:.2f}" for name, value in report.agreement.items())
        lines += [
            "",
            *table(["moved by one standard deviation", *names], rows),
            f"measured by {report.measure}; its R2 with the truth: {agreed or 'not known'}",
            *(f"{printable(one.name)}, -2 to 2: {printable(one.picture)}" for one in report.moved),
        ]
    model = f"{printable(report.model)}, {report.fingerprint[:12]}"
    return [*lines, f"{report.seconds:.1f} s ({model})"]


def _cells(share: Share) -> list[str]:
    return [f"{share.r2:.3f}", f"{share.low:.3f} to {share.high:.3f}"]


def _shift(shift: Shift) -> str:
    return f"{shift.value:+.2f} ({shift.low:+.2f} to {shift.high:+.2f})"


def _short(shift: Shift) -> str:
    return f"{shift.value:+.2f}"
