"""Vectors for passages and pictures, by the hash of what the encoder is given."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Union

import numpy as np

from ..contracts import Encoder, Passage, Vectors
from .rows import input_text

if TYPE_CHECKING:
    from PIL.Image import Image

Input = Union[Passage, "Image"]


def embed(
    inputs: Mapping[bytes, Input], encoder: Encoder, advance: Callable[[int], None]
) -> dict[bytes, bytes]:
    """Embed each input once; `advance(count)` is called as they are done, and may raise to stop."""
    texts = {key: input_text(given) for key, given in inputs.items() if isinstance(given, Passage)}
    pictures = {key: given for key, given in inputs.items() if not isinstance(given, Passage)}
    vectors: dict[bytes, bytes] = {}
    if texts:
        encoded = encoder.encode_texts(list(texts.values()), advance=advance)
        vectors.update(zip(texts, _rows(encoded), strict=True))
    if pictures:
        encoded = encoder.encode_images(list(pictures.values()), advance=advance)
        vectors.update(zip(pictures, _rows(encoded), strict=True))
    return vectors


def _rows(vectors: Vectors) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f4")]
