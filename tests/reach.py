"""Hostile configurations, hostile servers and fuzzed requests of chance, which `tests.soak` counts."""

import json
import random
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.hostile.test_fuzz import VALUES

from graftwerk.commands import CATALOGUE
from graftwerk.errors import BadValue, WriterFailed
from graftwerk.examples import PASSENGERS
from graftwerk.models.hub import builtin_folder
from graftwerk.models.language.openai_server import ServerWriter
from graftwerk.types import Prompt

SECONDS = 60  # of one server; a longer one hangs
NUMBERS = [-1, 0, 1, 3, 0.5, 10**4, 10**6, 10**9, 10**30, 1e308, float("nan"), float("inf")]
OTHERS = ["", "evil", "evil/x", "../..", "\0", "9" * 5000, None, True, [], [[]], [-1], {}, {"a": 1}]
SERIES = str(PASSENGERS)
Run = Callable[[list[str], Path], tuple[int, str, float]]


def change(content: Any, generator: random.Random) -> None:
    """Put one value of chance in the place of one value of a JSON object, at any depth."""
    while isinstance(content, dict) and content:
        key = generator.choice(sorted(content))
        inner = content[key]
        if isinstance(inner, dict) and inner and generator.random() < 0.8:
            content = inner
            continue
        number = isinstance(inner, int | float) and generator.random() < 0.7
        content[key] = generator.choice(NUMBERS if number else OTHERS)
        return


def _link(source: str, copy: str) -> None:
    """A file that is not changed needs no copy."""
    if source.endswith(".json"):
        shutil.copy(source, copy)
        return
    try:
        Path(copy).hardlink_to(source)
    except OSError:  # another file system
        shutil.copy(source, copy)


def configuration(generator: random.Random, run: Run, pipeline: Path) -> Counter[str]:
    """A model whose JSON files were changed in up to three places, used by a command."""
    clip, image = builtin_folder("builtin/blocks-clip"), str(pipeline.parent / "images" / "0.png")
    jobs = [
        (clip, ["embed", image, "--encoder", "model"]),
        (pipeline, ["generate", "a", "--model", "model", "--steps", "1", "--count", "1"]),
        (builtin_folder("builtin/series"), ["forecast", SERIES, "--model", "model"]),
        (clip, ["embed", "a cube", "--encoder", "model"]),
        (builtin_folder("builtin/minilm"), ["embed", "a cube", "--encoder", "model"]),
    ]
    # to export a text encoder takes ten seconds
    [(source, arguments)] = generator.choices(jobs, [10, 10, 10, 1, 1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(source, folder / "model", copy_function=_link)
        path = generator.choice(sorted((folder / "model").rglob("*.json")))
        content = json.loads(path.read_text("utf-8"))
        for _ in range(generator.randint(1, 3)):
            change(content, generator)
        path.write_text(json.dumps(content), "utf-8")
        code, text, _ = run(arguments, folder)  # which counts what is too long
    counts = Counter({"hostile configurations": 1, "hostile configurations refused": code == 2})
    if code not in (0, 1, 2) or "graft: unexpected" in text:
        counts["unexpected"] += code not in (0, 1, 2)  # `run` has counted the word
        print(f"{path.name}: exit {code}: {text[:500]}", flush=True)
    return counts


PIECES = [
    *(b"data: ", b"\n", b"\n\n", b"\r\n\r\n", b"[DONE]", b": ping\n", b"{}", b"[]", b"null", b"\0"),
    *(b"9" * 5000, b"[" * 50_000, b"\xff\xfe", b'{"choices": ', b"x" * 70_000, b"\x1f\x8b\x08"),
    b'data: {"choices": [{"delta": {"content": "word"}, "finish_reason": null}]}\n\n',
    b'data: {"choices": [{"delta": {"content": 3}}]}\n\n',
    b'{"choices": [{"message": {"content": "whole"}}]}',
    b'{"choices": [{"message": {"content": null}}]}',
    b'{"error": {"message": ["deep"]}}',
]
HEADS = [
    *(
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/9.9 999 ?\r\n\r\n",
        b"",
        b"\0",
    ),
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 307 Go\r\nLocation: http://evil.example/\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
]


def server(generator: random.Random) -> Counter[str]:
    """A server of a language model that answers anything, in pieces, and leaves in any manner."""
    pieces = [generator.choice(HEADS), *generator.choices(PIECES, k=generator.randint(0, 8))]
    leaves, pause = generator.choice(["closes", "resets", "stays"]), generator.choice([0, 0.05])
    listener = socket.create_server(("127.0.0.1", 0))
    left = threading.Event()

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(1 << 16)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            if leaves == "resets":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if leaves == "stays":
                left.wait(SECONDS)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    began, counts = time.monotonic(), Counter({"hostile servers": 1})
    try:
        writer = ServerWriter(address, "m", max_tokens=5, timeout=0.5, seed=0)
        "".join(writer.write(Prompt(text="The prompt.", question="?")))
    except WriterFailed:
        counts["hostile servers reported"] += 1
    except Exception as error:
        counts["unexpected"] += 1
        print(f"a server, {pieces}, {leaves}: {error!r}"[:500], flush=True)
    counts["longer than the deadline"] += time.monotonic() - began > SECONDS
    left.set()
    listener.close()
    thread.join()
    return counts


def request(generator: random.Random) -> Counter[str]:
    """A request of which up to four fields hold values of chance."""
    command = generator.choice(CATALOGUE)
    names = [*command.request.model_fields, "no_such_field"]
    chosen = generator.sample(names, generator.randint(0, min(4, len(names))))
    values = {name: generator.choice(VALUES) for name in chosen}
    counts = Counter({"fuzzed requests": 1})
    try:
        json.dumps(command.request(**values).model_dump(mode="python"), default=str)
    except BadValue:
        counts["fuzzed requests refused"] += 1
    except Exception as error:
        counts["unexpected"] += 1
        print(f"{command.request_name}({values!r}): {error!r}"[:500], flush=True)
    return counts
