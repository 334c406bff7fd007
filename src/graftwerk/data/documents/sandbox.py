"""Safe reading of untrusted files: text, pages, tables and images, in a sandboxed worker.

This is the parent process. It survives a parser that crashes, hangs or returns invalid data.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ... import files, limits
from ...errors import BadFile, BadInput, LimitExceeded
from .. import raw
from ..images import decode_image
from ..tables import AS_FOUND, Reading
from . import formats
from .document import Block, Document
from .worker import LENGTH_BYTES

if TYPE_CHECKING:
    from PIL.Image import Image


class _Stopped(Exception):
    """Error of a worker without a usable reply; the message is the reason, for reports."""


RECYCLE_FILES = 200
_NO_ANSWER = "its parser gave no usable answer"
_OUT_OF_MEMORY = f"its parser ran out of memory ({limits.PARSER_MEMORY // limits.MIB:,} MiB)"
_HASH = re.compile("[0-9a-f]{64}")
_LONGEST_REPLY = 8 * limits.TEXT_FILE
_ERRORS: dict[str, type[BadInput]] = {"BadFile": BadFile, "LimitExceeded": LimitExceeded}
_ROOT = str(Path(__file__).parents[3])
_START = (
    "import sys; sys.path.insert(3, sys.argv[1]); "  # after the three paths of the standard library
    "from graftwerk.data.documents.worker import main; main()"
)
_NO_REPLY = (_Stopped, OSError, ValueError, KeyError, TypeError)
# -I: imports depend neither on the current folder nor on environment variables
COMMAND = (sys.executable, "-I", "-c", _START, _ROOT)


class Reader:
    """Reader of files; use it as a context manager, from one thread at a time.

    Parsers of untrusted formats run in a worker process with limits on memory and time, which is
    started for the first such file and replaced after 200 files or a failure. Plain text is parsed
    in this process.

    Args:
        reading: parsing options for tables that the user gave.
    """

    def __init__(self, reading: Reading = AS_FOUND) -> None:
        self._reading = reading
        self._worker: subprocess.Popen[bytes] | None = None
        self._files = 0

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker."""
        if self._worker is not None:
            self._worker.kill()
            with self._worker:  # closes its pipes and waits
                self._worker = None

    def read(self, path: str) -> Document:
        """Read one file with the parser for its extension.

        Raises:
            BadFile: it cannot be read as what its ending says.
            LimitExceeded: it is larger than a limit of `limits.py` allows.
        """
        if not formats.needs_sandbox(path):
            return formats.parse(path, self._reading)
        try:
            result = _result(path, self._ask(path))
        except BaseException as stop:  # Ctrl-C too: the next reply would answer this request
            self.close()
            if not isinstance(stop, _NO_REPLY):
                raise
            reason = str(stop) if isinstance(stop, _Stopped) else _NO_ANSWER
            name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes
            hint = "Leave it out, or open and save it again."
            raise BadFile(f"{name!r} cannot be read: {reason}.", hint) from stop
        if isinstance(result, BadInput):
            raise result
        return result

    def read_with_image(self, path: str) -> tuple[Document, "Image | None"]:
        """Read one file; an image is also decoded.

        It is decoded in this process, from the same bytes that the worker was able to decode.

        Raises:
            BadFile: it cannot be read, or another process changed the image meanwhile.
            LimitExceeded: it is larger than a limit allows.
        """
        document = self.read(path)
        if document.kind != "image":
            return document, None
        content = raw.read_bytes(path, formats.size_limit(path))
        name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes
        if raw.sha256(content) != document.content_hash:
            raise BadFile(f"{name!r} was changed while it was read.", "Run the command again.")
        opened = decode_image(BytesIO(content), name)
        return replace(document, notes=opened.notes), opened.image

    def _ask(self, path: str) -> dict[str, Any]:
        if self._files >= RECYCLE_FILES:
            self.close()
        if self._worker is None:
            self._files = 0
            self._worker = _start_worker()
        self._files += 1
        deadline = time.monotonic() + limits.PARSER_SECONDS
        predicted = formats.options_for(path, self._reading)
        request = json.dumps([path, asdict(self._reading)] if predicted else path)
        os.write(_descriptor(self._worker.stdin), request.encode("ascii") + b"\n")
        length = int.from_bytes(_receive(self._worker, LENGTH_BYTES, deadline), "big")
        if length > _LONGEST_REPLY:
            raise _Stopped(_NO_ANSWER)
        content = _receive(self._worker, length, deadline)
        try:
            reply = files.parse_json(content)
        except ValueError as error:
            raise _Stopped(_NO_ANSWER) from error
        if not isinstance(reply, dict):
            raise _Stopped(_NO_ANSWER)
        if "stopped" in reply:
            raise _Stopped(_OUT_OF_MEMORY)
        return reply


def _start_worker() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,  # the parent handles Ctrl-C
    )


def _descriptor(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise OSError("the worker has no pipe")
    return pipe.fileno()


def _receive(worker: "subprocess.Popen[bytes]", count: int, deadline: float) -> bytes:
    descriptor = _descriptor(worker.stdout)
    received = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(received) < count:
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0 or not selector.select(seconds_left):
                raise _Stopped(f"its parser ran out of time ({limits.PARSER_SECONDS:g} seconds)")
            piece = os.read(descriptor, min(count - len(received), 1 << 20))
            if not piece:
                raise _Stopped(_cause_of_death(worker))
            received += piece
    return bytes(received)


def _cause_of_death(worker: "subprocess.Popen[bytes]") -> str:
    try:
        code = worker.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return _NO_ANSWER
    if code == -signal.SIGXCPU:
        return f"its parser ran out of time ({limits.PARSER_SECONDS:g} seconds)"
    if code < 0:
        return f"its parser crashed ({signal.Signals(-code).name})"
    return f"its parser ended early (exit status {code})"


def _result(path: str, reply: dict[str, Any]) -> Document | BadInput:
    """Build the document or error from a reply, which is validated as untrusted."""
    if "error" in reply:
        return _ERRORS[reply["error"]](str(reply["message"]), str(reply["hint"]))
    text, kind = reply["text"], reply["kind"]
    if not isinstance(text, str) or kind not in ("text", "image"):
        raise ValueError(kind)
    blocks = []
    position = 0
    for start, end, heading, line, page, alone in reply["blocks"]:
        if not position <= start < end <= len(text):
            raise ValueError(start)
        position = end
        number, leaf = (None if n is None else int(n) for n in (line, page))
        blocks.append(Block(int(start), int(end), str(heading), number, leaf, bool(alone)))
    content_hash = reply["sha256"]
    if not _HASH.fullmatch(content_hash):
        raise ValueError(content_hash)
    notes = tuple(str(note) for note in reply.get("notes", ()))
    dialect = str(reply.get("dialect", ""))
    return Document(path, kind, text, tuple(blocks), content_hash, notes, dialect)
