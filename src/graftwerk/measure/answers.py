"""Figures of an answer against reference answers, by the rules of SQuAD (arXiv 1606.05250)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

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
