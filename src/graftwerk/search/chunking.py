"""Splitting of documents into passages by heading and paragraph, with exact offsets."""

import math
import re
from collections.abc import Iterator

from ..data.documents.document import Block, Document
from ..models.language.sentences import split_sentences
from ..results import Passage

CHUNKER_VERSION = 1  # pinned in an index; raise it when the same document is cut differently
# characters; about 220 word pieces of English, of the 256 that MiniLM reads
TARGET_CHARACTERS = 960
_LINE_END = re.compile(r"\r\n|\r|\n")


def cut(document: Document) -> list[Passage]:
    """Split a document into passages of at most about `TARGET_CHARACTERS`.

    Short neighbours under one heading and on one page become one passage; a long paragraph is
    divided at the ends of sentences, else of words. Every character of a block that is not white
    space is in exactly one passage, whose text is exactly `document.text[start:end]`. An image
    gives one passage with no text.
    """
    if document.kind == "image":
        return [Passage(document.path, "image", "", 0, 0)]
    passages = []
    for block in _merge(document):
        line, counted = block.line, block.start
        for start, end in _divide(document.text, block.start, block.end):
            if line is not None and not block.alone:
                line += len(_LINE_END.findall(document.text, counted, start))
                counted = start
            text = document.text[start:end]
            passages.append(
                Passage(document.path, "text", text, start, end, block.heading, line, block.page)
            )
    return passages


def _merge(document: Document) -> Iterator[Block]:
    held: Block | None = None
    for block in document.blocks:
        if held is not None and _belong_together(document.text, held, block):
            held = Block(held.start, block.end, held.heading, held.line, held.page)
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def _belong_together(text: str, first: Block, second: Block) -> bool:
    return (
        second.end - first.start <= TARGET_CHARACTERS
        and not (first.alone or second.alone)
        and (first.heading, first.page) == (second.heading, second.page)
        # a heading of the same name between them is no block, but it is there
        and not text[first.end : second.start].strip()
    )


def _divide(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    start, end = _strip(text, start, end)
    if end - start <= TARGET_CHARACTERS:
        if start < end:
            yield start, end
        return
    share = (end - start) / math.ceil((end - start) / TARGET_CHARACTERS)
    first, last = start, start  # the piece being filled
    for sentence_start, sentence_end in split_sentences(text[start:end]):
        for piece_start, piece_end in _words(text, start + sentence_start, start + sentence_end):
            over = piece_end - first > TARGET_CHARACTERS
            # closer to an equal share without this sentence than with it
            full = share - (last - first) < (piece_end - first) - share
            if last > first and (over or full):
                yield first, last
                first = piece_start
            last = piece_end
    yield first, last


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield spans no longer than the target, split at white space if there is any."""
    while end - start > TARGET_CHARACTERS:
        limit = start + TARGET_CHARACTERS  # white space further back than 200 is not looked for
        gap = next((i for i in range(limit, limit - 200, -1) if text[i].isspace()), limit)
        yield _strip(text, start, gap)
        start = gap
        while text[start].isspace():
            start += 1
    yield start, end


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())
