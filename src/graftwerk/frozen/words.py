# ruff: noqa: RUF001, SIM905  apostrophes; word lists
"""Words as evidence: content words by their stem, numbers, negations.

Rough on purpose: these support a cosine, they do not replace it. The lists are English; in other
languages every word counts as a content word.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

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
_NUMBER_WORDS = {
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
        stand stood; steal stole stolen; take took taken; teach taught; tell told;
        think thought; understand understood; wear wore worn; win won; write wrote written
    """.split(";")
    for forms in [line.split()]
    for form in forms
}
_SUFFIXES = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ied", "es", "ed", "ly", "s")


def split_words(text: str) -> list[str]:
    """Words of `text` in lower case, apostrophes left out."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word.replace("'", "").replace("’", "") for word in _WORD.findall(folded)]


def stem(word: str) -> str:
    """A word without its commonest English endings: `policies` and `policy` give one stem.

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


def content_stems(text: str) -> frozenset[str]:
    """Stems of the words of `text` that carry meaning."""
    return frozenset(
        stem(word)
        for word in split_words(text)
        if word not in _FUNCTION_WORDS and word not in _NEGATIONS
    )


def numbers(text: str) -> frozenset[str]:
    """Numbers of `text`, in digits and without separators of thousands: `three` gives `3`."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    written = {re.sub(r",(?=\d{3}\b)", "", found) for found in _NUMBER.findall(folded)}
    return frozenset(written | {_NUMBER_WORDS[w] for w in split_words(text) if w in _NUMBER_WORDS})


def is_negated(text: str) -> bool:
    """Whether `text` says no somewhere: `not`, `never`, `n't`, `forbidden` and their like."""
    return any(
        word in _NEGATIONS or (word.endswith("nt") and word[:-2] in _AUXILIARIES)
        for word in split_words(text)
    )


def rarity(groups: Iterable[frozenset[str]]) -> dict[str, float]:
    """Inverse document frequency of every stem: log(1 + n / count), n the number of groups."""
    listed = list(groups)
    counts = Counter(word for group in listed for word in group)
    return {word: math.log1p(len(listed) / count) for word, count in counts.items()}


def covered(wanted: frozenset[str], found: frozenset[str], weights: dict[str, float]) -> float:
    """Share of `wanted` that is in `found`, 0 to 1; an unknown word weighs as the rarest."""
    unknown = max(weights.values(), default=1.0)
    total = sum(weights.get(word, unknown) for word in wanted)
    return sum(weights.get(word, unknown) for word in wanted & found) / total if total else 0.0
