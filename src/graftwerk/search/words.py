"""Words of passages and queries, so that the full text of SQLite finds one by the other.

SQLite's tokenizer takes runs of letters as they stand. Where that is not what a reader sees, what
it is given is spelled otherwise, and so is the query: compatibility forms (ligatures, full-width
letters) are normalized by NFKC, soft hyphens, zero-width characters and vowel points dropped, words
divided at a line end joined besides, and scripts without spaces divided into pairs of letters,
which a query looks up as a phrase.
"""

import re
import secrets
import sqlite3
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby, pairwise

from ..models.language.sentences import DIVIDED, joined

SPELLING = "1"  # pinned in an index; raise it when the same text is spelled differently
_MOST_TERMS = 128  # of a query; SQLite joins any number, but each costs a look-up
# Function words of English: nearly every passage has them, so they cost time and rank nothing.
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a an and are as at be been but by can could did do does for from had has have he her his
        how i if in into is it its may me my no nor not of on or our she should so than that the
        their them then there these they this those to was we were what when where which who whom
        whose why will with would you your
        """,
    )
)
_WORD = re.compile(r"[^\W_]+")
_HAN = "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_HIRAGANA, _KATAKANA = "\u3041-\u3096\u309d-\u309f", "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_HANGUL = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff"
# Thai, Lao, Myanmar, Khmer, with their vowel signs but without their digits and punctuation
_SOUTH_EAST = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u1780-\u17d3"
)
_UNSPACED = f"[{_HAN}{_HIRAGANA}{_KATAKANA}{_HANGUL}{_SOUTH_EAST}]"
# a line ends there within a word too, and without a hyphen
_RUN = re.compile(rf"{_UNSPACED}+(?:[^\S\r\n]*(?:\r\n|\r|\n)[^\S\r\n]*{_UNSPACED}+)*")
_SCRIPTS = (  # and how many letters a query's run of it may have that is taken for one word
    (re.compile(f"[{_HIRAGANA}]"), 4),
    (re.compile(f"[{_HAN}]"), 4),
    (re.compile(f"[{_KATAKANA}]"), 8),
    (re.compile(f"[{_HANGUL}]"), 2),
    (re.compile(f"[{_SOUTH_EAST}]"), 10),
)
_LINE_HYPHEN = re.compile(r"[-\u2010\xad][^\S\r\n]*[\r\n]")
_SOFT_BREAK = re.compile(r"\xad(?=[ \t]*[\r\n])")
# all but the signs that NFKC would write as letters: a trade mark belongs to no word
_SIGNS = re.compile(r"[^\u2100-\u214f\u2460-\u24ff\u3200-\u32ff]+")
_SOFT_HYPHEN, _TATWEEL = "\xad", "\u0640"
_VOICED = "\uff9e\uff9f"  # half-width katakana's marks, which belong to the letter before
Piece = tuple[str, int, int]  # characters, and the span of the original that they stand for


class Spelling:
    """A text put together from pieces, each of which stands for a span of the original."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = [piece for piece in pieces if piece[0]]
        self._starts = [0]
        for characters, _, _ in self._pieces:
            self._starts.append(self._starts[-1] + len(characters))
        self.text = "".join(characters for characters, _, _ in self._pieces)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original that `start:end` of the text stands for."""
        return self._at(start)[0], self._at(end - 1)[1]

    def _at(self, position: int) -> tuple[int, int]:
        number = bisect_right(self._starts, position) - 1
        characters, start, end = self._pieces[number]
        if len(characters) != end - start:
            return start, end
        start += position - self._starts[number]
        return start, start + 1


def spell(text: str) -> str | None:
    """Return the text to index in place of `text`; None for the text itself."""
    normal = _normal(text)
    if _LINE_HYPHEN.search(normal):
        normal = DIVIDED.sub(lambda found: f"{found[0]} {joined(found)}", normal)
    has_runs = not normal.isascii() and any(map(_is_unspaced, set(normal)))
    spelled = _RUN.sub(_pairs, normal) if has_runs else normal
    return None if spelled == text else spelled


def fold(text: str) -> str:
    """Normalize `text`, ignoring invisible characters, letter case and white space differences."""
    return " ".join(_normal(text).casefold().split())


# punctuation and markup; none changes a word or a number, as a decimal point or a minus would
_MARKS = re.compile(
    r"""[\u201c\u201d\u201e«»"`…•·;]|(?<!\w)[#*_]+|[*_]+(?!\w)"""
    r"""|[]().,:\u2018\u2019'\u2013\u2014[-](?!\d)"""
)


def plain_words(text: str) -> str:
    """Return the words and numbers of `text`, without punctuation, markup and letter case."""
    return " ".join(_MARKS.sub(" ", fold(text)).split())


