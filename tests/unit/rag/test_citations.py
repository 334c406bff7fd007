import pytest

from graftwerk.rag.citations import (
    Claim,
    attribute,
    check_citations,
    details_not_in,
    find_claims,
    judge,
    nearest_sentences,
    rate_answers,
    windows_of,
)
from graftwerk.types import Passage, Source

TEXT = (
    "The games room is open all day.\n"
    "Foosball may not be played during working hours. After five o'clock it may be played."
)


def source(number, text=TEXT, start=50, line=7):
    return Source(
        number, Passage("/office.md", "text", text, start, start + len(text), line=line, page=None)
    )


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("Yes [1]. No [2].", [("Yes.", (1,)), ("No.", (2,))]),
        ("It is free. [1] It is old. [2, 3]", [("It is free.", (1,)), ("It is old.", (2, 3))]),
        ("It is free [1][2].", [("It is free.", (1, 2))]),
        ("As [1] says, it is free.", [("As says, it is free.", (1,))]),
        ("[1] It is free. It is old.", [("It is free.", (1,)), ("It is old.", ())]),
        ("Free lunch [1]\nGym [2]", [("Free lunch", (1,)), ("Gym", (2,))]),
        ("It is free [1]. Nobody knows why.", [("It is free.", (1,)), ("Nobody knows why.", ())]),
        ("It is free [1] [1].", [("It is free.", (1,))]),
        ("", []),
        ("[1]", []),
    ],
)
def test_a_citation_belongs_to_the_text_before_it(answer, claims):
    assert find_claims(answer) == [Claim(text, cites) for text, cites in claims]


def test_a_quote_is_verbatim_and_its_span_and_line_are_found(words_encoder):
    claim = Claim("Foosball may not be played during working hours.", (1,))
    [report] = check_citations([claim], [source(1)], words_encoder)
    assert (report.verdict, report.similarity) == ("verbatim", 1.0)
    assert TEXT[report.start - 50 : report.end - 50] == claim.text == report.quote
    assert report.line == 8
    assert report.path == "/office.md"
    assert words_encoder.encoded == []  # no model is asked where a comparison of letters will do


def test_claims_that_are_no_quotes_are_compared_in_one_batch(words_encoder):
    calls = []
    encode = words_encoder.encode_texts
    words_encoder.encode_texts = lambda texts, *more: calls.append(texts) or encode(texts, *more)
    claims = [
        Claim("In the working hours, no foosball may be played.", (1,)),
        Claim("Pigeons live on the roof.", (1,)),
    ]
    reports = check_citations(claims, [source(1)], words_encoder)
    assert [report.verdict for report in reports] == ["paraphrase", "unsupported"]
    assert reports[0].quote == "Foosball may not be played during working hours."
    assert reports[0].similarity > 0.75 > reports[1].similarity
    assert len(calls) == 1


def test_each_number_of_a_claim_gets_its_own_verdict(words_encoder):
    claim = Claim("The games room is open all day.", (1, 2))
    other = source(2, "Pigeons live on the roof.")
    reports = check_citations([claim], [source(1), other], words_encoder)
    assert [(report.number, report.verdict) for report in reports] == [
        (1, "verbatim"),
        (2, "unsupported"),
    ]


@pytest.mark.parametrize(
    ("claim", "window", "verdict"),
    [
        ("You get 25 days of leave.", "You get 25 days of annual leave.", "paraphrase"),
        ("You get 30 days of leave.", "You get 25 days of annual leave.", "unsupported"),
        ("You get three weeks.", "You get 3 weeks.", "paraphrase"),
        ("Foosball is allowed.", "Foosball is not allowed.", "unsupported"),
        ("Foosball isn't allowed.", "Foosball is not allowed.", "paraphrase"),
        ("Foosball is forbidden.", "Foosball is allowed.", "unsupported"),
        ("Bonuses rise in spring.", "Foosball is played in spring.", "unsupported"),
    ],
)
def test_numbers_negations_and_words_count_beside_the_cosine(claim, window, verdict):
    assert judge(claim, window, cosine=0.95) == verdict


def test_a_low_cosine_supports_nothing():
    assert judge("You get 25 days.", "You get 25 days.", cosine=0.5) == "unsupported"


def test_windows_are_sentences_and_neighbours():
    assert [TEXT[start:end] for start, end in windows_of(TEXT)][-1].startswith("Foosball")
    assert len(windows_of(TEXT)) == 3 + 2
    assert windows_of("") == [(0, 0)]


def test_sentences_that_cite_nothing_are_attributed(words_encoder):
    claims = [
        Claim("The games room is open all day.", ()),
        Claim("In the working hours, no foosball may be played.", ()),
        Claim("Pigeons live on the roof.", ()),
        Claim("Foosball may be played.", (1,)),
    ]
    sources = [source(1, "Pigeons fly."), source(2)]
    reports = attribute(claims, sources, words_encoder)
    assert [(report.number, report.verdict) for report in reports] == [
        (2, "verbatim"),
        (2, "paraphrase"),
        (1, "unsupported"),
    ]
    assert [report.claim for report in reports] == [claim.text for claim in claims[:3]]
    assert attribute(claims, [], words_encoder) == []


def test_numbers_dates_and_names_that_stand_nowhere_are_named():
    def missing(text, question="May Ann play?"):
        return details_not_in([Claim(text, ())], question, [source(1, "Foosball costs 4 euros.")])

    assert missing("It costs 4 euros, said Ann, one of many.") == []
    assert missing("In Zurich it costs 5 euros on a Friday in 2019.") == [
        "2019",
        "5",
        "Zurich",
        "Friday",
    ]
    assert missing("Six people play.") == ["6"]


def test_a_quote_tells_how_probably_it_answers_and_with_which_words(words_encoder):
    claims = [
        Claim("Foosball may not be played during working hours.", (1,)),
        Claim("The games room is open all day.", (1,)),
    ]
    question = "May foosball be played during working hours?"
    sources = [source(1)]
    reports = check_citations(claims, sources, words_encoder)
    first, second = rate_answers(question, reports, sources, words_encoder)
    assert 1 > first.answers > second.answers > 0
    assert first.span
    assert first.span in first.quote
    assert TEXT[first.answer_start - 50 : first.answer_end - 50] == first.span


def test_the_nearest_are_up_to_three_that_differ_the_best_first(words_encoder):
    fees = ["dogs", "cats", "cats", "birds", "fish"]
    texts = [f"The fee for {name} is 4 euros." for name in fees]
    passages = [source(n, text, start=n * 100).passage for n, text in enumerate(texts)]
    found = nearest_sentences("What is the fee?", passages, words_encoder)
    assert found[0].claim == texts[0]
    assert len({one.claim for one in found}) == len(found) == 3
    assert all(one.quote == one.claim and one.verdict == "verbatim" for one in found)
    assert found[0].answers > found[1].answers >= found[2].answers
    assert [one.claim for one in nearest_sentences("For cats?", passages, words_encoder)] == [
        texts[1]  # all others are far behind
    ]
    assert nearest_sentences("What is the fee?", [], words_encoder) == []
