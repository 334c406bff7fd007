"""Tables in all supported formats and dialects."""

from dataclasses import replace
from typing import Any

from ...errors import BadInput
from ...text_safety import counted
from .columnar import json_lines as json_lines
from .header import USUAL_TARGETS
from .numbers import NumberFormat as NumberFormat
from .numbers import is_number as is_number
from .table import AS_FOUND as AS_FOUND
from .table import SUFFIXES as SUFFIXES
from .table import Reading as Reading
from .table import Sheet as Sheet
from .table import Table as Table
from .table import is_missing as is_missing
from .table import is_table as is_table
from .table import is_table_file as is_table_file
from .table import is_table_folder as is_table_folder
from .table import read_sheets as read_sheets
from .table import read_table as read_table
from .table import reading_of as reading_of


def find_target(table: Table, name: str | None) -> str:
    """Return the name of the target column; if none is named, the usual names are tried.

    Raises:
        BadInput: it is not there, or none was named and there is no usual one.
    """
    if name is not None:
        table.column(name)
        return name
    usual = usual_target(table)
    if usual is not None:
        return usual
    binary = [name for name, cells in table.columns.items() if set(map(_truth, cells)) == {0, 1}]
    several = f" (several of 0 and 1: --target {','.join(binary)})" if len(binary) > 1 else ""
    raise BadInput(
        f"no target column was given for {table.path.name}.",
        f"Name it with --target{several}; its columns: {', '.join(table.columns)}.",
    )


_TRUTHS = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}


def _truth(cell: Any) -> int | None:
    return _TRUTHS.get(str(cell).strip().lower())


def with_one_hot(table: Table, target: str | None) -> Table:
    """Return the table with the columns of 0 and 1 listed by `target` merged into labels.

    A row with only zeros has the label `()`; if every row has exactly one label, it is a class.

    Raises:
        BadInput: a cell of such a column is neither 0 nor 1.
    """
    parts = [] if target is None else [part.strip() for part in target.split(",")]
    if len(parts) < 2 or target in table.columns or not set(parts) <= set(table.columns):
        return table
    rows: list[Any] = []
    for number, cells in enumerate(zip(*(table.columns[part] for part in parts), strict=True)):
        if all(map(is_missing, cells)):
            rows.append(None)
            continue
        for part, cell in zip(parts, cells, strict=True):
            if _truth(cell) is None:
                raise BadInput(
                    f"{table.places[number]} of {table.path.name}: {part} is {cell!r}, neither 0 "
                    "nor 1.",
                    "Fix it, or name one column of labels.",
                )
        rows.append(tuple(p for p, cell in zip(parts, cells, strict=True) if _truth(cell)))
    single = all(row is None or len(row) == 1 for row in rows)
    labels = [row[0] if row and single else row for row in rows]
    columns = {name: cells for name, cells in table.columns.items() if name not in parts}
    kind = "one class a row" if single else "several labels a row"
    note = (
        f"labels are read from {counted(len(parts), 'column')} of 0 and 1, {kind}: "
        f"{', '.join(parts)}"
    )
    return replace(table, columns=columns | {str(target): labels}, notes=(*table.notes, note))


def usual_target(table: Table) -> str | None:
    """Return the column with one of the usual names of labels; None if there is none."""
    by_lower = {column.lower(): column for column in table.columns}
    return next((by_lower[usual] for usual in USUAL_TARGETS if usual in by_lower), None)
