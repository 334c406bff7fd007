"""Tables in all supported formats and dialects."""

from .numbers import NumberFormat
from .objects import json_lines
from .table import (
    AS_FOUND,
    SUFFIXES,
    Reading,
    Sheet,
    Table,
    is_missing,
    is_number,
    is_table,
    is_table_file,
    is_table_folder,
    read_sheets,
    read_table,
    reading_of,
)
from .target import find_target, usual_target, with_one_hot

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
    "is_table_file",
    "is_table_folder",
    "json_lines",
    "read_sheets",
    "read_table",
    "reading_of",
    "usual_target",
    "with_one_hot",
]
