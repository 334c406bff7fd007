# ruff: noqa: RUF001, SIM905  punctuation of other scripts; word lists
"""Where sentences end: plain rules, linear time, made for prose, lists and small tables.

A sentence ends at `.`, `!`, `?` or `…` with its closing quotes where white space follows (or at
once, in scripts without spaces), unless the word before is an abbreviation or the next one goes on
in lower case. It also ends at a blank line, before a list item, table row or heading, and after a
short line that the next one does not continue. Rough on purpose: a missed end costs little.
"""

import re

_END = re.compile(r"[.!?…]++[\"'”’»)\]*_]*+|[。！？]++[”’」』）]*+")
_LINE_END = re.compile(r"\r\n|\r|\n")
# a line that starts something new
_ITEM = re.compile(r"[ \t]{0,20}(?:[-*+•·‣◦–][ \t]|\(?\d{1,3}[.)][ \t]|[a-z]\)[ \t]|\||#{1,6} |>)")
_HEADING = re.compile(r"[ \t]{0,20}#{1,6} ")
_ENUMERATOR = re.compile(r"[ \t]{0,20}(?:[-*+•·‣◦–>][ \t]{1,4})?\(?\d{1,3}\.$")
_LABEL = re.compile(r"[^\s:|][^\n:|]{0,39}:[ \t]")
_WORD = re.compile(r"[\"'“‘«(\[*_]{0,3}(\w{1,30})")
_LOOK_BACK = 30  # characters; no abbreviation is longer
_SHORT_LINE = 40  # characters; prose is wrapped later than this

# a sentence never ends here
_TITLES = frozenset(
    "mr mrs ms mx dr prof rev hon st sr jr gen col lt capt sgt gov sen rep vs".split()
)
_LEADING = frozenset("e.g i.e cf viz approx ca esp incl resp bzw z.b d.h evtl vgl".split())
# only where a number follows
_COUNTED = frozenset("no nr nos fig figs p pp vol vols ch sec art eq ed par para ref abs".split())
# only where the next word does not look like the start of a sentence
_TRAILING = frozenset(
    """etc inc ltd co corp llc bros dept univ assn est al a.m p.m jan feb mar apr jun jul aug sep
    sept oct nov dec mon tue tues wed thu thur thurs fri sat sun u.s u.k u.n e.u d.c ph.d m.d b.a
    m.a b.c a.d ave blvd rd mt ft""".split()
)
_STARTERS = frozenset(
    """a after all an and another any as at because before but by each every for from he her here
    his how however i if in it its many most my no not of on one other our she since so some such
    that the their then there these they this those to today under we what when where which while
    who with you your""".split()
)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of `text`, in order, without the white space around them.

    They do not overlap, and every character that is not white space is in one of them.
    """
    cuts = sorted({*_line_cuts(text), *_punctuation_cuts(text), len(text)})
    spans = []
    begin = 0
    for cut in cuts:
        piece = text[begin:cut]
        start = begin + len(piece) - len(piece.lstrip())
        end = begin + len(piece.rstrip())
        if start < end:
            spans.append((start, end))
        begin = cut
    return spans


def _punctuation_cuts(text: str) -> list[int]:
    return [m.end() for m in _END.finditer(text) if _ends_sentence(text, m.start(), m.end())]


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """Whether the punctuation `start:end` ends a sentence."""
    if text[start] in "。！？":
        return True
    if end < len(text) and not text[end].isspace():
        return False
    following = text[end : end + 64].lstrip()
    word = _WORD.match(following)
    following_word = word.group(1) if word else ""
    if following_word[:1].islower():
        return False
    if text[start:end] != ".":
        return True
    before = text[max(0, start - _LOOK_BACK) : start].rsplit(maxsplit=1)
    if not before or text[start - 1].isspace():
        return True
    return not _is_abbreviation(before[-1], following_word) and not _is_enumerator(text, start)


def _is_abbreviation(token: str, following: str) -> bool:
    """Whether `token`, which stands before a full stop, is short for something that goes on."""
    bare = token.lstrip("\"'“‘«([*_-–—/")
    folded = bare.lower()
    starts = following.lower() in _STARTERS
    if folded in _TITLES or folded in _LEADING:
        return True
    if len(bare) == 1 and bare.isupper():  # an initial: J. Smith
        return not starts and following[:1].isupper()
    if folded in _COUNTED:
        return following[:1].isdigit()
    dotted = "." in bare and all(len(part) == 1 for part in bare.split("."))
    return (folded in _TRAILING or dotted) and not starts


def _is_enumerator(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` belongs to the number of a list item."""
    window = text[max(0, stop - _LOOK_BACK) : stop + 1]
    line = _LINE_END.split(window)[-1]
    whole = len(line) < len(window) or stop < _LOOK_BACK
    return whole and _ENUMERATOR.match(line) is not None


def _line_cuts(text: str) -> list[int]:
    """Ends of lines that the next line does not continue."""
    cuts = []
    begin = 0
    for line_end in _LINE_END.finditer(text):
        line = text[begin : line_end.start()]
        following = text[line_end.end() : line_end.end() + 64]
        if not line.strip() or _starts_anew(line, following):
            cuts.append(line_end.end())
        begin = line_end.end()
    return cuts


def _starts_anew(line: str, following: str) -> bool:
    first = following.lstrip(" \t")[:1]
    if first in ("", "\n", "\r") or _ITEM.match(following):
        return True
    if _HEADING.match(line) or " | " in line:  # a table's row is one line, as a heading is
        return True
    if _LABEL.match(line) and _LABEL.match(following):
        return True
    return len(line) < _SHORT_LINE and (first.isupper() or first.isdigit())
