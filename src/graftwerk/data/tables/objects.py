"""Tables of JSON objects: one a line, in a list, or as data frames write them."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ... import files
from ...errors import BadFile
from .table import Table, require_rows

_JSON_FORM = 'Write {"text": "...", "label": "..."}, one object a line.'


def read_json(path: Path, text: str, encoding: str) -> Table:
    """Read JSON objects in a list, or in one of the other layouts of data frames."""
    try:
        value = files.parse_json(text, unique=True)
    except ValueError as error:
        if not text.lstrip().startswith("["):
            return read_json_lines(path, text, encoding)
        raise BadFile(f"{path.name!r} is not JSON: {error}.", _JSON_FORM) from error
    rows, notes = _rows_of(value)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadFile(f"item {number:,} of {path.name!r} contains no JSON object.", _JSON_FORM)
    require_rows(path.name, len(rows))
    table = _from_objects(path, rows, [f"item {n}" for n in range(1, len(rows) + 1)], encoding)
    return replace(table, notes=(*table.notes, *notes))


def _rows_of(value: Any) -> tuple[list[Any], tuple[str, ...]]:
    """Return the rows of a data frame in JSON, in any orientation, and notes."""
    if not isinstance(value, dict) or not value:
        return (value if isinstance(value, list) else [value]), ()
    parts = list(value.values())
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(map(_is_list, data)):
        return [dict(zip(map(str, names), row, strict=False)) for row in data], ()
    if all(isinstance(part, dict) for part in parts) and any(parts):
        keys = dict.fromkeys(key for part in parts for key in part)
        columns = [{name: part.get(key) for name, part in value.items()} for key in keys]
        return parts if _is_by_row(value) else columns, ()
    if all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)], ()
    lists = [key for key, part in value.items() if _is_list(part) and part]
    if len(lists) == 1 and all(isinstance(row, dict) for row in value[lists[0]]):
        others = ", ".join(key for key in value if key != lists[0])
        return value[lists[0]], (f"rows are read from {lists[0]!r}; left out: {others or 'none'}",)
    return [value], ()


def _is_by_row(value: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether objects inside of one object are rows by their index, and not columns."""
    inner = {key for part in value.values() for key in part}
    if all(map(str.isdecimal, inner)):  # the usual index
        return False
    if all(map(str.isdecimal, value)):
        return True
    kinds = [{type(cell) for cell in part.values() if cell is not None} for part in value.values()]
    return any(len(kind - {int, float}) + bool(kind & {int, float}) > 1 for kind in kinds)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def read_json_lines(path: Path, text: str, encoding: str) -> Table:
    """Read one JSON object per line."""
    rows: list[dict[str, Any]] = []
    locations: list[str] = []
    for line, row in json_lines(text, path.name):
        if line == 1 and isinstance(row, list) and row and isinstance(row[0], dict):
            return read_json(path, text, encoding)
        if not isinstance(row, dict):
            shown = str(row)[:80]
            reason = f"line {line:,} of {path.name!r} contains no JSON object: {shown!r}."
            raise BadFile(reason, _JSON_FORM)
        rows.append(row)
        locations.append(f"line {line}")
        require_rows(path.name, len(rows))
    return _from_objects(path, rows, locations, encoding)


def json_lines(text: str, name: str) -> list[tuple[int, Any]]:
    """Return every value in a text of JSON lines with its line number; skip blank lines.

    Raises:
        BadFile: a line is not JSON; it is named.
    """
    found = []
    for line, content in enumerate(io.StringIO(text, newline=""), 1):
        if not content.strip():
            continue
        try:
            found.append((line, files.parse_json(content, unique=True)))
        except ValueError as error:
            raise BadFile(
                f"{name!r}, line {line:,}: no JSON ({error}).", "One JSON value a line is read."
            ) from error
    return found


def _from_objects(
    path: Path, rows: Sequence[Mapping[str, Any]], locations: Sequence[str], encoding: str
) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns, notes = unnest({name: [row.get(name) for row in rows] for name in names})
    words = f"{encoding.upper()}, JSON objects, {len(rows):,} rows"
    return Table(path, columns, locations, words, notes)


def unnest(columns: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Return the columns with those of objects divided into one for each value, and a note.

    Images, which `datasets` stores as objects of bytes and a path, stay as they are.
    """
    found: dict[str, list[Any]] = {}
    for name, cells in columns.items():
        inner = {key for cell in cells if isinstance(cell, dict) for key in cell}
        if not inner or inner <= {"bytes", "path"}:
            found[name] = cells
            continue
        rows = [dict(_flat({name: cell})) for cell in cells]
        for part in dict.fromkeys(part for row in rows for part in row):
            if part != name or any(row.get(part) is not None for row in rows):
                found[part] = [row.get(part) for row in rows]
    nested = found.keys() != columns.keys()
    return found, ("values inside others are columns named outer.inner",) if nested else ()


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values inside nested objects, of any depth, in their order."""
    waiting = list(row.items())[::-1]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{inner}", part) for inner, part in value.items()][::-1]
        else:
            yield name, value
