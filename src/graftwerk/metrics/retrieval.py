"""How well cosines order pairs of texts the way people do.

Figures of an answer against reference answers, by the rules of SQuAD (arXiv 1606.05250).

Figures of a search, from the rank of the one right document of each question.
"""

import csv
import math
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from .. import limits
from ..errors import BadFile, BadInput
from .results import RetrievalFigures

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> list[str]:
    """Words in lower case, without ASCII punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Whether the answer equals a reference."""
    return any(normalise(answer) == normalise(reference) for reference in references)


def contains_answer(answer: str, references: Sequence[str]) -> bool:
    """Whether the words of a reference stand in the answer, in their order."""
    words = f" {' '.join(normalise(answer))} "
    return any(f" {' '.join(normalise(reference))} " in words for reference in references)


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Best harmonic mean of precision and recall of words over the references, 0 to 1."""
    return max(
        (_f1(normalise(answer), normalise(reference)) for reference in references), default=0
    )


def _f1(answer: list[str], reference: list[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference))


def retrieval_figures(ranks: Sequence[int | None]) -> RetrievalFigures:
    """Recall, mean reciprocal rank and normalised discounted cumulative gain.

    Args:
        ranks: rank of the right document, from 1, for each question; None where it was not found.
    """
    found = [rank for rank in ranks if rank is not None]
    total = max(len(ranks), 1)

    def recall(depth: int) -> float:
        return sum(rank <= depth for rank in found) / total

    return RetrievalFigures(
        recall_at_1=recall(1),
        recall_at_5=recall(5),
        recall_at_10=recall(10),
        mrr=math.fsum(1 / rank for rank in found) / total,
        # with one right document the ideal gain is 1
        ndcg_at_10=math.fsum(1 / math.log2(rank + 1) for rank in found if rank <= 10) / total,
    )


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
