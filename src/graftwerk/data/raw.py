"""Safe opening of arbitrary files, and decoding of text in an unknown encoding."""

import codecs
import hashlib
import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from ..errors import BadFile, LimitExceeded

_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# non-printable characters that text files contain: \b \t \n \v \f \r and escape codes of logs
_CONTROLS = bytes(set(range(32)) - {8, 9, 10, 11, 12, 13, 27}) + b"\x7f"
_CONTROL_SHARE = 0.02
_PIECE = 1 << 20


def open_regular(path: str, limit: int) -> BufferedReader:
    """Open a regular file of at most `limit` bytes; a FIFO or device is not opened.

    Raises:
        BadFile: it is missing, not readable, or no regular file.
        LimitExceeded: it is larger.
    """
    name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes; no Path needed
    kind = "a folder" if os.path.isdir(path) else "not a regular file"  # noqa: PTH112
    not_regular = BadFile(f"{name!r} is {kind}.", "Name a file that can be read.")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  opening some devices has side effects
            raise not_regular
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadFile(
            f"{path!r} cannot be opened: {reason}.", "Check the path and its permissions."
        ) from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):  # replaced in the meantime
        os.close(descriptor)
        raise not_regular
    if state.st_size > limit:
        os.close(descriptor)
        raise LimitExceeded(
            f"{name!r} has {state.st_size:,} bytes; at most {limit:,} are read.",
            "Split the file or leave it out.",
        )
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str, limit: int) -> bytes:
    """Return the content of a regular file; raises as `open_regular` does."""
    with open_regular(path, limit) as file:
        try:
            size = min(os.fstat(file.fileno()).st_size, limit)
            content = file.read(size + 1)
            if len(content) > size:  # it grew, or reports no size, as in /proc
                content += file.read(limit + 1 - len(content))
        except OSError as error:
            raise _unreadable(path, error) from error
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def sha256(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of content."""
    return hashlib.sha256(content).hexdigest()


def size_and_hash(path: str, limit: int) -> tuple[int, str]:
    """Return the size and hexadecimal SHA-256 of a file; raises as `open_regular` does.

    A file that is too large is refused before it is read.
    """
    size = 0
    with open_regular(path, limit) as file:
        digest = hashlib.sha256()
        try:
            while piece := file.read(_PIECE):
                size += len(piece)
                if size > limit:
                    raise _too_large(path, limit)
                digest.update(piece)
        except OSError as error:
            raise _unreadable(path, error) from error
    return size, digest.hexdigest()


def _too_large(path: str, limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"{Path(path).name!r} has more than {limit:,} bytes.", "Split the file or leave it out."
    )


def _unreadable(path: str, error: OSError) -> BadFile:
    return BadFile(f"{Path(path).name!r} cannot be read: {error.strerror}.", "Check its disk.")


_MARKED = {  # longer marks first: the UTF-32 mark begins with the UTF-16 one
    b"\xff\xfe\x00\x00": "utf-32-le",
    b"\x00\x00\xfe\xff": "utf-32-be",
    b"\xef\xbb\xbf": "utf-8",
    **_BYTE_ORDER_MARKS,
}
_JAPANESE = re.compile(rb"\x1b\$[@B]")  # escapes of ISO 2022, which else is ASCII
_HIGH_RUN = re.compile(rb"[\x80-\xff]{4,}")
_HIGH = re.compile(rb"[\x80-\xff]")
# other code pages decoded as Windows-1252 have a sign or a capital inside a word
_SIGNS = r"\xa1-\xa9\xab\xac\xae-\xb1\xb3\xb5\xb6\xb8\xb9\xbb-\xbf\xd7\xf7"
_ODD = re.compile(rf"[^\W\d_](?=[{_SIGNS}][^\W\d_])|[a-zß-öø-ÿ](?=[À-ÖØ-ÞŠŒŽŸ])")
_ODD_SHARE = 0.1
_ENCODING_HINT = (
    "Name its encoding with --encoding (cp1250, cp1251, shift_jis, gb18030, mac_roman, ...), or "
    "save it as UTF-8."
)
GUESSED = "cp1252"
NOT_UTF8 = "it is not UTF-8 and is read as Windows-1252"


def require_text(path: Path) -> None:
    """Refuse what is not a file.

    Raises:
        BadFile: it is a folder, or missing.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name a file of plain text.")


def decode(
    content: bytes, name: str, encoding: str | None = None, declared: str | None = None
) -> tuple[str, str]:
    """Decode UTF-8, UTF-16 with or without a mark, UTF-32, or text that looks like Windows-1252.

    Line endings are unchanged.

    Args:
        content: bytes of the file.
        name: of the file, for messages.
        encoding: given by the user; None to detect it from the bytes.
        declared: encoding that the text declares; used if it is not UTF-8 or UTF-16.

    Returns:
        The text without a byte order mark, and the name of its encoding.

    Raises:
        BadFile: it is not text in any of these, or not in the encoding that was named.
    """
    mark = next((mark for mark in _MARKED if content.startswith(mark)), b"")
    found = encoding or (_MARKED[mark] if mark else _unmarked(content, declared))
    body = content.removeprefix(mark) if mark and _MARKED[mark] == _same(found) else content
    try:
        text = body.decode(found)
    except LookupError as error:
        raise BadFile(
            f"{found!r} is not an encoding.", "Name utf-8, utf-16, cp1252, shift_jis or the like."
        ) from error
    except UnicodeDecodeError as error:
        bad = body[error.start : error.start + 1].hex()
        raise BadFile(
            f"{name!r} is not {found.upper()}: byte 0x{bad} at position "
            f"{error.start + len(content) - len(body):,}.",
            _ENCODING_HINT,
        ) from error
    if is_binary(text.encode("utf-8", "surrogatepass")):
        raise BadFile(
            f"{name!r} holds bytes that are not text (NUL or control characters).",
            "Leave it out, or give it the ending of what it is.",
        )
    return text.removeprefix("\ufeff"), found


def _same(encoding: str) -> str:
    return {"utf8": "utf-8", "utf-8-sig": "utf-8"}.get(encoding.lower(), encoding.lower())


def encoding_notes(encoding: str, reading: str | None = None) -> tuple[str, ...]:
    """Return a message to the user about an encoding that was guessed."""
    guessed = encoding == GUESSED and reading is None
    return (f"{NOT_UTF8} (--encoding names another)",) if guessed else ()


def _unmarked(content: bytes, declared: str | None) -> str:
    """Return the encoding of bytes without a mark; UTF-8 if nothing else fits."""
    start = content[:4096]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        nul, other = start[offset::2].count(0), start[1 - offset :: 2].count(0)
        even = len(content) % 2 == 0
        if even and nul > 0.3 * len(start[offset::2]) and not other:
            return encoding
    if _JAPANESE.search(content):
        return "iso2022_jp"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if declared is not None and _is_encoding(declared):
            return declared
        return GUESSED if _is_windows_1252(content) else "utf-8"
    return "utf-8"


def _is_encoding(name: str) -> bool:
    try:
        found = codecs.lookup(name)
    except LookupError:
        return False
    return found.name != "utf-8" and found._is_text_encoding


def _is_windows_1252(content: bytes) -> bool:
    """Whether text that is not UTF-8 looks like Western European text.

    In other code pages, words consist of high bytes alone (Cyrillic, Chinese), or have signs
    inside.
    """
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    high = len(_HIGH.findall(content))
    in_runs = sum(map(len, _HIGH_RUN.findall(content)))
    odd = len(_ODD.findall(text)) + content.count(b"\xff")
    return in_runs <= _ODD_SHARE * high and odd <= _ODD_SHARE * high


def is_binary(content: bytes) -> bool:
    """Whether UTF-8 `content` has a NUL, or too many other control characters to be text."""
    controls = len(content) - len(content.translate(None, _CONTROLS))
    return b"\x00" in content or controls > _CONTROL_SHARE * len(content)
