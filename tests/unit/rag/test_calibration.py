import json

import numpy as np
import pytest

from graftwerk.errors import BadInput
from graftwerk.metrics.intervals import clopper_pearson_upper
from graftwerk.models.encoders import load_encoder
from graftwerk.rag import evidence
from graftwerk.rag.evidence import (
    area_under_curve,
    calibrate,
    find_calibration,
    save_calibration,
)

HIGH = [0.5 + 0.04 * n for n in range(10)]
LOW = [0.05 * n for n in range(10)]  # 0 to 0.45


@pytest.mark.parametrize(
    ("rate", "wrongly"), [(0.05, 0), (0.1, 1), (0.19, 1), (0.2, 2), (0.3, 3), (0.99, 9)]
)
def test_the_floor_lets_as_many_through_as_were_allowed(words_encoder, rate, wrongly):
    low = [0.1 * n for n in range(10)]
    high = [0.1 * n + 0.05 for n in range(10)]  # each just above one of the others
    made = calibrate(high, low, rate, words_encoder, "here")
    assert made.false_answer_rate == wrongly / 10
    assert made.share_answered == (wrongly + 1) / 10
    assert made.promised_rate == clopper_pearson_upper(wrongly, 10)
    assert made.fingerprint == words_encoder.fingerprint


def test_of_equal_floors_the_one_with_fewer_false_answers_is_taken(words_encoder):
    made = calibrate(HIGH, LOW, 0.3, words_encoder, "here")
    assert made.floor == pytest.approx(0.475)  # the middle of the gap
    assert (made.false_answer_rate, made.share_answered, made.auc) == (0.0, 1.0, 1.0)
    assert made.promised_rate == clopper_pearson_upper(3, 10)


def test_ties_never_break_the_promise(words_encoder):
    made = calibrate([0.5] * 10, [0.5] * 10, 0.3, words_encoder, "here")
    assert made.floor > 0.5
    assert made.false_answer_rate == 0.0
    assert made.auc == 0.5
    assert calibrate([1.0] * 10, [1.0] * 10, 0.3, words_encoder, "here").false_answer_rate == 0.0


def test_the_promise_is_the_clopper_pearson_limit():
    # closed forms: no error out of n gives 1 - 0.025^(1/n), all of n gives 1
    assert clopper_pearson_upper(0, 20) == pytest.approx(1 - 0.025 ** (1 / 20))
    assert clopper_pearson_upper(20, 20) == 1.0
    # a table value: 10 of 100
    assert clopper_pearson_upper(10, 100) == pytest.approx(0.1762, abs=1e-4)


def test_the_promise_holds_although_the_floor_was_chosen_on_the_same_questions(words_encoder):
    generator = np.random.default_rng(0)
    retained = 0
    for _ in range(300):
        scores = generator.random(40).tolist()
        made = calibrate([1.0] * 10, scores, 0.1, words_encoder, "here")
        retained += 1 - made.floor <= made.promised_rate  # the true rate, as scores are uniform
    assert retained / 300 >= 0.95


def test_the_area_under_the_curve_is_the_share_of_right_pairs():
    assert area_under_curve([3.0, 1.0, 2.0], [0.0, 2.0]) == (2 + 1 + 1.5) / 6


@pytest.mark.parametrize(("high", "low"), [(HIGH[:9], LOW), (HIGH, LOW[:9]), (HIGH, [])])
def test_too_few_questions_are_refused(words_encoder, high, low):
    with pytest.raises(BadInput, match="too few"):
        calibrate(high, low, 0.1, words_encoder, "here")


def test_an_index_uses_its_own_calibration(tmp_path, words_encoder):
    made = calibrate(HIGH, LOW, 0.1, words_encoder, "here")
    save_calibration(tmp_path, made)
    found, line = find_calibration(tmp_path, words_encoder)
    assert found == made
    assert line.startswith("here: ")
    assert "45%" in line  # the upper limit of 1 out of 10


def test_a_calibration_of_another_encoder_is_ignored_with_a_note(
    tmp_path, words_encoder, make_words_encoder
):
    other = make_words_encoder(name="other", salt="x")
    save_calibration(tmp_path, calibrate(HIGH, LOW, 0.1, other, "here"))
    found, line = find_calibration(tmp_path, words_encoder)
    assert found is None
    assert "another encoder" in line
    assert "graft calibrate" in line


def test_a_calibration_with_the_trained_reader_is_not_used_without_it(tmp_path, words_encoder):
    made = calibrate(HIGH, LOW, 0.1, words_encoder, "here")
    assert made.measure == evidence.RULES
    save_calibration(tmp_path, made.model_copy(update={"measure": evidence.READER}))
    found, line = find_calibration(tmp_path, words_encoder)  # there is no reader for it
    assert found is None
    assert "reader or format" in line


def test_the_shipped_calibrations_are_of_their_kinds(tmp_path):
    encoder = load_encoder("builtin/minilm")
    for reader, kind in ((True, evidence.READER), (False, evidence.RULES)):
        found, _ = find_calibration(tmp_path, encoder, reader=reader)
        assert found.measure == kind
        assert len(evidence.COEFFICIENTS[kind]) == 3 + reader


def test_a_broken_calibration_is_ignored_with_a_note(tmp_path, words_encoder):
    for content in ("no json", "[]", json.dumps({"floor": 1})):
        (tmp_path / "calibration.json").write_text(content)
        assert find_calibration(tmp_path, words_encoder)[0] is None


def test_the_shipped_calibration_holds_for_its_encoder_only(tmp_path, words_encoder, monkeypatch):
    shipped = tmp_path / "shipped.json"
    shipped.write_text(calibrate(HIGH, LOW, 0.1, words_encoder, "shipped").model_dump_json())
    monkeypatch.setattr(evidence, "_SHIPPED", dict.fromkeys(evidence._SHIPPED, shipped))
    assert find_calibration(tmp_path, words_encoder)[1].startswith("shipped: ")
    words_encoder.salt = "x"
    assert find_calibration(tmp_path, words_encoder)[0] is None
