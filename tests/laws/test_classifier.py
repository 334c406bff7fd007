"""The zero law, asked of `Classifier` itself: at scale 0 the frozen model answers, bit for bit."""

import hashlib

import numpy as np
import pytest
from tests.unit.finetune.conftest import *  # noqa: F403
from tests.unit.finetune.conftest import sentences

import graftwerk as gw
from graftwerk.errors import WrongBase
from graftwerk.finetune.base_model import open_base
from graftwerk.finetune.tune import encode, load_network

TUNED = {"epochs": 3, "batch": 8, "rank": 2, "learning_rate": 3e-3, "device": "cpu"}
TEXTS, LABELS = map(list, zip(*sentences(40), strict=True))
NEW = [text for text, _ in sentences(10, seed=9)]


def frozen_features(method, folder):
    """Of the frozen model, by a network that no fit has ever had in its hands."""
    base = open_base(str(folder), None, "cpu")
    if method == "linear":
        return base.encoder()(NEW, lambda _: None)
    return encode(load_network(base, "text"), NEW, lambda _: None)


@pytest.fixture(params=["linear", "lora"])
def clf(request, tiny):
    options = TUNED if request.param == "lora" else {"device": "cpu"}
    return gw.Classifier(str(tiny), method=request.param, **options).fit(TEXTS, LABELS)


def test_at_zero_it_is_the_frozen_model(clf, tiny, tmp_path):
    frozen = frozen_features(clf.method_, tiny)
    at_work = clf.predict_proba(NEW), clf.features(NEW)
    clf.save(tmp_path / "fit")
    for one in (clf, gw.load(tmp_path / "fit", device="cpu")):
        one.set_params(scale=0)
        assert np.array_equal(one.features(NEW), frozen)
        assert np.array_equal(one.predict_proba(NEW), np.full((len(NEW), 2), 0.5))
        one.set_params(scale=1)  # and back, to the bit
        assert np.array_equal(one.predict_proba(NEW), at_work[0])
        assert np.array_equal(one.features(NEW), at_work[1])


def test_at_work_it_steers(clf, tiny):
    assert np.ptp(clf.predict_proba(NEW)) > 0.5
    moved = not np.array_equal(clf.features(NEW), frozen_features(clf.method_, tiny))
    assert moved == (clf.method_ == "lora")
    half = clf.set_params(scale=0.5).predict_proba(NEW)
    assert 0 < np.ptp(half) < np.ptp(clf.set_params(scale=1).predict_proba(NEW))


def test_frozen_weights_stay(clf, tiny):
    hashes = [hashlib.sha256(p.read_bytes()).digest() for p in sorted(tiny.rglob("*.safetensors"))]
    for scale in (0, 0.5, 1):
        clf.set_params(scale=scale).predict(NEW)
    assert hashes
    after = [hashlib.sha256(p.read_bytes()).digest() for p in sorted(tiny.rglob("*.safetensors"))]
    assert hashes == after


def test_on_another_base_it_is_refused_by_name(clf, tiny, tmp_path):
    import shutil

    clf.save(tmp_path / "fit")
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(
        config.replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-6')
    )
    with pytest.raises(WrongBase) as caught:
        gw.load(tmp_path / "fit", model=other, device="cpu")
    assert str(tiny) in str(caught.value)
    assert str(other) in str(caught.value)
