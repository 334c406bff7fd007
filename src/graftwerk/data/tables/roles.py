"""Columns that describe a row without being its content: dates, identifiers, row numbers."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .numbers import is_plain

_MOSTLY = 0.9
_SAMPLE = 2_000
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
    r"|^column 1$|^unnamed: ?0(?:[._]\d+)*$|^__index_level_0__$|^(?:row|no|nr|number|#)$",
)
_NAMED_KEY = re.compile(r"(?:^|[_ .-])(?:id|ids|key)$|[a-z]I[dD]$")  # may repeat: user_id
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.I)
_DIGITS = re.compile(r"\d+")


def is_date(name: str, values: Sequence[Any]) -> bool:
    """Whether a column holds dates or times, judged by its values."""
    texts = [str(value).strip() for value in values[:_SAMPLE]]
    if texts and all(map(_DIGITS.fullmatch, texts)):
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
    numbers = all(map(is_plain, texts))
    if _NAMED_ID.search(name) or _NAMED_ID.search(name.lower()):
        return not numbers or all(float(text).is_integer() for text in texts)
    return False


def is_key(name: str, values: Sequence[Any]) -> bool:
    """Whether whole numbers are a repeatable key: named as one, with zeros in front, or very long.

    Postal codes and user IDs are not quantities.
    """
    named = bool(_NAMED_KEY.search(name) or _NAMED_KEY.search(name.lower()))
    texts = [str(value).strip() for value in values]
    if texts and all(map(_DIGITS.fullmatch, texts)):
        padded = any(text.startswith("0") and len(text) > 2 for text in texts)
        named = named or padded or min(map(len, texts)) >= _EXACT
    return named and all(is_plain(one) and float(one).is_integer() for one in values)


def is_code(values: Sequence[Any]) -> bool:
    """Whether values are distinct and differ only in their digits: T-0017, T-0018."""
    texts = [str(value).strip() for value in values]
    if len(texts) < 3 or len(set(texts)) < len(texts) or any(" " in text for text in texts):
        return False
    shapes = {_DIGITS.sub("9", text) for text in texts[:_SAMPLE]}
    return len(shapes) == 1 and "9" in shapes.pop()


def counts_rows(values: Sequence[Any]) -> bool:
    """Whether whole numbers increase by one per row, as the index of a data frame does."""
    if len(values) < 3 or not all(map(is_plain, values)):
        return False
    numbers = [float(value) for value in values]
    return all(after - before == 1 for before, after in pairwise(numbers))
