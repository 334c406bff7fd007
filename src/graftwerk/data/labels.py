"""Normalization of label names: one name per label in any spelling, with notes of merges.

A name is in Unicode's composed form (NFC), without spaces at its ends and with single ones inside.
If all labels are whole numbers, `1`, `1.0` and `+1` are the same label.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput, few
from ..text_safety import counted
from .tables import is_missing

_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.0*)?")  # 007 is a code, not a number
# missing values in data frames and spreadsheets; `none` is too often a class
_MISSING = {
    *("NA", "N/A", "n/a", "na", "N.A.", "n.a.", "#N/A", "#NA", "<NA>", "NULL", "null", "Null"),
    *("None", "NONE", "nil", "NIL", "NaT", "\\N", ".", "-", "--", "\u2013", "\u2014", "?"),
}
_SHOWN = 4
_LIST = re.compile(
    r"""\s*(?:\[(?P<square>.*)\]|\((?P<round>.*)\)|\{(?P<curly>.*)\}|set\(\))\s*""", re.DOTALL
)
_PART = re.compile(
    r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^,"'\s][^,"']*))
    \s*(?:,|(?=\s["'])|$)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SEPARATORS = "|;,"  # a file is split at the first of these found in any of its cells


@dataclass(frozen=True, slots=True)
class Names:
    """Normalized labels.

    Attributes:
        rows: the names of each row; one for a row with a single label.
        notes: what was merged or split, with counts.
    """

    rows: Sequence[Sequence[str]]
    notes: tuple[str, ...] = ()


def label_text(value: Any) -> str:
    """Return the name of a class as fits store it; whole floats are written without .0."""
    if isinstance(value, list | tuple):
        return " + ".join(sorted(map(label_text, value)))
    number = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if number else str(value)
    return " ".join(unicodedata.normalize("NFC", text).split())


def whole_number(name: str) -> str:
    """Return a whole number without plus sign and decimals; other names are unchanged."""
    if not _WHOLE.fullmatch(name):
        return name
    digits = name.partition(".")[0].removeprefix("+")
    return "0" if digits == "-0" else digits


def name_labels(source: str, values: Sequence[Any], several: bool) -> Names:
    """Return the normalized names of the labels to learn.

    Args:
        source: of the labels, for messages.
        values: of the column.
        several: whether each value holds any number of labels.
    """
    notes: list[str] = []
    if several:
        parts, notes = _split(source, values)
    else:
        parts = [[value] for value in values]
    rows = [[label_text(part) for part in row] for row in parts]
    if all(_WHOLE.fullmatch(name) for row in rows for name in row):
        rows = [[whole_number(name) for name in row] for row in rows]
    notes += _respelled(source, parts, rows) + _alike(source, rows)
    if not several:
        notes += _joined(source, rows)
    return Names(_without_copies(rows), tuple(notes))


def match_labels(source: str, values: Sequence[Any], several: bool, known: Sequence[str]) -> Names:
    """Return the names of labels of other data, matched to the known labels."""
    whole = all(map(_WHOLE.fullmatch, known))
    location = {_key(name, whole): name for name in known}
    parts, notes = _split(source, values, known) if several else ([[v] for v in values], [])
    rows = [[label_text(part) for part in row] for row in parts]
    found = [[location.get(_key(name, whole), name) for name in row] for row in rows]
    notes += _respelled(source, parts, found)
    return Names(_without_copies(found), tuple(notes))


def _without_copies(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(dict.fromkeys(name for name in row if name)) for row in rows]


def _key(name: str, whole: bool) -> str:
    text = label_text(name)
    if text.lower() in {"true", "false"}:  # True in Python and R, true in JSON and Excel
        return text.lower()
    return whole_number(text) if whole else text


def require_predicted(source: str, column: str, values: Iterable[Any]) -> None:
    """Refuse labels that may stand for a missing label, until the user decides about them.

    Raises:
        BadInput: there are some; each spelling is counted.
    """
    counts = Counter(str(value).strip() for value in values if stands_for_none(value))
    if not counts:
        return
    shown = few([f"{word!r} ({count:,} times)" for word, count in counts.most_common()], _SHOWN)
    raise BadInput(
        f"the column {column} of {source} holds {shown}, which may stand for no label.",
        "Say which with --missing: drop leaves these rows out, learn takes them as classes.",
    )


def stands_for_none(value: Any) -> bool:
    """Whether a label is a word for a missing value: NA, null, a dash."""
    return isinstance(value, str) and not is_missing(value) and value.strip() in _MISSING


def looks_like_lists(values: Sequence[Any]) -> bool:
    """Whether every label is the text of a list of quoted names, as in JSON or Python."""
    texts = [value for value in values if isinstance(value, str)]
    return len(texts) == len(values) > 0 and all(
        text.lstrip().startswith("[") and as_list(text) is not None for text in texts
    )


def as_list(text: str) -> list[str] | None:
    """Return the items of a list as JSON, Python or NumPy write it; None for other texts."""
    found = _LIST.fullmatch(text)
    if found is None:
        return None
    body = next((part for part in found.groups() if part is not None), "").strip()
    parts = []
    location = 0
    while location < len(body):
        part = _PART.match(body, location)
        if part is None:
            return None
        quoted = part["double"] if part["double"] is not None else part["single"]
        parts.append((part["bare"] or "").strip() if quoted is None else _unescape(quoted))
        location = part.end()
    return parts


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)


def _split(
    source: str, values: Sequence[Any], known: Sequence[str] = ()
) -> tuple[list[list[Any]], list[str]]:
    """Return the labels of each cell, and notes on how many cells were split and at what."""
    rows: list[list[Any] | None] = []
    texts = []
    lists = 0
    for value in values:
        if isinstance(value, list | tuple):
            rows.append(list(value))
            continue
        parts = as_list(value) if isinstance(value, str) else None
        lists += parts is not None
        rows.append(parts)
        if parts is None:
            texts.append(str(value))
    whole = {label_text(name) for name in known}
    separator = next((s for s in _SEPARATORS if any(s in text for text in texts)), None)
    cut = 0
    found: list[list[Any]] = []
    for value, row in zip(values, rows, strict=True):
        if row is not None:
            found.append(row)
        elif separator is None or label_text(value) in whole:
            found.append([value])
        else:
            parts = [one.strip() for one in str(value).split(separator) if one.strip()]
            cut += len(parts) > 1
            found.append(parts)
    notes = []
    if lists:
        notes.append(
            f"{source}: {counted(lists, 'label is', 'labels are')} written as lists and read as "
            "their parts"
        )
    if cut:
        notes.append(
            f"{source}: {counted(cut, 'label is', 'labels are')} split at {separator!r} into "
            "several"
        )
    return found, notes


def _respelled(
    source: str, parts: Sequence[Sequence[Any]], rows: Sequence[Sequence[str]]
) -> list[str]:
    spellings: dict[str, Counter[str]] = {}
    for given, named in zip(parts, rows, strict=True):
        for value, name in zip(given, named, strict=True):
            if str(value) != name:
                spellings.setdefault(name, Counter())[str(value)] += 1
    if not spellings:
        return []
    total = sum(found.total() for found in spellings.values())
    shown = "; ".join(
        f"{name!r} is written {', '.join(f'{_visible(t)} ({n:,})' for t, n in found.most_common())}"
        for name, found in list(spellings.items())[:_SHOWN]
    )
    more = (
        f"; and {counted(len(spellings) - _SHOWN, 'more label')}" if len(spellings) > _SHOWN else ""
    )
    return [
        f"{source}: {counted(total, 'label has', 'labels have')} another spelling than they are "
        f"given: {shown}{more}"
    ]


def _joined(source: str, rows: Sequence[Sequence[str]]) -> list[str]:
    names = [name for row in rows for name in row]
    for separator in _SEPARATORS:
        held = [name for name in names if separator in name]
        if len(held) * 2 < len(names):
            continue
        parts = Counter(part.strip() for name in set(names) for part in name.split(separator))
        if max(parts.values()) > 1:
            return [
                f"{source}: {counted(len(held), 'label holds', 'labels hold')} {separator!r} and "
                "are read as one class each; --task labels reads several"
            ]
    return []


def _visible(text: str) -> str:
    """Quote a spelling; one that looks like another is shown by its code points."""
    return repr(text) if text == unicodedata.normalize("NFC", text) else ascii(text)


def _alike(source: str, rows: Sequence[Sequence[str]]) -> list[str]:
    by_fold: dict[str, set[str]] = {}
    for row in rows:
        for name in row:
            by_fold.setdefault(name.casefold(), set()).add(name)
    groups = [sorted(names) for names in by_fold.values() if len(names) > 1]
    if not groups:
        return []
    shown = "; ".join(" and ".join(map(repr, names)) for names in groups[:_SHOWN])
    return [f"{source}: labels that differ in case alone stay different: {shown}"]
