"""Vectors for passages and pictures, by the hash of what the encoder is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import numpy as np

from ..contracts import Encoder, Passage, Vectors
from ..frozen.images import encode_and_compare
from .rows import input_text

if TYPE_CHECKING:
    from PIL.Image import Image

Input = Union[Passage, "Image"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """What was embedded.

    Attributes:
        vectors: by the hash of the input.
        unfamiliar: pictures unlike what the encoder was trained on; None where it does not tell.
    """

    vectors: dict[bytes, bytes]
    unfamiliar: int | None


def embed(
    inputs: Mapping[bytes, Input], encoder: Encoder, advance: Callable[[int], None]
) -> Embedded:
    """Embed each input once; `advance(count)` is called as they are done, and may raise to stop."""
    texts = {key: input_text(given) for key, given in inputs.items() if isinstance(given, Passage)}
    pictures = {key: given for key, given in inputs.items() if not isinstance(given, Passage)}
    vectors: dict[bytes, bytes] = {}
    unfamiliar = None
    if texts:
        encoded = encoder.encode_texts(list(texts.values()), advance=advance)
        vectors.update(zip(texts, _rows(encoded), strict=True))
    if pictures:
        encoded, distances = encode_and_compare(encoder, list(pictures.values()), advance)
        vectors.update(zip(pictures, _rows(encoded), strict=True))
        unfamiliar = None if distances is None else int((distances > 1).sum())
    return Embedded(vectors, unfamiliar)


def _rows(vectors: Vectors) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f4")]
