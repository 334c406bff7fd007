"""Read a time series from a table: its time column, its step, its gaps and its covariates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.columns import number_of
from ..data.labels import stands_for_none
from ..data.tables import (
    AS_FOUND,
    SUFFIXES,
    Reading,
    Table,
    is_missing,
    is_number,
    is_table_file,
    read_table,
)
from ..errors import BadFile, BadInput
from ..folders import hint_for
from ..text_safety import counted
from .times import Step, find_step, read_times, shown_time, time_column

FloatArray = NDArray[np.float64]
Gaps = Literal["refuse", "fill"]

_SHOWN = 3
_MOST = 10_000_000  # size of a grid of times


@dataclass(frozen=True, slots=True)
class Series:
    """A time series.

    Attributes:
        values: float64, without gaps.
        times: of each value; empty if the table has none.
        step: between two values; None if there are no times.
        covariates: by column: values along the series, and after its last value as far as known.
    """

    name: str
    values: FloatArray
    times: tuple[datetime, ...] = ()
    step: Step | None = None
    covariates: Mapping[str, FloatArray] = field(default_factory=dict)
    table: str = ""
    notes: tuple[str, ...] = ()

    def times_at(self, locations: Sequence[int]) -> list[str]:
        """Return the times at locations in the series or after it, or their numbers from 1."""
        step, last = self.step, len(self.values) - 1
        if step is None:
            return [str(location + 1) for location in locations]
        ends = [(self.times[min(n, last)], max(n - last, 0)) for n in locations]
        return [shown_time(step.after(time, count), step) for time, count in ends]


def read_series(
    path: Path,
    target: str | None,
    covariates: Sequence[str] = (),
    time: str | None = None,
    gaps: Gaps = "refuse",
    reading: Reading = AS_FOUND,
) -> Series:
    """Read the series of a column.

    Args:
        path: the table.
        target: the column; None for the only numeric one.
        covariates: columns of covariates.
        time: column of times; None to detect it by its contents.
        gaps: whether missing times and values are filled by linear interpolation.
        reading: the user's options for parsing the table.

    Raises:
        BadInput: a column does not exist, or contains no such series; says what to do.
    """
    known = [name for name in (target, time, *covariates) if name is not None]
    if path.exists() and not is_table_file(str(path)):
        hint = hint_for(path, f"Give one: {' '.join(SUFFIXES)}.")
        raise BadFile(f"{path.name!r} is not a table.", hint)
    table = read_table(path, reading, known)
    time, target = _roles(table, target, covariates, time)
    columns = {name: _numbers(table, name) for name in (target, *covariates)}
    notes = [*table.notes]
    times: list[datetime] = []
    step, places = None, table.places
    if time is None:
        notes.append(
            f"{path.name} has no column of times (--time names one): its rows are taken as evenly "
            "spaced, in their order"
        )
    else:
        times, more = read_times(table, time)
        order, said = _in_order(table, times, columns, time)
        notes += more + said
        times, places = [times[n] for n in order], [places[n] for n in order]
        columns = {name: column[order] for name, column in columns.items()}
        step = find_step(times, time)
        times, columns = _on_grid(path.name, times, columns, step, gaps, notes)
    start, beside, values = _filled(path.name, target, columns, places, gaps, notes)
    return Series(
        name=target,
        values=values,
        times=tuple(times[start : start + len(values)]),
        step=step,
        covariates=beside,
        table=f"{path.name}: {table.dialect}" if table.dialect else path.name,
        notes=tuple(notes),
    )


def _roles(
    table: Table, target: str | None, covariates: Sequence[str], time: str | None
) -> tuple[str | None, str]:
    """Return the column of times, if there is one, and the target."""
    if target is not None and time is None and target == time_column(table, None):
        cells = [cell for cell in table.column(target) if not _is_empty(cell)]
        if not any(map(is_number, cells)):
            others = ", ".join(name for name in table.columns if name != target)
            raise BadInput(
                f"{target} of {table.path.name} holds times.",
                f"Name a column of numbers with --target; there are: {others}.",
            )
    time = time or time_column(table, target)
    target = target or _only_numbers(table, time)
    for name in covariates:
        table.column(name)
        if name in {target, time}:
            role = "target" if name == target else "time"
            raise BadInput(
                f"{name} is the {role} and cannot be a covariate.",
                "Name other columns with --covariates.",
            )
    return time, target


def _only_numbers(table: Table, time: str | None) -> str:
    numeric, which = [], "no column of numbers alone."
    for name in table.columns:
        known = [(n, v) for n, v in enumerate(table.numbers(name)) if not _is_empty(v)]
        others = [n for n, value in known if not is_number(value)]
        if name != time and known and not others:
            numeric.append(name)
        elif name != time and 2 * len(others) < len(known):
            value = table.columns[name][others[0]]
            which = f"{value!r} in {name}, {table.places[others[0]]}, which is not a number."
    if len(numeric) == 1:
        return numeric[0]
    if numeric:
        which = f"several columns of numbers: {', '.join(numeric)}."
    named = f"Name the column with --target; there are: {', '.join(table.columns)}."
    if which.endswith("not a number."):
        named = f"Correct or empty that cell. {named}"
    raise BadInput(f"{table.path.name} has {which}", named)


def _is_empty(value: Any) -> bool:
    return is_missing(value) or stands_for_none(value)


def _numbers(table: Table, name: str) -> FloatArray:
    found = np.full(len(table.places), np.nan)
    for number, (value, place) in enumerate(zip(table.numbers(name), table.places, strict=True)):
        if _is_empty(value):
            continue
        read = number_of(name, value)
        if isinstance(read, str):
            raise BadInput(
                f"{place} of {table.path.name}: {read}",
                "Correct or empty that cell (--gaps fill fills empty ones in), or name the mark of "
                "decimals with --decimal.",
            )
        found[number] = float(value)
    if np.isnan(found).all():
        raise BadInput(f"{name} of {table.path.name} is empty.", "Name another column.")
    return found


def _in_order(
    table: Table, times: Sequence[datetime], columns: Mapping[str, FloatArray], name: str
) -> tuple[list[int], list[str]]:
    order = sorted(range(len(times)), key=lambda n: times[n])
    notes = [] if order == list(range(len(times))) else [f"rows are put in the order of {name}"]
    once: list[int] = []
    doubled: list[int] = []
    for number in order:
        if not once or times[once[-1]] != times[number]:
            once.append(number)
            continue
        doubled.append(number)
        if any(
            column[number] != column[once[-1]]
            and not (np.isnan(column[number]) and np.isnan(column[once[-1]]))
            for column in columns.values()
        ):
            count = len(times) - len(set(times))
            raise BadInput(
                f"{table.path.name} has {counted(count, 'repeated time')} with different values; "
                f"the first: {times[number]}, {table.places[once[-1]]} and {table.places[number]}.",
                "Keep one row for each time: one series in a table, and where clocks are set back "
                "write times in UTC or with their offset.",
            )
    if doubled:
        notes.append(
            f"{counted(len(doubled), 'row that repeats', 'rows that repeat')} a time and its "
            f"values {'is' if len(doubled) == 1 else 'are'} left out, the first: "
            f"{table.places[doubled[0]]}"
        )
    return once, notes


def _on_grid(
    name: str,
    times: list[datetime],
    columns: dict[str, FloatArray],
    step: Step,
    gaps: Gaps,
    notes: list[str],
) -> tuple[list[datetime], dict[str, FloatArray]]:
    """Put the rows on an even grid; missing times are noted and filled, or refused."""
    places, grid, now = [0], [times[0]], times[0]
    missing: list[datetime] = []
    for time in times[1:]:
        start, count = now, 0
        while now < time:
            count += 1
            now = step.after(start, count)
            grid.append(now)
            if now < time:
                missing.append(now)
            if len(grid) > _MOST or len(missing) > len(times):
                break
        if now != time:
            raise BadInput(
                f"{time} of {name} does not lie on the steps of {step.words} that the others have.",
                "Bring the series to even steps first, for example by hour or by day.",
            )
        places.append(len(grid) - 1)
    if missing:
        shown = ", ".join(shown_time(time, step) for time in missing[:_SHOWN])
        more = ", ..." if len(missing) > _SHOWN else ""
        words = f"{len(missing):,} times of {len(grid):,} are missing ({shown}{more})"
        if gaps == "refuse":
            raise BadInput(
                f"{name} has gaps: {words}, at steps of {step.words}.",
                "Add those rows, or let straight lines fill them: --gaps fill.",
            )
        notes.append(f"{words}; straight lines fill them")
    spread, absent = {}, np.setdiff1d(np.arange(len(grid)), places)
    for column, values in columns.items():
        spread[column] = whole = np.full(len(grid), np.nan)
        whole[places] = values
        known = np.flatnonzero(~np.isnan(whole))
        if len(known):
            whole[absent] = np.interp(absent, known, whole[known], np.nan, np.nan)
    return grid, spread


def _filled(
    name: str,
    target: str,
    columns: Mapping[str, FloatArray],
    places: Sequence[str],
    gaps: Gaps,
    notes: list[str],
) -> tuple[int, dict[str, FloatArray], FloatArray]:
    """Return the first row used, and covariates (those ahead included) and target without gaps."""
    known = np.flatnonzero(~np.isnan(columns[target]))
    start, end = int(known[0]), int(known[-1]) + 1
    if start:
        notes.append(f"left out before the first value of {target}: {counted(start, 'row')}")
    ahead = len(columns[target]) - end
    if ahead and len(columns) == 1:
        notes.append(
            f"{counted(ahead, 'row')} at the end without {target}: the forecast begins there"
        )
    found = {}
    for column, whole in columns.items():
        values = whole[start : end if column == target else len(whole)]
        there = ~np.isnan(values)
        last = int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0  # end of the known values
        values, there = values[:last], there[:last]
        holes = np.flatnonzero(~there)
        if len(holes) and there.any():
            words = f"{column} is empty in {len(holes):,} of {len(values):,} rows"
            if gaps == "refuse":
                raise BadInput(  # no row is missing here, so each has its place
                    f"{words} of {name}, first in {places[start + int(holes[0])]}.",
                    "Write these values, or let straight lines fill them: --gaps fill.",
                )
            notes.append(f"{words}; straight lines fill them")
            values = np.interp(np.arange(len(values)), np.flatnonzero(there), values[there])
        found[column] = values
    values = found.pop(target)
    for column, beside in found.items():
        if len(beside) < len(values):
            raise BadInput(
                f"{column} ends before {target} does.", "Name covariates that are known throughout."
            )
    return start, found, values
