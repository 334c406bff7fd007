"""Captions of stored scenes as tokens, each scene told several times, made once and kept."""

import hashlib
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..contracts import Monitor
from .captioning import captions_of_rows, tokens_of
from .chunks import Chunks, open_chunks
from .scenes import Scenes
from .words import make_tokenizer, vocabulary

TELLINGS = 4  # of each scene; they differ in what is left unsaid


class Tellings:
    """Tokens of captions; what an item of a training is told is a function of its number."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def of(self, numbers: Int64[np.ndarray, " n"], first: int) -> Int64[Tensor, "n t"]:
        """Tokens of these scenes, which are items `first` and on of the training."""
        told = torch.arange(first, first + len(numbers)) % TELLINGS
        return self._chunks.of(numbers)[torch.arange(len(numbers)), told].long()


def open_tellings(scenes: Scenes, unsaid: float, monitor: Monitor) -> Tellings:
    """Tell scenes where that was not done yet.

    Args:
        scenes: what is told.
        unsaid: share of captions that leave parts out.
        monitor: told about it.

    Raises:
        NoRoom, Cancelled, Damaged: see `chunks.open_chunks`.
    """
    tokenizer = make_tokenizer()

    def make(span: range) -> Tensor:
        # their numbers are below 2,048, up to which half precision holds every whole number
        rows = scenes.rows(np.array(span))
        told = [
            tokens_of(tokenizer, captions_of_rows(rows, span.start, telling, unsaid))["tokens"]
            for telling in range(TELLINGS)
        ]
        return torch.stack(told, dim=1)

    place = f"tellings/{scenes.name}-{_words()}-{unsaid:g}"
    return Tellings(open_chunks(place, len(scenes), 3, "telling scenes", make, monitor))


def until_end(tokens: Int64[Tensor, "n t"], end: int) -> Int64[Tensor, "n t"]:
    """The mask of texts: 1 up to the first end mark, with which the rest is filled up."""
    ends = tokens == end
    return ((ends.cumsum(dim=1) - ends.long()) == 0).long()


@lru_cache(maxsize=1)
def _words() -> str:
    """A hash of the vocabulary."""
    return hashlib.sha256(repr(vocabulary()).encode()).hexdigest()[:16]
