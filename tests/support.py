"""Stand-ins that several test files share."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwerk.errors import BadFile, Cancelled
from graftwerk.search.index import create_or_open
from graftwerk.search.rows import input_text, parse_where
from graftwerk.types import Modality, Passage, Role, Vectors


class HashEncoder:
    """A tiny encoder: a text is the sum of its words' random vectors, seeded by their SHA-256."""

    def __init__(
        self,
        dimension: int = 32,
        reads: frozenset[Modality] = frozenset({"text", "image"}),
        name: str = "test/hash",
        rescorer: str | None = None,
    ) -> None:
        self.name = name
        self.fingerprint = hashlib.sha256(f"{name} {dimension}".encode()).hexdigest()
        self.dimension = dimension
        self.reads = reads
        self.rescorer = rescorer
        self.texts: list[str] = []  # everything that it was given
        self.images = 0

    def _vector(self, content: bytes) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(self.name.encode() + content).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(self.dimension)

    def _unit(self, rows: list[np.ndarray]) -> Vectors:
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), self.dimension)
        return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(
        self,
        texts: Sequence[str],
        role: Role = "document",
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        self.texts += texts
        rows = []
        for text in texts:
            words = re.findall(r"\w+", text.lower()) or [text]
            rows.append(sum(self._vector(w.encode("utf-8", "surrogatepass")) for w in words))
            if advance is not None:
                advance(1)
        return self._unit(rows)

    def encode_images(
        self, images: Sequence[Any], advance: Callable[[int], None] | None = None
    ) -> Vectors:
        self.images += len(images)
        if advance is not None:
            advance(len(images))
        return self._unit([self._vector(image.tobytes()) for image in images])

    def count_tokens(self, text: str) -> int:
        return len(text.split())


class Corpus:
    """A small index made from passages, for tests of what reads one."""

    _shared: "Corpus | None" = None

    def __init__(self, folder: Path, encoder: HashEncoder | None = None) -> None:
        self.encoder = encoder or HashEncoder()
        self.index = create_or_open(folder, self.encoder, self.encoder.name, None)

    def __enter__(self) -> "Corpus":
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()

    @classmethod
    def shared(cls, factory: pytest.TempPathFactory) -> "Corpus":
        """One that all examples of a property test share."""
        if cls._shared is None:
            cls._shared = cls(factory.mktemp("corpus") / "index")
            cls._shared.put_text("/a.txt", "some words to find")
        return cls._shared

    def put(self, path: str, *passages: Passage, content_hash: str | None = None) -> None:
        vectors = self.encoder.encode_texts([input_text(p) or path for p in passages])
        content = content_hash or hashlib.sha256(repr(passages).encode()).hexdigest()
        self.index.put(path, content, passages, vectors)

    def put_text(self, path: str, *texts: str, heading: str = "") -> int:
        """Store a file of one passage a text; gives the key of the last."""
        passages = [
            Passage(path, "text", text, 100 * n, 100 * n + len(text), heading, n + 1)
            for n, text in enumerate(texts)
        ]
        self.put(path, *passages)
        with self.index.view() as view:
            return int(view.all_vectors()[0].max(initial=0))

    def files(self) -> dict[str, str]:
        with self.index.view() as view:
            return view.files()

    def texts(self) -> list[str]:
        """Every stored text, in the order of the keys."""
        return [passage.text for passage in self.allowed("kind != none")]

    def allowed(self, *conditions: str) -> list[Passage]:
        condition = parse_where(conditions)
        assert condition is not None
        with self.index.view() as view:
            keys = view.allowed(condition).tolist()
            found = view.passages(keys)
        return [found[key] for key in keys]

    def match(self, expression: str) -> list[int]:
        with self.index.view() as view:
            return [key for key, _ in view.match(expression, 100, None)]

    def marks(self, key: int, expression: str) -> tuple[tuple[int, int], ...]:
        with self.index.view() as view:
            return view.marks([key], expression)[key]


def use_encoder(monkeypatch: pytest.MonkeyPatch, *encoders: HashEncoder) -> None:
    """Let the commands find these encoders, by their names, in the place of real ones."""
    known = {encoder.name: encoder for encoder in encoders}

    def load(name: str, *, layer: int | None = None, device: str = "auto") -> HashEncoder:
        if name not in known:
            raise BadFile(f"model {name!r} is neither a built-in name nor a folder that exists.")
        return known[name]

    monkeypatch.setattr("graftwerk.library.index.load_encoder", load)


class Recorder:
    """A monitor that keeps what it was told, and stops after so many calls of `advance`."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.counts: list[int] = []
        self.notes: list[str] = []
        self._left = stop_after

    def start(self, task: str, total: int | None = None) -> None:
        self.stages.append((task, total))
        self.counts.append(0)

    def advance(self, count: int = 1) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Cancelled("stopped by a test.")
        self.counts[-1] += count

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stream(self, piece: str) -> None:
        raise AssertionError("nothing to stream")

    def chart(self, figures: Any) -> None:
        raise AssertionError("nothing to chart")

    def show(self, report: Any) -> None:
        raise AssertionError("nothing to show")
