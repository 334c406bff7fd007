"""Tables: CSV, TSV, JSON lines, Excel, Parquet, or an Arrow folder of `datasets`.

The `dialect` of a table describes the detected format, and its `notes` are messages to the user;
nothing is dropped or changed without being reported in one of them.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import folders, limits
from ...errors import BadFile, BadInput, LimitExceeded
from ...text_safety import counted
from .. import raw
from .delimited import NAMES, Findings, Parsed, parse
from .header import (
    count_comments,
    count_levels,
    has_header,
    header_copies,
    is_grouped,
    join_levels,
    name_columns,
    summary_rows,
)
from .numbers import NumberFormat, find_format, is_number, read_number

if TYPE_CHECKING:
    from ...requests.base import TableRequest

DELIMITED = (".csv", ".tsv")
SUFFIXES = (*DELIMITED, ".jsonl", ".json", ".xlsx", ".parquet")
ARROW_STATE, ARROW_SPLITS = "state.json", "dataset_dict.json"
_SHOWN = 3
_TITLES = 20  # rows that may stand above the header


@dataclass(frozen=True, slots=True)
class Reading:
    """Options for parsing tables, as given by the user; None to detect them from the file.

    Attributes:
        header: whether the first row names the columns.
        separator: between cells.
        decimal: decimal separator, `.` or `,`.
        encoding: of a text file.
        usual_separator: between cells of a file that shows none, as in former data.
        usual_decimal: decimal separator of numbers that do not show it, as in former data.
        usual_encoding: encoding of a file that is not Unicode, as of former data.
        former: whether `header` is that of former data.
    """

    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    usual_separator: str | None = None
    usual_decimal: str | None = None
    usual_encoding: str | None = None
    former: bool = False

    def otherwise(self, former: "Reading") -> "Reading":
        """Return these options, with those of former data for what this file does not show."""
        without = self.header is None and former.header is False
        return replace(
            self,
            header=False if without else self.header,
            usual_separator=former.separator,
            usual_decimal=former.decimal,
            usual_encoding=former.encoding,
            former=without,
        )


AS_FOUND = Reading()


def reading_of(request: "TableRequest[Any]") -> Reading:
    """Return the parsing options for tables in a request."""
    return Reading(request.header, request.separator, request.decimal, request.encoding)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Raw rows of a file, before they are converted to columns.

    Attributes:
        name: of the file, for messages.
        header: the first row if it names the columns; None otherwise.
        rows: the other rows.
        lines: location of each row, from 1.
        unit: unit of `lines`: `line` or `row`.
        dialect: description of the format.
        notes: messages to the user.
        separator: between cells; empty if there is none.
        title: of a sheet of a workbook.
    """

    name: str
    header: list[Any] | None
    rows: list[list[Any]]
    lines: list[int]
    unit: str = "line"
    dialect: str = ""
    notes: tuple[str, ...] = ()
    separator: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length.

    Attributes:
        path: the file.
        columns: values by column name; None for a missing value.
        places: location of each row in the file, for messages.
        dialect: description of the format.
        notes: messages to the user about how it was read.
        formats: of columns whose numbers are not in Python's notation.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]
    dialect: str = ""
    notes: tuple[str, ...] = ()
    formats: Mapping[str, NumberFormat] = field(default_factory=dict)

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of a column.

        Raises:
            BadInput: it is not there; says which are.
        """
        if name not in self.columns:
            raise BadInput(
                f"{self.path.name} has no column {name!r}.",
                f"Its columns: {', '.join(self.columns)}.",
            )
        return self.columns[name]

    def numbers(self, name: str) -> Sequence[Any]:
        """Return a column with numbers in Python's notation; raises as `column` does."""
        values = self.column(name)
        found = self.formats.get(name)
        return values if found is None else [read_number(v, found.decimal) for v in values]


