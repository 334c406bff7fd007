"""Data frames as `X`: columns of texts and of numbers in one fit, by scikit-learn's conventions."""

import math
import pickle

import numpy as np
import pytest

import graftwerk as gw
from graftwerk.data.arrays import columns_of, read_frame
from graftwerk.errors import BadInput


class Series(list):
    def to_list(self):
        return list(self)


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, **columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return Series(self._columns[name])

    def to_numpy(self):
        return np.array(list(zip(*self._columns.values(), strict=True)), dtype=object)

    def __len__(self):
        return len(next(iter(self._columns.values())))

    def of(self, *names):
        return Frame(**{name: self._columns[name] for name in names})


class NAType:
    """Like pandas.NA."""


N = 40
RNG = np.random.default_rng(0)
SIGNAL = RNG.standard_normal(N)
X = Frame(
    text=["a late goal" if n % 2 else "shares fell" for n in range(N)],
    signal=[math.nan if n == 3 else np.float32(value) for n, value in enumerate(SIGNAL)],
    flag=[n % 3 == 0 for n in range(N)],
    note=[NAType() if n % 5 == 0 else f"note {n % 4}" for n in range(N)],
)
Y = ["yes" if n % 2 and SIGNAL[n] > 0 else "no" for n in range(N)]


@pytest.fixture(scope="module")
def fitted():
    return gw.Classifier("builtin/minilm").fit(X, Y)


def test_rows_have_numbers_and_the_texts_joined():
    columns = columns_of(X)
    assert columns.names == ("text", "signal", "flag", "note")
    assert columns.numbers == ("signal", "flag")
    kind, rows = read_frame(X, columns, frozenset({"row", "text"}))
    assert kind == "row"
    assert rows[0].text == "shares fell"
    assert rows[1].text == "a late goal\nnote 1"
    assert rows[0].numbers.tolist() == [np.float32(SIGNAL[0]), 1]
    assert math.isnan(rows[3].numbers[0])
    texts = X.of("text", "note")
    kind, items = read_frame(texts, columns_of(texts), frozenset({"text"}))
    assert (kind, items[1]) == ("text", "a late goal\nnote 1")


def test_a_mixed_frame_is_fitted_as_a_table_is(fitted, tmp_path):
    assert fitted.feature_names_in_.tolist() == X.columns
    assert fitted.n_features_in_ == 4
    assert fitted.score(X, Y) > 0.9
    alone = gw.Classifier("builtin/minilm").fit(X.of("text"), Y)
    assert alone.score(X.of("text"), Y) < fitted.score(X, Y)  # the numbers count
    fitted.save(tmp_path / "fit")
    opened = gw.load(tmp_path / "fit")
    np.testing.assert_array_equal(opened.predict_proba(X), fitted.predict_proba(X))
    assert opened.feature_names_in_.tolist() == X.columns
    path = tmp_path / "a.csv"
    lines = [f"{t},{s},{f},{'' if isinstance(o, NAType) else o}" for t, s, f, o in X.to_numpy()]
    path.write_text("\n".join([",".join(X.columns), *lines]) + "\n")
    found = gw.run(gw.Predict(fit=tmp_path / "fit", inputs=[str(path)]))
    assert [one.label for one in found.predictions] == fitted.predict(X).tolist()


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (X.of("text", "signal"), "missing: flag, note"),
        (X.of("signal", "text", "flag", "note"), "another order"),
        (Frame(**X._columns, extra=[1] * N), "not seen when it was fitted: extra"),
        (X.to_numpy(), "no column names"),
        (["a text"], "no column names"),
    ],
)
def test_the_columns_are_those_of_the_fit(fitted, frame, words):
    with pytest.raises(BadInput, match=words):
        fitted.predict(frame)


@pytest.mark.parametrize(
    ("settings", "frame", "words"),
    [
        ({"method": "lora"}, X, "texts \\(text, note\\) beside numbers"),
        ({"model": "none"}, X, "read tables of numbers"),
        ({}, Frame(**X._columns, when=[np.datetime64("2026-01-01")] * N), "'when'.*date"),
        ({}, Frame(text=["a", " ", "b"] * 10, n=[1, None, 2] * 10), r"X\[1\] is empty"),
        ({}, Frame(text=["a", "b"] * 10, n=[1, math.inf] * 10), r"X\[1\] holds an infinite"),
        ({"model": "none"}, Frame(a=[], b=[]), "X is empty"),
    ],
)
def test_what_is_refused(settings, frame, words):
    with pytest.raises(BadInput, match=words):
        gw.Classifier(**settings).fit(frame, Y[: len(frame)])


def test_numbers_and_truth_values_without_a_model():
    numbers = X.of("signal", "flag")
    clf = gw.Classifier("none").fit(numbers, Y)
    assert clf.feature_names_in_.tolist() == ["signal", "flag"]
    plain = np.array([[s, f] for s, f in zip(X["signal"], X["flag"], strict=True)], dtype=float)
    np.testing.assert_array_equal(clf.predict(plain), clf.predict(numbers))


def test_numbers_of_any_type_are_numbers():
    rows = np.array([[n, float(n % 3)] for n in range(N)])
    fitted = gw.Classifier("none").fit(rows, Y)
    assert fitted.predict(rows.astype(object)).tolist() == fitted.predict(rows).tolist()
    with pytest.raises(BadInput, match="no item of y has a label"):
        gw.Classifier("none").fit(rows, np.zeros((N, 2)))


def test_a_linear_head_is_pickled_and_a_network_is_not(fitted, tmp_path):
    fitted.save(tmp_path / "fit")
    for one in (fitted, gw.load(tmp_path / "fit"), gw.Classifier()):
        copied = pickle.loads(pickle.dumps(one))
        if one.method == "linear" and hasattr(one, "classes_"):
            np.testing.assert_array_equal(copied.predict_proba(X), fitted.predict_proba(X))
    for opened in (gw.Index(tmp_path / "index"), gw.load_encoder("builtin/minilm")):
        with pytest.raises(BadInput, match="cannot be pickled"):
            pickle.dumps(opened)


def test_a_regressor_reads_a_mixed_frame():
    target = np.nan_to_num(np.array(X["signal"], dtype=float)) * 2 + 1
    assert gw.Regressor("builtin/minilm").fit(X, target).score(X, target) > 0.9
