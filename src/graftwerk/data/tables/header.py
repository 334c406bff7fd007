"""Header detection, and the naming of columns."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise, zip_longest
from math import isnan
from typing import Any

from ...errors import few
from ..documents.formats import is_image_path
from .numbers import is_localized, is_number

_LONGEST_NAME = 100  # characters; a first row with longer cells is not a header
_SAMPLE = 500  # rows that are compared with the first
_STRONG, _WEAK = 2, 1
_SHOWN = 3
_MOSTLY = 0.9
_YEARS = range(1900, 2101)
USUAL_TARGETS = ("label", "labels", "target", "class", "category", "y")
_USUAL = {
    *USUAL_TARGETS,
    *("text", "sentence", "review", "comment", "title", "body", "content", "description", "name"),
    *("id", "index", "date", "image", "file", "file_name", "filename", "path", "score", "value"),
    *("sentence1", "sentence2", "question", "answer", "topic", "sentiment", "tags", "rating"),
    *("message", "summary", "premise", "hypothesis", "input", "output", "query", "passage"),
}
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")
_INTEGER = re.compile(r"[+-]?\d+")
_SENTENCE_END = (".", "!", "?")
_SUM = (
    r"(?:grand )?totals?|total général|totale|totaal|(?:gesamt)?summe|(?:ins)?gesamt|sum|suma|"
    "razem|toplam|итого|всего|合計|总计|總計|합계"
)
_PART = (
    r"sub-?totals?|sous-total|zwischensumme|小計|小计|average|mean|median|durchschnitt|mittelwert|"
    "moyenne|promedio|media|平均"
)
_TOTAL = re.compile(rf"(?:{_SUM})\s*:?", re.IGNORECASE)
_SUMMARY = re.compile(rf"(?:{_SUM}|{_PART})\s*:?", re.IGNORECASE)
_CLOSE = 1e-6  # of the sum of sizes, that a total may differ from it
_COMMENT = re.compile(r"#\s+\S|##")
_NO_VALUE = re.compile(r"[\W_]*|n\.?/?a\.?n?|null|none|nil|missing|unknown", re.IGNORECASE)
_LEVELS = 3  # rows that may name or describe the columns


def has_header(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the first row is a header, judged by the values below it in each column.

    A number above words, or a class among classes, is data; a word above numbers, or above values
    that repeat and do not include it, is a name. If nothing decides, short cells that are all
    different and not numbers are names.
    """
    first = [_text(cell) for cell in rows[0]]
    below = [[_text(cell) for cell in row] for row in rows[1 : _SAMPLE + 1]]
    counting = _count_up(first, below)
    votes = 0
    for location, name in enumerate(first):
        values = [row[location] for row in below if location < len(row) and row[location]]
        votes += _WEAK if location in counting else _vote(name, values)
    if len(counting) == sum(map(bool, first)):
        votes += _STRONG
    if votes:
        return votes > 0
    return _looks_like_names(first)


