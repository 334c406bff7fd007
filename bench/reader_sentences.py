"""Questions whose answering sentence is known, not the words in it: SelQA and ConditionalQA.

Files are recognized by their form: JSON lists of SelQA (candidate sentences of a section) or of
ConditionalQA (evidence on public services).
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPORTED = {"Doctor Who"}  # an article of XQuAD
EVIDENCE = 2  # most sentences of one answer


@dataclass(frozen=True)
class Known:
    """A question with its answer in a whole text; `loose`: somewhere in the span."""

    question: str
    title: str
    text: str
    sentences: tuple[tuple[int, int], ...]
    span: tuple[int, int]
    document: str
    loose: bool = False


@cache
def read_sentences(file: Path) -> list[Known]:
    """Read one file."""
    rows = json.loads(file.read_text("utf-8"))
    return list(_selqa(rows) if "candidates" in rows[0] else _conditional(rows))


def _known(
    question: str, title: str, sentences: Sequence[str], right: range, document: str
) -> Known:
    bounds, first = [], 0
    for sentence in sentences:
        bounds.append((first, first + len(sentence)))
        first += len(sentence) + 1
    span = (bounds[right[0]][0], bounds[right[-1]][1])
    return Known(question, title, " ".join(sentences), tuple(bounds), span, document, loose=True)


def _selqa(rows: list[dict]) -> Iterator[Known]:
    for row in rows:
        right = range(min(row["answers"]), max(row["answers"]) + 1)
        if row["article"] in REPORTED or sorted(row["answers"]) != list(right):
            continue
        title = f"{row['article']}, {row['section']}"
        yield _known(row["question"], title, row["candidates"], right, row["article"])


def _conditional(rows: list[dict]) -> Iterator[Known]:
    """The passages are sentences that answer other questions about the same page, shuffled."""
    pages: dict[str, dict[str, None]] = {}
    for row in rows:
        pages.setdefault(row["url"], {}).update(dict.fromkeys(map(_text, row["evidences"])))
    for row in rows:
        own = [_text(one) for one in row["evidences"]]
        if not 0 < len(own) <= EVIDENCE or row["not_answerable"]:
            continue
        others = [one for one in pages[row["url"]] if one not in own]
        random.Random(row["id"]).shuffle(others)
        before = len(others) // 2
        sentences = [*others[:before], *own, *others[before:]]
        title = row["url"].rsplit("/", 1)[-1].replace("-", " ")
        right = range(before, before + len(own))
        yield _known(row["question"], title, sentences, right, title)


def _text(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())
