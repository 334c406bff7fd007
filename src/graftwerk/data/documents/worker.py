"""The sandboxed worker process, which answers paths with parsed documents.

It reads requests as JSON lines and answers each with one framed JSON object. A frame is the length
of the JSON in 8 bytes, big-endian, then the JSON. Everything that a parser prints is discarded.
After a `MemoryError` the process exits, as its state cannot be trusted.
"""

import json
import math
import os
import resource
import sys
from typing import Any

from ... import files, limits
from ...errors import BadFile, BadInput, LimitExceeded
from ...settings import use_one_numeric_thread
from ..tables import Reading
from . import formats

LENGTH_BYTES = 8


def main() -> None:
    """Answer requests until standard input ends."""
    _lower(resource.RLIMIT_AS, limits.PARSER_MEMORY)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    use_one_numeric_thread()
    sys.setrecursionlimit(2_000)
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    for line in requests:
        _allow_time()
        try:
            text = json.dumps(_answer(files.parse_json(line)), ensure_ascii=False)
            reply = text.encode("utf-8", "backslashreplace")
        except MemoryError:
            _send(replies, b'{"stopped": "memory"}')
            return
        _send(replies, reply)


def _answer(requested: Any) -> dict[str, Any]:
    path, predicted = requested if isinstance(requested, list) else (requested, None)
    try:
        document = formats.parse(path, None if predicted is None else Reading(**predicted))
    except (BadFile, LimitExceeded) as error:
        return _error(error)
    except MemoryError:
        raise
    except Exception as error:  # parsers raise almost any exception on damaged files
        name = os.path.basename(path)  # noqa: PTH119  the name may be any bytes
        kind = formats.suffix_of(path)[1:]
        reason = f"{name!r} cannot be read as {kind}: its parser failed ({type(error).__name__})."
        return _error(BadFile(reason, "It seems damaged; open and save it again, or leave it out."))
    blocks = [(b.start, b.end, b.heading, b.line, b.page, b.alone) for b in document.blocks]
    return {
        "kind": document.kind,
        "text": document.text,
        "blocks": blocks,
        "sha256": document.content_hash,
        "notes": document.notes,
        "dialect": document.dialect,
    }


def _error(error: BadInput) -> dict[str, Any]:
    return error.to_json()


def _send(descriptor: int, reply: bytes) -> None:
    for part in (len(reply).to_bytes(LENGTH_BYTES, "big"), reply):
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def _allow_time() -> None:
    """Limit the CPU time for the next file, in case the parent is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + limits.PARSER_SECONDS) + 1
    _lower(resource.RLIMIT_CPU, seconds)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (value if hard < 0 else min(value, hard), hard))
    except (OSError, ValueError):  # macOS does not limit the address space
        return
