"""The tokenizer of captions: each word of the grammar is one token, others are spelled in bytes."""

from itertools import pairwise
from typing import Any

from ..blocks.captions import Facts, ObjectFacts, say
from ..blocks.scene import COLOURS, GROUNDS, KINDS, MOST_OBJECTS, POSES, TIMES

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


def longest_caption() -> str:
    """Return a caption with the most tokens."""
    thing = ObjectFacts("person", "orange", "arms out")
    return say(Facts((thing,) * MOST_OBJECTS, "stone", "sunset"))


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return tokens and merges of a byte-pair encoding in which each word is one token.

    Merges are tried in order. Those of a new word come after all others and only join what these
    leave apart, so no earlier word is split.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in caption_words():
        pieces = _merge([*word[:-1], word[-1] + _WORD_END], merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = ["".join(pieces[:2]), *pieces[2:]]
            tokens.append(pieces[0])
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _merge(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Join pieces as byte-pair encoding does: the earliest merge first, wherever it applies."""
    rank = {pair: number for number, pair in enumerate(merges)}
    while True:
        pairs = [pair for pair in pairwise(pieces) if pair in rank]
        if not pairs:
            return pieces
        best = min(pairs, key=lambda pair: rank[pair])
        joined: list[str] = []
        while pieces:
            if tuple(pieces[:2]) == best:
                joined.append("".join(pieces[:2]))
                pieces = pieces[2:]
            else:
                joined.append(pieces[0])
                pieces = pieces[1:]
        pieces = joined


def make_tokenizer() -> Any:
    """Return the tokenizer as a transformers object."""
    import transformers

    tokens, merges = vocabulary()
    make: Any = transformers.CLIPTokenizer
    return make(vocab=tokens, merges=merges, model_max_length=LENGTH)
