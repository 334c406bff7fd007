"""Result of reading a file: its text, divided into blocks with their locations."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ... import limits
from ...errors import LimitExceeded

HEADING_CHARACTERS = 200  # a longer "heading" is a paragraph
IMAGES, CHARTS = "images left out", "charts left out"
OBJECTS = "embedded objects left out"  # of other programs: sheets, formulas, films
# SQLite's full text stops at NUL; a lone surrogate cannot be written as UTF-8
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph, table, row, or code listing.

    Attributes:
        start: first character in `Document.text`.
        end: one past the last character.
        heading: headings above it, outermost first, joined with " > ".
        line: first line in the file, from 1, if the format has lines.
        page: page, from 1, if the format has pages.
        alone: whether it is never merged with a neighbor into one passage: a row of a table
            file, or a heading without content.
    """

    start: int
    end: int
    heading: str
    line: int | None
    page: int | None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read.

    Attributes:
        path: the file, as the user named it.
        kind: `text` or `image`.
        text: for plain text files exactly the decoded content (without a byte order mark), for
            others the extracted text; empty for an image.
        blocks: in the order of the text, not overlapping; none for an image.
        content_hash: hexadecimal SHA-256 of the bytes that were parsed; empty for a text that is
            not a file.
        notes: messages to the user about how it was read, such as "transparent, on white" for an
            image.
        dialect: description of the format of a table; empty for others.
    """

    path: str
    kind: Literal["text", "image"]
    text: str
    blocks: tuple[Block, ...]
    content_hash: str = ""
    notes: tuple[str, ...] = ()
    dialect: str = ""


class Outline:
    """Collector of the blocks of one document in order, each with its headings."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str]] = []
        self._path = ""
        self._bare: Block | None = None  # the last heading, as long as it has no content
        self._blocks: list[Block] = []

    def heading(self, level: int, text: str, start: int, end: int, line: int | None = None) -> None:
        """Enter the section `text`; a smaller `level` is further out."""
        if self._bare is not None and level <= self._headings[-1][0]:
            self._append(self._bare)
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._bare = Block(start, end, self._join(), line, None, alone=True)
        self._headings.append((level, " ".join(text.split())))
        self._path = self._join()

    def add(
        self,
        start: int,
        end: int,
        line: int | None = None,
        page: int | None = None,
        alone: bool = False,
    ) -> None:
        """Add a block under the headings entered so far."""
        self._bare = None
        self._append(Block(start, end, self._path, line, page, alone))

    def leave(self) -> None:
        """Leave all sections: what follows has no heading."""
        if self._bare is not None:
            self._append(self._bare)
            self._bare = None
        self._headings.clear()
        self._path = ""

    def finish(self) -> tuple[Block, ...]:
        """Return all blocks; a heading without content is a block too."""
        if self._bare is not None:
            self._append(self._bare)
            self._bare = None
        return tuple(self._blocks)

    def _join(self) -> str:
        names: list[str] = []
        for _, name in self._headings:
            if names[-1:] != [name]:
                names.append(name)
        return " > ".join(names)

    def _append(self, block: Block) -> None:
        if len(self._blocks) >= limits.DOCUMENT_BLOCKS:
            raise LimitExceeded(
                f"the file has more than {limits.DOCUMENT_BLOCKS:,} paragraphs or rows.",
                "Split the file or leave it out.",
            )
        self._blocks.append(block)


class Assembly:
    """Builder of the text of a format without plain text of its own, block by block.

    Attributes:
        once: whether only the first of several identical blocks is added.
    """

    def __init__(self, limit: int) -> None:
        self.once = False
        self._seen: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._outline = Outline()
        self._pieces: list[str] = []
        self._length = 0
        self._limit = limit

    def heading(self, level: int, text: str) -> None:
        """Add a heading; one that is too long becomes a paragraph."""
        text = " ".join(_storable(text).split())
        if len(text) > HEADING_CHARACTERS:
            self.add(text)
        elif text:
            self._outline.heading(level, text, *self._put(text))

    def add(
        self, text: str, line: int | None = None, page: int | None = None, alone: bool = False
    ) -> None:
        """Add a block, unless it is empty."""
        text = _storable(text).strip()
        if text and not (self.once and text in self._seen):
            self._outline.add(*self._put(text), line, page, alone)
            if self.once:
                self._seen.add(text)

    def leave(self) -> None:
        """Leave all sections: what follows has no heading."""
        self._outline.leave()

    def drop(self, what: str, count: int = 1) -> None:
        """Count content that is left out or not read literally, for the document's notes."""
        self._dropped[what] += count

    def finish(self, path: str, notes: tuple[str, ...] = (), dialect: str = "") -> Document:
        """Return the assembled document."""
        blocks = self._outline.finish()
        notes += tuple(f"{what}: {count:,}" for what, count in self._dropped.items())
        return Document(path, "text", "".join(self._pieces), blocks, notes=notes, dialect=dialect)

    def _put(self, text: str) -> tuple[int, int]:
        if self._pieces:
            self._pieces.append("\n\n")
            self._length += 2
        start, self._length = self._length, self._length + len(text)
        if self._length > self._limit:
            raise LimitExceeded(
                f"the file holds more than {self._limit:,} characters of text.",
                "Split the file or leave it out.",
            )
        self._pieces.append(text)
        return start, self._length


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)
