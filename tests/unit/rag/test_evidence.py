import math

import numpy as np
import pytest

from graftwerk.models.language.reader import PassageReading, Reader
from graftwerk.rag.evidence import EVIDENCE_HITS, find_features, measure_evidence
from graftwerk.search.results import Hit

QUESTION = "When may foosball be played?"


def hits(*texts, heading=""):
    return [
        Hit(f"/{n}.md", "text", text, 0, len(text), heading=heading, score=1.0)
        for n, text in enumerate(texts)
    ]


def test_no_hits_are_no_evidence(words_encoder):
    assert measure_evidence(QUESTION, [], words_encoder) == 0.0


def test_evidence_grows_with_what_the_documents_say(words_encoder):
    strengths = [
        measure_evidence(QUESTION, hits(*texts), words_encoder)
        for texts in (
            ("Pigeons live on the roof.",),
            ("Foosball stands in the cellar.",),
            ("Foosball may be played after five.",),
        )
    ]
    assert strengths == sorted(strengths)
    assert 0.0 < strengths[0] < 0.05
    assert 0.9 < strengths[2] < 1.0


def test_the_features_in_closed_form(words_encoder):
    found = hits("It is late. Foosball played.", "Pigeons.", "Foosball.", "Roof.")
    cosine, share, lead = find_features(QUESTION, found, words_encoder)
    assert cosine == pytest.approx(
        1.0
    )  # the content words of the second sentence are the question's
    assert share == pytest.approx(1.0)
    assert lead > 0 > find_features(QUESTION, hits("Pigeons."), words_encoder)[2]
    tied = hits("Foosball is played at five.", "Foosball was played at six.")
    assert lead > find_features(QUESTION, tied, words_encoder)[2]
    assert find_features(QUESTION, found[1:], words_encoder)[1] == pytest.approx(0.5, abs=0.2)


def test_the_question_is_encoded_as_a_query(words_encoder):
    roles = {}
    encode = words_encoder.encode_texts

    def recording(texts, role="document", advance=None):
        roles.update(dict.fromkeys(texts, role))
        return encode(texts, role, advance)

    words_encoder.encode_texts = recording
    measure_evidence(QUESTION, hits("Foosball played."), words_encoder)
    assert roles == {QUESTION: "query", "Foosball played.": "document"}


def test_headings_count_as_words_of_their_passage(words_encoder):
    without = find_features(QUESTION, hits("After five."), words_encoder)[1]
    under = find_features(QUESTION, hits("After five.", heading="Foosball"), words_encoder)[1]
    assert without == 0.0 < under


def test_neither_more_hits_nor_long_documents_cost_more(words_encoder):
    found = hits(*(f"Foosball number {n}. " * 50 for n in range(40)))
    assert find_features(QUESTION, found, words_encoder) == find_features(
        QUESTION, found[:EVIDENCE_HITS], words_encoder
    )
    assert len(words_encoder.encoded) < 40


def test_a_question_or_a_passage_without_words_is_weighed_too(words_encoder):
    assert 0.0 < measure_evidence("???", hits("..."), words_encoder) < 1.0


class StandInReader(Reader):
    """Gives the first passage half of the probability, others none."""

    def __init__(self):
        pass

    def read(self, question, passages):
        logits = np.log(np.eye(1, len(passages))[0] + 1e-9)
        offsets = np.array([[0, 3]])
        return [
            PassageReading(0.0, 0.0, *np.float32([[logit], [0.0]]), offsets) for logit in logits
        ]


def test_the_reader_adds_the_likeliest_passages_probability(words_encoder):
    found = hits("Foosball may be played after five.", "Pigeons.")
    seen = find_features(QUESTION, found, words_encoder, StandInReader())
    assert seen[:3] == find_features(QUESTION, found, words_encoder)
    assert seen[3] == pytest.approx(math.log(0.5))
    none = find_features(QUESTION, hits("###"), words_encoder, StandInReader())
    assert none[3] == pytest.approx(math.log(0.5))


def test_less_probable_passages_are_weaker_evidence(words_encoder):
    class Doubting(StandInReader):
        def read(self, question, passages):
            return super().read(question, [("", ""), *passages])[1:]

    found = hits("Foosball may be played after five.")
    sure, doubting = (
        measure_evidence(QUESTION, found, words_encoder, reader)
        for reader in (StandInReader(), Doubting())
    )
    assert 0 < doubting < sure < 1
