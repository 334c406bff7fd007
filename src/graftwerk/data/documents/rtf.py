"""Rich Text Format, parsed in one pass over control words, groups and text.

There is no tree in memory. Hidden and deleted text is left out and counted; footnotes, headers and
comments are read.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ... import limits
from ...errors import BadFile, LimitExceeded
from .document import IMAGES, OBJECTS, Assembly, Document

_TOKEN = re.compile(
    rb"\\(?:(?P<word>[a-zA-Z]{1,32})(?P<number>-?[0-9]{1,10})?[ ]?|'(?P<hex>[0-9a-fA-F]{2})"
    rb"|(?P<sign>[^a-zA-Z]))"
    rb"|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)|\\",
    re.DOTALL,
)
# groups without document text
_SKIPPED = frozenset(
    b"""fonttbl colortbl stylesheet info pict themedata colorschememapping datastore
    latentstyles listtable listoverridetable rsidtbl generator xmlnstbl fldinst filetbl revtbl
    bkmkstart bkmkend mmathPr nonshppict pgptbl template operator atnid atnauthor atntime atndate
    atnref atnparent falt panose sp""".split()
)
_FIGURES = {b"pict": IMAGES, b"object": OBJECTS}
_APART = frozenset(
    b"footnote header headerl headerr headerf footer footerl footerr footerf annotation".split()
)
_READ = frozenset({b"annotation", b"shpinst", b"shptxt"})  # read though marked to be skipped
_SIGNS = {
    b"par": "\n\n", b"sect": "\n\n", b"page": "\n\n", b"line": "\n", b"tab": "\t", b"cell": " | ",
    b"row": "\n", b"emdash": "\u2014", b"endash": "\u2013", b"bullet": "\u2022",
    b"lquote": "\u2018", b"rquote": "\u2019", b"ldblquote": "\u201c", b"rdblquote": "\u201d",
}  # fmt: skip
_SIGN_CHARACTERS = {b"~": "\xa0", b"-": "\xad", b"_": "\u2011", b"\n": "\n\n", b"\r": "\n\n"}
_CODE_PAGES = {0: "cp1252", 128: "cp932", 129: "cp949", 134: "cp936", 136: "cp950", 161: "cp1253",
               162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257",
               204: "cp1251", 222: "cp874", 238: "cp1250"}  # fmt: skip
_DEPTH = 1_000  # nested groups
_BLANK_LINE = re.compile(r"\n[ \t]*+\n")


@dataclass(slots=True)
class _State:
    """Properties that apply until the end of a group."""

    skipped: bool = False
    hidden: bool = False
    deleted: bool = False
    again: bool = False  # in a second form of an image, for old programs
    unicode_skip: int = 1
    font: int = 0
    apart: int | None = None  # start of a footnote's text


def read_rtf(path: str, content: bytes) -> Document:
    """Read a document in Rich Text Format."""
    name = Path(path).name
    if not content.lstrip()[:5] == b"{\\rtf":
        raise BadFile(f"{name!r} is not a Rich Text Format file.", "Check what it is.")
    return _Reader(name).read(path, content)


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._assembly = Assembly(limits.DOCUMENT_TEXT)
        self._state = _State()
        self._states: list[_State] = []
        self._pieces: list[str] = []
        self._apart: list[str] = []
        self._bytes = bytearray()  # characters in the code page, decoded together
        self._page = "cp1252"
        self._fonts: dict[int, str] = {}
        self._in_fonts = False
        self._skip = 0  # fallback characters after \u, for old programs
        self._starred = False

    def read(self, path: str, content: bytes) -> Document:
        position = 0
        while position < len(content):
            token = _TOKEN.match(content, position)
            if token is None:
                break
            position = token.end()
            if token["word"]:
                position += self._word(token["word"], token["number"])
            elif token["brace"]:
                self._brace(token["brace"])
            elif token["hex"]:
                self._letters(bytes([int(token["hex"], 16)]))
            elif token["text"]:
                self._letters(token["text"])
            elif token["sign"] == b"*":
                self._starred = True
            elif token["sign"]:
                sign = token["sign"]
                self._put(_SIGN_CHARACTERS.get(sign) or sign.decode("latin-1"))
        self._flush()
        for text in ("".join(self._pieces), *self._apart):
            for paragraph in _BLANK_LINE.split(text):
                self._assembly.add(_trimmed(paragraph))
        return self._assembly.finish(path)

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._starred = False
        if brace == b"{":
            if len(self._states) >= _DEPTH:
                raise LimitExceeded(
                    f"{self._name!r} has more than {_DEPTH:,} groups in each other.",
                    "Open it in a word processor and save it again.",
                )
            self._states.append(self._state)
            self._state = replace(self._state, apart=None)
        elif self._states:
            if self._state.apart is not None:
                self._apart.append("".join(self._pieces[self._state.apart :]))
                del self._pieces[self._state.apart :]
            self._state = self._states.pop()

    def _word(self, word: bytes, number: bytes | None) -> int:
        value = int(number) if number else None
        state = self._state
        starred, self._starred = self._starred, False
        if word == b"bin":
            return max(0, value or 0)
        if word == b"fonttbl":
            self._in_fonts = True
        elif word in {b"colortbl", b"stylesheet"}:
            self._in_fonts = False
        state.again |= word == b"nonshppict"
        if word in _FIGURES and not state.again:
            self._assembly.drop(_FIGURES[word])
        if word in _SKIPPED or (starred and word not in _READ and word not in _APART):
            state.skipped = True
        elif word in _APART:
            self._flush()
            state.apart = len(self._pieces)
        elif word == b"u" and value is not None:
            self._put(chr(value % 65_536))
            self._skip = state.unicode_skip
        elif word in _SIGNS:
            self._put(_SIGNS[word])
        else:
            self._set(word, value)
        return 0

    def _set(self, word: bytes, value: int | None) -> None:
        state = self._state
        if word in {b"v", b"deleted", b"plain", b"f"}:
            self._flush()
        if word == b"uc":
            state.unicode_skip = min(value or 0, 16)
        elif word == b"ansicpg" and value:
            self._page = f"cp{value}"
        elif word == b"f" and value is not None:
            state.font = value
        elif word == b"fcharset" and self._in_fonts and value in _CODE_PAGES and value:
            self._fonts[state.font] = _CODE_PAGES[value]
        elif word == b"v":
            state.hidden = value != 0
        elif word == b"deleted":
            state.deleted = value != 0
        elif word == b"plain":
            state.hidden = state.deleted = False

    def _letters(self, letters: bytes) -> None:
        if self._state.skipped:
            return
        skipped = min(self._skip, len(letters))
        self._skip -= skipped
        self._bytes += letters[skipped:]

    def _put(self, text: str) -> None:
        self._flush()
        self._skip = 0
        self._add(text)

    def _flush(self) -> None:
        if self._bytes:
            page = self._fonts.get(self._state.font, self._page)
            letters, self._bytes = bytes(self._bytes), bytearray()
            try:
                self._add(letters.decode(page))
            except (LookupError, UnicodeError):
                self._assembly.drop("texts whose code page does not fit, read as Windows-1252")
                self._add(letters.decode("cp1252", "replace"))

    def _add(self, text: str) -> None:
        state = self._state
        if state.skipped:
            return
        if state.hidden or state.deleted:
            if text.strip():
                what = "hidden texts" if state.hidden else "tracked deletions"
                self._assembly.drop(f"{what} left out")
            return
        self._pieces.append(text)


def _trimmed(paragraph: str) -> str:
    """Join surrogates in a paragraph, and remove the bar after the last cell of a row."""
    text = paragraph.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "\n".join(line.strip().removesuffix("|").rstrip() for line in text.split("\n"))
