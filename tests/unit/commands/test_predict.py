"""Predictions of tables: files that join them again, measures where labels are known."""

import csv
import io
import json
import sys

import numpy as np
import pyarrow.parquet
import pytest
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences, write_csv

from graftwerk.cli.finetune import details_lines, prediction_lines
from graftwerk.commands.fit import run_eval_fit, run_fit, run_predict
from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.finetune.scoring import confusions, details
from graftwerk.requests.finetune import EvalFit, Fit, Predict
from graftwerk.types import Silent


@pytest.fixture
def fitted(tmp_path, texts, tiny):
    run_fit(Fit(data=str(texts), model=str(tiny), out=tmp_path / "fit"), Silent())
    return tmp_path / "fit"


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def ask(fitted, *inputs, **options):
    request = Predict(fit=fitted, inputs=list(map(str, inputs)), **options)
    return run_predict(request, Silent())


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_a_file_of_predictions_joins_its_table(tmp_path, fitted, end):
    rows = [(f"{n:03}", text, n / 3) for n, (text, _) in enumerate(sentences(30, seed=9))]
    path = write_csv(tmp_path / "new.csv", rows, ("id", "text", "price"))
    out = tmp_path / f"said.{end}"
    said = ask(fitted, path, out=out)
    if end == "csv":
        found = read_csv(out)
    elif end == "jsonl":
        found = list(map(json.loads, out.read_text().splitlines()))
    else:
        found = pyarrow.parquet.read_table(out).to_pylist()
    assert [(one["id"], one["text"], one["price"]) for one in found] == [
        (a, b, str(c)) for a, b, c in rows
    ]
    assert [one["label"] for one in found] == [one.label for one in said.predictions]
    for one in found:
        if end == "jsonl":
            shares = one["scores"]
        else:
            shares = {name: float(one[f"probability_{name}"]) for name in ("cold", "warm")}
        assert sum(shares.values()) == pytest.approx(1, abs=2e-6)
        assert max(shares, key=shares.get) == one["label"]


def test_a_column_with_a_name_of_ours_is_renamed_and_told(tmp_path, fitted):
    rows = [(t, label, "x") for t, label in sentences(30, seed=9)]
    path = write_csv(tmp_path / "new.csv", rows, ("text", "label", "given_label"))
    said = ask(fitted, path, out=tmp_path / "p.csv")
    found = read_csv(tmp_path / "p.csv")
    assert [one["label"] for one in found] == [one.label for one in said.predictions]
    assert [one["given_given_label"] for one in found] == [label for _, label, _ in rows]
    assert {one["given_label"] for one in found} == {"x"}
    assert "label is given_given_label" in said.notes[-1]


def test_known_labels_are_measured_without_those_that_were_learned(tmp_path, fitted, texts):
    new = write_csv(tmp_path / "new.csv", sentences(30, seed=9))
    said = ask(fitted, new)
    measured = run_eval_fit(EvalFit(fit=fitted, data=str(new)), Silent())
    assert said.score == measured.score
    assert said.details.confusion == measured.details.confusion
    assert said.details.classes == measured.details.classes
    assert said.learned == 0
    again = ask(fitted, texts)
    assert again.score.count == 120 - again.learned < 30
    assert "labeled rows are not scored" in "\n".join(prediction_lines(again))
    both = ask(fitted, new, "red cat red", texts)
    assert both.score.count == again.score.count + 30
    assert ask(fitted, "red cat red").score is None


def test_a_threshold_leaves_the_label_out(tmp_path, fitted):
    new = write_csv(tmp_path / "new.csv", sentences(30, seed=9))
    all_of = ask(fitted, new)
    chances = [one.probability for one in all_of.predictions]
    middle = float(np.median(chances))
    said = ask(fitted, new, threshold=middle, out=tmp_path / "p.csv")
    assert [one.label == "" for one in said.predictions] == [one < middle for one in chances]
    assert said.abstained == sum(one < middle for one in chances) > 0
    found = read_csv(tmp_path / "p.csv")
    assert [one["label"] for one in found] == [one.label for one in said.predictions]
    assert ask(fitted, new, threshold=0.0).abstained == 0


def test_a_fit_of_numbers_takes_no_threshold(tmp_path, tiny):
    rows = [(text, len(text)) for text, _ in sentences(60)]
    path = write_csv(tmp_path / "n.csv", rows)
    run_fit(Fit(data=str(path), model=str(tiny), task="number", out=tmp_path / "n"), Silent())
    said = ask(tmp_path / "n", path, out=tmp_path / "p.parquet")
    assert said.score.name == "R2"
    assert said.details is None
    with pytest.raises(BadInput, match="`threshold` is for classes"):
        ask(tmp_path / "n", path, threshold=0.5)


