"""A few recorded episodes, and a small policy of random weights on the built-in encoder."""

import shutil

import numpy as np
import pytest
import torch

from graftwerk.blocks.networks import load_perception
from graftwerk.models.hub import builtin_folder
from graftwerk.policy.episodes import read_episodes
from graftwerk.policy.network import ENCODER, MODEL_TYPE, PolicyNetwork, look
from graftwerk.policy.world import FPS, NAMES, Task, record
from graftwerk.recipes.result import save_own

SIDE = 32


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Six episodes of another object than the policy's."""
    folder = tmp_path_factory.mktemp("episodes") / "demos"
    folder.mkdir()
    assert len(list(record(folder, Task("blue sphere", "left", SIDE), 3, 6))) == 6
    return folder


@pytest.fixture
def demos(recorded, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(recorded, tmp_path / "demos")


@pytest.fixture(scope="session")
def policy_folder(recorded, tmp_path_factory):
    eyes, data = load_perception(builtin_folder(ENCODER), "cpu"), read_episodes(recorded)
    maps = look(eyes, data.images[:4])
    config = {
        "model_type": MODEL_TYPE,
        "encoder": {"name": ENCODER, "fingerprint": eyes.fingerprint},
        "channels": maps.shape[1],
        "points": 4,
        "width": 8,
        "state": 3,
        "action": 3,
        "names": list(NAMES),
        "side": SIDE,
        "fps": FPS,
        "target": "red cube",
        "camera": "front",
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = PolicyNetwork(config)
    states, actions = torch.from_numpy(data.states), torch.from_numpy(data.actions)
    network.normalise_by(maps, states, actions)
    folder = tmp_path_factory.mktemp("policy") / "policy"
    folder.mkdir()
    save_own(folder, config, network.state_dict())
    return folder


@pytest.fixture(scope="session")
def seen(recorded):
    """Images and states."""
    data = read_episodes(recorded)
    return data.images[:5], data.states[:5] + np.float32(0.01)
