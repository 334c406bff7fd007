"""Times of a series: how people write them, the step between them, and the times that follow."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from ..data.tables import Table, is_missing, is_number
from ..data.tables.header import is_date
from ..errors import BadInput
from ..text_safety import counted
from .candidates import suggested_seasons

_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y",
    "%d %B %Y", "%b %d, %Y", "%b %d %Y", "%B %d, %Y", "%a, %d %b %Y",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_MONTHS = (
    "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y %b", "%Y %B", "%YM%m",
)  # fmt: skip
_FORMATS = (*_MONTHS, *(date + clock for date in _DATES for clock in _CLOCKS))
_QUARTER = re.compile(r"(\d{4})[ -]?Q([1-4])|Q([1-4])[ /-]?(\d{4})", re.I)
_YEAR = re.compile(r"1[5-9]\d{2}|2[01]\d{2}")
_YEAR_MONTH = re.compile(r"(?:1[5-9]|2[01])\d{2}(?:0[1-9]|1[0-2])")
_EPOCH = re.compile(r"\d{9,10}|\d{12,13}")  # seconds or milliseconds since 1970
_UTC = re.compile(r"(?<=\d) ?(?:UTC|GMT)$")
_TIME_NAMES = re.compile(
    r"^(?:date|time|timestamp|datetime|ds|year|month|quarter|period|day)$", re.I
)
_DAY = timedelta(days=1)
_WEEKDAYS = 5
_CHECKED = 2000  # times from which the form is found
_LATEST_YEAR = 2050  # of years in two digits


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


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def time_column(table: Table, target: str | None) -> str | None:
    """Return the column of times, preferring common names; None if there is none."""
    found: list[tuple[bool, int, str]] = []
    for name in table.columns:
        values = [v for v in table.column(name) if not is_missing(v)]
        named = bool(_TIME_NAMES.search(name))
        texts = [_text(value) for value in values[:200]]
        numbers = (_YEAR, _EPOCH, _YEAR_MONTH, re.compile(r"\d{8}"))
        if name != target and values and (
            is_date(name, values)
            or (named and any(all(form.fullmatch(t) for t in texts) for form in numbers))
            or (not any(map(is_number, values[:200])) and all(map(_is_time, texts)))
        ):  # fmt: skip
            found.append((not named, len(found), name))
    return min(found)[2] if found else None


def read_times(table: Table, name: str) -> tuple[list[datetime], list[str]]:
    """Return the time of every row, in UTC if they name a zone, and notes on how they were read.

    Raises:
        BadInput: a time is missing or cannot be read, or only some name a zone; names its row.
    """
    cells = list(table.column(name))
    for cell, place in zip(cells, table.places, strict=True):
        if is_missing(cell):
            raise BadInput(
                f"{place} of {table.path.name} has no {name}.", "Write the time of every row."
            )
    texts = [cell if isinstance(cell, datetime) else _text(cell) for cell in cells]
    notes = []
    if all(isinstance(text, str) and _UTC.search(text) for text in texts):
        texts = [_UTC.sub("", str(text)) for text in texts]
        notes.append("times are in UTC")
    for parse, words in _parsers(texts):
        try:
            times = [cell if isinstance(cell, datetime) else parse(cell) for cell in texts]
        except (ValueError, OverflowError):
            continue
        return _one_zone(table, name, times, [*notes, words] if words else notes)
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
    if all(_YEAR_MONTH.fullmatch(text) for text in plain):
        found.append((partial(_by, "%Y%m"), ""))
    if all(_EPOCH.fullmatch(text) for text in plain):
        words = "times are read as seconds or milliseconds since 1970, UTC"
        found.append((_since_epoch, words))
    found.append((datetime.fromisoformat, ""))
    first = plain[:_CHECKED]
    formats = [one for one in _FORMATS if all(_tried(partial(_by, one), text) for text in first)]
    differing = (t for t in first if len({_by(one, t) for one in formats}) > 1)
    example = next(differing, None) if len(formats) > 1 else None
    for one in sorted(formats, key=lambda one: (*_irregularity(one, first), _unusual(one))):
        reasons = ["day and month could be either"] * (example is not None)
        reasons += ["years have two digits"] * ("%y" in one)
        shown = example or plain[0]
        read = f"{shown} is read as {_by(one, shown).date().isoformat()}"
        found.append((partial(_by, one), "; ".join([*reasons, read]) if reasons else ""))
    return found


def _irregularity(form: str, texts: Sequence[str]) -> tuple[int, int]:
    """Count the different distances between neighbors, in months if all are; then in days."""
    times = [_by(form, text) for text in texts]
    days = len({after - before for before, after in pairwise(times)})
    months = [12 * time.year + time.month for time in times]
    steps = len({after - before for before, after in pairwise(months)})
    return (min(days, steps) if len({(t.day, t.time()) for t in times}) == 1 else days), days


def _unusual(form: str) -> bool:
    """Whether a day comes first beside a clock of twelve hours, which Americans write."""
    return "%p" in form and form.startswith("%d")


def _by(form: str, text: str) -> datetime:
    time = datetime.strptime(text, form)
    early = "%y" in form and time.year > _LATEST_YEAR
    return time.replace(year=time.year - 100) if early else time


def _quarter(text: str) -> datetime:
    found = _QUARTER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, quarter = found[1] or found[4], found[2] or found[3]
    return datetime(int(year), 3 * int(quarter) - 2, 1)


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


def find_step(times: Sequence[datetime], name: str) -> Step:
    """Return the step between times in their order.

    Raises:
        BadInput: there is one time only, or the distances are uneven.
    """
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


def shown_time(time: datetime, step: Step) -> str:
    """Return the time as text, without a clock where steps are of whole days."""
    whole = (time.hour, time.minute, time.second, time.microsecond) == (0, 0, 0, 0)
    days = step.months is not None or step.business or (step.seconds or 0) % 86_400 == 0
    return time.date().isoformat() if whole and days else time.isoformat(sep=" ")
