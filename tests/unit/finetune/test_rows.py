"""Tables of numbers, and of numbers beside texts."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support import Recorder
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences, write_csv

import graftwerk as gw
from graftwerk.commands.fit import run_eval_fit, run_fit, run_predict
from graftwerk.data.columns import ColumnChoice
from graftwerk.data.load import read_examples
from graftwerk.errors import BadInput
from graftwerk.requests.finetune import Compare, EvalFit, Fit, Predict
from graftwerk.types import Silent

NAMES = ("small", "large", "noise", "label")
SCALES = np.array([1e-3, 1e5, 1.0])


def numbers(count, seed=0):
    """Rows of three numbers, the class by the first two, every tenth cell missing."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(count, 3))
    labels = np.where(values[:, 0] - values[:, 1] > 0, "up", "down")
    values = values * SCALES + 3 * SCALES
    values[generator.random(values.shape) < 0.1] = np.nan
    return values.astype(np.float32), labels


def write_numbers(path, count=200, seed=0):
    values, labels = numbers(count, seed)
    rows = [
        [*("" if np.isnan(v) else repr(float(v)) for v in row), label]
        for row, label in zip(values, labels, strict=True)
    ]
    return write_csv(path, rows, NAMES)


def fit(path, out, **options):
    return run_fit(Fit(data=str(path), out=out, **options), Silent())


def test_a_table_of_numbers_is_fitted_without_a_model(tmp_path):
    path, listener = write_numbers(tmp_path / "n.csv"), Recorder()
    made = run_fit(Fit(data=str(path), out=tmp_path / "fit"), listener)
    assert made.model == "none"
    assert any("no pre-trained model is used" in note for note in listener.notes)
    assert made.score.value > 0.8 > made.score.baseline
    assert (made.how, made.others) == ("linear", [])  # there is no network to train
    assert [one.name for one in made.baselines] == ["gradient boosting, numbers"]
    assert made.baselines[0].score.count == made.score.count
    held = sorted(one.name for one in (tmp_path / "fit").iterdir() if one.suffix != ".lock")
    assert {"graft.json", "head.safetensors", "learned.safetensors"} <= set(held)
    assert not [name for name in held if name.endswith((".pkl", ".joblib", ".npy"))]
    again = run_eval_fit(EvalFit(fit=tmp_path / "fit", data=str(path)), Silent())
    assert (again.score.value, again.score.count) == (made.score.value, made.score.count)


def test_the_head_is_that_of_standardized_and_imputed_columns():
    values, labels = numbers(300)
    clf = gw.Classifier("none", validation_share=0.2).fit(values, labels)
    strength = clf._unsaved.content["settings"]["strength"]
    expected = make_pipeline(
        SimpleImputer(add_indicator=True),
        StandardScaler(),
        LogisticRegression(C=strength, max_iter=1000),
    ).fit(values, labels)
    new = numbers(100, seed=5)[0]
    np.testing.assert_allclose(clf.predict_proba(new), expected.predict_proba(new), atol=2e-3)
    assert clf.n_features_in_ == 3
    assert clf.to_sklearn().predict(clf.features(new)).tolist() == clf.predict(new).tolist()


def test_units_do_not_matter():
    values, labels = numbers(300)
    first = gw.Classifier("none").fit(values, labels).predict_proba(values)
    units = np.array([1000, 1e-6, 7], dtype=np.float32)
    second = gw.Classifier("none").fit(values * units, labels).predict_proba(values * units)
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_a_missing_number_stands_for_the_mean_where_none_was_missing():
    generator = np.random.default_rng(0)
    values = generator.normal(5, 2, size=(200, 2)).astype(np.float32)
    reg = gw.Regressor("none").fit(values, values @ [2.0, -1.0])
    first, second = values[:1], values.mean(axis=0)
    holed = np.array([[first[0, 0], np.nan]], dtype=np.float32)
    filled = np.array([[first[0, 0], second[1]]], dtype=np.float32)
    np.testing.assert_allclose(reg.predict(holed), reg.predict(filled), rtol=1e-4)
    np.testing.assert_allclose(reg.predict(values), values @ [2.0, -1.0], rtol=0.02, atol=0.02)


