"""Texts to token numbers with the `tokenizers` library, and batches with little padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from ..contracts import Vectors
from ..errors import Damaged

if TYPE_CHECKING:
    import tokenizers

TokenIds = Int64[np.ndarray, "b t"]
# (ids, mask, pooled) -> vectors; `pooled` is 1 for the tokens that take part in the pooling
Forward = Callable[[TokenIds, TokenIds, TokenIds], Vectors]


@dataclass(frozen=True)
class TokenReader:
    """A tokenizer that cuts at `max_length`.

    Attributes:
        definition: content of a `tokenizer.json`.
        max_length: tokens of the longest input, special tokens counted.
        pad_id: number that fills a batch up; the mask hides it.
        lower_case: whether texts are lower-cased first.
        fixed_length: whether every input is filled up to `max_length`.
    """

    definition: str
    max_length: int
    pad_id: int = 0
    lower_case: bool = False
    fixed_length: bool = False

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text, special tokens counted, cut at `max_length`."""
        encodings = self._cutting.encode_batch_fast([self._clean(text) for text in texts])
        return [encoding.ids for encoding in encodings]

    def read_whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each whole text, without special tokens."""
        cleaned = [self._clean(text) for text in texts]
        encodings = self._counting.encode_batch_fast(cleaned, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def count(self, text: str) -> int:
        """Tokens of the whole `text`, special tokens not counted."""
        encoding = self._counting.encode(self._clean(text), add_special_tokens=False)
        return len(encoding.ids)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token number."""
        return max(self._counting.get_vocab().values(), default=-1) + 1

    @property
    def vocabulary(self) -> list[str]:
        """Text of each token number; empty where a number is not used."""
        texts = [""] * self.vocabulary_size
        for text, number in self._counting.get_vocab().items():
            texts[number] = text
        return texts

    @property
    def special(self) -> set[int]:
        """Numbers of special tokens, which stand for no text, and of the unknown token."""
        added = self._counting.get_added_tokens_decoder()
        found = {number for number, token in added.items() if token.special}
        unknown = getattr(self._counting.model, "unk_token", None)
        number = self._counting.token_to_id(unknown or "")
        return found if number is None else found | {number}

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """Special tokens before and after every text."""
        encoding = self._counting.encode("a")
        inside = [place for place, mark in enumerate(encoding.special_tokens_mask) if not mark]
        return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]

    def pad(self, rows: Sequence[list[int]]) -> tuple[TokenIds, TokenIds]:
        """Token numbers and mask of one batch, filled up on the right."""
        width = self.max_length if self.fixed_length else max(1, *map(len, rows))
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return ids, mask

    def _clean(self, text: str) -> str:
        # File names and odd documents bring lone surrogates, which the tokenizer refuses.
        text = text.encode("utf-8", "replace").decode()
        return text.lower() if self.lower_case else text

    @cached_property
    def _cutting(self) -> "tokenizers.Tokenizer":
        tokenizer = parse_tokenizer(self.definition)
        tokenizer.enable_truncation(self.max_length)
        return tokenizer

    @cached_property
    def _counting(self) -> "tokenizers.Tokenizer":
        return parse_tokenizer(self.definition)


def parse_tokenizer(definition: str) -> "tokenizers.Tokenizer":
    """Build a tokenizer that neither cuts nor pads.

    Raises:
        Damaged: `definition` is no content of a `tokenizer.json`.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(definition)
    except Exception as error:  # the library raises bare Exception
        raise Damaged(f"a tokenizer.json cannot be read: {error}.", "Copy it again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Cut items into batches of similar length.

    Args:
        lengths: tokens of each item.
        tokens: ceiling of rows times longest row in a batch; a single row may be longer.

    Returns:
        Places of the items, longest batch first, so that memory runs out at once or never.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    found: list[list[int]] = []
    for place in order:
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= tokens:
            found[-1].append(place)
        else:
            found.append([place])
    return found
