"""Excel workbooks (.xlsx), read by openpyxl: cell values and stored formula results."""

import datetime
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

from ... import limits
from ...errors import BadFile, GraftError, LimitExceeded
from ...text_safety import counted
from ..documents.document import CHARTS, IMAGES
from .table import Reading, Sheet, require_rows, split_header

_DECLARATION = re.compile(rb"<\0?!\0?D\0?O\0?C\0?T\0?Y\0?P\0?E")
_FORMULA, _MERGED = re.compile(rb"<f[ >/]"), re.compile(rb"<mergeCell ")
_ERROR = re.compile(r"#(?:N/A|DIV/0!|REF!|VALUE!|NAME\?|NUM!|NULL!|SPILL!|CALC!)|Err:\d+")
_ESCAPED = re.compile(r"_x([0-9A-F]{4})_")
_COUNTED = {  # parts that are left out, by what their names and contents match
    IMAGES: (re.compile(r"xl/media/"), None),
    CHARTS: (re.compile(r"xl/charts/chart\d"), None),
    "text boxes left out": (re.compile(r"xl/drawings/[^/]+xml$"), re.compile(rb"<(?:\w+:)?txBody")),
    "comments left out": (re.compile(r"xl/comments"), re.compile(rb"<comment ")),
    "hidden rows are read too": (
        re.compile(r"xl/worksheets/"),
        re.compile(rb"<row [^>]*hidden=\"(?:1|true)\""),
    ),
    "hidden columns are read too": (
        re.compile(r"xl/worksheets/"),
        re.compile(rb"<col [^>]*hidden=\"(?:1|true)\""),
    ),
}


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
    parts, notes = _measure(name, content)
    formulas = sum(len(_FORMULA.findall(part)) for part in parts)
    merged = sum(len(_MERGED.findall(part)) for part in parts)
    try:
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
        shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        sheets = [_sheet(name, sheet, reading, known) for sheet in shown]
        hidden = [repr(sheet.title) for sheet in book.worksheets if sheet not in shown]
        without = _without_value(content, sheets) if formulas else 0
    except (GraftError, MemoryError):
        raise
    except Exception as error:  # openpyxl raises almost any exception on damaged files
        raise BadFile(
            f"{name!r} is not an Excel workbook that can be read: {error}.", "Save it again."
        ) from error
    if hidden:
        notes.append(f"{counted(len(hidden), 'hidden sheet')} left out: {', '.join(hidden)}")
    if without:
        notes.append(
            f"{without:,} formulas have no stored value and are read as empty; open and save the "
            "workbook in a spreadsheet program first"
        )
    if merged:
        notes.append(f"{merged:,} merged ranges: only the first cell of each has the value")
    return [
        replace(one, notes=(*one.notes, *notes)) if number == 0 else one
        for number, one in enumerate(sheets)
    ]


def _measure(name: str, content: bytes) -> tuple[list[bytes], list[str]]:
    """Return the XML of the sheets, and notes on other parts, after checking the limits."""
    try:
        archive = zipfile.ZipFile(BytesIO(content))
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > limits.ZIP_ENTRIES or unpacked > limits.ZIP_UNPACKED:
            raise LimitExceeded(
                f"{name!r} unpacks to {unpacked:,} bytes in {counted(len(entries), 'part')}; at "
                f"most {limits.ZIP_UNPACKED:,} in {limits.ZIP_ENTRIES:,} are read.",
                "Save it as .csv.",
            )
        sheets = [entry for entry in entries if entry.filename.startswith("xl/worksheets/")]
        parts = []
        counts = Counter[str]()
        for entry in entries:
            with archive.open(entry) as part:
                read = part.read(entry.file_size + 1)
            if len(read) > entry.file_size or _DECLARATION.search(read):
                raise BadFile(f"{name!r} is damaged: {entry.filename!r}.", "Save it again.")
            for what, (named, found) in _COUNTED.items():
                if named.match(entry.filename):
                    counts[what] += 1 if found is None else len(found.findall(read))
            if entry in sheets:
                parts.append(read)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise BadFile(f"{name!r} is not an Excel workbook: {error}.", "Save it again.") from error
    return parts, [f"{what}: {count:,}" for what, count in counts.items() if count]


def _sheet(name: str, sheet: Any, reading: Reading, known: Sequence[str]) -> Sheet:
    rows: list[list[Any]] = []
    lines: list[int] = []
    blank = width = 0
    errors = Counter[str]()
    sheet.reset_dimensions()  # the size stored in the file may be too small
    for line, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        values = [_value(cell, errors) for cell in cells]
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
    header, above = split_header(rows, lines, reading.header, known)
    notes = [*above]
    if errors.total():
        shown = ", ".join(f"{word} ({count:,})" for word, count in errors.most_common())
        notes.append(f"cells with an error are read as empty: {shown}")
    named = "no header" if header is None else "a header"
    more = f", {counted(blank, 'blank row')}" if blank else ""
    words = f"Excel, sheet {sheet.title!r}, {named}, {counted(len(rows), 'row')}{more}"
    return Sheet(name, header, rows, lines, "row", words, tuple(notes), "", sheet.title)


def _require_cells(name: str, count: int) -> None:
    if count > limits.SHEET_CELLS:
        raise LimitExceeded(
            f"{name!r} has a sheet of more than {limits.SHEET_CELLS:,} cells, empty ones included.",
            "Remove what stands far to the right, or save it as .csv.",
        )


def _value(cell: Any, errors: Counter[str]) -> Any:
    """Return a cell as text or number; dates as ISO 8601, whole floats as integers."""
    if cell is None or (isinstance(cell, str) and _ERROR.fullmatch(cell)):
        errors.update([cell] if cell else [])
        return ""
    if isinstance(cell, str):
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), cell)
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int | float):
        return int(cell) if cell == cell // 1 and abs(cell) < 2**53 else cell
    if isinstance(cell, datetime.datetime) and cell.time() == datetime.time():
        cell = cell.date()
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def _without_value(content: bytes, sheets: Sequence[Sheet]) -> int:
    import openpyxl

    def cells(values: bool) -> Any:
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=values)
        for sheet in book.worksheets[: len(sheets)]:
            sheet.reset_dimensions()
            for row in sheet.iter_rows(values_only=True):
                yield from row

    pairs = zip(cells(True), cells(False), strict=False)
    return sum(value is None and formula is not None for value, formula in pairs)
