"""Stand-ins that several test files share."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graftwerk.contracts import Modality, Role, Vectors


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
