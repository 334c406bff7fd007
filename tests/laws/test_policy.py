"""The zero law, asked of `Policy` itself: at scale 0 the frozen policy acts, bit for bit."""

import hashlib
import shutil

import numpy as np
import pytest
from tests.unit.policy.conftest import policy_folder, recorded, seen  # noqa: F401  fixtures

import graftwerk as gw
from graftwerk.errors import WrongBase


@pytest.fixture(params=["linear", "lora", "full"])
def adapted(request, policy_folder, recorded):  # noqa: F811
    options = {"steps": 20, "batch": 8, "rank": 2, "learning_rate": 0.02, "device": "cpu"}
    return gw.Policy(str(policy_folder), method=request.param, **options).fit(recorded)


def test_at_zero_it_is_the_frozen_policy(adapted, policy_folder, seen, tmp_path):  # noqa: F811
    frozen = gw.Policy(str(policy_folder), device="cpu").predict(*seen)
    at_work = adapted.predict(*seen)
    assert not np.array_equal(at_work, frozen)
    adapted.save(tmp_path / "adapted")
    for one in (adapted, gw.load(tmp_path / "adapted", device="cpu")):
        one.scale = 0.0
        assert np.array_equal(one.predict(*seen), frozen)
        one.scale = 0.5
        assert not np.array_equal(one.predict(*seen), frozen)
        one.scale = 1.0  # and back, to the bit
        assert np.array_equal(one.predict(*seen), at_work)


def test_frozen_weights_stay(adapted, policy_folder, seen):  # noqa: F811
    def hashed():
        files = sorted(policy_folder.rglob("*.safetensors"))
        return [hashlib.sha256(path.read_bytes()).digest() for path in files]

    before, encoder = hashed(), adapted.kernel.encoder.network
    weights = {name: one.clone() for name, one in encoder.state_dict().items()}
    for scale in (0.0, 0.5, 1.0):
        adapted.scale = scale
        adapted.predict(*seen)
    assert hashed() == before and before
    assert all(weights[name].equal(one) for name, one in encoder.state_dict().items())


def test_on_another_base_it_is_refused_by_name(adapted, policy_folder, tmp_path):  # noqa: F811
    base = shutil.copytree(policy_folder, tmp_path / "base")
    policy = gw.Policy(str(base), method=adapted.method, steps=2, device="cpu")
    policy.fit(adapted_data(adapted)).save(tmp_path / "adapted")
    text = (base / "config.json").read_text()
    (base / "config.json").write_text(text.replace("{", '{"other": 1,', 1))
    with pytest.raises(WrongBase, match=r"was made on .*base with fingerprint"):
        gw.load(tmp_path / "adapted", device="cpu")


def adapted_data(policy):
    from graftwerk.policy.episodes import Episodes

    side, count = int(policy.kernel.network.config["side"]), 6
    images = np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)
    vectors = np.random.default_rng(1).normal(size=(2, count, 3)).astype(np.float32)
    return Episodes(images, *vectors, np.arange(count), 5.0, ("x",), ("x", "y", "z"), "a")
