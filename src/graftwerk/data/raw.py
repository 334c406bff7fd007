"""Open a file that may be anything, and decode text that may be in any encoding."""

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from ..errors import BadFile, LimitExceeded

_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# what text files hold besides printable characters: \b \t \n \v \f \r and escape codes of logs
_CONTROLS = bytes(set(range(32)) - {8, 9, 10, 11, 12, 13, 27}) + b"\x7f"
_CONTROL_SHARE = 0.02
_PIECE = 1 << 20


def open_regular(path: str, limit: int) -> BufferedReader:
    """Open a regular file of at most `limit` bytes; a FIFO or device is not opened.

    Raises:
        BadFile: it is missing, not readable, or no regular file.
        LimitExceeded: it is larger.
    """
    name = os.path.basename(path)  # noqa: PTH119  a name of any bytes, no Path needed
    not_regular = BadFile(f"{name!r} is not a regular file.", "Name a file that can be read.")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  opening some devices has effects
            raise not_regular
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadFile(f"{path!r} cannot be opened: {reason}.", "Check path and rights.") from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):  # replaced in between
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
    """Content of a regular file; raises as `open_regular` does."""
    with open_regular(path, limit) as file:
        try:
            size = min(os.fstat(file.fileno()).st_size, limit)
            content = file.read(size + 1)
            if len(content) > size:  # it grew, or tells no size, as in /proc
                content += file.read(limit + 1 - len(content))
        except OSError as error:
            raise _unreadable(path, error) from error
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of what was read."""
    return hashlib.sha256(content).hexdigest()


def size_and_hash(path: str, limit: int) -> tuple[int, str]:
    """Size and hexadecimal SHA-256 of a file's content; raises as `open_regular` does.

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


def decode(content: bytes, name: str) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark; line ends stay as they are.

    Raises:
        BadFile: another encoding, or no text at all.
    """
    encoding = _BYTE_ORDER_MARKS.get(content[:2], "utf-8")
    body = content[2:] if encoding != "utf-8" else content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        position = error.start + len(content) - len(body)
        shown = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise BadFile(
            f"{name!r} is not {shown}: byte 0x{content[position]:02x} at position {position:,}.",
            "If it is text, convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEWFILE.",
        ) from error
    if is_binary(body if encoding == "utf-8" else text.encode("utf-8")):
        raise BadFile(
            f"{name!r} holds bytes that are no text (NUL or control characters).",
            "Leave it out, or give it the ending of what it is.",
        )
    return text


def is_binary(content: bytes) -> bool:
    """Whether UTF-8 `content` has a NUL, or too many other control characters to be text."""
    controls = len(content) - len(content.translate(None, _CONTROLS))
    return b"\x00" in content or controls > _CONTROL_SHARE * len(content)