def _vote(name: str, values: Sequence[str]) -> int:  # noqa: PLR0911  one rule per return
    """Return the vote of one column: above 0 for a header, below 0 for data."""
    if not values or not name:
        return 0
    if name.lower() in _USUAL and name.lower() not in {value.lower() for value in values}:
        return _STRONG
    numbers = sum(map(is_localized, values)) / len(values)
    if numbers >= _MOSTLY:
        return -_STRONG if is_localized(name) else _STRONG
    images = sum(map(is_image_path, values)) / len(values)
    if images >= _MOSTLY:
        return -_STRONG if is_image_path(name) else _STRONG
    different = set(values)
    if name in different:
        return -_STRONG
    if len(values) < 3:
        return 0
    if len(different) <= max(2, len(values) // 2) and len(name.split()) <= 3:
        return _STRONG
    shapes = {_shape(value) for value in values}
    if len(shapes) == 1 and not shapes <= {"a", "a a"}:
        return -_STRONG if _shape(name) in shapes else _STRONG
    return _vote_of_texts(name, values)


def _vote_of_texts(name: str, values: Sequence[str]) -> int:
    words = sorted(len(value.split()) for value in values)
    usual = words[len(words) // 2]
    if usual < 3:
        return 0
    count = len(name.split())
    if count >= max(3, usual / 2) or name.endswith(_SENTENCE_END):
        return -_WEAK
    return _WEAK if count <= 2 else 0


def _count_up(first: Sequence[str], below: Sequence[Sequence[str]]) -> set[int]:
    """Return the columns whose first cells count up, as years or column numbers do.

    Empty if the cells of another row do so too.
    """
    locations = [location for location, cell in enumerate(first) if _INTEGER.fullmatch(cell)]
    if not locations or not below:
        return set()

    def numbers(row: Sequence[str]) -> list[int] | None:
        cells = [row[location] if location < len(row) else "" for location in locations]
        return [int(cell) for cell in cells] if all(map(_INTEGER.fullmatch, cells)) else None

    names = [int(first[location]) for location in locations]
    years = all(name in _YEARS for name in names) and len(set(names)) == len(names)
    if not years and (len(names) < 3 or names[0] not in (0, 1) or not _is_run(names)):
        return set()
    for row in below:
        found = numbers(row)
        if found is None:
            continue
        if (years and all(number in _YEARS for number in found)) or _is_run(found):
            return set()
    return set(locations)


def _is_run(numbers: Sequence[int]) -> bool:
    steps = [after - before for before, after in pairwise(numbers)]
    return bool(steps) and set(steps) == {1}


def count_comments(rows: Sequence[Sequence[Any]]) -> int:
    """Return how many rows above a header are comments that begin with `#`."""
    count = next((n for n, row in enumerate(rows) if not _COMMENT.match(_text(row[0]))), 0)
    return count if count and has_header(rows[count:]) else 0


def header_copies(rows: Sequence[Sequence[Any]]) -> list[int]:
    """Return the rows that repeat the first one, if that is no row of data.

    One of its words then stands above numbers or longer texts, or is a usual name.
    """
    copies = [n for n, row in enumerate(rows) if n and row == rows[0]]
    others = [row for row in rows if row != rows[0]] if copies else []
    for location, name in enumerate(map(_text, rows[0])):
        values = [_text(row[location]) for row in others[:_SAMPLE] if location < len(row)]
        numbers = sum(map(is_localized, values)) >= _MOSTLY * len(values) and not is_localized(name)
        if values and (numbers or name.lower() in _USUAL or _vote_of_texts(name, values) > 0):
            return copies
    return []


def summary_rows(
    rows: Sequence[Sequence[Any]], number: Callable[[int, Any], float]
) -> tuple[bool, list[str]]:
    """Return whether the last row holds the totals of those above, and notes on rows of summaries.

    It does if its first cell says so and each of its numbers is a sum.

    Args:
        rows: of the table.
        number: returns the number in a cell of this column, NaN for other cells.
    """
    named = [next(filter(None, map(_text, row)), "") for row in rows]
    found = [n for n, name in enumerate(named) if _SUMMARY.fullmatch(name)]
    if not found or len(rows) < 3 or 2 * len(found) > len(rows):
        return False, []
    last = found == [len(rows) - 1]
    if last and _TOTAL.fullmatch(named[-1]):
        cells = enumerate(zip(*rows, strict=True))
        columns = [[number(n, cell) for cell in column] for n, column in cells]
        sums = [_is_sum(column[-1], column[:-1]) for column in columns if not isnan(column[-1])]
        if sums and all(sums):
            said = f"the last row, {named[-1]!r}, holds the sums of those above and is left out"
            return True, [said]
    shown = few(dict.fromkeys(repr(named[n]) for n in found), _SHOWN)
    where = "the last row begins" if last else f"{len(found):,} rows begin"
    return False, [f"{where} with {shown} and {'is' if last else 'are'} read like the others"]


def _is_sum(total: float, values: Sequence[float]) -> bool:
    there = [value for value in values if not isnan(value)]
    size = sum(map(abs, there))
    return len(there) > 1 and size > 0 and abs(sum(there) - total) <= _CLOSE * size


def count_levels(rows: Sequence[Sequence[Any]]) -> int:
    """Return how many rows below a header are a part of it: lower levels of names, or units.

    Words in several columns of numbers or dates are units or descriptions. Below names that repeat
    or cover several columns, words that differ from all values are the next level of names.
    """
    for count in range(min(_LEVELS, len(rows) - 2), 1, -1):
        below = [[_text(cell) for cell in row] for row in rows[count : _SAMPLE + count]]
        if all(_is_level([*map(_text, row)], below, is_grouped(rows)) for row in rows[1:count]):
            return count - 1
    return 0


def is_grouped(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the second row names columns below the names of the first row.

    Names then stand over several columns, or the index of a data frame has a name in neither row.
    """
    covered = [name for name in _spread(rows[0], rows[1]) if name]
    without = not any(_text(row[0]) for row in rows[:2]) and all(_text(row[0]) for row in rows[3:])
    return without or len(set(covered)) < len(covered)


def join_levels(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return one name for each column of several rows of names, such as `stay.price`."""
    named = [*(_spread(row, rows[-1]) for row in rows[:-1]), map(_text, rows[-1])]
    columns = zip_longest(*named, fillvalue="")
    return [".".join(dict.fromkeys(filter(None, names))) for names in columns]


def _spread(names: Sequence[Any], lower: Sequence[Any]) -> list[str]:
    """Return names with each gap to the right of a name, above a lower one, filled by it."""
    last = ""
    pairs = [(_text(name), _text(below)) for name, below in zip(names, lower, strict=False)]
    return [(last := name or last) if name or below else "" for name, below in pairs]


def _is_level(row: Sequence[str], below: Sequence[Sequence[str]], grouped: bool) -> bool:
    votes = []
    typed = 0  # columns in which words stand above numbers or dates
    for location, name in enumerate(row):
        values = [one[location] for one in below if location < len(one) and one[location]]
        if values and not _NO_VALUE.fullmatch(name):
            votes.append(_vote(name, values))
            digits = sum(not _LETTERS.search(value) for value in values)
            typed += votes[-1] == _STRONG and digits >= _MOSTLY * len(values)
    strong = votes.count(_STRONG)
    enough = (strong > 1 or strong == len(votes)) if grouped else typed > 1
    return enough and -_STRONG not in votes and bool(votes)


def _looks_like_names(first: Sequence[str]) -> bool:
    names = [cell for cell in first if cell]
    return len(set(names)) == len(names) and not any(
        len(cell) > _LONGEST_NAME or is_localized(cell) for cell in names
    )


def _shape(text: str) -> str:
    """Replace letters by `a` and digits by 9, to compare dates or order numbers."""
    return _DIGITS.sub("9", _LETTERS.sub("a", text))


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def name_columns(first: Sequence[Any], width: int) -> tuple[list[str], list[str]]:
    """Return unique names for all columns, and notes on renamed ones.

    An empty name becomes `column 3`; a repeated one gets a number, as in data frames.
    """
    names: dict[str, None] = {}
    renamed = []
    given = [_text(cell) for cell in first] + [""] * (width - len(first))
    for number, cell in enumerate(given, 1):
        name = cell or f"column {number}"
        count = 0
        while name in names or (count and name in given):
            count += 1
            name = f"{cell or f'column {number}'}.{count}"
        if count and cell:
            renamed.append(f"{cell!r} over column {number} as {name!r}")
        names[name] = None
    if not renamed:
        return list(names), []
    note = f"{len(renamed):,} column names that occur twice are renamed: {few(renamed, _SHOWN)}"
    return list(names), [note]


_VALUES = 2_000
_TIME = (
    r"(?:[T ]?\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s?(?:[AaPp][Mm])?\s?(?:Z|UTC|[+-]\d{2}:?\d{2})?)"
)
_MONTH = r"(?:[^\W\d_]{3,9}\.?)"
_DATE = re.compile(
    rf"""(?:
      \d{{4}}(?P<sep>[-/.])\d{{1,2}}(?P=sep)\d{{1,2}} | \d{{4}}-\d{{2}}
    | \d{{1,2}}(?P<other>[-/.])\s?\d{{1,2}}(?P=other)\s?(?:\d{{4}}|\d{{2}})
    | \d{{1,2}}\.?[ -]{_MONTH}[ -]\d{{2,4}} | {_MONTH}\ \d{{1,2}},?\ \d{{4}}
    )\s?{_TIME}?|{_TIME}""",
    re.VERBOSE,
)
_COMPACT = re.compile(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_NAMED_DATE = re.compile(
    r"(?:^|[_ ])(?:date|day|time|ts|timestamp|datetime|epoch|when|created)(?:$|[_ ])|_at$", re.I
)
_EPOCH = range(946_684_800, 2_524_608_000)  # seconds of 2000 to 2049
_EXACT = 16  # from so many digits on a float is no longer exact
_NAMED_ID = re.compile(
    r"(?:^|[_ .-])(?:id|ids|uuid|guid|idx|index|key|hash)$|[a-z]I[dD]$|^(?:id|uuid)[_ .-]"
    r"|^column 1$|^unnamed: ?0(?:[._]\d+)*$|^__index_level_0__$|^(?:row|no|nr|number|#)$"
)
_NAMED_KEY = re.compile(r"(?:^|[_ .-])(?:id|ids|key)$|[a-z]I[dD]$")  # may repeat: user_id
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.I)
_NUMBER = re.compile(r"\d+")


def is_date(name: str, values: Sequence[Any]) -> bool:
    """Whether a column holds dates or times, judged by its values."""
    texts = [str(value).strip() for value in values[:_VALUES]]
    if texts and all(map(_NUMBER.fullmatch, texts)):
        milliseconds = all(len(text) == 13 and int(text) // 1000 in _EPOCH for text in texts)
        seconds = all(int(text) in _EPOCH for text in texts)
        if milliseconds or (seconds and _NAMED_DATE.search(name)):
            return True
    form = _COMPACT if _NAMED_DATE.search(name) and all(map(str.isdigit, texts)) else _DATE
    return sum(form.fullmatch(text) is not None for text in texts) >= _MOSTLY * max(len(texts), 1)


def is_identifier(name: str, values: Sequence[Any]) -> bool:
    """Whether a column identifies its rows.

    All values are distinct, and the name or format is that of an identifier.
    """
    texts = [str(value).strip() for value in values]
    if len(texts) < 2 or len(set(texts)) < len(texts) or any(" " in text for text in texts):
        return False
    if all(_UUID.fullmatch(text) and not text.isdigit() for text in texts):
        return True
    numbers = all(map(is_number, texts))
    if _NAMED_ID.search(name) or _NAMED_ID.search(name.lower()):
        return not numbers or all(float(text).is_integer() for text in texts)
    return False


def is_key(name: str, values: Sequence[Any]) -> bool:
    """Whether whole numbers are a repeatable key: named as one, with zeros in front, or very long.

    Postal codes and user IDs are not quantities.
    """
    named = bool(_NAMED_KEY.search(name) or _NAMED_KEY.search(name.lower()))
    texts = [str(value).strip() for value in values]
    if texts and all(map(_NUMBER.fullmatch, texts)):
        padded = any(text.startswith("0") and len(text) > 2 for text in texts)
        named = named or padded or min(map(len, texts)) >= _EXACT
    return named and all(is_number(one) and float(one).is_integer() for one in values)


def is_code(values: Sequence[Any]) -> bool:
    """Whether values are distinct and differ only in their digits: T-0017, T-0018."""
    texts = [str(value).strip() for value in values]
    if len(texts) < 3 or len(set(texts)) < len(texts) or any(" " in text for text in texts):
        return False
    shapes = {_NUMBER.sub("9", text) for text in texts[:_VALUES]}
    return len(shapes) == 1 and "9" in shapes.pop()


def counts_rows(values: Sequence[Any]) -> bool:
    """Whether whole numbers increase by one per row, as the index of a data frame does."""
    if len(values) < 3 or not all(map(is_number, values)):
        return False
    numbers = [float(value) for value in values]
    return all(after - before == 1 for before, after in pairwise(numbers))
