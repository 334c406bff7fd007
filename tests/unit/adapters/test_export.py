"""A head in scikit-learn and in ONNX predicts what it predicts here."""

import json

import numpy as np
import onnxruntime
import pytest
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences

import graftwerk as gw
from graftwerk.adapters.linear_head import LinearHead, probabilities, to_onnx, to_sklearn
from graftwerk.errors import BadInput, UnknownName

TASKS = [("class", 2), ("class", 4), ("labels", 3), ("number", 1)]


def make(task, count, scale=1.0):
    generator = np.random.default_rng(count)
    weight, bias = generator.normal(size=(count, 8)), generator.normal(size=count)
    names = () if task == "number" else tuple("déf" + str(n) for n in range(count))
    head = LinearHead(*(a.astype(np.float32) for a in (weight, bias)), task, names, "base", scale)
    return head, generator.normal(size=(200, 8)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("task", "count"), TASKS)
def test_scikit_learn_predicts_the_same(task, count, scale):
    head, features = make(task, count, scale)
    scores, model = head.score(features), to_sklearn(head)
    predicted = model.predict(features)
    if task == "number":
        np.testing.assert_allclose(predicted, scores[:, 0], rtol=1e-4, atol=1e-5)
        return
    chances = probabilities(scores.astype(np.float64), task)
    np.testing.assert_allclose(model.predict_proba(features), chances, atol=1e-6)
    if task == "labels":
        assert (predicted == (scores > 0)).all()
    else:
        assert predicted.tolist() == [head.labels[n] for n in scores.argmax(axis=1)]


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("task", "count"), TASKS)
def test_onnx_runs_the_same(task, count, scale):
    head, features = make(task, count, scale)
    session = onnxruntime.InferenceSession(to_onnx(head, "builtin/x"))
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"features": features}), strict=True))
    scores = head.score(features)
    if task == "number":
        np.testing.assert_allclose(found["value"], scores[:, 0], rtol=1e-4, atol=1e-5)
    else:
        chances = probabilities(scores.astype(np.float64), task)
        np.testing.assert_allclose(found["probabilities"], chances, atol=1e-6)
        if task == "labels":
            assert (found["label"] == (scores > 0)).all()
        else:
            assert found["label"].tolist() == [head.labels[n] for n in scores.argmax(axis=1)]
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["labels"]) == list(head.labels)
    assert (known["task"], known["base"]) == (task, "builtin/x")


def test_exports_of_a_fit(tmp_path, tiny):
    texts, labels = map(list, zip(*sentences(80), strict=True))
    new = [text for text, _ in sentences(30, seed=9)]
    whole = [int(label == "warm") for label in labels]
    clf = gw.Classifier(str(tiny)).fit(texts, whole)
    model = clf.to_sklearn()
    assert model.predict(clf.features(new)).tolist() == clf.predict(new).tolist()
    assert model.classes_.tolist() == [0, 1]
    clf.scale = 0.0
    assert (clf.to_sklearn().predict_proba(clf.features(new)) == 0.5).all()
    clf.scale = 1.0
    clf.save(tmp_path / "fit")
    clf.to_onnx(tmp_path / "a.onnx")
    made = gw.run(gw.FitExport(fit=tmp_path / "fit", out=tmp_path / "b.onnx"))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (made.features, made.labels) == (16, ["0", "1"])
    session = onnxruntime.InferenceSession(tmp_path / "b.onnx")
    found = session.run(["label"], {"features": clf.features(new)})[0]
    assert found.tolist() == [str(one) for one in clf.predict(new)]
    with pytest.raises(UnknownName, match=r"\.onnx"):
        gw.run(gw.FitExport(fit=tmp_path / "fit", out=tmp_path / "b.pb"))
    with pytest.raises(BadInput, match="not fitted yet"):
        gw.Classifier().to_sklearn()
