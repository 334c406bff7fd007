import json

import pytest

from graftwerk import requests
from graftwerk.commands import evaluate
from graftwerk.errors import BadInput
from graftwerk.rag import evidence
from graftwerk.rag.evidence import calibrate
from graftwerk.types import Silent

WORDS = ("foosball", "hotel", "leave", "dentist", "pigeon", "violin", "museum", "harbour")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "paragraphs.json"
    content = [
        {
            "text": f"The {word} costs {n} euros.",
            "questions": [{"question": f"What does the {word} cost?", "answers": [f"{n} euros"]}],
        }
        for n, word in enumerate(WORDS, 20)
    ]
    path.write_text(json.dumps(content))
    return path


def run(path, monitor=None, **more):
    return evaluate.run_eval_answers(requests.EvalAnswers(file=path, **more), monitor or Silent())


def test_figures_of_the_extractive_writer(file, encoder):
    report = run(file, held_out=0.25)
    assert (report.answerable, report.unanswerable) == (6, 2)
    assert report.share_answered == 1.0
    assert report.contains_answer == 1.0
    assert report.exact_match == 0.0
    # "foosball costs 20 euros" against "20 euros": 2 shared words of 4 and 2
    assert report.f1 == pytest.approx(2 * 2 / (4 + 2))
    assert report.evidence_floor == 0.0  # nothing is shipped for this encoder
    assert report.false_answer_rate == 1.0


def test_with_a_floor_what_is_not_there_is_not_answered(file, encoder, monkeypatch, listener):
    made = calibrate([0.9] * 10, [0.5] * 10, 0.1, encoder, "test")
    monkeypatch.setattr(evidence, "find_calibration", lambda *_, **__: (made, "test floor"))
    report = run(file, listener, held_out=0.5)
    assert (report.answerable, report.unanswerable) == (4, 4)
    assert report.share_answered == 1.0
    assert report.false_answer_rate == 0.0
    assert report.evidence_floor == made.floor
    assert any("test floor" in note for note in listener.notes)


def test_the_seed_decides_which_paragraphs_are_left_out(file, encoder):
    retained = []
    for seed in (0, 0, 1):
        encoder.encoded.clear()
        run(file, held_out=0.5, seed=seed)
        retained.append([text for text in encoder.encoded if text.startswith("The")][:4])
    assert retained[0] == retained[1] != retained[2]


@pytest.mark.parametrize(("held_out", "unanswerable"), [(0.0, 0), (0.99, 7)])
def test_at_least_one_paragraph_is_indexed(file, encoder, held_out, unanswerable):
    report = run(file, held_out=held_out)
    assert report.unanswerable == unanswerable
    assert report.answerable == 8 - unanswerable


