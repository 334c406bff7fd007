import pytest

from graftwerk.errors import BadInput
from graftwerk.models.language import load_writer
from graftwerk.models.language.reading import ExtractiveWriter
from graftwerk.types import Passage, Prompt, Source

QUESTION = "May we play foosball during working hours?"


def prompt(*texts, question=QUESTION):
    sources = tuple(
        Source(number, Passage(f"/{number}.md", "text", text, 0, len(text)))
        for number, text in enumerate(texts, 1)
    )
    return Prompt(text="", question=question, sources=sources, nonce="m")


def answer(encoder, *texts, question=QUESTION):
    return "".join(ExtractiveWriter(encoder).write(prompt(*texts, question=question)))


def test_it_is_what_load_writer_gives(words_encoder):
    writer = load_writer(
        "extractive",
        model=None,
        encoder=words_encoder,
        max_tokens=1,
        timeout=1.0,
        device="cpu",
        seed=0,
    )
    assert isinstance(writer, ExtractiveWriter)
    assert writer.extractive
    assert writer.count_tokens("two words") == 2


def test_the_sentence_that_answers_is_quoted_with_its_number(words_encoder):
    text = answer(
        words_encoder,
        "Coffee is free for everyone. Pigeons live on the roof of our house.",
        "The kitchen is on the left. Foosball may be played during working hours.",
    )
    assert text == "Foosball may be played during working hours. [2]"


def test_every_line_is_a_quote_of_the_document_that_it_cites(words_encoder):
    texts = (
        "Foosball is played after working hours. Foosball is played in working hours.",
        "Nobody plays foosball in working hours. Working hours end at five.",
    )
    lines = answer(words_encoder, *texts).split("\n")
    assert 1 <= len(lines) <= 3
    for line in lines:
        quote, _, number = line.rpartition(" [")
        assert quote in texts[int(number[:-1]) - 1]


def test_the_same_sentence_is_quoted_once(words_encoder):
    sentence = "Foosball may be played during working hours."
    assert answer(words_encoder, sentence, sentence, sentence) == f"{sentence} [1]"


def test_nearly_the_same_sentence_is_quoted_once(words_encoder):
    first = "Foosball may be played during working hours."
    assert answer(words_encoder, first, "During the working hours foosball may be played!") in {
        f"{first} [1]",
        "During the working hours foosball may be played! [2]",
    }


def test_headings_list_marks_and_footnotes_are_left_out(words_encoder):
    text = answer(
        words_encoder,
        "# Foosball during working hours\n\n- Foosball may be played\n  during working hours.[2]\n",
    )
    assert text == "Foosball may be played during working hours. [1]"


def test_a_list_is_quoted_with_the_sentence_that_introduces_it(words_encoder):
    rules = "Playing foosball during working hours has these rules:\n"
    items = [
        "- Ask first.\n",
        "- Lower the voice\n",
        "- Reset it\n",
        "- Smile\n",
        "- Stop at five\n",
    ]
    text = answer(words_encoder, f"{rules}{''.join(items)}\nPigeons live on the roof.")
    first = text.split("\n")[0]
    assert first == (
        "Playing foosball during working hours has these rules: - Ask first. [1] "
        "- Lower the voice - Reset it - Smile [1]"
    )
    assert "Lower" not in text.removeprefix(first)


def test_pointers_and_lines_of_xml_do_not_lead(words_encoder):
    text = answer(
        words_encoder,
        "See below for playing foosball during working hours.\n\n"
        "Playing foosball is fine during working hours for all of us.\n\n"
        "</foosball> <working-hours>",
    )
    assert text.split("\n")[0] == "Playing foosball is fine during working hours for all of us. [1]"
    assert "<working" not in text


def test_fragments_are_quoted_where_there_is_nothing_else(words_encoder):
    assert answer(words_encoder, "Foosball: no") == "Foosball: no [1]"
    assert answer(words_encoder, "...\n---") == ""


def test_without_documents_there_is_nothing_to_quote(words_encoder):
    with pytest.raises(BadInput, match="no documents to quote"):
        answer(words_encoder)


def test_only_the_sentences_that_share_words_are_embedded(words_encoder):
    answer(words_encoder, " ".join(f"Sentence number {n} is here." for n in range(500)))
    assert len(words_encoder.encoded) < 30