def read_table(
    path: Path, reading: Reading = AS_FOUND, known: Sequence[str] = (), cells: int = 0
) -> Table:
    """Read a table; without a header the columns are named 1, 2, 3, ...

    Args:
        path: the file.
        reading: parsing options that the user gave.
        known: expected column names; a first row that contains all of them is a header.
        cells: required number of cells per row; 0 for any number up to that of the columns.

    Raises:
        BadFile: it is malformed, or of no known ending.
        LimitExceeded: it is too large.
    """
    suffix = path.suffix.lower()
    if is_table_folder(path):
        from .columnar import read_arrow_folder

        table = read_arrow_folder(path)
    elif suffix == ".parquet":
        from .columnar import read_parquet

        if not path.is_file():  # opening a FIFO may block forever
            raise BadFile(f"{path.name!r} is not a regular file.", "Name a file that can be read.")
        limits.require_file_size(path, limits.DATA_FILE, "table")
        table = read_parquet(path, path)
    elif suffix in {".jsonl", ".json"}:
        from .columnar import read_json, read_json_lines

        content = raw.read_bytes(str(path), limits.DATA_FILE)
        read = read_json if suffix == ".json" else read_json_lines
        table = read(path, *_decode(content, path.name, reading))
    elif suffix in SUFFIXES:
        content = raw.read_bytes(str(path), limits.DATA_FILE)
        sheets = read_sheets(path.name, content, reading, known)
        table = _as_table(path, sheets, reading, cells, known)
    else:
        hint = f"Give a folder of class folders, a zip of one, or {' '.join(SUFFIXES)}"
        if suffix in {".txt", ".md"}:
            hint += f"; for a language model: graft lora train {path} --task write --model MODEL"
        raise BadFile(
            f"{path.name!r} is not a table that can be read.", folders.hint_for(path, f"{hint}.")
        )
    if not table.places:
        raise BadInput(f"{path.name} contains no row.", "Give a table with rows.")
    return table


def is_table(path: str | Path) -> bool:
    """Whether a path is a table: by its extension, or a folder of `datasets`."""
    return Path(path).suffix.lower() in SUFFIXES or is_table_folder(Path(path))


def is_table_file(value: str) -> bool:
    """Whether a text is the path of an existing table; any text is allowed."""
    there = os.path.exists(value)  # noqa: PTH110  Path raises for invalid paths
    return there and is_table(value)


def is_table_folder(path: Path) -> bool:
    """Whether a folder was written by `datasets.save_to_disk`."""
    return (path / ARROW_STATE).is_file() or (path / ARROW_SPLITS).is_file()


