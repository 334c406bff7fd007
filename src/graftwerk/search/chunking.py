"""Splitting of documents into passages by heading and paragraph, with exact offsets."""

import math
import re
from collections.abc import Iterator

import numpy as np

from ..data.documents.document import Block, Document
from ..models.language.sentences import split_sentences
from ..results import Passage

# pinned in an index; raise it when the same document is cut differently. Version 1 counted
# characters alone; indexes of the version before go on with it.
CHUNKER_VERSION = 2
TARGET_CHARACTERS = 960
TARGET_TOKENS = 224  # of the 256 that MiniLM reads; headings and what the estimate misses come atop
# Tokens that begin with a word, a letter after its seventh, a digit, a mark, and a character of
# another script, by the tokenizer of MiniLM on prose, code, tables and licenses. The tokens are .92
# to 1.01 of the estimate on average, and at most 1.15 for 95 % of passages.
_TOKENS = (1.08, 0.27, 0.6, 1.05, 1.0)
_LINE_END = re.compile(r"\r\n|\r|\n")


class _Sized:
    """A text with the size of its parts, in characters or in tokens, of which more count.

    An estimate of the tokens is as good for this as a tokenizer, 20 times as fast, and the same
    for all encoders, so that an index can be verified without its own.
    """

    def __init__(self, text: str, version: int) -> None:
        self.text = text
        self._sums = None if version == 1 else np.cumsum(np.append(0, _estimate(text)))

    def size(self, start: int, end: int) -> float:
        """Size in characters of which `TARGET_CHARACTERS` fit into a passage."""
        if self._sums is None:
            return float(end - start)
        tokens = float(self._sums[end] - self._sums[start])
        return max(float(end - start), tokens * (TARGET_CHARACTERS / TARGET_TOKENS))

    def limit(self, start: int) -> int:
        """The furthest end of a passage that begins here."""
        end = start + TARGET_CHARACTERS
        if self._sums is None:
            return end
        full = np.searchsorted(self._sums, self._sums[start] + TARGET_TOKENS, side="right")
        return max(start + 1, min(end, int(full) - 1))


def _estimate(text: str) -> np.ndarray:
    """Return the tokens that each character adds."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lower = codes | 32
    letters = ((lower >= ord("a")) & (lower <= ord("z"))) | ((codes >= 0xC0) & (codes < 0x250))
    digits = (codes >= ord("0")) & (codes <= ord("9"))
    spaces = (codes <= 32) | (codes == 0xA0) | (codes == 0x3000)
    others = (codes >= 0x250) & ~spaces & ~((codes >= 0x2000) & (codes < 0x2070))
    number = np.arange(len(codes))
    in_word = (
        number - np.maximum.accumulate(np.where(letters, -1, number)) if len(codes) else number
    )
    kinds = (
        letters & (in_word == 1),
        letters & (in_word > 7) & (in_word <= 100),  # MiniLM reads no longer word
        digits,
        ~(letters | digits | spaces | others),
        others,
    )
    return np.asarray(sum(kind * tokens for kind, tokens in zip(kinds, _TOKENS, strict=True)))


def cut(document: Document, version: int = CHUNKER_VERSION) -> list[Passage]:
    """Split a document into passages of at most about `TARGET_CHARACTERS` and `TARGET_TOKENS`.

    Short neighbors under one heading and on one page become one passage; a long paragraph is
    divided at the ends of sentences, else of words. Every character of a block that is not white
    space is in exactly one passage, whose text is exactly `document.text[start:end]`. An image
    gives one passage with no text.
    """
    if document.kind == "image":
        return [Passage(document.path, "image", "", 0, 0)]
    passages = []
    sized = _Sized(document.text, version)
    for block in _merge(document, sized):
        line, counted = block.line, block.start
        for start, end in _divide(sized, block.start, block.end):
            if line is not None and not block.alone:
                line += len(_LINE_END.findall(document.text, counted, start))
                counted = start
            text = document.text[start:end]
            passages.append(
                Passage(document.path, "text", text, start, end, block.heading, line, block.page)
            )
    return passages


def _merge(document: Document, sized: _Sized) -> Iterator[Block]:
    held: Block | None = None
    for block in document.blocks:
        if held is not None and _belong_together(sized, held, block):
            held = Block(held.start, block.end, held.heading, held.line, held.page)
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def _belong_together(sized: _Sized, first: Block, second: Block) -> bool:
    return (
        sized.size(first.start, second.end) <= TARGET_CHARACTERS
        and not (first.alone or second.alone)
        and (first.heading, first.page) == (second.heading, second.page)
        # a heading of the same name between them is no block, but it is there
        and not sized.text[first.end : second.start].strip()
    )


def _divide(sized: _Sized, start: int, end: int) -> Iterator[tuple[int, int]]:
    text, size = sized.text, sized.size
    start, end = _strip(text, start, end)
    if size(start, end) <= TARGET_CHARACTERS:
        if start < end:
            yield start, end
        return
    share = size(start, end) / math.ceil(size(start, end) / TARGET_CHARACTERS)
    first, last = start, start  # the piece being filled
    for sentence_start, sentence_end in split_sentences(text[start:end]):
        for piece_start, piece_end in _words(sized, start + sentence_start, start + sentence_end):
            over = size(first, piece_end) > TARGET_CHARACTERS
            # closer to an equal share without this sentence than with it
            full = share - size(first, last) < size(first, piece_end) - share
            if last > first and (over or full):
                yield first, last
                first = piece_start
            last = piece_end
    yield first, last


def _words(sized: _Sized, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield spans no longer than the target, split at white space if there is any."""
    text = sized.text
    while sized.size(start, end) > TARGET_CHARACTERS:
        limit = sized.limit(start)
        nearest = max(start, limit - 200)  # white space further back is not looked for
        gap = next((i for i in range(limit, nearest, -1) if text[i].isspace()), limit)
        yield _strip(text, start, gap)
        start = gap
        while text[start].isspace():
            start += 1
    yield start, end


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())
