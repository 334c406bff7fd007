import json

import numpy as np
import pytest

import graftwerk as gw
from graftwerk.commands.search import run_calibrate
from graftwerk.models.encoders import load_encoder
from graftwerk.models.language import reading
from graftwerk.models.language.reader import load_reader
from graftwerk.models.language.reading import ExtractiveWriter
from graftwerk.rag import learning
from graftwerk.rag.evidence import FILE_NAME
from graftwerk.types import Passage, Silent, Source

SHIPPED = np.array(reading.READER_WEIGHTS)


def questions(count, hidden, seed=0):
    """Questions of eight sentences, of which the one with the largest hidden score is right."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        features = rng.normal(size=(8, len(SHIPPED)))
        right = np.zeros(8, dtype=bool)
        right[np.argmax(features @ hidden)] = True
        found.append(learning.Asked(features, right))
    return found


def test_coefficients_move_towards_those_of_the_questions():
    hidden = SHIPPED.copy()
    hidden[5] += 20  # these documents answer with figures
    asked = questions(80, hidden)
    own = learning.fit(asked, SHIPPED)
    assert own[5] > SHIPPED[5] + 2
    unseen = questions(200, hidden, seed=1)
    before = learning.first_share(unseen, [SHIPPED] * 200)
    assert learning.first_share(unseen, [own] * 200) > before + 0.05


def test_without_a_question_to_learn_from_they_stay():
    known = learning.Asked(np.ones((2, len(SHIPPED))), np.ones(2, dtype=bool))
    assert learning.fit([known], SHIPPED) == pytest.approx(SHIPPED)
    assert learning.fit(questions(30, -SHIPPED), SHIPPED, prior=1e9) == pytest.approx(SHIPPED)


def test_the_gradient_is_that_of_the_likelihood():
    from scipy.optimize import check_grad, minimize

    seen = {}

    def spy(function, start, jac, method):
        seen["error"] = check_grad(
            lambda x: function(x)[0], lambda x: function(x)[1], np.full(len(start), 0.1)
        )
        return minimize(function, start, jac=jac, method=method)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scipy.optimize.minimize", spy)
        learning.fit(questions(12, SHIPPED), SHIPPED)
    assert seen["error"] < 1e-3


def test_no_question_is_judged_by_coefficients_that_saw_it():
    asked = questions(10, -SHIPPED)
    fitted = learning.cross_fitted(asked, SHIPPED, 0.1)
    others = [one for number, one in enumerate(asked) if number % 5 != 0]
    assert fitted[0] == pytest.approx(learning.fit(others, SHIPPED, 0.1))
    assert fitted[0] is fitted[5] and fitted[0] is not fitted[1]


def test_the_writer_of_an_index_reads_by_what_was_learned():
    encoder = load_encoder("builtin/minilm")
    text = "The kitchen closes at noon. Coffee is free for all who work here."
    sources = [Source(1, Passage("/a.md", "text", text, 0, len(text)))]
    question = "When does the kitchen close?"
    writer = ExtractiveWriter(encoder, load_reader(encoder))
    assert reading.read(question, sources, encoder, writer.reader)[0].sentence.text[:5] == "The k"
    taught = writer.learned((-SHIPPED).tolist())
    assert reading.read(question, sources, encoder, taught.reader)[0].sentence.text[:5] == "Coffe"
    assert writer.reader.coefficients == ()  # of other indexes
    assert writer.learned([1.0]) is writer  # another version's
    alone = ExtractiveWriter(encoder)
    assert alone.learned(SHIPPED.tolist()) is alone


TEXT = "# {name}\n\n{name} opens at {hour}. {name} closes at {end}. Coffee costs {price} dollars.\n"


@pytest.fixture
def index(tmp_path):
    """An index of twelve places, and its questions."""
    (tmp_path / "docs").mkdir()
    questions = []
    for number, name in enumerate(
        [
            "Ash",
            "Birch",
            "Cedar",
            "Elm",
            "Fir",
            "Hazel",
            "Larch",
            "Maple",
            "Oak",
            "Pine",
            "Rowan",
            "Yew",
        ]
    ):
        values = {"hour": f"{number + 1}:15", "end": f"{number + 3}:45", "price": number + 2}
        (tmp_path / "docs" / f"{name}.md").write_text(TEXT.format(name=name, **values))
        questions.append((f"When does {name} open?", f"{name} opens at"))
    with gw.Index(tmp_path / "index") as opened:
        opened.add(tmp_path / "docs")
        yield opened, questions


@pytest.mark.parametrize("form", ["rows", "evaluation"])
def test_calibrate_learns_from_the_sentences_of_a_file(index, tmp_path, form):
    opened, known = index
    other = [f"Who painted the portrait number {n}?" for n in range(10)]
    if form == "rows":
        path = tmp_path / "questions.jsonl"
        lines = [{"question": q, "answerable": True, "sentence": s} for q, s in known]
        lines += [{"question": q, "answerable": False} for q in other]
        path.write_text("\n".join(map(json.dumps, lines)))
    else:
        path = tmp_path / "questions.json"
        lines = [{"question": q, "answers": ["x"], "sentence": s} for q, s in known]
        path.write_text(json.dumps(lines + [{"question": q, "answers": []} for q in other]))
    made = run_calibrate(gw.Calibrate(file=path, index=opened.folder), Silent())
    assert (made.answerable, made.unanswerable, made.read) == (12, 10, 12)
    assert made.first_before is not None and made.first_after is not None
    assert bool(made.reading) == (made.first_after > made.first_before)
    stored = json.loads((opened.folder / FILE_NAME).read_text())
    assert stored["reading"] == made.reading


def test_sentences_that_none_has_teach_nothing(index):
    opened, known = index
    asks = [question for question, _ in known]
    other = [f"Who painted the portrait number {n}?" for n in range(10)]
    lost = dict.fromkeys(asks, "words that stand nowhere")
    made = opened.calibrate(asks, other, sentences=lost)
    assert (made.reading, made.read, made.first_before) == ([], 0, None)


def test_an_old_calibration_has_learned_nothing(index):
    opened, known = index
    asks = [question for question, _ in known]
    opened.calibrate(asks, [f"Who painted portrait {n}?" for n in range(10)])
    path = opened.folder / FILE_NAME
    old = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith(("re", "fi"))}
    path.write_text(json.dumps(old))
    found, _ = opened.calibration()
    assert found.reading == [] and opened.ask(asks[0]).answer


@pytest.mark.parametrize("field", ["floor", "reading"])
def test_a_calibration_of_no_numbers_is_not_used(index, field):
    opened, known = index
    asks = [question for question, _ in known]
    opened.calibrate(asks, [f"Who painted portrait {n}?" for n in range(10)])
    path = opened.folder / FILE_NAME
    nan = float("nan")
    stored = json.loads(path.read_text()) | {field: nan if field == "floor" else [nan] * 14}
    path.write_text(json.dumps(stored))
    found, line = opened.calibration()
    assert "is ignored" in line and found.source.startswith("the shipped")
