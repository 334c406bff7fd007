"""Conditions on passages: `field op value`, turned into SQL with parameters only.

    path like %.md        name = notes.txt      heading not like %draft%
    kind = image          page >= 3             path glob */2024/*

`like` knows % and _ and takes no heed of case (ASCII letters); `glob` knows * ? [...] and does.
`path` is the absolute path, `name` its last part. Several conditions must all hold.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import BadInput, UnknownName

_TEXT_FIELDS = {
    "path": "CAST(files.path AS TEXT)",
    "name": "CAST(file_name(files.path) AS TEXT)",
    "kind": "passages.kind",
    "heading": "passages.heading",
}
_NUMBER_FIELDS = {"page": "passages.page", "line": "passages.line"}
_FIELDS = {**_TEXT_FIELDS, **_NUMBER_FIELDS}
_TEXT_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "like", "not like", "glob")
_NUMBER_OPERATORS = _TEXT_OPERATORS[:6]
_CONDITION = re.compile(
    r"\s*(?P<field>\w+)(?P<operator>\s+(?:not\s+like|like|glob)\b|\s*(?:!=|<=|>=|=|<|>))(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_EXAMPLE = "Write for example 'path like %.md' or 'page >= 3'."


@dataclass(frozen=True, slots=True)
class Filter:
    """SQL conditions over `passages` joined with `files`, and the values of their parameters."""

    sql: str
    values: tuple[bytes | int, ...]


def file_name(path: bytes) -> bytes:
    """Last part of a stored path; the SQL function of the same name."""
    return path.rpartition(os.fsencode(os.sep))[2]


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """Turn conditions into SQL; None when there are none."""
    if not conditions:
        return None
    parsed = [_parse(condition) for condition in conditions]
    return Filter(" AND ".join(sql for sql, _ in parsed), tuple(value for _, value in parsed))


def _parse(condition: str) -> tuple[str, bytes | int]:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise BadInput(
            f"condition {condition!r} is not of the form: field operator value.",
            f"Fields: {', '.join(_FIELDS)}. Operators: {', '.join(_TEXT_OPERATORS)}. {_EXAMPLE}",
        )
    field = match["field"].lower()
    operator = " ".join(match["operator"].lower().split())
    value = _unquote(match["value"].strip())
    if field not in _FIELDS:
        raise UnknownName("field", match["field"], _FIELDS)
    if field in _NUMBER_FIELDS:
        return _number_condition(field, operator, value)
    # bytes, because a path may hold what is not UTF-8
    return f"{_TEXT_FIELDS[field]} {operator} CAST(? AS TEXT)", _to_bytes(value)


def _number_condition(field: str, operator: str, value: str) -> tuple[str, int]:
    if operator not in _NUMBER_OPERATORS:
        raise UnknownName(f"operator for {field}", operator, _NUMBER_OPERATORS)
    if _NUMBER.fullmatch(value) is None:
        raise BadInput(f"{field} {operator} {value!r}: the value is not a whole number.", _EXAMPLE)
    return f"{_NUMBER_FIELDS[field]} {operator} ?", int(value)


def _unquote(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _to_bytes(value: str) -> bytes:
    try:
        return os.fsencode(value)
    except UnicodeEncodeError as error:
        raise BadInput(f"condition value {value!r} is not text.", _EXAMPLE) from error
