"""`Classifier` and `Regressor` as scikit-learn and people use them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sklearn.exceptions
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from tests.unit.commands.test_readout import write_vit
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences, write_csv
from tests.unit.models.test_series import write_series  # noqa: F401

import graftwerk as gw
from graftwerk import files
from graftwerk.commands.fit import run_eval_fit, run_fit, run_predict
from graftwerk.errors import BadFile, BadInput
from graftwerk.finetune import base_model
from graftwerk.types import Silent

TUNED = {"epochs": 3, "batch": 8, "rank": 2, "learning_rate": 3e-3, "device": "cpu"}
TEXTS, LABELS = zip(*sentences(80), strict=True)
NEW, TRUTH = zip(*sentences(30, seed=9), strict=True)
TEXTS, LABELS, NEW, TRUTH = map(list, (TEXTS, LABELS, NEW, TRUTH))


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """A tiny random model of images."""
    return write_vit(tmp_path_factory.mktemp("models") / "vit")


def squares(count, seed=0):
    """Images that are mostly red or mostly blue."""
    generator = np.random.default_rng(seed)
    images, labels = [], []
    for number in range(count):
        pixels = generator.integers(0, 90, (16, 16, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += 150
        images.append(Image.fromarray(pixels))
        labels.append(("warm", "cold")[number % 2])
    return images, labels


def test_texts_to_classes(tiny):
    clf = gw.Classifier(str(tiny))
    assert clf.fit(TEXTS, LABELS) is clf
    assert clf.classes_.tolist() == ["cold", "warm"]
    assert clf.method_ == "linear"
    predicted, chances = clf.predict(NEW), clf.predict_proba(NEW)
    assert predicted.tolist() == [clf.classes_[n] for n in chances.argmax(axis=1)]
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    right = np.mean([a == b for a, b in zip(predicted, TRUTH, strict=True)])
    assert clf.score(NEW, TRUTH) == right > 0.8
    weights = np.arange(len(NEW))
    weighted = np.average(predicted == np.array(TRUTH), weights=weights)
    assert clf.score(NEW, TRUTH, sample_weight=weights) == pytest.approx(weighted)
    cold = [text for text, label in zip(NEW, predicted, strict=True) if label == "cold"][:2]
    assert clf.score(cold, ["cold", "never learned"]) == 0.5
    assert clf.features(NEW).shape == (30, 16)
    assert not hasattr(clf, "n_features_in_")


@pytest.mark.parametrize("method", ["linear", "lora", "full"])
def test_a_saved_fit_predicts_the_same(tiny, tmp_path, method):
    options = {} if method == "linear" else TUNED
    clf = gw.Classifier(str(tiny), method=method, seed=3, **options).fit(TEXTS, LABELS)
    clf.save(tmp_path / "topics")
    again = gw.load(tmp_path / "topics")
    assert isinstance(again, gw.Classifier)
    assert again.get_params()["method"] == again.method_ == method
    assert (
        {n: again.get_params()[n] for n in ("seed", *options)}
        == {"seed": 3, **options} | {"device": "auto"}
        if options
        else {"seed": 3}
    )
    np.testing.assert_array_equal(again.predict_proba(NEW), clf.predict_proba(NEW))
    again.save(tmp_path / "copy")
    np.testing.assert_array_equal(
        gw.load(tmp_path / "copy").predict_proba(NEW), clf.predict_proba(NEW)
    )
    requested = gw.Predict(fit=tmp_path / "topics", inputs=NEW)
    reported = run_predict(requested, Silent()).predictions
    assert [one.label for one in reported] == clf.predict(NEW).tolist()
    # the record knows what was learned from, as that of `graft fit` does
    known = write_csv(tmp_path / "known.csv", sentences(80))
    with pytest.raises(BadInput, match="has learned from every example"):
        run_eval_fit(gw.EvalFit(fit=tmp_path / "topics", data=str(known)), Silent())


def test_what_graft_fit_wrote_is_opened(tiny, texts, tmp_path):
    run_fit(gw.Fit(data=str(texts), model=str(tiny), out=tmp_path / "fit"), Silent())
    clf = gw.load(str(tmp_path / "fit"))
    reported = run_predict(gw.Predict(fit=tmp_path / "fit", inputs=NEW), Silent()).predictions
    assert clf.predict(NEW).tolist() == [one.label for one in reported]
    assert clf.score(NEW, TRUTH) > 0.8


def test_the_seed_decides_everything(tiny):
    first, second, other = (
        gw.Classifier(str(tiny), method="lora", seed=seed, **TUNED)
        .fit(TEXTS, LABELS)
        .predict_proba(NEW)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_scikit_learn_takes_texts_and_images(tiny, vit):
    images, labels = squares(24)
    for model, rows, truth in ((tiny, TEXTS[:30], LABELS[:30]), (vit, images, labels)):
        clf = gw.Classifier(model, seed=5)
        copy = clone(clf)
        assert copy is not clf
        assert copy.get_params() == clf.get_params()
        assert cross_val_score(clf, rows, truth, cv=3).mean() > 0.6
        pipe = Pipeline([("same", FunctionTransformer()), ("clf", clf)])
        assert pipe.fit(rows, truth).score(rows, truth) > 0.8
        grid = GridSearchCV(pipe, {"clf__balance": [False, True]}, cv=2).fit(rows, truth)
        assert grid.predict(rows).shape == (len(rows),)


def test_a_parameter_is_stored_as_it_was_given(tiny):
    clf = gw.Classifier(tiny, targets=("query",), rank=3)
    assert clf.get_params()["model"] is tiny
    assert clf.get_params()["targets"] == ("query",)
    clf.set_params(rank=0, method="lora")
    with pytest.raises(BadInput, match=r"rank 0 is not valid: it must be at least 1"):
        clf.fit(TEXTS, LABELS)
    with pytest.raises(BadInput, match=r"method 'lore' is not valid.*'lora'"):
        clf.set_params(rank=1, method="lore").fit(TEXTS, LABELS)


def test_the_model_is_loaded_once(tiny, monkeypatch):
    loaded = []
    load = base_model.encoders.load_encoder
    monkeypatch.setattr(
        base_model.encoders, "load_encoder", lambda *a, **k: loaded.append(a) or load(*a, **k)
    )
    clf = gw.Classifier(str(tiny)).fit(TEXTS, LABELS)
    clf.predict(NEW)
    clf.predict_proba(NEW)
    other = gw.Classifier(str(tiny)).fit(NEW, TRUTH)  # shares what `clf` holds
    other.predict(TEXTS)
    assert len(loaded) == 1
    del clf, other
    gw.Classifier(str(tiny)).fit(TEXTS, LABELS)
    assert len(loaded) == 2  # and it goes with the last that holds it


def test_images_from_memory_and_from_files(vit, tmp_path):
    images, labels = squares(12)
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        image.save(paths[-1])
    clf = gw.Classifier(vit).fit(images, labels)
    arrays = [np.asarray(image) for image in images]
    forms = [arrays, np.stack(arrays), paths, [str(path) for path in paths]]
    forms.append([image.convert("RGBA") for image in images])
    for rows in forms:
        np.testing.assert_array_equal(clf.predict_proba(rows), clf.predict_proba(images))
    # images of the same form are not taken for copies of each other
    assert gw.Classifier(vit).fit(images, labels)._unsaved.content["split"]["train"] == 10
    gray = [np.asarray(image.convert("L")) for image in images]
    assert clf.predict(gray).shape == (12,)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([2, 10] * 10, "i"),
        ([True, False] * 10, "b"),
        ([1.0, 2.0] * 10, "f"),
        (["x", "y"] * 10, "U"),
    ],
)
def test_classes_keep_their_type(tiny, tmp_path, labels, dtype):
    clf = gw.Classifier(str(tiny)).fit(TEXTS[:20], np.array(labels))
    assert clf.classes_.tolist() == sorted(set(labels))
    clf.save(tmp_path / "fit")
    for one in (clf, gw.load(tmp_path / "fit")):
        assert one.classes_.dtype.kind == dtype
        assert one.predict(TEXTS[:20]).dtype.kind == dtype
        assert one.score(TEXTS[:20], labels) == np.mean(one.predict(TEXTS[:20]) == labels)
    record = json.loads((tmp_path / "fit" / "graft.json").read_text())["content"]
    assert ("label_type" in record) == (dtype != "U")


def test_any_number_of_labels(tiny, tmp_path):
    named = [[label, "short"] if len(text) < 25 else [label] for text, label in sentences(80)]
    clf = gw.Classifier(str(tiny)).fit(TEXTS, named)
    assert clf.classes_.tolist() == ["cold", "short", "warm"]
    predicted = clf.predict(TEXTS)
    assert predicted.shape == (80, 3)
    assert set(np.unique(predicted)) == {0, 1}
    rows = [[str(clf.classes_[n]) for n in np.flatnonzero(row)] for row in predicted]
    exact = np.mean([sorted(a) == sorted(b) for a, b in zip(rows, named, strict=True)])
    assert clf.score(TEXTS, named) == pytest.approx(exact)
    assert clf.score(TEXTS[:2], [rows[0], [*rows[1], "never learned"]]) == 0.5
    chances = clf.predict_proba(TEXTS)
    np.testing.assert_array_equal(chances > 0.5, predicted > 0)
    clf.save(tmp_path / "fit")
    np.testing.assert_array_equal(gw.load(tmp_path / "fit").predict(TEXTS), predicted)
    truth = np.array([[one in row for one in clf.classes_] for row in named], dtype=int)
    columns = gw.Classifier(str(tiny)).fit(TEXTS, truth)
    assert columns.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(columns.predict(TEXTS), predicted)
    assert columns.score(TEXTS, truth) == pytest.approx(exact)


def test_numbers_and_series(write_series, tiny, tmp_path):  # noqa: F811
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((40, 24))
    rows[::2] += 4 * np.sin(np.arange(24))
    kinds = np.where(np.arange(40) % 2, "noise", "wave")
    clf = gw.Classifier(write_series("patchtst")).fit(rows, kinds)
    assert clf.n_features_in_ == 24
    assert clf.score(rows, kinds) > 0.8
    with pytest.raises(BadInput, match=r"X\[0\] is a value of type float"):
        clf.predict(list(rows[0]))
    lengths = [float(len(text)) for text in TEXTS]
    reg = gw.Regressor(str(tiny)).fit(TEXTS, lengths)
    assert reg.predict(TEXTS).shape == (80,)
    assert reg.score(TEXTS, lengths) > 0.5
    assert cross_val_score(reg, TEXTS, lengths, cv=3).shape == (3,)
    reg.save(tmp_path / "fit")
    again = gw.load(tmp_path / "fit")
    assert isinstance(again, gw.Regressor)
    np.testing.assert_array_equal(again.predict(NEW), reg.predict(NEW))


def test_what_people_get_wrong_is_told(tiny, vit):
    clf, reg, seeing = gw.Classifier(str(tiny)), gw.Regressor(str(tiny)), gw.Classifier(vit)
    image = Image.new("RGB", (8, 8))
    cases = [
        (clf, (TEXTS, LABELS[:-1]), r"X has 80 items and y has 79 labels"),
        (clf, (TEXTS[:4], ["a"] * 4), r"y has one class only, 'a'"),
        (clf, ([], []), "X is empty"),
        (clf, (np.empty((0, 3)), []), "X is empty"),
        (clf, ("red", ["a"]), "X is a single str"),
        (clf, (TEXTS[:2], None), "y is missing"),
        (clf, (TEXTS[:2], "ab"), "y is a single str"),
        (
            clf,
            (["red", Path("a.png")], "ab"),
            r"X\[1\] is a path, 'a\.png'; this model reads texts",
        ),
        (clf, (["red", None], ["a", "b"]), r"X\[1\] is missing"),
        (clf, (["red", " "], ["a", "b"]), r"X\[1\] is an empty text"),
        (clf, (["red", image], ["a", "b"]), r"X\[1\] is an image; this model reads texts"),
        (clf, (np.eye(3), ["a", "b", "a"]), r"X is a 2-D array of numbers; this model reads texts"),
        (clf, (TEXTS[:3], ["a", None, "b"]), r"1 label is missing or NaN: y\[1\]"),
        (clf, (TEXTS[:3], np.array([1, np.nan, 2])), r"missing or NaN: y\[1\]"),
        (clf, (TEXTS[:3], ["a", 1, "b"]), "y mixes types: int, str"),
        (clf, (TEXTS[:3], [["a"], "a", "b"]), "y mixes single labels and lists"),
        (clf, (TEXTS[:3], [0.5, 1.5, 2.0]), "not whole.*Regressor"),
        (clf, (TEXTS[:3], ["a", "a ", "b"]), "two classes are both written 'a'"),
        (reg, (TEXTS[:3], ["a", "b", "c"]), r"y\[0\] is 'a', which is not a finite number"),
        (reg, (TEXTS[:3], [1.0, np.inf, 2.0]), r"y\[1\] is inf"),
        (reg, (TEXTS[:3], [True, False, True]), r"y\[0\] is True"),
        (reg, (TEXTS[:3], [1, 1, 1]), "all of y is 1"),
        (seeing, (["none.png", "b.png"], ["a", "b"]), r"none\.png"),
    ]
    for estimator, (rows, labels), words in cases:
        with pytest.raises(BadInput, match=words):
            estimator.fit(rows, labels)
    fitted = gw.Classifier(str(tiny)).fit(TEXTS, LABELS)
    with pytest.raises(BadInput, match=r"no label of y was learned, for example 'Warm'"):
        fitted.score(TEXTS[:2], ["Warm", "Warm"])
    assert fitted.score(TEXTS[:2], [LABELS[0], "Warm"]) <= 0.5


def test_a_model_of_images_and_texts_tells_paths_from_texts(vit, tmp_path):
    from graftwerk.data.arrays import read_rows

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    both = frozenset({"text", "image"})
    assert read_rows([str(tmp_path / "a.png")], both)[0] == "image"
    assert read_rows(["a cat"], both)[0] == "text"
    assert read_rows(["a.png"], frozenset({"text"}))[0] == "text"
    with pytest.raises(BadInput, match=r"X mixes kinds: X\[0\] is a text, X\[1\] is an image"):
        read_rows(["a cat", str(tmp_path / "a.png")], both)


def test_before_it_is_fitted(tiny, tmp_path):
    clf = gw.Classifier(str(tiny))
    for use in (clf.predict, clf.predict_proba, clf.features, lambda _: clf.save(tmp_path / "x")):
        with pytest.raises(BadInput, match="this Classifier is not fitted yet") as caught:
            use(["red"])
        assert isinstance(caught.value, gw.GraftError)
        assert isinstance(caught.value, sklearn.exceptions.NotFittedError)


def test_at_scale_0_the_frozen_model_answers(tiny):
    """The zero law, asked of the objects themselves; see also `tests/laws`."""
    frozen = base_model.open_base(str(tiny), None, "cpu")
    linear = gw.Classifier(str(tiny)).fit(TEXTS, LABELS).set_params(scale=0)
    np.testing.assert_array_equal(linear.predict_proba(NEW), np.full((30, 2), 0.5))
    np.testing.assert_array_equal(linear.features(NEW), frozen.encoder()(NEW, lambda _: None))
    assert (
        linear.predict_proba(NEW).tolist() != linear.set_params(scale=1).predict_proba(NEW).tolist()
    )
    with pytest.raises(BadInput, match="scale nan is not valid: it must be a finite number"):
        linear.set_params(scale=float("nan")).predict(NEW)
    full = gw.Classifier(str(tiny), method="full", **TUNED | {"epochs": 1}).fit(TEXTS, LABELS)
    with pytest.raises(BadInput, match="scale 0 needs an adapter"):
        full.set_params(scale=0).predict(NEW)


def test_load_says_what_opens_other_things(tiny, tmp_path):
    with pytest.raises(BadFile, match=r"contains no graft\.json"):
        gw.load(tmp_path)
    clf = gw.Classifier(str(tiny)).fit(TEXTS, LABELS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").touch()
    with pytest.raises(BadFile, match=r"'note\.txt' is there"):
        clf.save(tmp_path / "full")
    clf.save(tmp_path / "fit")
    for kind, words in (("low-rank", "graft generate"), ("control", "--control"), ("x", "linear")):
        other = tmp_path / kind
        shutil.copytree(tmp_path / "fit", other)
        record = json.loads((other / "graft.json").read_text()) | {"kind": kind}
        files.write_sealed_json(other / "graft.json", record)
        with pytest.raises(BadInput, match=f"holds a '{kind}', which is not a classifier.*{words}"):
            gw.load(other)
    (tmp_path / "compare").mkdir()
    (tmp_path / "compare" / "compare.json").touch()
    with pytest.raises(BadInput, match=r"holds a comparison.*compare/linear"):
        gw.load(tmp_path / "compare")


def test_auto_keeps_one_method(tiny):
    options = TUNED | {"learning_rate": None, "epochs": 1, "minutes": 0.05}
    clf = gw.Classifier(str(tiny), method="auto", **options).fit(TEXTS, LABELS)
    assert clf.method_ in {"linear", "lora", "full"}
    assert [one.kept for one in clf.tried_].count(True) == 1
    assert clf.score(NEW, TRUTH) > 0.8


def test_photographs_without_a_named_model(photographs, tmp_path):
    images, labels = squares(24)
    clf = gw.Classifier(device="cpu")
    with pytest.warns(UserWarning, match="no model was named: imagenet"):
        clf.fit(images, labels)
    assert clf.score(images, labels) > 0.9 and clf.model is None
    clf.save(tmp_path / "fit")
    again = gw.load(tmp_path / "fit")
    assert again.model == "imagenet"
    assert again.predict(images[:4]).tolist() == clf.predict(images[:4]).tolist()
    assert (
        clone(clf)
        .fit(["a late goal", "shares fell"] * 5, ["x", "y"] * 5)
        .score(["a late goal"], ["x"])
    )
    with pytest.raises(BadInput, match=r"X\[0\] is an image"):
        gw.Classifier("builtin/minilm").fit(images, labels)
