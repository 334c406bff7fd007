# ruff: noqa: RUF001  quotation marks
"""The built-in writer: quotes the sentences of the sources that answer best, word for word."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ...contracts import Encoder, Prompt, Source
from ...errors import BadInput
from ..plain import CITATION
from ..sentences import split_sentences
from ..words import content_stems, covered, numbers, rarity, split_words

# Measured on 590 XQuAD questions, five paragraphs each: the first sentence holds the answer to
# .681 of them by cosine alone, to .769 with the words that it shares with the question, to .786
# with those that it and what stands before it (heading and last sentence) share.
_OWN_WORDS = 0.3
_WORDS_IN_CONTEXT = 0.3
_MARGIN = 0.1  # a further sentence this near to the best one is quoted too: then .832 are answered
_FIGURE = 0.2  # for a sentence with a number where the question asks for one
_ASKS_FIGURE = re.compile(
    r"\b(?:how (?:many|much|long|often|soon|old|far)|when"
    r"|(?:what|which) (?:time|date|day|year|month)|cost|costs|price|percentage)\b",
    re.IGNORECASE,
)
_QUOTED = 3
_READ = 16  # sentences compared by meaning: those that share most words; all of them gave no more
_SAME = 0.93  # cosine from which two sentences say the same
_HEADING = re.compile(r"#{1,6}\s")
_LIST_MARK = re.compile(r"(?:[-*+•>]\s+|\(?\d{1,3}[.)]\s+)+")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    number: int
    context: str  # what stands before it


class ExtractiveWriter:
    """Quotes one to three sentences, each followed by ` [n]`, the best first.

    Args:
        encoder: compares sentences with the question.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name = "extractive"
        self.extractive = True
        self._encoder = encoder

    def count_tokens(self, text: str) -> int:
        """Tokens by the encoder's tokenizer."""
        return self._encoder.count_tokens(text)

    def write(self, prompt: Prompt) -> Iterator[str]:
        """Yield one quote a line.

        Raises:
            BadInput: the prompt has no documents, so there is nothing to quote.
        """
        if not prompt.sources:
            raise BadInput(
                "the extractive writer got no documents to quote.",
                "Let -k be 1 or more, or name a language model with --writer.",
            )
        for position, sentence in enumerate(self._choose(prompt)):
            line = f"{sentence.text} [{sentence.number}]"
            yield f"\n{line}" if position else line

    def _choose(self, prompt: Prompt) -> list[_Sentence]:
        sentences = _sentences(prompt.sources)
        if not sentences:
            return []
        shares = _shares(content_stems(prompt.question), sentences)
        read = np.sort(np.argsort(-shares, kind="stable")[:_READ])
        sentences = [sentences[place] for place in read]

        question = self._encoder.encode_texts([prompt.question], role="query")[0]
        vectors = self._encoder.encode_texts([sentence.text for sentence in sentences])
        scores = vectors @ question + shares[read]
        if _ASKS_FIGURE.search(prompt.question):
            scores += _FIGURE * np.array([bool(numbers(found.text)) for found in sentences])
        chosen: list[int] = []
        for place in np.argsort(-scores, kind="stable"):
            too_weak = bool(chosen) and scores[place] < scores[chosen[0]] - _MARGIN
            if too_weak or len(chosen) == _QUOTED:
                break
            if not chosen or float((vectors[chosen] @ vectors[place]).max()) < _SAME:
                chosen.append(int(place))
        return [sentences[place] for place in chosen]


def _shares(wanted: frozenset[str], sentences: Sequence[_Sentence]) -> Float64[np.ndarray, " n"]:
    """How much of the question's words each sentence holds, alone and with its context."""
    own = [content_stems(sentence.text) for sentence in sentences]
    weights = rarity(own)
    return np.array(
        [
            _OWN_WORDS * covered(wanted, stems, weights)
            + _WORDS_IN_CONTEXT * covered(wanted, stems | content_stems(sentence.context), weights)
            for stems, sentence in zip(own, sentences, strict=True)
        ]
    )


def _sentences(sources: Sequence[Source]) -> list[_Sentence]:
    """Every sentence once; headings and fragments left out unless there is nothing else."""
    sentences: dict[str, _Sentence] = {}
    fragments: dict[str, _Sentence] = {}
    for source in sources:
        text, heading = source.passage.text, source.passage.heading
        before = ""
        for start, end in split_sentences(text):
            written = " ".join(CITATION.sub("", text[start:end]).split())
            lead = _LIST_MARK.match(written)
            quote = written[lead.end() :] if lead else written
            group = sentences if _is_sentence(quote) else fragments
            if split_words(quote):
                found = _Sentence(quote, source.number, f"{heading} {before}")
                group.setdefault(quote, found)
            before = quote
    return list((sentences or fragments).values())


def _is_sentence(text: str) -> bool:
    words = len(split_words(text))
    ends = text.rstrip("\"'”’)*_").endswith((".", "!", "?", "…", ":"))
    states_figure = words >= 3 and any(character.isdigit() for character in text)  # rows, lists
    return not _HEADING.match(text) and (words >= 8 or (ends and words >= 4) or states_figure)