def test_the_table_options_of_the_fit_hold_for_predictions(tmp_path, tiny):
    rows = sentences(60)
    text = "text;label\n" + "".join(f"{t}, and more;{label}\n" for t, label in rows)
    (tmp_path / "a.csv").write_text(text, "utf-16-le")
    options = {"encoding": "utf-16-le", "separator": "semicolon"}
    fit = Fit(data=str(tmp_path / "a.csv"), model=str(tiny), out=tmp_path / "fit", **options)
    run_fit(fit, Silent())
    said = ask(tmp_path / "fit", tmp_path / "a.csv")
    assert len(said.predictions) == 60
    assert "UTF-16-LE, separated by semicolon" in said.tables[0]
    (tmp_path / "b.csv").write_text(text.replace(";", "|"))
    own = ask(tmp_path / "fit", tmp_path / "b.csv", separator="pipe", encoding="utf-8")
    assert [one.label for one in own.predictions] == [one.label for one in said.predictions]


def test_a_table_that_is_written_otherwise_than_that_of_the_fit(tmp_path, tiny):
    rows = sentences(60)
    text = "text~label\n" + "".join(f"{t} café~{label}\n" for t, label in rows)
    (tmp_path / "a.csv").write_text(text, "cp1250")
    fit = Fit(
        data=str(tmp_path / "a.csv"),
        model=str(tiny),
        out=tmp_path / "fit",
        encoding="cp1250",
        separator="~",
    )
    run_fit(fit, Silent())
    said = ask(tmp_path / "fit", tmp_path / "a.csv")
    assert "CP1250, separated by '~'" in said.tables[0]
    (tmp_path / "b.csv").write_text(text.replace("~", "|"))
    own = ask(tmp_path / "fit", tmp_path / "b.csv", out=tmp_path / "p.csv")
    assert "UTF-8, separated by pipe" in own.tables[0]
    assert "café" in (tmp_path / "p.csv").read_text()
    assert [one.label for one in own.predictions] == [one.label for one in said.predictions]


def test_a_header_read_as_data_because_the_fit_had_none_is_reported(tmp_path, tiny):
    (tmp_path / "a.csv").write_text("".join(f"{t},{label}\n" for t, label in sentences(60)))
    fit = Fit(
        data=str(tmp_path / "a.csv"),
        model=str(tiny),
        out=tmp_path / "fit",
        target="2",
        header=False,
    )
    run_fit(fit, Silent())
    (tmp_path / "b.csv").write_text("text,label\n" + (tmp_path / "a.csv").read_text())
    said = ask(tmp_path / "fit", tmp_path / "b.csv")
    assert len(said.predictions) == 61
    assert any("first row is read as data, as in the fit" in note for note in said.notes)
    assert not any("first row" in note for note in ask(tmp_path / "fit", tmp_path / "a.csv").notes)


def test_a_class_that_only_the_test_data_have_is_counted(tmp_path, texts, tiny):
    extra = [("red cat dog", "mild"), ("blue cat dog", "mild")]
    test = write_csv(tmp_path / "test.csv", [*sentences(30, seed=9), *extra])
    request = Fit(data=str(texts), test=str(test), model=str(tiny), out=tmp_path / "fit")
    made = run_fit(request, Silent())
    assert made.data.unlearned == {"mild": 2}
    assert made.score.count == made.data.test == 30
    assert [one.reason for one in made.data.left_out] == ["'mild' was not learned."] * 2
    measured = run_eval_fit(EvalFit(fit=tmp_path / "fit", data=str(test)), Silent())
    assert (measured.unlearned, measured.score.count) == ({"mild": 2}, 30)
    only = write_csv(tmp_path / "only.csv", extra)
    with pytest.raises(BadInput, match=r"has only labels that were not learned: 'mild'"):
        run_eval_fit(EvalFit(fit=tmp_path / "fit", data=str(only)), Silent())


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_rows_that_cannot_be_read_stay_in_the_file_without_a_label(tmp_path, fitted, end):
    rows = [(n, t, v) for n, (t, v) in enumerate(sentences(10, seed=9))]
    rows[3], rows[7] = (3, "", "warm"), (7, " ", "cold")
    path = write_csv(tmp_path / "new.csv", rows, ("id", "text", "label"))
    said = ask(fitted, "red cat red", path, out=tmp_path / f"p.{end}")
    assert [n for n, one in enumerate(said.predictions) if not one.label] == [4, 8]
    assert "2 rows cannot be read and get no label; line 5 of new.csv: nothing in text" in (
        " ".join(said.notes)
    )
    assert said.score.count == 8
    whole = write_csv(
        tmp_path / "w.csv", [row for row in rows if row[1].strip()], ("id", "text", "label")
    )
    assert said.score == ask(fitted, whole).score
    if end == "csv":
        found = read_csv(tmp_path / "p.csv")
        assert [one["id"] for one in found] == ["", *map(str, range(10))]
        assert [one["probability_warm"] == "" for one in found].count(True) == 2
    elif end == "parquet":
        found = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pylist()
        assert [one["probability_warm"] is None for one in found].count(True) == 2
    empty = write_csv(tmp_path / "e.csv", [(1, "", "warm")], ("id", "text", "label"))
    with pytest.raises(BadInput, match=r"line 2 of e\.csv: nothing in text"):
        ask(fitted, empty)


