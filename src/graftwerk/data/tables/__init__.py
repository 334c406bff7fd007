"""The one reader of tables, whatever format and dialect they are written in."""

from .numbers import NumberFormat
from .table import (
    AS_FOUND,
    SUFFIXES,
    Reading,
    Sheet,
    Table,
    find_target,
    is_missing,
    is_number,
    is_table,
    json_lines,
    read_sheets,
    read_table,
    usual_target,
)

__all__ = [
    "AS_FOUND",
    "SUFFIXES",
    "NumberFormat",
    "Reading",
    "Sheet",
    "Table",
    "find_target",
    "is_missing",
    "is_number",
    "is_table",
    "json_lines",
    "read_sheets",
    "read_table",
    "usual_target",
]
