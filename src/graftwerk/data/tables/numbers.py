"""Localized numbers: separators and currency signs, with one format per column."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_CURRENCY = r"(?:[$€£¥₹₽₩₺₴₫฿]|US\$|CHF|EUR|USD|GBP|JPY|kr\.?|zł|Kč|Ft|R\$)"
_SPACES = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"""(?P<open>\()?\s*(?P<sign>[-+\u2212])?\s*(?P<before>{_CURRENCY})?[{_SPACES}]*(?P<inside>\()?(?P<inner>[-+\u2212])?
    (?P<body>\d[\d.,'\u2019{_SPACES}]*\d|\d|[.,]\d+)(?P<power>[eE][-+]?\d+)?(?P<last>(?<=[.,]\d\d)[-\u2212])?
    [{_SPACES}]*(?P<after>{_CURRENCY}|%)?\s*(?P<close>\))?""",
    re.VERBOSE,
)
_GROUPED = re.compile(
    rf"\d{{1,3}}(?:([.,'\u2019{_SPACES}])\d{{3}})(?:\1\d{{3}})*|\d{{1,2}}(?:,\d{{2}})+,\d{{3}}"
)
_SHARE = 0.5  # share of numbers among the values of a numeric column


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """Format of the numbers in a column.

    Attributes:
        decimal: decimal separator, `.` or `,`.
        example: a value as written, and as it is read.
        unsure: whether the values alone do not distinguish decimal from thousands separator.
    """

    decimal: str
    example: tuple[str, str]
    unsure: bool = False

    def describe(self, column: str) -> str:
        """Describe how the column is read."""
        written, read = self.example
        other = "," if self.decimal == "." else "."
        hint = f" (--decimal {other!r} reads it the other way)" if self.unsure else ""
        return f"{column}: numbers are read as in {written!r} = {read}{hint}"


def rounded(value: float) -> str:
    """Return a number with six significant digits, and with all digits before its point."""
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def is_number(value: Any) -> bool:
    """Whether Python parses a value as a number."""
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
    """Whether a cell is a number in any of the supported notations."""
    cell = cell.strip()
    return len(cell) <= 64 and (is_number(cell) or bool(_marks(cell)))


def read_number(cell: Any, decimal: str) -> Any:
    """Return the number in a cell in Python's notation; other cells are unchanged."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if len(text) > 64:
        return cell
    if decimal == "." and is_number(text):
        return cell
    found = _NUMBER.fullmatch(text)
    if found is None or decimal not in _marks(text):
        return cell
    body = found["body"]
    whole, mark, fraction = body.rpartition(decimal)
    if not mark or (body.count(decimal) > 1):
        whole, fraction = body, ""
    digits = re.sub(r"\D", "", whole) or "0"
    negative = bool(found["close"]) != ("-" in _sign(found))
    return (
        ("-" if negative else "")
        + digits
        + ("." + fraction if fraction else "")
        + (found["power"] or "")
    )


def find_format(
    values: Sequence[Any], separator: str, decimal: str | None = None, others: str | None = None
) -> NumberFormat | None:
    """Return the number format of a column; None if it needs none, or has no numbers.

    A column needs none if Python parses its numbers as they are.

    Args:
        values: of the column, without missing ones.
        separator: of the file; if the numbers alone do not decide, a comma between cells suggests a
            decimal point, and a semicolon a decimal comma.
        decimal: decimal separator given by the user.
        others: decimal separator of other columns of the file.
    """
    texts = [value.strip() for value in values if isinstance(value, str)]
    if not texts or (
        decimal is None and all(map(is_number, texts)) and not _could_be_groups(texts)
    ):
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
    if chosen == "." and all(map(is_number, texts)) and not (unsure and separator == ";"):
        return None
    odd = [text for text in texts if read_number(text, chosen) != text]
    if not odd and not unsure:
        return None
    example = max(odd or texts, key=lambda text: (sum(text.count(mark) for mark in ",."), text))
    return NumberFormat(chosen, (example, str(read_number(example, chosen))), unsure)


def _could_be_groups(texts: Sequence[str]) -> bool:
    """Whether every point may be a thousands separator, as in 1.250."""
    dotted = [text for text in texts if "." in text]
    return bool(dotted) and all(_GROUPED.fullmatch(text.lstrip("+-")) for text in dotted)


def _possible(text: str) -> frozenset[str]:
    if len(text) > 64:
        return frozenset()
    found = _marks(text)
    return found or (frozenset(".") if is_number(text) and math.isfinite(float(text)) else found)


def _marks(text: str) -> frozenset[str]:
    """Return the decimal separators with which a text is a number; empty for other texts."""
    found = _NUMBER.fullmatch(text)
    if found is None or [*found.group("open", "inside")].count("(") != bool(found["close"]):
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
    signs = filter(None, found.group("sign", "inner", "last"))
    return "".join(signs).replace("\u2212", "-")
