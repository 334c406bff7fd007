"""The built-in writer: quotes the sentences of the sources that answer best, word for word."""

import re
from collections.abc import Iterator, Sequence

from ...errors import BadInput
from ...types import Encoder, Prompt
from .reading import Reading, read

_QUOTED = 3
_LEAD = 2.5  # a further sentence whose score is this near to the best one's is quoted too
_SAME = 0.93  # cosine from which two sentences say the same
# A sentence that begins so leans on the one before it.
_LEANS = re.compile(
    r"(?:It|They|This|These|That|Those|He|She|Its|Their|His|Her|Each|Otherwise|If (?:it|they|so))\b"
)


class ExtractiveWriter:
    """Writer that quotes one to three sentences, each followed by ` [n]`, the best first.

    Args:
        encoder: compares sentences with the question.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name = "extractive"
        self.extractive = True
        self._encoder = encoder

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens by the encoder's tokenizer."""
        return self._encoder.count_tokens(text)

    def write(self, prompt: Prompt) -> Iterator[str]:
        """Yield one quote per line.

        Raises:
            BadInput: the prompt has no documents, so there is nothing to quote.
        """
        if not prompt.sources:
            raise BadInput(
                "the extractive writer got no documents to quote.",
                "Let -k be 1 or more, or name a language model with --writer.",
            )
        chosen = self._choose(read(prompt.question, prompt.sources, self._encoder))
        quoted = {reading.sentence.text for reading in chosen}
        for position, reading in enumerate(chosen):
            one = reading.sentence
            line = f"{one.text} [{one.number}]"
            if _LEANS.match(one.text) and one.before and one.before not in quoted:
                line = f"{one.before} [{one.number}] {line}"
            yield f"\n{line}" if position else line

    @staticmethod
    def _choose(readings: Sequence[Reading]) -> list[Reading]:
        chosen: list[Reading] = []
        for one in readings:
            if len(chosen) == _QUOTED or one.score < readings[0].score - _LEAD:
                break
            if all(float(other.vector @ one.vector) < _SAME for other in chosen):
                chosen.append(one)
        return chosen