def _normal(text: str) -> str:
    """`text` in NFKC where that changes letters, without what is dropped."""
    changed = () if text.isascii() else [letter for letter in set(text) if _changes(letter)]
    if not changed:
        return text
    text = _SOFT_BREAK.sub("-", text)  # a hyphen is shown there
    if not all(map(_is_dropped, changed)):
        text = _SIGNS.sub(lambda letters: unicodedata.normalize("NFKC", letters[0]), text)
    return text.translate(_Dropping())


class _Dropping(dict[int, int | None]):
    """A table for `translate` that drops what nobody sees."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if _is_dropped(chr(code)) else code
        return self[code]


@lru_cache(maxsize=4096)
def _changes(letter: str) -> bool:
    """Whether a character is not what the full text is given, alone or with its neighbors."""
    if _is_attached(letter) or _is_dropped(letter):
        return True
    return letter.isalnum() and unicodedata.normalize("NFKC", letter) != letter


@lru_cache(maxsize=4096)
def _is_attached(letter: str) -> bool:
    """Whether it may be composed with the character before: marks, and the parts of Hangul."""
    return (
        unicodedata.category(letter)[0] == "M"
        or letter in _VOICED
        or "\u1160" <= letter <= "\u11ff"
    )


@lru_cache(maxsize=4096)
def _is_dropped(letter: str) -> bool:
    """Whether it is invisible, or a Hebrew, Arabic or Syriac point (by combining class)."""
    if 10 <= unicodedata.combining(letter) <= 36:
        return True
    return letter == _TATWEEL or unicodedata.category(letter) == "Cf"


@lru_cache(maxsize=4096)
def _is_unspaced(letter: str) -> bool:
    return _RUN.match(letter) is not None


def _pairs(run: re.Match[str]) -> str:
    """Each two letters that follow each other; the last alone too, to be found by one letter."""
    letters = "".join(run[0].split())
    return f" {''.join(f'{a}{b} ' for a, b in pairwise(letters))}{letters[-1]} "


def _clusters(text: str) -> Iterator[Piece]:
    """The pieces of `_normal(text)`: letters with their marks, and what stays as it is."""
    position = 0
    while position < len(text):
        start = position
        position += 1
        while position < len(text) and _is_attached(text[position]):
            position += 1
        if position == start + 1 and not _changes(text[start]):
            while position < len(text) and not _changes(text[position]):
                position += 1
            if position < len(text) and position > start + 1 and _is_attached(text[position]):
                position -= 1  # the letter that the mark belongs to
            yield text[start:position], start, position
        elif text[start] == _SOFT_HYPHEN and _SOFT_BREAK.match(text, start):
            yield "-", start, position
        else:
            yield _normal(text[start:position]), start, position


def _segmented(text: str) -> Iterator[Piece]:
    """The pieces of what `spell` makes of a normal text."""
    begin = 0
    for divided in DIVIDED.finditer(text):
        start, end = divided.span()
        yield from _paired(text, begin, end)
        yield f" {_RUN.sub(_pairs, joined(divided))}", start, end
        begin = end
    yield from _paired(text, begin, len(text))


def _paired(text: str, begin: int, end: int) -> Iterator[Piece]:
    for run in _RUN.finditer(text, begin, end):
        start, stop = run.span()
        yield text[begin:start], begin, start
        yield " ", start, start
        letters = [at for at in range(start, stop) if not text[at].isspace()]
        for first, second in pairwise(letters):
            yield text[first] + text[second], first, second + 1
            yield " ", second, second
        yield f"{text[stop - 1]} ", stop - 1, stop
        begin = stop
    yield text[begin:end], begin, end


def to_terms(query: str, *, spelled: bool = True) -> list[str]:
    """Return the query's words worth looking up, each once; all of them if none is."""
    found = _words(_normal(query).lower()) if spelled else _WORD.findall(query.lower())
    words = list(dict.fromkeys(found))
    content = [word for word in words if word not in _STOP_WORDS and not _is_particle(word)]
    return (content or words)[:_MOST_TERMS]


def _words(text: str) -> Iterator[str]:
    """Runs of letters, marks and digits; of scripts without spaces what may be words."""
    for is_word, letters in groupby(text, _is_letter):
        if not is_word:
            continue
        word = "".join(letters)
        begin = 0
        for run in _RUN.finditer(word):
            if word[begin : run.start()]:
                yield word[begin : run.start()]
            yield from _unspaced(run[0])
            begin = run.end()
        if word[begin:]:
            yield word[begin:]


def _is_letter(character: str) -> bool:
    """Whether the tokenizer treats the character as a letter."""
    category = unicodedata.category(character)
    return category[0] in "LNM" or category == "Co"


