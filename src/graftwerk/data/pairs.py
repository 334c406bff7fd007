"""Pairs of texts with a score, as people judged their similarity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import BadFile
from .raw import read_bytes
from .tables import AS_FOUND, Reading, Sheet, is_number, read_sheets, read_table
from .tables.numbers import find_format, read_number


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts and how similar people find them."""

    first: str
    second: str
    score: float


def read_pairs(path: Path, reading: Reading = AS_FOUND) -> list[Pair]:
    """Read a table of text, text, score, with or without a header.

    Raises:
        BadFile: the file is missing or cannot be decoded, or a row is malformed; it is named.
        LimitExceeded: the file is too large.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name a CSV file of text, text, score.")
    limits.require_file_size(path, limits.TEXT_FILE, "CSV file")
    if path.suffix.lower() in {".jsonl", ".json", ".parquet"}:
        table = read_table(path, reading)
        rows = list(zip(*map(table.numbers, table.columns), strict=True))
        pairs = [
            _pair(path, row, place) for row, place in zip(rows, table.places, strict=True)
        ]
    else:
        sheet = read_sheets(path.name, read_bytes(str(path), limits.TEXT_FILE), reading)[0]
        mark = reading.decimal or _decimal([row[2] for row in sheet.rows if len(row) == 3], sheet)
        pairs = [
            _pair(path, [*row[:2], *(read_number(cell, mark) for cell in row[2:])], place)
            for row, place in zip(
                sheet.rows, (f"{sheet.unit} {line}" for line in sheet.lines), strict=True
            )
        ]
    if len(pairs) < 2:
        raise BadFile(f"{path} holds {len(pairs)} pairs.", "At least 2 are needed.")
    return pairs


def _decimal(scores: Sequence[Any], sheet: Sheet) -> str:
    found = find_format(scores, sheet.separator)
    return found.decimal if found else "."


def _pair(path: Path, row: Sequence[Any], place: str) -> Pair:
    if len(row) != 3:
        raise BadFile(
            f"{place} of {path} has {len(row)} columns.", "Each needs 3: text, text, score."
        )
    if not is_number(row[2]):
        raise BadFile(
            f"{place} of {path} has the score {str(row[2])[:40]!r}.", "A score is a number."
        )
    score = float(row[2])
    if not math.isfinite(score):
        raise BadFile(f"{place} of {path} has the score {row[2]!r}.", "It must be finite.")
    return Pair(str(row[0]), str(row[1]), score)
