"""The trained reader puts the first passages of a hybrid search in order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graftwerk.models.language.reader import PassageReading, Reader
from graftwerk.rag.answer import rerank
from graftwerk.rag.evidence import EVIDENCE_HITS
from graftwerk.search.results import Hit


class Sees(Reader):
    """A reader to which passages that hold a word are relevant."""

    def __init__(self, word):
        super().__init__(Path(), Path())
        self.word = word

    def read(self, question, passages):
        none = np.zeros(0, np.float32)
        return [
            PassageReading(
                9.0 if self.word in text else -9.0, 0.0, none, none, np.zeros((0, 2), np.int64)
            )
            for _, text in passages
        ]


def hits(*texts):
    return [
        Hit(f"/{n}.md", "text", text, 0, len(text), score=3.0 - 0.1 * n)
        for n, text in enumerate(texts)
    ]


def test_a_relevant_passage_moves_ahead():
    found = hits("Lunch at noon.", "Rent is due.", "Parking costs 4 euros.")
    texts = [hit.text for hit in rerank("What does parking cost?", found, Sees("Parking"))]
    assert texts == ["Parking costs 4 euros.", "Lunch at noon.", "Rent is due."]


def test_no_certainty_of_the_reader_outweighs_a_much_better_score():
    found = hits("Lunch at noon.", "Parking costs 4 euros.")
    far = replace(found[1], score=-1.0)
    assert rerank("?", [found[0], far], Sees("Parking"))[0] is found[0]


def test_only_the_first_passages_are_read():
    found = hits(*[f"number {n}" for n in range(EVIDENCE_HITS)], "Parking costs 4 euros.")
    assert [*rerank("?", found, Sees("Parking"))] == found


@pytest.mark.parametrize("given", [[], hits("Lunch at noon.")])
def test_without_a_reader_or_a_choice_the_order_stays(given):
    assert rerank("?", given, None) is given
    assert [*rerank("?", given, Sees("x"))] == given
