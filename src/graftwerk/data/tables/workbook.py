"""Excel workbooks (.xlsx), read by openpyxl: cell values and stored formula results."""

import datetime
import re
import zipfile
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from ... import limits
from ...errors import BadFile, GraftError, LimitExceeded
from .table import Reading, Sheet, require_rows, split_header

_DECLARATION = re.compile(rb"<\0?!\0?D\0?O\0?C\0?T\0?Y\0?P\0?E")
_FORMULA, _MERGED = re.compile(rb"<f[ >/]"), re.compile(rb"<mergeCell ")


def read_workbook(
    name: str, content: bytes, reading: Reading, known: Sequence[str] = ()
) -> list[Sheet]:
    """Read every sheet of a workbook.

    Raises:
        BadFile: it is not a workbook, or openpyxl is not installed.
        LimitExceeded: it unpacks to too much, or has too many rows.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise BadFile(
            f"{name!r} is an Excel file, and openpyxl, which reads those, is not installed.",
            "Run: pip install 'graftwerk[tables]', or save it as .csv.",
        ) from error
    parts = _measure(name, content)
    formulas = sum(len(_FORMULA.findall(part)) for part in parts)
    merged = sum(len(_MERGED.findall(part)) for part in parts)
    try:
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
        sheets = [_sheet(name, sheet, reading, known) for sheet in book.worksheets]
        without = _without_value(content, sheets) if formulas else 0
    except (GraftError, MemoryError):
        raise
    except Exception as error:  # openpyxl raises almost any exception on damaged files
        raise BadFile(
            f"{name!r} is not an Excel workbook that can be read: {error}.", "Save it again."
        ) from error
    notes = []
    if without:
        notes.append(
            f"{without:,} formulas have no stored value and are read as empty; open and save the "
            "workbook in a spreadsheet program first"
        )
    if merged:
        notes.append(f"{merged:,} merged ranges: only the first cell of each has the value")
    if notes and sheets:
        first = sheets[0]
        sheets[0] = _with_notes(first, notes)
    return sheets


def _with_notes(sheet: Sheet, notes: Sequence[str]) -> Sheet:
    from dataclasses import replace

    return replace(sheet, notes=(*sheet.notes, *notes))


def _measure(name: str, content: bytes) -> list[bytes]:
    """Return the XML of the sheets, after checking the zip directory against the limits."""
    try:
        archive = zipfile.ZipFile(BytesIO(content))
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > limits.ZIP_ENTRIES or unpacked > limits.ZIP_UNPACKED:
            raise LimitExceeded(
                f"{name!r} unpacks to {unpacked:,} bytes in {len(entries):,} parts; at most "
                f"{limits.ZIP_UNPACKED:,} in {limits.ZIP_ENTRIES:,} are read.",
                "Save it as .csv.",
            )
        sheets = [entry for entry in entries if entry.filename.startswith("xl/worksheets/")]
        parts = []
        for entry in entries:
            with archive.open(entry) as part:
                read = part.read(entry.file_size + 1)
            if len(read) > entry.file_size or _DECLARATION.search(read):
                raise BadFile(f"{name!r} is damaged: {entry.filename!r}.", "Save it again.")
            if entry in sheets:
                parts.append(read)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise BadFile(f"{name!r} is not an Excel workbook: {error}.", "Save it again.") from error
    return parts


def _sheet(name: str, sheet: Any, reading: Reading, known: Sequence[str]) -> Sheet:
    rows: list[list[Any]] = []
    lines: list[int] = []
    blank = width = 0
    sheet.reset_dimensions()  # the size stored in the file may be too small
    for line, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        values = [_value(cell) for cell in cells]
        while values and values[-1] == "":
            values.pop()
        if any(str(value).strip() for value in values):
            rows.append(values)
            lines.append(line)
            require_rows(name, len(rows))
            width = max(width, len(values))
            _require_cells(name, width * len(rows))
        else:
            blank += 1
    for row in rows:
        row.extend([""] * (width - len(row)))
    header = split_header(rows, reading.header, known)
    if header is not None:
        lines = lines[1:]
    named = "no header" if header is None else "a header"
    more = f", {blank:,} blank rows" if blank else ""
    words = f"Excel, sheet {sheet.title!r}, {named}, {len(rows):,} rows{more}"
    return Sheet(name, header, rows, lines, "row", words, (), "", sheet.title)


def _require_cells(name: str, count: int) -> None:
    """Refuse a sheet that is made too wide by a cell far to the right."""
    if count > limits.SHEET_CELLS:
        raise LimitExceeded(
            f"{name!r} has a sheet of more than {limits.SHEET_CELLS:,} cells, empty ones included.",
            "Remove what stands far to the right, or save it as .csv.",
        )


def _value(cell: Any) -> Any:
    """Return a cell as text or number; dates as ISO 8601, whole floats as integers."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, int | float | str):
        return cell
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        return cell.date().isoformat()
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def _without_value(content: bytes, sheets: Sequence[Sheet]) -> int:
    """Count the formulas without a stored result."""
    import openpyxl

    def cells(values: bool) -> Any:
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=values)
        for sheet in book.worksheets[: len(sheets)]:
            sheet.reset_dimensions()
            for row in sheet.iter_rows(values_only=True):
                yield from row

    pairs = zip(cells(True), cells(False), strict=False)
    return sum(value is None and formula is not None for value, formula in pairs)
