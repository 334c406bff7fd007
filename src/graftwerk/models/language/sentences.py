"""Sentences and words of a text, by plain rules.

Where sentences end: linear time, made for prose, lists and small tables.

A sentence ends at `.`, `!`, `?` or `…` with its closing quotes where white space follows (or at
once, in scripts without spaces), unless the word before is an abbreviation or the next one goes on
in lower case. It also ends at a blank line, before a list item, table row or heading, and after a
short line that the next one does not continue, and a row of a table. Rough on purpose: a missed
end costs little.

Words as evidence: content words by their stem, numbers, negations.

Rough on purpose: these support a cosine, they do not replace it. The lists are English; in other
languages every word counts as a content word.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

# ruff: noqa: RUF001, SIM905  punctuation of other scripts; word lists


_END = re.compile(r"[.!?…]++[\"'”’»)\]*_]*+|[。！？]++[”’」』）]*+")
_LINE_END = re.compile(r"\r\n|\r|\n")
# a line that starts something new
_ITEM = re.compile(r"[ \t]{0,20}(?:[-*+•·‣◦–][ \t]|\(?\d{1,3}[.)][ \t]|[a-z]\)[ \t]|\||#{1,6} |>)")
_HEADING = re.compile(r"[ \t]{0,20}#{1,6} ")
_ENUMERATOR = re.compile(r"[ \t]{0,20}(?:[-*+•·‣◦–>][ \t]{1,4})?\(?\d{1,3}\.$")
LABEL = re.compile(r"[^\s:|][^\n:|]{0,39}:[ \t]")
_FIRST_WORD = re.compile(r"[\"'“‘«(\[*_]{0,3}(\w{1,30})")
_FIGURE = re.compile(r"[-–+(]?[$€£]?\d[\d.,:/-]*[)%]?|[-–—]")
_UNIT = re.compile(r"[$€£%]|[A-Z]{3}|[kmc]?[gm]")
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
    """Return the spans of the sentences of `text`, in order, without surrounding white space.

    They do not overlap, and every character that is not white space is in one of them.
    """
    ends = [m.end() for m in _END.finditer(text) if _ends_sentence(text, m.start(), m.end())]
    cuts = sorted({*_line_cuts(text), *ends, len(text)})
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


def _ends_sentence(text: str, start: int, end: int) -> bool:
    if text[start] in "。！？":
        return True
    if end < len(text) and not text[end].isspace():
        return False
    following = text[end : end + 64].lstrip()
    word = _FIRST_WORD.match(following)
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
    """Return the ends of lines that the next line does not continue."""
    ends = [(found.start(), found.end()) for found in _LINE_END.finditer(text)]
    begins = [0, *(end for _, end in ends)]
    lines = [text[begin:end] for begin, (end, _) in zip(begins, ends, strict=False)]
    figures = [_ends_in_figure(line) for line in (*lines, text[begins[-1] :])]
    # two lines in a row that end in figures are rows of a table whose columns are lost, as in PDF
    rows = [a and b for a, b in pairwise(figures)] + [False, False]
    return [
        end
        for n, (line, (_, end)) in enumerate(zip(lines, ends, strict=True))
        if rows[n - 1 if n else -1]
        or rows[n]
        or rows[n + 1]  # the line above is its header
        or not line.strip()
        or _starts_again(line, text[end : end + 64])
    ]


def _ends_in_figure(line: str) -> bool:
    words = line[-_LOOK_BACK:].split()
    while words and _UNIT.fullmatch(words[-1]):
        words.pop()
    return bool(words) and _FIGURE.fullmatch(words[-1]) is not None


def _starts_again(line: str, following: str) -> bool:
    first = following.lstrip(" \t")[:1]
    if first in ("", "\n", "\r") or _ITEM.match(following):
        return True
    if _HEADING.match(line) or " | " in line:  # a table's row is one line, as a heading is
        return True
    if LABEL.match(line) and LABEL.match(following):
        return True
    return len(line) < _SHORT_LINE and (first.isupper() or first.isdigit())


# ruff: noqa: RUF001, SIM905  apostrophes; word lists


_WORD = re.compile(r"\w+(?:['’]\w+)*", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_FUNCTION_WORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each few for from further
    get had has have having he her here hers him his how i if in into is it its itself just may me
    might more most must my of off on once only or other our ours out over own same shall she
    should so some such than that the their theirs them then there these they this those through
    to too under until up us very was we were what when where which while who whom whose why will
    with would yes you your yours name called happen happens""".split()
)
_AUXILIARIES = frozenset(
    "ca do does did wo is are was were should must has have had would could might need".split()
)
_NEGATIONS = frozenset(
    """no not never none nobody nothing nowhere neither nor without cannot prohibited forbidden
    banned disallowed unable""".split()
)
NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
        fifteen sixteen seventeen eighteen nineteen twenty""".split()
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"}
# Forms that no ending tells apart, by the plain verb.
_IRREGULAR = {
    form: forms[0]
    for line in """
        become became; begin began begun; break broke broken; bring brought; build built;
        buy bought; catch caught; choose chose chosen; come came; cost; draw drew drawn;
        drive drove driven; eat ate eaten; fall fell fallen; feel felt; find found; fly flew flown;
        forget forgot forgotten; give gave given; go went gone; grow grew grown; hold held;
        keep kept; know knew known; lead led; leave left; lend lent; lose lost; make made;
        mean meant; meet met; pay paid; rise rose risen; run ran; say said; see saw seen;
        sell sold; send sent; show showed shown; sleep slept; speak spoke spoken; spend spent;
        stand stood; steal stole stolen; take took taken; train trained; tell told;
        think thought; understand understood; wear wore worn; win won; write wrote written
    """.split(";")
    for forms in [line.split()]
    for form in forms
}
_SUFFIXES = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ied", "es", "ed", "ly", "s")


# Chinese characters, katakana, Thai, Lao, Khmer, Burmese; hiragana is mostly grammar
_UNSPACED = re.compile(
    "[\u3400-\u9fff\uf900-\ufaff]+|[\u30a1-\u30ff]+|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+"
)
_HIRAGANA = re.compile("[\u3040-\u309f]+")
_ASKED = frozenset(
    "什么 甚麼 怎么 怎麼 哪里 哪裡 多少 几点 幾點 何時 何処 誰 何 谁 是 在 的 吗 嗎 有".split()
)
# a word divided at the ends of lines; its parts may be words too
DIVIDED = re.compile(
    r"(?<![^\W\d_])[^\W\d_]++(?:[-\u2010\xad][^\S\r\n]*(?:\r\n|\r|\n)[^\S\r\n]*[^\W\d_]+)+"
)
_HYPHEN = re.compile(r"[-\u2010\xad]\s+")


def joined(divided: re.Match[str]) -> str:
    """Return the whole word of a match of `DIVIDED`."""
    return _HYPHEN.sub("", divided[0])


def split_words(text: str) -> list[str]:
    """Return the words of `text` in lower case, without apostrophes."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word.replace("'", "").replace("’", "") for word in _WORD.findall(folded)]


