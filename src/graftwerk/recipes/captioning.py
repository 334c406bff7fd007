"""Captions of stored scenes, as token numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..blocks.captions import partial, say
from .rendering import Rows
from .scenes import facts_of_row
from .words import LENGTH

if TYPE_CHECKING:
    import torch

_KEPT = 0.7  # chance that a part of a caption is said, where some are left out


def captions_of_rows(rows: Rows, first: int, seed: int, unsaid: float) -> list[str]:
    """A caption for each row; items are numbered from `first` on, and draw from that alone.

    Args:
        rows: stored scenes.
        first: number of the first item in the endless stream.
        seed: of the training.
        unsaid: share of captions that leave parts out.
    """
    captions = []
    for number, row in enumerate(rows, first):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, number)))
        facts = facts_of_row(row)
        if generator.random() < unsaid:
            facts = partial(facts, generator, _KEPT)
        captions.append(say(facts))
    return captions


def tokens_of(tokenizer: Any, captions: Sequence[str]) -> "dict[str, torch.Tensor]":
    """Token numbers and mask, filled up to the longest length."""
    found = tokenizer(
        list(captions),
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    return {"tokens": found.input_ids, "mask": found.attention_mask}
