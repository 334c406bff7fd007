"""Training inputs computed once from stored scenes: caption tokens, text states and latents.

In the tokenizer of captions each word of the grammar is one token, others are spelled in bytes.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..blocks.captions import Facts, ObjectFacts, partial, say
from ..blocks.networks import as_input, downsampled
from ..blocks.scene import COLOURS, GROUNDS, KINDS, POSES, TIMES
from ..diffusion.prompts import TextReader
from ..types import Monitor
from .scenes import Chunks, Rows, Scenes, as_tensors, facts_of_row, open_chunks

LENGTH = 40  # tokens of the longest caption, and its two marks
START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


def caption_words() -> list[str]:
    """Return all words and punctuation of the grammar, longest first."""
    things = [ObjectFacts(kind, colour) for kind in (None, *KINDS) for colour in COLOURS]
    things += [ObjectFacts("person", "red", pose) for pose in POSES]
    facts = [Facts((thing,) * 3) for thing in things]
    facts += [Facts((), ground, time) for ground in GROUNDS for time in TIMES]
    text = " ".join(say(fact).replace(",", " ,") for fact in facts)
    return sorted(set(text.split()), key=lambda word: (-len(word), word))


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return tokens and merges of a byte-pair encoding in which each word is one token.

    Merges are tried in order. Those of a new word come after all others and only join what these
    leave apart, so no earlier word is split.
    """
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in caption_words():
        known = {token: number for number, token in enumerate(tokens)}
        model = BPE(known, merges, end_of_word_suffix=_WORD_END)
        pieces = [token.value for token in model.tokenize(word)]
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = ["".join(pieces[:2]), *pieces[2:]]
            tokens.append(pieces[0])
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def make_tokenizer() -> Any:
    """Return the tokenizer as a transformers object."""
    import transformers

    tokens, merges = vocabulary()
    make: Any = transformers.CLIPTokenizer
    return make(vocab=tokens, merges=merges, model_max_length=LENGTH)


_RETAINED = 0.7  # chance that a part of a caption is said, where some are left out


def captions_of_rows(rows: Rows, first: int, seed: int, dropped: float) -> list[str]:
    """Return a caption for each row, as a function of the item's number in the stream.

    Args:
        rows: stored scenes.
        first: number of the first item in the endless stream.
        seed: of the training.
        dropped: share of captions with missing parts.
    """
    captions = []
    for number, row in enumerate(rows, first):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, number)))
        facts = facts_of_row(row)
        if generator.random() < dropped:
            facts = partial(facts, generator, _RETAINED)
        captions.append(say(facts))
    return captions


def tokens_of(tokenizer: Any, captions: Sequence[str]) -> "dict[str, torch.Tensor]":
    """Return token ids and masks, padded to the maximum length."""
    found = tokenizer(
        list(captions),
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    return {"tokens": found.input_ids, "mask": found.attention_mask}


_BATCH = 64


def encode_rows(network: Any, rows: Rows, device: str) -> Float[Tensor, "n c y x"]:
    """Return the mean latents of stored scenes, without the scaling factor.

    Images a whole multiple of the autoencoder's own size are downsampled first.
    """
    images, side = as_tensors(rows)["picture"], int(network.config.sample_size)
    with torch.inference_mode():
        found = [
            network.encode(downsampled(as_input(part.to(device)), side))
            .latent_dist.mean.float()
            .cpu()
            for part in torch.split(images, _BATCH)
        ]
    return torch.cat(found)


def open_latents(
    network: Any, identity: str, scenes: Scenes, device: str, monitor: Monitor
) -> Chunks:
    """Encode scenes that are not in the cache: [c y x] each, scaled to unit variance.

    Args:
        network: the autoencoder, on the device.
        identity: hash of what determines its latents.
        scenes: to encode, in order.
        device: where it runs.
        monitor: shows progress.
    """

    def make(span: range) -> Tensor:
        latents = encode_rows(network, scenes.rows(np.array(span)), device)
        scaled: Tensor = latents * network.config.scaling_factor
        return scaled

    small = "-downsampled" if int(network.config.sample_size) < scenes.side else ""
    location = f"latents/{scenes.name}-{identity[:16]}{small}"
    return open_chunks(location, len(scenes), 4, "encoding scenes", make, monitor)


_SEED = 0  # of what captions leave out


def open_states(
    reader: TextReader, identity: str, scenes: Scenes, dropped: float, monitor: Monitor
) -> Chunks:
    """Encode captions of scenes that are not in the cache: token states, [t d] each.

    Args:
        reader: the text encoder.
        identity: hash of what determines its states.
        scenes: to caption, one caption each.
        dropped: share of captions with missing parts.
        monitor: shows progress.
    """

    def make(span: range) -> Tensor:
        rows = scenes.rows(np.array(span))
        captions = captions_of_rows(rows, span.start, _SEED, dropped)
        parts = [captions[n : n + _BATCH] for n in range(0, len(captions), _BATCH)]
        return torch.cat([reader.read(part).states for part in parts])

    location = f"captions/{scenes.name}-{identity[:16]}-{dropped:g}"
    return open_chunks(location, len(scenes), 3, "reading captions", make, monitor)


CAPTIONS = 4  # of each scene; they differ in what is left out


class Captions:
    """Tokens of captions; the caption of a training item is a function of its number."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def of(self, numbers: Int64[np.ndarray, " n"], first: int) -> Int64[Tensor, "n t"]:
        """Return the tokens of these scenes, which are items `first` and on of the training."""
        reported = torch.arange(first, first + len(numbers)) % CAPTIONS
        return self._chunks.of(numbers)[torch.arange(len(numbers)), reported].long()


def open_captions(scenes: Scenes, dropped: float, monitor: Monitor) -> Captions:
    """Caption scenes that are not in the cache.

    Args:
        scenes: to caption.
        dropped: share of captions with missing parts.
        monitor: shows progress.
    """
    tokenizer = make_tokenizer()

    def make(span: range) -> Tensor:
        # their numbers are below 2,048, up to which half precision holds every whole number
        rows = scenes.rows(np.array(span))
        reported = [
            tokens_of(tokenizer, captions_of_rows(rows, span.start, telling, dropped))["tokens"]
            for telling in range(CAPTIONS)
        ]
        return torch.stack(reported, dim=1)

    location = f"captions/{scenes.name}-{_words()}-{dropped:g}"
    return Captions(open_chunks(location, len(scenes), 3, "telling scenes", make, monitor))


def until_end(tokens: Int64[Tensor, "n t"], end: int) -> Int64[Tensor, "n t"]:
    """Return the attention mask: 1 up to the first end token, with which texts are padded."""
    ends = tokens == end
    return ((ends.cumsum(dim=1) - ends.long()) == 0).long()


@lru_cache(maxsize=1)
def _words() -> str:
    return hashlib.sha256(repr(vocabulary()).encode()).hexdigest()[:16]
