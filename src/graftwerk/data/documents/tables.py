"""Tables as documents: each row becomes a block of `column: value` lines."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ... import limits
from ...errors import BadFile
from ...text_safety import counted
from .. import raw
from ..tables import AS_FOUND, Reading, Sheet, Table, json_lines, read_sheets
from .document import Assembly, Document


def read_csv(path: str, content: bytes, reading: Reading = AS_FOUND) -> Document:
    """Read a CSV, TSV or Excel file; the first row is a header unless it looks like data."""
    sheets = read_sheets(Path(path).name, content, reading)
    assembly = Assembly(limits.TEXT_FILE)
    notes: list[str] = []
    for sheet in sheets:
        if len(sheets) > 1:
            assembly.heading(1, sheet.title)
        for line, row in zip(sheet.lines, sheet.rows, strict=True):
            assembly.add(_describe_row(sheet.header or [], row), line=line, alone=True)
        notes += [*sheet.notes, *_unnamed(sheet)]
    dialects = [sheet.dialect for sheet in sheets if sheet.dialect]
    return assembly.finish(path, tuple(notes), "; ".join(dialects))


def _unnamed(sheet: Sheet) -> list[str]:
    if sheet.header is None:
        return []
    long = [
        line
        for line, row in zip(sheet.lines, sheet.rows, strict=True)
        if len(row) > len(sheet.header)
    ]
    if not long:
        return []
    return [
        f"{counted(len(long), 'row has', 'rows have')} more cells than the header (first: line "
        f"{long[0]:,})"
    ]


def _describe_row(header: Sequence[Any], row: Sequence[Any]) -> str:
    lines = []
    for position, value in enumerate(row):
        cell = _plain(value).strip()
        if cell:
            column = _plain(header[position]).strip() if position < len(header) else ""
            label = column or (f"column {position + 1}" if header else "")
            lines.append(f"{label}: {cell}" if label else cell)
    return "\n".join(lines)


def read_jsonl(path: str, content: bytes, reading: Reading = AS_FOUND) -> Document:
    """Read JSON lines; a nested value is named `outer.inner`."""
    name = Path(path).name
    text, encoding = raw.decode(content, name, reading.encoding)
    assembly = Assembly(limits.TEXT_FILE)
    rows = json_lines(text, name)
    for line, value in rows:
        try:
            described = "\n".join(_describe("", value))
        except RecursionError as error:  # nested values are described recursively
            raise BadFile(
                f"line {line:,} of {name!r} is not JSON: it is nested too deeply.",
                "One JSON value a line is read.",
            ) from error
        assembly.add(described, line=line, alone=True)
    return assembly.finish(path, (), f"{encoding.upper()}, JSON lines, {counted(len(rows), 'row')}")


def read_parquet(path: str, content: bytes, reading: Reading = AS_FOUND) -> Document:  # noqa: ARG001
    """Read a Parquet file."""
    from ..tables.columnar import read_parquet as read

    table: Table = read(Path(path), BytesIO(content))
    assembly = Assembly(limits.TEXT_FILE)
    names = list(table.columns)
    for number, values in enumerate(zip(*table.columns.values(), strict=True), 1):
        row = dict(zip(names, values, strict=True))
        cells = [cell.get("bytes") if isinstance(cell, dict) else cell for cell in values]
        if packed := sum(isinstance(cell, bytes) for cell in cells):
            assembly.drop("images and other files inside the table left out", packed)
        assembly.add("\n".join(_describe("", row)), line=number, alone=True)
    return assembly.finish(path, table.notes, table.dialect)


def _describe(label: str, value: Any) -> Iterator[str]:
    """Yield a line `label: value` for every value inside `value`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _describe(f"{label}.{key}" if label else key, inner)
    elif isinstance(value, list):
        plain = [inner for inner in value if not isinstance(inner, dict | list)]
        if len(plain) == len(value):
            yield from _describe(label, ", ".join(_plain(inner) for inner in plain))
        else:
            for inner in value:
                yield from _describe(label, inner)
    elif shown := _plain(value).strip():
        yield f"{label}: {shown}" if label else shown


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except TypeError:  # a date, bytes
        return "" if isinstance(value, bytes) else str(value)
