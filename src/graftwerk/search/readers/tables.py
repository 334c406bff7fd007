"""Tables of records: each row becomes a block of `column: value` lines."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ... import files, limits
from ...errors import BadFile
from . import opening
from .document import Assembly, Document

_DELIMITERS = ",;\t|"
_LONGEST_NAME = 100  # characters; a first row with longer cells is no header


def read_csv(path: str, content: bytes) -> Document:
    """Read a CSV file; its first row names the columns, unless it looks like data."""
    name = Path(path).name
    text = opening.decode(content, name)
    assembly = Assembly(limits.TEXT_FILE)
    header: list[str] | None = None
    for line, row in rows_of(text, name):
        if header is None:
            header = row if is_header(row) else []
            if header:
                continue
        assembly.add(_describe_row(header, row), line=line, alone=True)
    return assembly.finish(path)


def rows_of(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with something in them, each with the line it starts at."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(
            f"{name!r} is no CSV: {error}, after line {line:,}.", "Check its quotes."
        ) from error


def _delimiter(text: str) -> str:
    """The separator that the first line has most of."""
    first = text[: 1 << 16].lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def is_header(row: list[str]) -> bool:
    """Whether a row names columns: short cells, all different, none a number."""
    cells = [cell.strip() for cell in row]
    names = [cell for cell in cells if cell]
    return len(set(names)) == len(names) and not any(
        len(cell) > _LONGEST_NAME or _is_number(cell) for cell in names
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _describe_row(header: list[str], row: list[str]) -> str:
    lines = []
    for position, cell in enumerate(row):
        if cell.strip():
            column = header[position].strip() if position < len(header) else ""
            label = column or (f"column {position + 1}" if header else "")
            lines.append(f"{label}: {cell.strip()}" if label else cell.strip())
    return "\n".join(lines)


def read_jsonl(path: str, content: bytes) -> Document:
    """Read JSON lines; a nested value is named `outer.inner`."""
    name = Path(path).name
    text = opening.decode(content, name)
    assembly = Assembly(limits.TEXT_FILE)
    for line, row in enumerate(io.StringIO(text, newline=""), 1):
        if not row.strip():
            continue
        try:
            described = "\n".join(_describe("", files.parse_json(row)))
        except (ValueError, RecursionError) as error:  # deep values are described by recursion
            raise BadFile(
                f"line {line:,} of {name!r} is no JSON: {error}.", "One JSON value a line is read."
            ) from error
        assembly.add(described, line=line, alone=True)
    return assembly.finish(path)


def _describe(label: str, value: Any) -> Iterator[str]:
    """Lines `label: value` for every value inside `value`."""
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
    return value if isinstance(value, str) else json.dumps(value)
