import json

import pytest

from graftwerk import requests
from graftwerk.commands import evaluate
from graftwerk.errors import BadFile, BadInput
from graftwerk.types import Silent

PARAGRAPHS = [
    {
        "text": "Foosball may be played during the lunch break.",
        "questions": ["When is foosball played?"],
    },
    {
        "text": "Everyone has 28 days of paid leave a year.",
        "questions": ["Who has paid leave?", "Days of leave a year?"],
    },
    {"text": "A hotel in Zurich may cost 180 euros.", "questions": ["What may a hotel cost?"]},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "paragraphs.json"
    content = [
        item | {"questions": [{"question": text, "answers": ["x"]} for text in item["questions"]]}
        for item in PARAGRAPHS
    ]
    path.write_text(json.dumps(content))
    return path


def run(path, **more):
    return evaluate.run_eval_retrieval(requests.EvalRetrieval(file=path, **more), Silent())


def test_every_mode_is_measured_on_a_real_index(file, encoder):
    report = run(file)
    assert set(report.modes) == {"hybrid", "vector", "text"}
    assert (report.documents, report.questions) == (3, 4)
    for figures in report.modes.values():
        assert figures.recall_at_1 == figures.mrr == figures.ndcg_at_10 == 1.0
    assert report.documents_per_second > 0
    assert report.encoder == encoder.name


def test_a_wrong_first_document_shows_in_the_figures(file, encoder):
    content = json.loads(file.read_text())
    content[2]["questions"] = [{"question": "When is foosball played?"}]
    file.write_text(json.dumps(content))
    figures = run(file).modes["text"]
    assert figures.recall_at_1 == 0.75
    assert figures.mrr == 0.75  # by words the hotel is not found at all


def test_a_document_stands_at_its_best_passage(encoder, tmp_path):
    long = "\n\n".join(f"Foosball table number {n}. " + "Wood and glue. " * 60 for n in range(5))
    content = [
        {"text": long, "questions": []},
        {"text": "Foosball is old.", "questions": [{"question": "foosball table number"}]},
    ]
    path = tmp_path / "long.json"
    path.write_text(json.dumps(content))
    assert run(path).modes["text"].mrr == 0.5  # behind one document, not behind its five passages


def test_a_copy_of_the_right_document_is_right(encoder, tmp_path):
    text = "Foosball may be played during the lunch break, between noon and half past one, by all."
    content = [
        {"text": "Foosball is old.", "questions": []},
        {"text": text, "questions": []},
        {"text": text.upper(), "questions": [{"question": "foosball lunch break noon"}]},
    ]
    path = tmp_path / "copies.json"
    path.write_text(json.dumps(content))
    assert run(path).modes["text"].mrr == 1.0


def test_the_rescorer_of_a_stand_in_takes_part(file, encoder, make_words_encoder, monkeypatch):
    stand_in = make_words_encoder(name="stand-in", salt="noise")
    stand_in.rescorer = "full"
    full = make_words_encoder(name="full")
    monkeypatch.setattr(
        evaluate,
        "load_encoder",
        lambda name, **_: full if name == "full" else stand_in,
    )
    assert run(file).modes["hybrid"].recall_at_1 == 1.0
    assert "What may a hotel cost?" in full.encoded


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("{}", "contains no list"),
        ("[]", "contains no question"),
        ('[{"text": "a", "questions": []}]', "contains no question"),
        ("[3]", "item 0: field 'text'"),
        ('[{"questions": []}]', "item 0: field 'text'"),
        ('[{"text": " ", "questions": []}]', "item 0: field 'text'"),
        ('[{"text": "a"}]', "item 0: field 'questions'"),
        ('[{"text": "a", "questions": [{}]}]', "item 0, question 0: field 'question'"),
        ('[{"text": "a", "questions": ["b"]}]', "item 0, question 0: field 'question'"),
        (
            '[{"text": "a", "questions": [{"question": "b", "answers": "c"}]}]',
            "item 0, question 0: field 'answers'",
        ),
        (
            '[{"text": "a", "questions": [{"question": "b", "answers": [1]}]}]',
            "item 0, question 0: field 'answers'",
        ),
    ],
)
def test_a_malformed_file_is_named_by_item_and_field(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=message):
        run(path)


def test_a_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(BadFile, match="not a file"):
        run(tmp_path / "missing.json")
