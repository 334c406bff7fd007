"""Tables of labelled rows: CSV, JSON lines, Parquet.

Tables of records: each row becomes a block of `column: value` lines.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, limits
from ..errors import BadFile, BadInput, LimitExceeded
from . import raw
from .documents.document import Assembly, Document

_PIECE = 1024  # rows of a Parquet file that are unpacked at once
_DELIMITERS = ",;\t|"
_LONGEST_NAME = 100  # characters; a first row with longer cells is no header


def read_csv(path: str, content: bytes) -> Document:
    """Read a CSV file; its first row names the columns, unless it looks like data."""
    name = Path(path).name
    text = raw.decode(content, name)
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
    text = raw.decode(content, name)
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


SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_USUAL_TARGETS = ("label", "labels", "target", "class", "category", "y")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length.

    Attributes:
        path: the file.
        columns: values by the column's name; a missing one is None.
        places: where each row stands in the file, for messages.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column.

        Raises:
            BadInput: it is not there; says which are.
        """
        if name not in self.columns:
            raise BadInput(
                f"{self.path.name} has no column {name!r}.",
                f"Its columns: {', '.join(self.columns)}.",
            )
        return self.columns[name]


def read_table(path: Path) -> Table:
    """Read a table; a CSV whose first row looks like data gets the column names 1, 2, 3, ...

    Raises:
        BadFile: it is malformed, or of no known ending.
        LimitExceeded: it is too large.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadFile(
            f"{path.name!r} is no table that can be read.",
            f"Give a folder of class folders, a zip of one, or {' '.join(SUFFIXES)}.",
        )
    if suffix == ".parquet":
        table = _read_parquet(path)
    else:
        content = raw.read_bytes(str(path), limits.DATA_FILE)
        text = raw.decode(content, path.name)
        table = _read_json_lines(path, text) if suffix == ".jsonl" else _read_csv(path, text)
    if not table.places:
        raise BadInput(f"{path.name} holds no row.", "Give a table with rows.")
    return table


def find_target(table: Table, name: str | None) -> str:
    """Name of the target column; without one named, the usual names are tried.

    Raises:
        BadInput: it is not there, or none was named and there is no usual one.
    """
    if name is not None:
        table.column(name)
        return name
    usual = usual_target(table)
    if usual is not None:
        return usual
    raise BadInput(
        f"which column of {table.path.name} holds the labels was not said.",
        f"Name it with --target; its columns: {', '.join(table.columns)}.",
    )


def usual_target(table: Table) -> str | None:
    """The column of a usual name of labels."""
    by_lower = {column.lower(): column for column in table.columns}
    return next((by_lower[usual] for usual in _USUAL_TARGETS if usual in by_lower), None)


def is_number(value: Any) -> bool:
    """Whether a cell holds a number, a finite one or not."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return True
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: empty, null, NaN, an empty list."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    if isinstance(value, list | tuple):
        return not value
    return is_number(value) and math.isnan(float(value))


def _read_csv(path: Path, text: str) -> Table:
    names: list[str] = []
    rows: list[list[str]] = []
    places: list[str] = []
    for line, row in rows_of(text, path.name):
        if not names:
            if is_header(row):
                names = [cell.strip() or f"column {n}" for n, cell in enumerate(row, 1)]
                continue
            names = [str(number) for number in range(1, len(row) + 1)]
        if len(row) > len(names):
            raise BadFile(
                f"line {line:,} of {path.name!r} has {len(row)} cells, but there are "
                f"{len(names)} columns.",
                "Check its quotes and its separator.",
            )
        rows.append(row + [""] * (len(names) - len(row)))
        places.append(f"line {line}")
        _require_rows(path, len(rows))
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return Table(path, columns, places)


def _read_json_lines(path: Path, text: str) -> Table:
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    for line, content in enumerate(io.StringIO(text, newline=""), 1):
        if not content.strip():
            continue
        try:
            row = files.parse_json(content)
        except ValueError as error:
            raise BadFile(
                f"line {line:,} of {path.name!r} is no JSON: {error}.", "One object a line is read."
            ) from error
        if not isinstance(row, dict):
            raise BadFile(
                f"line {line:,} of {path.name!r} holds no JSON object.",
                'Write {"text": "...", "label": "..."}.',
            )
        rows.append(row)
        places.append(f"line {line}")
        _require_rows(path, len(rows))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(path, {name: [row.get(name) for row in rows] for name in names}, places)


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    limits.require_file_size(path, limits.DATA_FILE, "table")
    try:
        files.require_regular(path)
        with pyarrow.parquet.ParquetFile(path) as file:
            _require_rows(path, file.metadata.num_rows)
            schema = file.schema_arrow
        # a column of one long text, repeated, is small in the file, and stays so while it is read
        repeated = [field.name for field in schema if _holds_bytes(field.type)]
        columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        with pyarrow.parquet.ParquetFile(path, read_dictionary=repeated) as file:
            for batch in _counted(path, file):
                for name in schema.names:
                    columns[name] += batch.column(name).to_pylist()
    except (OSError, KeyError, pyarrow.ArrowException) as error:  # KeyError: a name twice
        raise BadFile(f"{path.name!r} is no Parquet file: {error}.", "Write it again.") from error
    count = len(next(iter(columns.values()), []))
    return Table(path, columns, [f"row {number}" for number in range(1, count + 1)])


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(test(kind) for test in tests)


def _counted(path: Path, file: Any) -> Iterator[Any]:
    """Pieces of a Parquet file, until they unpack to more than is read.

    Raises:
        LimitExceeded: they do.
    """
    unpacked = 0
    for batch in file.iter_batches(batch_size=_PIECE):
        unpacked += sum(map(_unpacked, batch.columns))
        if unpacked > limits.DATA_UNPACKED:
            raise LimitExceeded(
                f"{path.name} unpacks to more than {limits.DATA_UNPACKED:,} bytes.",
                "Take a sample of it.",
            )
        yield batch


def _unpacked(column: Any) -> int:
    """Bytes of a column with every repeated text counted each time."""
    import pyarrow
    from pyarrow import compute

    if not isinstance(column, pyarrow.DictionaryArray):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary).take(column.indices)
    return int(compute.sum(lengths).as_py() or 0)


def _require_rows(path: Path, count: int) -> None:
    if count > limits.DATA_ROWS:
        raise LimitExceeded(
            f"{path.name} has {count:,} rows; at most {limits.DATA_ROWS:,} are read.",
            "Take a sample of it.",
        )