def test_right_wrong_and_silent_beside_the_plain_baseline(tmp_path, encoder, listener):
    """Of two fees one question names the heading's, which the plain cosine cannot see."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, fee in (("Harbour", 4), ("Museum", 5)):
        text = f"# {name}\n\nThe fee is {fee} euros. The {name} has a fee desk with a bell.\n"
        (docs / f"{name}.md").write_text(text)
    questions = [
        {"question": "The fee is?", "answers": ["5 euros", "4 euros"]},
        {"question": "The fee is?", "answers": ["5 euros"], "sentence": "nowhere"},
        {"question": "Dentist?", "answers": []},
    ]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(questions))
    report = run(path, listener, documents=docs)
    assert any("1 sentence of the question file in no passage" in note for note in listener.notes)
    assert (report.answerable, report.unanswerable) == (2, 1)
    assert report.right_first.share == report.right_in_three.share == 0.5
    assert report.wrong.share == 0.5
    assert report.silent.share == 0.0
    assert report.false.share == report.false_answer_rate == 1.0
    assert report.plain_first.share == 0.5
    assert report.chance_first == pytest.approx(2 / 4 / 2)
    assert report.right_first.low < 0.5 < report.right_first.high
    assert report.span_f1 > 0


def test_what_is_shown_instead_of_an_answer_counts_by_itself(file, encoder, monkeypatch):
    made = calibrate([0.9] * 10, [0.5] * 10, 0.1, encoder, "test").model_copy(update={"floor": 1.0})
    monkeypatch.setattr(evidence, "find_calibration", lambda *_, **__: (made, "test floor"))
    report = run(file, held_out=0.25)
    assert report.silent.share == report.nearest_right.share == 1.0
    assert report.right_first.share == report.right_in_three.share == report.wrong.share == 0.0
    monkeypatch.setattr(evidence, "find_calibration", lambda *_, **__: (None, "none"))
    assert run(file, held_out=0.25).nearest_right.share == 0.0  # all are answered


@pytest.mark.parametrize(
    "sentence", ["the ``--fee`` of", "the `--fee` of", "*The* --fee of", "the :option:`--fee` of"]
)
def test_sentences_are_found_whatever_their_markup(tmp_path, encoder, listener, sentence):
    """Quotes have no markup; the sentence may be copied from the file, which has."""
    (tmp_path / "a.rst").write_text("With the :option:`--fee` of **five** euros, all is paid.\n")
    path = tmp_path / "questions.json"
    question = {"question": "What is the fee?", "answers": ["five euros"], "sentence": sentence}
    path.write_text(json.dumps([question]))
    report = run(path, listener, documents=tmp_path / "a.rst")
    assert report.right_first.share == 1.0
    assert not any("in no passage" in note for note in listener.notes)


def test_squad_format_and_json_lines_are_read_too(tmp_path, encoder):
    """Questions that SQuAD 2.0 marks as impossible have no answers."""
    paragraphs = [
        {
            "context": f"The fee of hall {number} is {number} euros.",
            "qas": [
                {"question": f"What is the fee of hall {number}?", "id": "a", "is_impossible": False,
                 "answers": [{"text": f"{number} euros", "answer_start": 22}]},
                {"question": "Who built it?", "id": "b", "is_impossible": True, "answers": []},
            ],
        }
        for number in range(3)
    ]  # fmt: skip
    squad = tmp_path / "squad.json"
    squad.write_text(json.dumps({"version": "v2.0", "data": [{"paragraphs": paragraphs}]}))
    lines = tmp_path / "lines.jsonl"
    plain = [
        {"text": p["context"], "questions": [
            {"question": q["question"], "answers": [a["text"] for a in q["answers"]]}
            for q in p["qas"]]}
        for p in paragraphs
    ]  # fmt: skip
    lines.write_text("\ufeff" + "\n\n".join(map(json.dumps, plain)))
    first, second = (run(path, held_out=0.0) for path in (squad, lines))
    assert (first.answerable, first.unanswerable) == (3, 3)
    assert first.model_copy(update={"seconds": second.seconds}) == second
    for broken in ({"data": 3}, {"data": [{"paragraphs": [{"context": "a"}]}]}):
        squad.write_text(json.dumps(broken))
        with pytest.raises(BadInput, match="is not in SQuAD's format"):
            run(squad)
    lines.write_text('{"text": "a", "questions": []}\n{')
    with pytest.raises(BadInput, match="line 2: no JSON"):
        run(lines)


@pytest.mark.parametrize("content", [{}, [], [{"question": "?", "answers": 3}], [{"answers": []}]])
def test_a_file_that_holds_no_questions_is_refused(tmp_path, content):
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"questions\.json"):
        run(path, documents=tmp_path)


def test_a_question_without_the_field_of_answers_is_refused_by_its_number(tmp_path, encoder):
    path = tmp_path / "questions.json"
    path.write_text('[{"question": "a?", "answers": []}, {"question": "b?", "answer": "c"}]')
    with pytest.raises(BadInput, match=r"item 1: there is no field 'answers', but question, ans"):
        run(path, documents=tmp_path)