def read_sheets(
    name: str, content: bytes, reading: Reading = AS_FOUND, known: Sequence[str] = ()
) -> list[Sheet]:
    """Read the rows of a CSV, TSV or Excel file; only a workbook has several sheets.

    Raises:
        BadFile: it is malformed.
        LimitExceeded: it has too many rows.
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".xlsx":
        from .workbook import read_workbook

        return read_workbook(name, content, reading, known)
    text, encoding = _decode(content, name, reading)
    parsed = parse(text, name, suffix, reading.separator)
    if not parsed.dialect.separator and (reading.usual_separator or "\n") in text:
        parsed = parse(text, name, suffix, reading.usual_separator)
    require_rows(name, len(parsed.rows))
    rows = [row.cells for row in parsed.rows]
    lines = [row.line for row in parsed.rows]
    header, above = split_header(rows, lines, reading.header, known)
    width = _usual_width(rows) if header is None else len(header)
    if header is not None and _lacks_a_name(header, rows):
        header = ["", *header]
    words = _describe(parsed, encoding, header, len(rows))
    if reading.former and len(rows) > 1 and has_header(rows):
        above.append("the first row is read as data, as in the fit (--header: it names columns)")
    notes = [*above, *_notes_of(parsed.findings, encoding, reading), *_ragged(rows, lines, width)]
    shown = parsed.dialect.separator
    return [Sheet(name, header, rows, lines, "line", words, tuple(notes), shown)]


def _decode(content: bytes, name: str, reading: Reading) -> tuple[str, str]:
    return raw.decode(content, name, reading.encoding, reading.usual_encoding)


def split_header(
    rows: list[list[Any]], lines: list[int], header: bool | None, known: Sequence[str] = ()
) -> tuple[list[Any] | None, list[str]]:
    """Remove and return the row that names the columns, None if there is none; with notes.

    What belongs to it is removed too: titles and comments above, lower levels of names and units
    below, and its repetitions.
    """
    if not rows or header is False:
        return None, []
    above = count_comments(rows) or _rows_above(rows, known)
    notes = _left_out(
        counted(above, "row above the header is", "rows above the header are"), rows[:above]
    )
    del rows[:above], lines[:above]
    first = rows[0]
    copies = header_copies(rows)
    others = [row for n, row in enumerate(rows) if n == 0 or row != first] if copies else rows
    levels = 0 if header else count_levels(others)
    if not (header or above or levels or _names_all(first, known) or has_header(others)):
        return None, []
    for n in copies[::-1]:
        del rows[n], lines[n]
    if copies:
        what = counted(
            len(copies), "row that repeats the header is", "rows that repeat the header are"
        )
        notes.append(f"{what} left out")
    if levels and is_grouped(rows):
        first = join_levels(rows[: levels + 1])
        notes.append(
            f"column names are joined from {levels + 1} rows, as in {first[-1]!r} (--header "
            "reads one)"
        )
    elif levels:
        below = "of units or descriptions below the header (--header reads them)"
        what = counted(levels, f"row {below} is", f"rows {below} are")
        notes += _left_out(what, rows[1 : levels + 1])
    del rows[: levels + 1], lines[: levels + 1]
    return first, notes


def _left_out(what: str, rows: Sequence[Sequence[Any]]) -> list[str]:
    shown = [next((str(cell) for cell in row if str(cell).strip()), "") for row in rows]
    return [f"{what} left out: {'; '.join(shown)[:120]}"] if rows else []


def _rows_above(rows: Sequence[Sequence[Any]], known: Sequence[str]) -> int:
    counts = [sum(bool(str(cell).strip()) for cell in row) for row in rows]
    first = next((n for n, count in enumerate(counts[:_TITLES]) if count > 1), 0)
    if known and not _names_all(rows[0], known):
        first = next((n for n, row in enumerate(rows[:_TITLES]) if _names_all(row, known)), first)
    rest = rows[first:]
    levels = count_levels(rest) if first and is_grouped(rest[:2]) else 0
    full = counts[first + levels] >= max(counts[first:])
    named = levels or _names_all(rest[0], known) or has_header(rest)
    return first if first and full and named else 0


def _names_all(first: Sequence[Any], known: Sequence[str]) -> bool:
    if not known or all(map(str.isdecimal, known)):  # column numbers of a table without a header
        return False
    return set(known) <= {str(cell).strip() for cell in first}


def require_rows(name: str, count: int) -> None:
    """Refuse a table with more rows than the limit.

    Raises:
        LimitExceeded: there are.
    """
    if count > limits.DATA_ROWS:
        raise LimitExceeded(
            f"{name} has {counted(count, 'row')}; at most {limits.DATA_ROWS:,} are read.",
            "Take a sample of it.",
        )


def _usual_width(rows: Sequence[Sequence[Any]]) -> int:
    counts: dict[int, int] = {}
    for row in rows:
        counts[len(row)] = counts.get(len(row), 0) + 1
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _lacks_a_name(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> bool:
    """Whether every row has one cell more than the header: row names, as R writes them."""
    if not rows or any(len(row) != len(header) + 1 for row in rows) or not any(header):
        return False
    names = {row[0].strip() for row in rows}
    return len(names) == len(rows) > 1 and all(row[-1].strip() for row in rows)


def _describe(parsed: Parsed, encoding: str, header: list[Any] | None, count: int) -> str:
    separator = parsed.dialect.separator
    between = f"separated by {NAMES.get(separator, repr(separator))}" if separator else "one column"
    quotes = "" if parsed.dialect.quoting == "doubled" else f", {_QUOTES[parsed.dialect.quoting]}"
    shown = encoding.upper().replace("CP1252", "Windows-1252")
    named = "no header" if header is None else "a header"
    more = f", {counted(parsed.findings.blank, 'blank line')}" if parsed.findings.blank else ""
    broken = parsed.findings.multiline
    lines = f", {counted(broken, 'row')} with line breaks in a cell" if broken else ""
    return f"{shown}, {between}{quotes}, {named}, {counted(count, 'row')}{more}{lines}"


_QUOTES = {"none": "quotes are ordinary characters", "backslash": r"quotes in cells are written \""}


def _notes_of(findings: Findings, encoding: str, reading: Reading) -> list[str]:
    notes = [*raw.encoding_notes(encoding, reading.encoding)]
    if findings.literal:
        notes.append(
            f"{counted(findings.literal, 'cell begins', 'cells begin')} with a quote that ends "
            f"inside of them and are read as they stand; the first: line {findings.literal_line:,}"
        )
    return notes


def _ragged(rows: list[list[Any]], lines: Sequence[int], width: int) -> list[str]:
    """Cut empty cells beyond the last column; return a note on rows with too few cells."""
    few: list[int] = []
    for row, line in zip(rows, lines, strict=True):
        if len(row) < width:
            few.append(line)
        elif len(row) > width and not any(str(cell).strip() for cell in row[width:]):
            del row[width:]
    if not few:
        return []
    shown = ", ".join(f"{line:,}" for line in few[:_SHOWN]) + (", ..." if few[_SHOWN:] else "")
    return [
        f"{counted(len(few), 'row has', 'rows have')} fewer cells than there are columns; what "
        f"lacks is empty (line{'s' if few[1:] else ''} {shown})"
    ]


def _as_table(
    path: Path, sheets: Sequence[Sheet], reading: Reading, cells: int, known: Sequence[str]
) -> Table:
    full = [sheet for sheet in sheets if sheet.rows]
    if not full:
        return Table(path, {}, [])
    sheet = next((one for one in full if _names_all(one.header or (), known)), full[0])
    notes = list(sheet.notes)
    if full[1:]:
        others = ", ".join(repr(one.title) for one in full if one is not sheet)
        notes.append(f"reading the sheet {sheet.title!r}; left out: {others}")
    width = len(sheet.header) if sheet.header is not None else _usual_width(sheet.rows)
    width = cells or width
    for line, row in zip(sheet.lines, sheet.rows, strict=True):
        if len(row) > width or (cells and len(row) < width):
            raise BadFile(
                f"{sheet.unit} {line:,} of {path.name!r} has {counted(len(row), 'cell')}, but "
                f"there are {counted(width, 'column')}.",
                "Check its quotes and its separator.",
            )
        row.extend([""] * (width - len(row)))
    names = [str(number) for number in range(1, width + 1)]
    if sheet.header is not None:
        names, renamed = name_columns(sheet.header, width)
        notes += renamed
    columns = {name: [row[location] for row in sheet.rows] for location, name in enumerate(names)}
    formats = _formats(columns, sheet.separator, reading)
    locations = [f"{sheet.unit} {line}" for line in sheet.lines]

    def number(column: int, cell: Any) -> float:
        found = formats.get(names[column])
        value = cell if found is None else read_number(cell, found.decimal)
        return float(value) if is_number(value) else math.nan

    whole, said = summary_rows(sheet.rows, number)
    for values in (locations, *columns.values()) if whole else ():
        values.pop()
    notes += said
    return Table(path, columns, locations, sheet.dialect, tuple(notes), formats)


def _formats(
    columns: Mapping[str, Sequence[Any]], separator: str, reading: Reading
) -> dict[str, NumberFormat]:
    """Return the number formats of columns that need one; sure columns decide unsure ones."""
    values = {name: [v for v in column if not is_missing(v)] for name, column in columns.items()}
    decimal = reading.decimal
    found = {name: find_format(column, separator, decimal) for name, column in values.items()}
    marks = {one.decimal for one in found.values() if one is not None and not one.unsure}
    marks = marks or {mark for mark in [reading.usual_decimal] if mark}
    if len(marks) == 1:
        others = next(iter(marks))
        for name, one in found.items():
            if one is None or one.unsure:
                found[name] = find_format(values[name], separator, decimal, others)
    return {name: one for name, one in found.items() if one is not None}


def is_missing(value: Any) -> bool:
    """Whether a cell has no value: empty, null, NaN, an empty list."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    if isinstance(value, list | tuple):
        return not value
    return is_number(value) and math.isnan(float(value))
