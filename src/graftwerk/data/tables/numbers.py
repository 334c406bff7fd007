"""Numbers as people write them: decimal and thousands marks, currency signs; one rule a column."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_CURRENCY = r"(?:[$€£¥₹₽₩₺₴₫฿]|US\$|CHF|EUR|USD|GBP|JPY|kr\.?|zł|Kč|Ft|R\$)"
_SPACES = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"""(?P<open>\()?\s*(?P<sign>[-+\u2212])?\s*(?P<before>{_CURRENCY})?[{_SPACES}]*(?P<inner>[-+\u2212])?
    (?P<body>\d[\d.,'\u2019{_SPACES}]*\d|\d|[.,]\d+)(?P<power>[eE][-+]?\d+)?
    [{_SPACES}]*(?P<after>{_CURRENCY}|%)?\s*(?P<close>\))?""",
    re.VERBOSE,
)
_GROUPED = re.compile(rf"\d{{1,3}}(?:([.,'\u2019{_SPACES}])\d{{3}})(?:\1\d{{3}})*")
_SHARE = 0.5  # of the values of a column that are numbers, so that it is one of numbers


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How the numbers of a column are written.

    Attributes:
        decimal: `.` or `,`.
        example: a value as it stands, and as it is read.
        unsure: the values alone do not tell the mark of decimals from that of thousands.
    """

    decimal: str
    example: tuple[str, str]
    unsure: bool = False

    def describe(self, column: str) -> str:
        """Say how the column is read."""
        written, read = self.example
        other = "," if self.decimal == "." else "."
        hint = f" (--decimal {other!r} reads it the other way)" if self.unsure else ""
        return f"{column}: numbers are read as in {written!r} = {read}{hint}"


def is_plain(value: Any) -> bool:
    """Whether Python reads a value as a number."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return True
    if not isinstance(value, str) or "_" in value:
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def is_localized(cell: str) -> bool:
    """Whether a cell is a number in any of the ways people write them."""
    cell = cell.strip()
    return len(cell) <= 64 and (is_plain(cell) or bool(_marks(cell)))


def read_number(cell: Any, decimal: str) -> Any:
    """The number in a cell, as Python writes it; what is no such number stays as it is."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if len(text) > 64:
        return cell
    if decimal == "." and is_plain(text):
        return cell
    found = _NUMBER.fullmatch(text)
    if found is None or decimal not in _marks(text):
        return cell
    body = found["body"]
    whole, mark, fraction = body.rpartition(decimal)
    if not mark or (body.count(decimal) > 1):
        whole, fraction = body, ""
    digits = re.sub(r"\D", "", whole) or "0"
    negative = bool(found["open"]) != ("-" in _sign(found))
    return (
        ("-" if negative else "")
        + digits
        + ("." + fraction if fraction else "")
        + (found["power"] or "")
    )


def find_format(
    values: Sequence[Any], separator: str, decimal: str | None = None, others: str | None = None
) -> NumberFormat | None:
    """How the numbers of a column are written; None where Python reads them, or it has none.

    Args:
        values: of the column, missing ones left out.
        separator: of the file; where the numbers alone do not tell, a comma between cells goes
            with a decimal point, and a semicolon with a decimal comma.
        decimal: the mark that the user named.
        others: the mark that other columns of the file have.
    """
    texts = [value.strip() for value in values if isinstance(value, str)]
    if not texts or (decimal is None and all(map(is_plain, texts)) and not _could_be_groups(texts)):
        return None
    marks = [found for text in texts if (found := _possible(text))]
    if len(marks) < _SHARE * len(texts):
        return None
    common = frozenset(",.").intersection(*marks)
    if decimal is not None:
        common &= {decimal}
    if not common:
        return None
    unsure = len(common) == 2 and any(set(text) & set(",.") for text in texts)
    chosen = min(common)
    if len(common) == 2:
        commas = any("," in text for text in texts)
        chosen = others or ("," if commas and separator == ";" else ".")
    if chosen == "." and all(map(is_plain, texts)) and not (unsure and separator == ";"):
        return None
    odd = [text for text in texts if read_number(text, chosen) != text]
    if not odd and not unsure:
        return None
    example = max(odd or texts, key=lambda text: (sum(text.count(mark) for mark in ",."), text))
    return NumberFormat(chosen, (example, str(read_number(example, chosen))), unsure)


def _could_be_groups(texts: Sequence[str]) -> bool:
    """Whether every point may stand for thousands, as in 1.250."""
    dotted = [text for text in texts if "." in text]
    return bool(dotted) and all(_GROUPED.fullmatch(text.lstrip("+-")) for text in dotted)


def _possible(text: str) -> frozenset[str]:
    if len(text) > 64:
        return frozenset()
    found = _marks(text)
    return found or (frozenset(".") if is_plain(text) and math.isfinite(float(text)) else found)


def _marks(text: str) -> frozenset[str]:
    """Which decimal marks explain a number; none where it is none."""
    found = _NUMBER.fullmatch(text)
    if found is None or bool(found["open"]) != bool(found["close"]):
        return frozenset()
    if len(_sign(found)) > 1:
        return frozenset()
    body = found["body"]
    possible = set()
    for decimal in ".,":
        whole, mark, fraction = body.partition(decimal)
        if mark and not fraction.isdigit():
            continue
        if whole.isdigit() or not whole or _is_grouped(whole, decimal):
            possible.add(decimal)
    return frozenset(possible)


def _is_grouped(whole: str, decimal: str) -> bool:
    found = _GROUPED.fullmatch(whole)
    return found is not None and found[1] != decimal and not whole.startswith("0")


def _sign(found: re.Match[str]) -> str:
    return ((found["sign"] or "") + (found["inner"] or "")).replace("\u2212", "-")
