"""Read a time series from a table: its time column, its step, its gaps and its covariates."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.columns import number_of
from ..data.tables import AS_FOUND, Reading, Table, is_missing, is_number, read_table
from ..data.tables.header import is_date
from ..errors import BadInput
from ..text_safety import counted
from .candidates import suggested_seasons

FloatArray = NDArray[np.float64]
Gaps = Literal["refuse", "fill"]

_SHOWN = 3
_FORMATS = (
    "%Y-%m", "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d",
    "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y", "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d-%m-%Y",
    "%m-%d-%Y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%b %Y", "%b-%y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
_QUARTER = re.compile(r"(\d{4})[ -]?[Qq]([1-4])")
_YEAR = re.compile(r"1[5-9]\d{2}|2[01]\d{2}")
_EPOCH = re.compile(r"\d{9,10}|\d{12,13}")  # seconds or milliseconds since 1970
_TIME_NAMES = re.compile(
    r"^(?:date|time|timestamp|datetime|ds|year|month|quarter|period|day)$", re.I
)
_DAY = timedelta(days=1)
_WEEKDAYS = 5
_MOST = 10_000_000  # size of a grid of times


@dataclass(frozen=True, slots=True)
class Step:
    """The time step between two values.

    Attributes:
        seconds: None for a step of months or of working days.
        months: None for any other step.
        business: whether weekends are skipped.
    """

    words: str
    seconds: float | None = None
    months: int | None = None
    business: bool = False

    def after(self, time: datetime, count: int) -> datetime:
        """Return the time `count` steps later."""
        if self.months is not None:
            return _add_months(time, self.months * count)
        if self.business:
            weeks, rest = divmod(count, _WEEKDAYS)
            time += 7 * _DAY * weeks
            for _ in range(rest):
                time += _DAY
                while time.weekday() >= _WEEKDAYS:
                    time += _DAY
            return time
        return time + timedelta(seconds=(self.seconds or 0) * count)

    def seasons(self) -> tuple[int, ...]:
        """Return the seasons that the step suggests."""
        return suggested_seasons(self.seconds, self.months, self.business)


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
        return [_shown(step.after(time, count), step) for time, count in ends]


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
    table = read_table(path, reading, known)
    time = time or _time_column(table, target)
    target = target or _only_numbers(table, time)
    for name in covariates:
        table.column(name)
        if name in {target, time}:
            role = "target" if name == target else "time"
            raise BadInput(
                f"{name} is the {role} and cannot be a covariate.",
                "Name other columns with --covariates.",
            )
    columns = {name: _numbers(table, name) for name in (target, *covariates)}
    notes = [*table.notes]
    times: list[datetime] = []
    step = None
    if time is None:
        notes.append(
            f"{path.name} has no column of times (--time names one): its rows are taken as evenly "
            "spaced, in their order"
        )
    else:
        times, more = _read_times(table, time)
        order, said = _in_order(table, times, columns, time)
        notes += more + said
        times = [times[n] for n in order]
        columns = {name: column[order] for name, column in columns.items()}
        step = _find_step(times, time)
        times, columns = _on_grid(path.name, times, columns, step, gaps, notes)
    start, beside, values = _filled(path.name, target, columns, gaps, notes)
    return Series(
        name=target,
        values=values,
        times=tuple(times[start : start + len(values)]),
        step=step,
        covariates=beside,
        table=f"{path.name}: {table.dialect}" if table.dialect else path.name,
        notes=tuple(notes),
    )


def _time_column(table: Table, target: str | None) -> str | None:
    """Return the column of times, preferring common names; None if there is none."""
    found: list[tuple[bool, int, str]] = []
    for name in table.columns:
        values = [v for v in table.column(name) if not is_missing(v)]
        named = bool(_TIME_NAMES.search(name))
        texts = [_text(value) for value in values[:200]]
        numbers = (_YEAR, _QUARTER, _EPOCH, re.compile(r"\d{8}"))
        if name != target and values and (
            is_date(name, values)
            or (named and any(all(form.fullmatch(t) for t in texts) for form in numbers))
            or all(_QUARTER.fullmatch(text) for text in texts)
        ):  # fmt: skip
            found.append((not named, len(found), name))
    return min(found)[2] if found else None


def _only_numbers(table: Table, time: str | None) -> str:
    numeric, which = [], "no column of numbers alone."
    for name in table.columns:
        known = [(n, v) for n, v in enumerate(table.numbers(name)) if not is_missing(v)]
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
    raise BadInput(
        f"{table.path.name} has {which}",
        f"Name the column with --target; there are: {', '.join(table.columns)}.",
    )


def _numbers(table: Table, name: str) -> FloatArray:
    found = np.full(len(table.places), np.nan)
    for number, (value, place) in enumerate(zip(table.numbers(name), table.places, strict=True)):
        if is_missing(value):
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


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _read_times(table: Table, name: str) -> tuple[list[datetime], list[str]]:
    cells = list(table.column(name))
    for cell, place in zip(cells, table.places, strict=True):
        if is_missing(cell):
            raise BadInput(
                f"{place} of {table.path.name} has no {name}.", "Write the time of every row."
            )
    texts = [cell if isinstance(cell, datetime) else _text(cell) for cell in cells]
    failed = ""
    for parse, words in _parsers(texts):
        try:
            times = [cell if isinstance(cell, datetime) else parse(cell) for cell in texts]
        except (ValueError, OverflowError) as error:
            failed = failed or str(error)
            continue
        return _one_zone(table, name, times, [words] if words else [])
    odd = next((n for n, t in enumerate(texts) if not _is_time(t)), 0)
    raise BadInput(
        f"{table.places[odd]} of {table.path.name}: {name} is {str(texts[odd])[:40]!r}, which is "
        "no time, or is written in another form than the others.",
        "Write times as 2026-07-01 13:00, or name another column with --time.",
    )


def _is_time(text: Any) -> bool:
    if isinstance(text, datetime):
        return True
    return any(_tried(parse, text) for parse, _ in _parsers([text]))


def _tried(parse: Callable[[str], datetime], text: str) -> bool:
    try:
        parse(text)
    except (ValueError, OverflowError):
        return False
    return True


def _parsers(texts: Sequence[Any]) -> list[tuple[Callable[[str], datetime], str]]:
    """Return possible parsers for these times, each with a note; unambiguous ones first."""
    plain = [text for text in texts if isinstance(text, str)]
    if not plain:  # times, as Parquet and Excel store them
        return [(datetime.fromisoformat, "")]
    found: list[tuple[Callable[[str], datetime], str]] = []
    if all(_YEAR.fullmatch(text) for text in plain):
        found.append((lambda text: datetime(int(text), 1, 1), ""))
    if all(_QUARTER.fullmatch(text) for text in plain):
        found.append((_quarter, ""))
    if all(_EPOCH.fullmatch(text) for text in plain):
        words = "times are read as seconds or milliseconds since 1970, UTC"
        found.append((_since_epoch, words))
    found.append((datetime.fromisoformat, ""))
    formats = [one for one in _FORMATS if all(_tried(_by(one), text) for text in plain[:2000])]
    regular = sorted(formats, key=lambda one: _irregularity(one, plain[:2000]))
    for one in regular:
        rivals = [other for other in formats if other != one]
        words = ""
        if rivals:
            first = _by(one)(plain[0]).date().isoformat()
            words = f"day and month could be either; {plain[0]} is read as {first}"
        found.append((_by(one), words))
    return found


def _irregularity(form: str, texts: Sequence[str]) -> int:
    """Count the different distances between neighbors; the correct format has few."""
    times = [_by(form)(text) for text in texts]
    return len({after - before for before, after in pairwise(times)})


def _by(form: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, form)


def _quarter(text: str) -> datetime:
    found = _QUARTER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return datetime(int(found[1]), 3 * int(found[2]) - 2, 1)


def _since_epoch(text: str) -> datetime:
    seconds = int(text) / (1000 if len(text) > 10 else 1)
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _one_zone(
    table: Table, name: str, times: list[datetime], notes: list[str]
) -> tuple[list[datetime], list[str]]:
    zoned = [time.tzinfo is not None for time in times]
    if not any(zoned):
        return times, notes
    if not all(zoned):
        place = table.places[zoned.index(not zoned[0])]
        raise BadInput(
            f"some times of {name} in {table.path.name} name a time zone and some do not, as "
            f"{place} and {table.places[0]}.",
            "Write all with their zone, or none.",
        )
    offsets = Counter(time.utcoffset() for time in times)
    several = f" ({len(offsets)} different offsets)" if len(offsets) > 1 else ""
    notes.append(f"times name their zone{several} and are read in UTC")
    return [time.astimezone(UTC).replace(tzinfo=None) for time in times], notes


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


def _find_step(times: Sequence[datetime], name: str) -> Step:
    if len(times) < 2:
        raise BadInput(
            "the series has one value only.", "A forecast needs a history of at least three."
        )
    if month := _monthly(times):
        words = {1: "1 month", 3: "1 quarter", 12: "1 year"}.get(month, f"{month} months")
        return Step(words, months=month)
    distances = Counter(after - before for before, after in pairwise(times))
    usual = min(distances, key=lambda one: (-distances[one], one))
    if distances[usual] < len(times) / 2:
        shown = ", ".join(f"{one} ({count:,} times)" for one, count in distances.most_common(3))
        raise BadInput(
            f"the times of {name} are not evenly spaced; the most frequent distances: {shown}.",
            "Bring the series to even steps first, for example by hour or by day.",
        )
    weekdays = all(time.weekday() < _WEEKDAYS for time in times)
    if usual == _DAY and weekdays and len(times) > _WEEKDAYS:
        return Step("1 working day", business=True)
    return Step(_words(usual), seconds=usual.total_seconds())


def _monthly(times: Sequence[datetime]) -> int:
    """Return the months between neighbors, all on one day of the month or its last; else 0."""
    last = all((time + _DAY).month != time.month for time in times)
    if not last and len({(t.day, t.hour, t.minute, t.second) for t in times}) > 1:
        return 0
    months = [12 * time.year + time.month for time in times]
    distances = Counter(after - before for before, after in pairwise(months))
    usual = min(distances, key=lambda one: (-distances[one], one))
    return usual if usual > 0 and distances[usual] >= len(times) / 2 else 0


def _add_months(time: datetime, count: int) -> datetime:
    last = (time + _DAY).month != time.month
    month = 12 * time.year + time.month - 1 + count
    start = datetime(month // 12, month % 12 + 1, 1, time.hour, time.minute, time.second)
    ending = (start.replace(day=28) + 4 * _DAY).replace(day=1) - _DAY
    return start.replace(day=ending.day if last else min(time.day, ending.day))


def _words(distance: timedelta) -> str:
    seconds = distance.total_seconds()
    for size, word in ((7 * 86_400, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return counted(int(seconds // size), word)
    return f"{seconds:g} seconds"


def _shown(time: datetime, step: Step) -> str:
    whole = (time.hour, time.minute, time.second, time.microsecond) == (0, 0, 0, 0)
    days = step.months is not None or step.business or (step.seconds or 0) % 86_400 == 0
    return time.date().isoformat() if whole and days else time.isoformat(sep=" ")


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
        shown = ", ".join(_shown(time, step) for time in missing[:_SHOWN])
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
    name: str, target: str, columns: Mapping[str, FloatArray], gaps: Gaps, notes: list[str]
) -> tuple[int, dict[str, FloatArray], FloatArray]:
    """Return the first row used, and covariates (those ahead included) and target without gaps."""
    known = np.flatnonzero(~np.isnan(columns[target]))
    start, end = int(known[0]), int(known[-1]) + 1
    if start:
        notes.append(f"left out before the first value of {target}: {counted(start, 'row')}")
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
                raise BadInput(
                    f"{words} of {name}, the first is value {int(holes[0]) + 1:,}.",
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
