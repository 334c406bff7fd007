"""An encoder that embeds no text twice."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..contracts import Encoder, Role, Vectors


class Remembering:
    """Another encoder, with every text's vector kept for as long as this object lives.

    For one question or one evaluation, where search, evidence, writer and citations look at the
    same sentences; not for indexing.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.fingerprint = encoder.fingerprint
        self.dimension = encoder.dimension
        self.reads = encoder.reads
        self.rescorer = encoder.rescorer
        self._encoder = encoder
        self._known: dict[tuple[Role, str], Vectors] = {}

    def encode_texts(
        self,
        texts: Sequence[str],
        role: Role = "document",
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Encode what is not known yet; `advance` counts those only."""
        unknown = [text for text in dict.fromkeys(texts) if (role, text) not in self._known]
        if unknown:
            vectors = self._encoder.encode_texts(unknown, role, advance)
            for place, text in enumerate(unknown):
                self._known[role, text] = vectors[place : place + 1]
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([self._known[role, text] for text in texts])

    def encode_images(
        self, images: Sequence[Any], advance: Callable[[int], None] | None = None
    ) -> Vectors:
        """Encode pictures; these are not remembered."""
        return self._encoder.encode_images(images, advance)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`."""
        return self._encoder.count_tokens(text)
