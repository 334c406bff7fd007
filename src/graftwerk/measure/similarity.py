"""How well cosines order pairs of texts the way people do."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .. import limits
from ..errors import BadFile, BadInput


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts and how similar people find them."""

    first: str
    second: str
    score: float


def read_pairs(path: Path) -> list[Pair]:
    """Read a CSV file of text, text, score; a first line without a number is a header.

    Raises:
        BadFile: the file is missing or not UTF-8, or a line is malformed; the line is named.
        LimitExceeded: the file is too large.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name a CSV file of text, text, score.")
    limits.require_file_size(path, limits.TEXT_FILE, "CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            pairs = list(_parse(path, csv.reader(file, strict=True)))
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error.reason}.", "Save it as UTF-8.") from error
    except csv.Error as error:
        raise BadFile(f"{path} is not CSV: {error}.", "Check its quotes.") from error
    if len(pairs) < 2:
        raise BadFile(f"{path} holds {len(pairs)} pairs.", "At least 2 are needed.")
    return pairs


def _parse(path: Path, rows: Iterator[list[str]]) -> Iterator[Pair]:
    line = 1  # where the row starts; a quoted text may hold line ends
    for row in rows:
        if row:
            pair = _parse_row(path, row, line)
            if pair is not None:
                yield pair
        line = rows.line_num + 1  # type: ignore[attr-defined]


def _parse_row(path: Path, row: list[str], line: int) -> Pair | None:
    if len(row) != 3:
        raise BadFile(
            f"line {line} of {path} has {len(row)} columns.", "Each needs 3: text, text, score."
        )
    try:
        score = float(row[2])
    except ValueError:
        if line == 1:  # a header
            return None
        raise BadFile(
            f"line {line} of {path} has the score {row[2][:40]!r}.", "A score is a number."
        ) from None
    if not math.isfinite(score):
        raise BadFile(f"line {line} of {path} has the score {row[2]!r}.", "It must be finite.")
    return Pair(row[0], row[1], score)


def correlations(
    cosines: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> tuple[float, float]:
    """Spearman's and Pearson's correlation of cosines and scores, each -1 to 1.

    Raises:
        BadInput: one side is constant, so that there is no order to compare.
    """
    from scipy.stats import pearsonr, spearmanr

    for values, name in ((scores, "scores"), (cosines, "cosines")):
        if np.ptp(values) == 0:
            raise BadInput(f"all {name} are {values[0]:g}.", "There is no order to compare.")
    return (
        float(spearmanr(cosines, scores).statistic),
        float(pearsonr(cosines, scores).statistic),
    )