# Full-text search does not use these stems: SQLite's own Porter stemmer makes those of an index.
# The answerability threshold and the citations do, in calibrations that users keep with an index.
# With the Snowball stemmer, on 590 XQuAD questions of articles not fitted on: AUC .960 for .961
# here, .908 answered for .907; with the irregular forms above too .960 and .902. It takes 20 times
# as long a word and every kept calibration would be stale, so it is not used.
def stem(word: str) -> str:
    """Strip the most common English endings: `policies` and `policy` give one stem.

    >>> stem("lost") == stem("lose"), stem("policies") == stem("policy")
    (True, True)
    """
    word = _IRREGULAR.get(word, word)
    if word.isascii() and word.isalpha():
        for suffix in _SUFFIXES:
            if word.endswith(suffix) and len(word) - len(suffix) >= 3:
                word = word[: -len(suffix)]
                break
        if len(word) > 3 and word[-1] in "eiy":
            word = word[:-1]
    return word


def _parts(word: str) -> list[str]:
    """Return a word, or pairs of letters, which stand for words in scripts without spaces."""
    runs = _UNSPACED.findall(word)
    rest = _HIRAGANA.sub(" ", _UNSPACED.sub(" ", word)).split()
    pairs = [run[n : n + 2] for run in runs for n in range(max(1, len(run) - 1))]
    return [*pairs, *rest] or [word]


def content_stems(text: str) -> frozenset[str]:
    """Return the stems of the content words of `text`; for divided words also of the whole."""
    if "\n" in text:
        text = DIVIDED.sub(lambda found: f"{found[0]} {joined(found)}", text)
    return frozenset(
        stem(word)
        for whole in split_words(text)
        for word in ([whole] if whole.isascii() else _parts(whole))
        if word not in _FUNCTION_WORDS and word not in _NEGATIONS and word not in _ASKED
    )


def numbers(text: str) -> frozenset[str]:
    """Return the numbers in `text` as digits without thousands separators: `three` gives `3`."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    written = {re.sub(r",(?=\d{3}\b)", "", found) for found in _NUMBER.findall(folded)}
    return frozenset(written | {NUMBER_WORDS[w] for w in split_words(text) if w in NUMBER_WORDS})


def is_negated(text: str) -> bool:
    """Whether `text` contains a negation: `not`, `never`, `n't`, `forbidden` and the like."""
    return any(
        word in _NEGATIONS or (word.endswith("nt") and word[:-2] in _AUXILIARIES)
        for word in split_words(text)
    )


def rarity(groups: Iterable[frozenset[str]]) -> dict[str, float]:
    """Return the inverse document frequency of every stem: log(1 + n / count), n groups."""
    listed = list(groups)
    counts = Counter(word for group in listed for word in group)
    return {word: math.log1p(len(listed) / count) for word, count in counts.items()}


def covered(requested: frozenset[str], found: frozenset[str], weights: dict[str, float]) -> float:
    """Return the share of `requested` in `found`, 0 to 1; unknown words weigh as the rarest."""
    unknown = max(weights.values(), default=1.0)
    total = sum(weights.get(word, unknown) for word in requested)
    return sum(weights.get(word, unknown) for word in requested & found) / total if total else 0.0
