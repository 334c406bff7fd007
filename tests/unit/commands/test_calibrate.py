import json
import os

import pytest

from graftwerk import limits, requests
from graftwerk.commands import search
from graftwerk.errors import BadFile, BadInput, LimitExceeded, NoRoom
from graftwerk.types import Silent

ANSWERABLE = [f"When may foosball be played on day {n}?" for n in range(12)]
UNANSWERABLE = [f"Which dentist does plan {n} pay?" for n in range(12)]


@pytest.fixture
def write(tmp_path):
    def make(*lines):
        path = tmp_path / "questions.jsonl"
        path.write_bytes(
            b"\n".join(
                line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
            )
        )
        return path

    return make


def labelled(answerable, unanswerable):
    yes = [{"question": question, "answerable": True} for question in answerable]
    return yes + [{"question": question, "answerable": False} for question in unanswerable]


def run(path, index, **more):
    return search.run_calibrate(requests.Calibrate(file=path, index=index, **more), Silent())


def test_the_floor_is_stored_and_used_by_ask(write, library, encoder):
    made = run(write(*labelled(ANSWERABLE, UNANSWERABLE), b""), library)
    assert (made.answerable, made.unanswerable) == (12, 12)
    assert (made.auc, made.share_answered, made.false_answer_rate) == (1.0, 1.0, 0.0)
    assert made.fingerprint == encoder.fingerprint
    assert json.loads((library / "calibration.json").read_text())["floor"] == made.floor
    for question, abstained in ((ANSWERABLE[0], False), (UNANSWERABLE[0], True)):
        answer = search.run_ask(requests.Ask(question=question, index=library), Silent())
        assert answer.evidence_floor == made.floor
        assert answer.abstained is abstained
        assert "questions.jsonl" in answer.calibration


def test_a_looser_rate_gives_a_lower_floor(write, library):
    path = write(*labelled([*UNANSWERABLE[:6], *ANSWERABLE[:6]], UNANSWERABLE))
    strict, loose = (run(path, library, false_answer_rate=rate) for rate in (0.05, 0.9))
    assert loose.floor < strict.floor
    assert loose.false_answer_rate <= 0.9
    assert strict.promised_rate < loose.promised_rate


GOOD = labelled(ANSWERABLE, UNANSWERABLE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2: no JSON"),
        (b"[" * 100_000, "line 2: no JSON"),
        (b"1" * 5_000, "line 2: no JSON .a number in it has more than 4,300 digits"),
        (b"[]", "line 2 .*no JSON object: '\\[\\]'"),
        ({"question": "Why?"}, "line 2"),
        ({"question": "Why?", "answerable": "yes"}, "line 2"),
        ({"question": "Why?", "answerable": 1}, "line 2"),
        ({"question": " ", "answerable": True}, "line 2"),
        ({"question": 3, "answerable": True}, "line 2"),
        ({"question": "x" * 10_001, "answerable": True}, "line 2: a question of 10,001 characters"),
    ],
)
def test_a_malformed_line_is_named(write, library, line, message):
    with pytest.raises(BadInput, match=message):
        run(write(GOOD[0], line, *GOOD[1:]), library)
    assert not (library / "calibration.json").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (labelled(ANSWERABLE, []), "0 unanswerable questions; at least 10"),
        (labelled(ANSWERABLE[:9], UNANSWERABLE), "9 answerable questions; at least 10"),
        ([], "0 answerable questions"),
    ],
)
def test_too_few_questions_of_a_kind_are_refused(write, library, lines, message):
    with pytest.raises(BadInput, match=message):
        run(write(*lines), library)


def test_a_file_that_is_none_or_no_text_or_too_large_is_refused(
    write, library, tmp_path, monkeypatch
):
    with pytest.raises(BadFile, match="not a file"):
        run(tmp_path / "missing.jsonl", library)
    with pytest.raises(BadFile, match="not a file"):
        run(tmp_path, library)
    with pytest.raises(BadFile, match="not UTF-8"):
        run(write(b"\x81\x8d"), library)
    path = write(*GOOD)
    monkeypatch.setattr(limits, "JSON_FILE", path.stat().st_size)
    run(path, library)
    monkeypatch.setattr(limits, "JSON_FILE", path.stat().st_size - 1)
    with pytest.raises(LimitExceeded):
        run(path, library)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_index_folder_is_told(write, library):
    library.chmod(0o555)
    with pytest.raises(NoRoom, match=r"calibration\.json"):
        run(write(*GOOD), library)
    library.chmod(0o755)