def test_texts_and_numbers_in_one_fit_are_better_than_each(tmp_path, tiny):
    generator = np.random.default_rng(0)
    rows = []
    for text, kind in sentences(400):
        value = generator.normal()
        score = (1.0 if kind == "warm" else -1.0) + value
        rows.append((text, value * 1e4, "yes" if score > 0 else "no"))
    path = write_csv(tmp_path / "m.csv", rows, ("text", "price", "label"))
    made = fit(path, tmp_path / "fit", model=str(tiny))
    alone = {one.name: one.score.value for one in made.baselines}
    assert set(alone) == {"gradient boosting, numbers", "linear, numbers", "linear, texts"}
    assert made.score.value > max(alone.values())
    assert made.model == str(tiny)
    said = run_predict(Predict(fit=tmp_path / "fit", inputs=[str(path)]), Silent())
    assert said.score.value == made.score.value
    cells = [("red cat", "much"), ("red cat", "7"), ("red cat", "")]
    other = write_csv(tmp_path / "o.csv", cells, ("text", "price"))
    said = run_predict(Predict(fit=tmp_path / "fit", inputs=[str(other)]), Silent())
    assert [one.label == "" for one in said.predictions] == [True, False, False]
    assert "price is 'much', which is not a number" in " ".join(said.notes)
    assert "the mean stands for 1 missing numbers" in " ".join(said.notes)
    with pytest.raises(BadInput, match="reads tables of numbers, and 'red cat' is none"):
        run_predict(Predict(fit=tmp_path / "fit", inputs=["red cat"]), Silent())


def test_named_columns_of_numbers_stay_numbers_where_all_are_missing(tmp_path, tiny):
    rows = [(text, n, label) for n, (text, label) in enumerate(sentences(60))]
    path = write_csv(tmp_path / "m.csv", [(t, n * n % 17, v) for t, n, v in rows],
                     ("text", "n", "label"))  # fmt: skip
    fit(path, tmp_path / "fit", model=str(tiny), content=["text", "n"])
    empty = write_csv(tmp_path / "e.csv", [("red cat", ""), ("blue cat", "")], ("text", "n"))
    assert len(
        run_predict(Predict(fit=tmp_path / "fit", inputs=[str(empty)]), Silent()).predictions
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"how": "lora"}, r"Numbers alone are fitted without .* graft fit --how linear"),
        ({"sweep": True}, "no pre-trained model is used, so there are no layers"),
        ({"layer": 2}, "holds numbers alone, which no layer of a model reads"),
        ({"model": "none", "layer": 2}, "there is no model, so it has no layer"),
    ],
)
def test_what_needs_a_model_is_refused(tmp_path, options, words):
    path = write_numbers(tmp_path / "n.csv", 60)
    with pytest.raises(BadInput, match=words):
        fit(path, tmp_path / "fit", **options)


def test_compare_leaves_numbers_out(tmp_path):
    with pytest.raises(BadInput, match="Numbers alone"):
        gw.run(Compare(data=str(write_numbers(tmp_path / "n.csv")), out=tmp_path / "c"))


def test_arrays_of_other_columns_or_infinite_numbers_are_refused():
    values, labels = numbers(60)
    clf = gw.Classifier("none").fit(values, labels)
    with pytest.raises(BadInput, match="X has 2 columns, and this fit reads 3"):
        clf.predict(values[:, :2])
    values[3, 1] = np.inf
    with pytest.raises(BadInput, match=r"X\[3\] holds an infinite number"):
        clf.predict(values)
    with pytest.raises(BadInput, match="this model reads tables of numbers"):
        clf.predict(["a text"])


def test_numbers_that_name_something_are_not_read_by_themselves(tmp_path):
    rows = [(text, n % 5, n % 7, label) for n, (text, label) in enumerate(sentences(60))]
    path = write_csv(tmp_path / "a.csv", rows, ("text", "user_id", "paid", "label"))
    requested = ColumnChoice(frozenset({"text", "row"}), target="label")
    found = read_examples(path, requested)
    assert (found.columns, found.numbers) == (("text", "paid"), ("paid",))
    assert "user_id (identifiers)" in found.notes[0]
    named = replace(requested, content=("text", "user_id"))
    assert read_examples(path, named).numbers == ("user_id",)


def test_the_labels_by_another_name_are_not_read(tmp_path):
    rows = [
        (text, n % 7, int(label == "warm"), label) for n, (text, label) in enumerate(sentences(60))
    ]
    path = write_csv(tmp_path / "a.csv", rows, ("text", "n", "code", "label"))
    found = read_examples(path, ColumnChoice(frozenset({"text", "row"}), target="label"))
    assert (found.columns, found.numbers) == (("text", "n"), ("n",))
    assert "code (the same as the labels)" in found.notes[0]