def test_columns_of_0_and_1_stay_in_the_file(tmp_path, tiny):
    rows = [(t, int(v == "warm"), int("cat" in t)) for t, v in sentences(80)]
    path = write_csv(tmp_path / "o.csv", rows, ("text", "warm", "cat"))
    fit = Fit(data=str(path), model=str(tiny), target="warm,cat", out=tmp_path / "o")
    made = run_fit(fit, Silent())
    said = ask(tmp_path / "o", path, out=tmp_path / "p.csv")
    assert said.score.value == made.score.value
    found = read_csv(tmp_path / "p.csv")
    assert [(one["text"], one["warm"], one["cat"]) for one in found] == [
        (t, str(a), str(b)) for t, a, b in rows
    ]
    assert {"probability_warm", "probability_cat"} <= set(found[0])


def test_an_ending_that_is_not_written_is_refused_first(tmp_path):
    with pytest.raises(UnknownName, match=r"\.csv, \.jsonl, \.parquet"):
        ask(tmp_path / "none", "red", out=tmp_path / "p.xlsx")


def test_an_input_is_never_overwritten(tmp_path, fitted):
    new = write_csv(tmp_path / "new.csv", sentences(10, seed=9))
    before = new.read_bytes()
    with pytest.raises(
        BadFile, match=r"new\.csv lies in .*new\.csv, which is going to be replaced"
    ):
        ask(fitted, new, out=tmp_path / "x" / ".." / "new.csv")
    assert new.read_bytes() == before


def test_standard_input_is_words_alone(fitted, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"none.csv\nred cat red\n")))
    assert [one.input for one in ask(fitted, "-").predictions] == ["none.csv", "red cat red"]


def test_details_against_scikit_learn():
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 200)
    scores = generator.normal(size=(200, 3)).astype(np.float32) + np.eye(3, dtype=np.float32)[truth]
    names = [str(n) for n in range(200)]
    found = details(scores, truth, "class", ("a", "b", "c"), names)
    predicted = scores.argmax(axis=1)
    assert found.confusion == confusion_matrix(truth, predicted).tolist()
    expected = precision_recall_fscore_support(truth, predicted)
    for one, *figures in zip(found.classes, *expected, strict=True):
        assert [one.precision, one.recall, one.f1, one.count] == pytest.approx(figures)
    assert found.wrong == int((truth != predicted).sum())
    sure = [one.probability for one in found.mistakes]
    assert sure == sorted(sure, reverse=True)
    first = found.mistakes[0]
    assert (first.label, first.predicted) == tuple(
        "abc"[array[int(first.input)]] for array in (truth, predicted)
    )
    exp = np.exp(scores.astype(np.float64))
    chances = (exp / exp.sum(axis=1, keepdims=True)).max(axis=1)
    for one in found.thresholds:
        above = chances >= one.threshold
        assert one.answered == above.mean()
        assert one.accuracy is None or one.accuracy == (truth == predicted)[above].mean()
    assert len(confusions(found)) == 5
    assert "true / predicted" in "\n".join(details_lines(found))
    several = details(scores, np.eye(3, dtype=np.float32)[truth], "labels", ("a", "b", "c"), names)
    assert [one.count for one in several.classes] == np.bincount(truth).tolist()
    assert several.confusion == []
    assert details(scores[:, :1], scores[:, 0].astype(np.float64), "number", (), names) is None
