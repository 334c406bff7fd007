"""`gw.Policy`: what it predicts, how it is adapted, saved and loaded, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import graftwerk as gw
from graftwerk.errors import BadFile, BadInput, BadValue, WrongBase
from graftwerk.policy.episodes import read_episodes

METHODS = ("linear", "lora", "full")
FEW = {"steps": 30, "batch": 8, "rank": 2, "device": "cpu"}


def test_predictions_do_not_depend_on_the_batch(policy_folder, seen):
    images, states = seen
    policy = gw.Policy(str(policy_folder), device="cpu")
    found = policy.predict(images, states)
    assert found.shape == (5, 3) and found.dtype == np.float32 and np.ptp(found) > 0
    one = policy.predict([Image.fromarray(images[2])], states[2:3])
    assert np.allclose(one, found[2:3], atol=1e-5)
    assert policy.predict([], np.empty((0, 3))).shape == (0, 3)
    assert not np.allclose(policy.predict(images, states + 0.3), found, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_adapted_saved_and_loaded(policy_folder, recorded, seen, tmp_path, method):
    from safetensors.numpy import load_file

    policy = gw.Policy(str(policy_folder), method=method, learning_rate=0.02, **FEW).fit(recorded)
    found = policy.adapted
    assert (found.episodes, found.held) == (5, 1)
    assert found.tuned.after < found.tuned.before and found.tuned.share > 0
    assert policy.task.words == "reach the blue sphere" and policy.task.camera == "left"
    policy.save(tmp_path / "adapted")
    opened = gw.load(tmp_path / "adapted", device="cpu")
    assert isinstance(opened, gw.Policy) and opened.method == method
    assert opened.task == policy.task
    assert np.array_equal(opened.predict(*seen), policy.predict(*seen))
    names = {path.name for path in (tmp_path / "adapted").iterdir()}
    if method == "lora":
        assert "adapter_model.safetensors" in names
    else:
        learned = load_file(tmp_path / "adapted" / "learned.safetensors")
        assert (set(learned) == {"head.weight", "head.bias"}) == (method == "linear")


def test_episodes_are_learned_again_from_the_frozen_policy(policy_folder, recorded, seen):
    policy = gw.Policy(str(policy_folder), method="full", **FEW)
    data = read_episodes(recorded)
    first = policy.fit(recorded).predict(*seen)
    assert np.array_equal(policy.fit(data).predict(*seen), first)


def test_what_does_not_help_is_not_applied(policy_folder, recorded, seen):
    """A rate that destroys the network: the frozen policy remains, to the bit."""
    policy = gw.Policy(str(policy_folder), method="full", learning_rate=1.0, **FEW | {"steps": 3})
    frozen = policy.predict(*seen)
    policy.fit(recorded)
    if policy.adapted.tuned.share == 0:
        assert np.array_equal(policy.predict(*seen), frozen)
    assert policy.adapted.tuned.after <= policy.adapted.tuned.before


def test_success_beside_chance_and_the_expert(policy_folder, recorded):
    policy = gw.Policy(str(policy_folder), method="linear", **FEW)
    names = [row.name for row in policy.success(4)]
    assert names == [str(policy_folder), "the same without seeing", "random", "expert"]
    policy.fit(recorded)
    rows = policy.success(4, target="green cone", camera="high")
    assert [row.name for row in rows][1] == "its base" and rows[-1].success == 1
    assert policy.scale == 1
    frozen = gw.Policy(str(policy_folder), device="cpu")
    [alone, *_] = frozen.success(4, target="green cone", camera="high")
    assert rows[1].distance == alone.distance != rows[0].distance
    again = policy.success(4, target="green cone", camera="high")
    assert again == rows


def test_refused_inputs(policy_folder, seen, tmp_path):
    images, states = seen
    policy = gw.Policy(str(policy_folder), device="cpu")
    small = images[:, :24, :24]
    with pytest.raises(BadInput, match=r"images of size 24 x 24; .* takes 32 x 32"):
        policy.predict(small, states)
    with pytest.raises(BadInput, match="differ in size"):
        policy.predict([images[0], small[0]], states[:2])
    with pytest.raises(BadInput, match=r"has states of size 2; .* takes 3"):
        policy.predict(images, states[:, :2])
    with pytest.raises(BadInput, match=r"states of the shape \[4, 3\]"):
        policy.predict(images, states[:4])
    with pytest.raises(BadInput, match="a state is not finite"):
        policy.predict(images, states * np.nan)
    with pytest.raises(BadInput, match="nothing was fitted"):
        policy.save(tmp_path / "out")
    for scale in (float("nan"), "a", None, True, [1.0]):
        with pytest.raises(BadValue, match=r"scale .* is not valid: it must be a finite number"):
            policy.scale = scale
    policy.scale = np.float32(0.5)
    assert policy.scale == 0.5
    for method in ("best", "auto"):
        with pytest.raises(
            BadValue, match=f"'{method}' is not valid: it must be one of linear, lora, full"
        ):
            gw.Policy(str(policy_folder), method=method)
    with pytest.raises(BadFile):
        gw.Policy(str(tmp_path))


def of(data, **changes):
    from dataclasses import replace

    return replace(data, **changes)


def test_refused_episodes(policy_folder, recorded, tmp_path):
    policy, data = gw.Policy(str(policy_folder), **FEW), read_episodes(recorded)
    with pytest.raises(BadInput, match="the data has images of size 24 x 24"):
        policy.fit(of(data, images=data.images[:, :24, :24]))
    with pytest.raises(BadInput, match=r"the data has actions of size 2; .* takes 3"):
        policy.fit(of(data, actions=data.actions[:, :2]))
    with pytest.raises(BadInput, match=r"has frames a second of size 30; .* takes 5"):
        policy.fit(of(data, fps=30.0))
    with pytest.raises(BadInput, match="has one episode"):
        policy.fit(of(data, episode=data.episode * 0))
    with pytest.raises(BadFile, match="LeRobot"):
        policy.fit(tmp_path)
    policy.fit(recorded).save(tmp_path / "adapted")
    with pytest.raises(BadInput, match="is an adapted policy"):
        gw.load(tmp_path / "adapted").fit(recorded)


def test_another_encoder_is_refused_by_name(policy_folder, tmp_path):
    folder = shutil.copytree(policy_folder, tmp_path / "policy")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["fingerprint"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        WrongBase, match="the encoder builtin/blocks-perception with fingerprint 0000"
    ):
        gw.Policy(str(folder))


@pytest.mark.parametrize(
    "change", [{"points": 0}, {"side": 0}, {"encoder": "x"}, {"width": 10_000}, {"target": 3}]
)
def test_a_configuration_that_is_wrong(policy_folder, tmp_path, change):
    folder = shutil.copytree(policy_folder, tmp_path / "policy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(BadFile, match=r"do not fit its config\.json"):
        gw.Policy(str(folder))


def test_a_policy_of_lerobot_is_refused_by_name(tmp_path):
    (tmp_path / "act").mkdir()
    (tmp_path / "act" / "config.json").write_text('{"type": "act", "n_obs_steps": 1}')
    with pytest.raises(BadInput, match="is LeRobot's ACT"):
        gw.Policy(str(tmp_path / "act"))
