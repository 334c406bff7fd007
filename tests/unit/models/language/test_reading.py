import numpy as np
import pytest

from graftwerk.models.language import reading, spans
from graftwerk.models.language.reading import kind_of, lead, list_sentences, probability, read
from graftwerk.models.language.spans import find_span
from graftwerk.types import Passage, Source


def sources(*passages):
    return [
        Source(number, Passage(f"/{number}.md", "text", text, 0, len(text), heading))
        for number, (heading, text) in enumerate(passages, 1)
    ]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How much is lunch?", "money"),
        ("How much water does the tank hold?", "amount"),
        ("How many days of leave do I have?", "duration"),
        ("How long is the notice?", "duration"),
        ("How often is the bin emptied?", "often"),
        ("What time does it close?", "when"),
        ("Whom do I call when it leaks?", "who"),
        ("Which room is it in?", "where"),
        ("There is water under it. Why?", "why"),
        ("My bin is full, what should I do?", "how"),
        ("May I bring my dog when it rains?", "yes"),
        ("It is late, can I stay?", "yes"),
        ("What does it eat?", "what"),
        ("Wie lange dauert es?", "what"),
    ],
)
def test_what_kind_of_answer_is_asked_for(question, kind):
    assert kind_of(question) == kind


def test_the_heading_tells_alike_sentences_apart(words_encoder):
    found = read(
        "What does a stall at the flea market cost?",
        sources(
            ("Farmers' market", "A stall costs 14 euros a day."),
            ("Flea market", "A stall costs 8 euros a day."),
        ),
        words_encoder,
    )
    assert found[0].sentence.text == "A stall costs 8 euros a day."
    assert found[0].probability > found[1].probability


@pytest.mark.parametrize(
    ("question", "wrong", "right"),
    [
        ("Who keeps the garden?", "The garden keeps its old name.", "The garden keeps Anna Berg."),
        (
            "How long is the garden open?",
            "The garden is open to old dogs.",
            "The garden is open 9 hours.",
        ),
        (
            "Why is the garden shut?",
            "The garden is shut by iron locks.",
            "The garden is shut because of storms.",
        ),
    ],
)
def test_a_sentence_that_holds_what_is_asked_for_comes_first(words_encoder, question, wrong, right):
    found = read(question, sources(("", f"{wrong} {right}")), words_encoder)
    assert [one.sentence.text for one in found] == [right, wrong]


def test_sentences_keep_their_place_and_what_stands_before_them():
    text = "# Pay\n\n- Salaries are paid\n  on the 27th.[2]\n- They follow a table.\n"
    first, second = list_sentences(sources(("Pay", text)))
    assert first.text == "Salaries are paid on the 27th."
    assert text[first.start : first.end].startswith("- Salaries")
    assert (second.before, second.heading, second.number) == (first.text, "Pay", 1)


def test_probabilities_rise_with_the_score_and_with_the_lead():
    alone, tied = probability(np.array([9.0, 0.0])), probability(np.array([9.0, 9.0]))
    assert 1 > alone[0] > tied[0] == tied[1] > alone[1] > 0
    assert probability(np.array([12.0, 0.0]))[0] > alone[0]
    assert lead(np.array([3.0, 1.0])) == pytest.approx([2, -2])
    assert lead(np.array([3.0]))[0] == 10


def test_there_is_a_weight_for_every_feature(words_encoder):
    found = list_sentences(sources(("", "It costs 3 euros. It is free.")))
    _, features, vectors = reading.find_features("How much is it?", found, words_encoder)
    assert features.shape == (2, len(reading.WEIGHTS)) == (2, len(reading.FEATURES))
    assert len(vectors) == 2


@pytest.mark.parametrize(
    ("question", "sentence", "span"),
    [
        ("How many days of leave do I have?", "Everyone has 28 days of paid leave.", "28 days"),
        ("Who leads the team?", "The team is led by Mara Lindqvist, who is new.", "Mara Lindqvist"),
        ("How much is lunch?", "The price of a warm lunch is 4 euros.", "4 euros"),
        ("When are salaries paid?", "Salaries are paid on 27 March of each year.", "27 March"),
    ],
)
def test_the_likeliest_words_of_a_sentence(question, sentence, span):
    start, end = find_span(question, sentence)
    assert sentence[start:end] == span


ROW = "item: Oak dowels\nsite: Porto\nquantity: 88\nprice: 4.75\nlast counted: 2025-02-11"


@pytest.mark.parametrize(
    ("question", "sentence", "span"),
    [
        ("What is the price of oak dowels?", ROW, "4.75"),
        ("How many oak dowels are there?", ROW, "88"),  # not 88 price
        ("When were the oak dowels counted?", ROW, "2025-02-11"),
        ("At which site are oak dowels?", ROW, "Porto"),
        ("How many oak dowels are there?", "Oak dowels | Porto | 88 | 4.75 EUR", "88"),
        ("How much are oak dowels?", "Oak dowels | Porto | 88 | 4.75 EUR", "4.75 EUR"),
        ("How much are oak dowels?", "Oak dowels Porto 88 4.75", None),  # which of both?
        ("What is the phone number?", "The phone is 555 01 23.", "555 01 23"),
    ],
)
def test_likely_words_lie_in_one_cell_of_a_table(question, sentence, span):
    found = find_span(question, sentence)
    assert (found and sentence[slice(*found)]) == span


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("How much?", "..."),
        ("What is in the inventory?", "4 Warehouse inventory"),
        ("How much does the dog cost?", "The dog is called Rex."),
        ("When does it open?", "It opens to Anna Berg alone."),
        ("Who is in room 12?", "12"),
        ("What is the red garden?", "The red garden."),
    ],
)
def test_what_holds_nothing_of_the_kind_asked_for_has_no_span(question, sentence):
    assert find_span(question, sentence) is None


def test_the_heading_of_a_section_is_no_statement(words_encoder):
    found = list_sentences(
        sources(("", "4 Old garden\nThe garden holds 40 chairs.\n4 March opens"))
    )
    _, features, _ = reading.find_features("What is in the garden?", found, words_encoder)
    assert features[:, reading.FEATURES.index("fragment")].tolist() == [1, 0, 0]


TABLE = """All prices include tax.

| service | dog | cat | rabbit |
|---|---|---|---|
| vaccination | $62 | $54 | $48 |
| dental cleaning | $420 | $380 | not offered |
"""


@pytest.mark.parametrize(
    ("question", "row", "cell"),
    [
        ("What does a vaccination for a cat cost?", "| vaccination", "$54"),
        ("How much is dental cleaning for a rabbit?", "| dental", "not offered"),
        ("What does a vaccination cost?", "| vaccination", None),  # of which animal is not said
        ("What does a cat cost?", "| service", None),  # the header is no row
        ("What does a cat cost?", "All prices", None),
    ],
)
def test_the_cell_under_the_column_that_the_question_names(question, row, cell):
    start = TABLE.index(row)
    found = spans.find_cell(question, TABLE, (start, TABLE.index("\n", start)))
    assert (None if found is None else TABLE[slice(*found)]) == cell


@pytest.mark.parametrize(
    ("question", "sentence", "within"),
    [
        ("Can I post pictures of patients?", "You must not post pictures of patients.", "not"),
        ("Do relatives get it?", "The discount does not apply to relatives.", "not"),
        (
            "May I?",
            "Nobody may wear open shoes in the rooms of the clinic, and never in summer.",
            None,
        ),
    ],
)
def test_the_words_of_a_yes_or_no_keep_its_negations(question, sentence, within):
    span = spans.find_span(question, sentence)
    assert (span is None) if within is None else within in sentence[slice(*span)]