def _unspaced(run: str) -> Iterator[str]:
    """The run, and where it is longer than a word, its parts by script and pieces of these."""
    yield run
    parts = [(script, "".join(letters)) for script, letters in groupby(run, _script)]
    for script, part in parts:
        if len(parts) > 1 and not _is_particle(part):
            yield part
        longest = _SCRIPTS[script][1]
        if len(part) > longest:
            length = max(2, longest // 2)
            for start in range(len(part) - length + 1):
                yield part[start : start + length]


def _script(letter: str) -> int:
    return next(number for number, (script, _) in enumerate(_SCRIPTS) if script.match(letter))


def _is_particle(word: str) -> bool:
    return len(word) <= 2 and all(_is_unspaced(letter) and _script(letter) == 0 for letter in word)


def to_match(query: str, *, spelled: bool = True) -> str | None:
    """Return the FTS5 expression that finds any word of a query; None if it has no word.

    Words are quoted, so that nothing in a query is read as an operator. The texts of old indexes
    are not `spelled` as `spell` does.
    """
    terms = to_terms(query, spelled=spelled)
    return " OR ".join(_quoted(term) if spelled else f'"{term}"' for term in terms) or None


def _quoted(term: str) -> str:
    if _RUN.match(term) is None:
        return f'"{term}"'
    if len(term) == 1:
        return f'"{term}" *'
    return f'"{" ".join(first + second for first, second in pairwise(term))}"'


def new_mark() -> str:
    """Return a string that no text contains, to enclose matches in FTS5's `highlight`."""
    return f"\ue000{secrets.token_hex(8)}\ue001"


def read_marks(highlighted: str, mark: str) -> tuple[tuple[int, int], ...]:
    """Return the spans between marks: the first opens, the second closes, and so on."""
    spans = []
    position = 0
    pieces = highlighted.split(mark)
    for number, piece in enumerate(pieces):
        if number % 2 and piece:
            spans.append((position, position + len(piece)))
        position += len(piece)
    return tuple(spans)


def marks_in(text: str, highlighted: str, mark: str) -> tuple[tuple[int, int], ...]:
    """Spans of `text` that are marked in its spelling; none where it was spelled otherwise."""
    spans = read_marks(highlighted, mark)
    plain = highlighted.replace(mark, "")
    if plain == text or not spans:
        return spans
    normalized = Spelling(_clusters(text))
    spelled = Spelling(_segmented(normalized.text))
    if spelled.text != plain:
        return ()
    merged: list[tuple[int, int]] = []
    for start, end in sorted(normalized.origin(*spelled.origin(*span)) for span in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple(merged)


# `*_words`: what the full text is given where that is spelled otherwise than the passage
_TABLE = """
CREATE VIEW spelled AS SELECT id, coalesce(heading_words, heading) AS heading,
    coalesce(text_words, text) AS text FROM passages;
CREATE VIRTUAL TABLE words USING fts5(
    heading, text, content='spelled', content_rowid='id',
    tokenize="porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
);
CREATE TRIGGER passages_in AFTER INSERT ON passages BEGIN
    INSERT INTO words(rowid, heading, text) VALUES (new.id,
        coalesce(new.heading_words, new.heading), coalesce(new.text_words, new.text));
END;
CREATE TRIGGER passages_out AFTER DELETE ON passages BEGIN
    INSERT INTO words(words, rowid, heading, text) VALUES ('delete', old.id,
        coalesce(old.heading_words, old.heading), coalesce(old.text_words, old.text));
END;
"""
_DROP = """
DROP TRIGGER IF EXISTS passages_in;
DROP TRIGGER IF EXISTS passages_out;
DROP TABLE IF EXISTS words;
DROP VIEW IF EXISTS spelled;
"""


def make_words(connection: sqlite3.Connection) -> None:
    """Build the full-text index from the passages, initially or again, in a transaction."""
    present = {row[1] for row in connection.execute("PRAGMA table_info(passages)")}
    for column in ("heading_words", "text_words"):
        if column not in present:
            connection.execute(f"ALTER TABLE passages ADD COLUMN {column} TEXT")
    for statement in statements(_DROP):
        connection.execute(statement)
    connection.create_function("spell", 1, _spell_stored, deterministic=True)
    connection.execute(
        "UPDATE passages SET heading_words = spell(CAST(heading AS BLOB)), "
        "text_words = spell(CAST(text AS BLOB))"
    )
    for statement in statements(_TABLE):
        connection.execute(statement)
    connection.execute("INSERT INTO words(words) VALUES ('rebuild')")


def _spell_stored(content: bytes | None) -> str | None:
    """As `spell`; a damaged byte must not keep the rest from being spelled."""
    return None if content is None else spell(content.decode("utf-8", "replace"))


def statements(script: str) -> Iterator[str]:
    """Yield a script's statements one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.strip().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
