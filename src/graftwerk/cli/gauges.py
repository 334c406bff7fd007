"""The course of figures while something is trained, one line each, for a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 48  # characters of a course


def course_of(values: Sequence[float], width: int = _WIDTH) -> str:
    """Values as bars from the lowest to the highest, the last ones where there are too many.

    A value that is not there (NaN) is a dot.
    """
    shown = values[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return "·" * len(shown)
    low, high = min(finite), max(finite)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[round((value - low) * scale)] if math.isfinite(value) else "·" for value in shown
    )


def gauge_table(figures: Mapping[str, Sequence[float]]) -> "Table":
    """Name, course and last value of each figure."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, values in figures.items():
        last = next((value for value in reversed(values) if math.isfinite(value)), math.nan)
        table.add_row(name, course_of(values), f"{last:.4g}" if math.isfinite(last) else "")
    return table
