"""A robot policy, by behavior cloning from episodes of the exact expert in LeRobot's layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from .. import blocks, files, folders
from ..blocks.networks import load_perception
from ..models.hub import builtin_folder
from ..policy import world
from ..policy.episodes import is_episodes, read_episodes
from ..policy.network import ENCODER, MODEL_TYPE, Cloning, PolicyNetwork, load_policy, look
from ..policy.world import Task, expert, of_policy, random_actions, record, success_of
from ..settings import settings
from ..training.session import Plan
from ..training.state import generator_for, in_order, initialise
from ..types import Monitor
from .registry import HELD_OUT_WORLD, TRAINING_WORLD, Setting
from .result import save_own
from .scenes import hash_of_code, open_chunks

_STRIDE = 2  # of the frames that are learned from: neighbors show nearly the same


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters; see `PolicyNetwork`. The number of scenes is that of episodes."""

    plan: Plan
    scenes: int
    points: int
    width: int


REAL = Sizes(
    plan=Plan(steps=3_000, batch=64, learning_rate=3e-3, warm_up=100, average_decay=0.99),
    scenes=3_000,
    points=32,
    width=128,
)
TINY = Sizes(Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2), scenes=8, points=4, width=8)


@dataclass(frozen=True, slots=True, eq=False)
class Work(Cloning):
    """Actions from feature maps and states; see `training.session.Task`."""

    def batch(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        """Numbers of frames, in epochs."""
        return in_order(len(self.states), first, count, self.seed)

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the network with the statistics of its inputs."""
        save_own(folder, self.network.config, dict(self.network.named_buffers()) | dict(weights))


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Record the expert's episodes, unless they are cached, and create the network."""
    task, given = Task(side=setting.side), setting.dependencies["perception"]
    name = ENCODER if given == builtin_folder(ENCODER) else str(given)
    encoder, recorded = load_perception(given, setting.device), _recorded(sizes.scenes, task.side)
    data = read_episodes(_episodes(recorded, sizes.scenes, task, setting.monitor))
    rows = slice(None, None, _STRIDE)
    images, states, actions = (one[rows] for one in (data.images, data.states, data.actions))

    def see(span: range) -> Tensor:
        return look(encoder, images[span.start : span.stop])

    where = f"policy/maps-{encoder.fingerprint[:16]}-{recorded}"
    chunks = open_chunks(where, len(images), 4, "looking", see, setting.monitor)
    maps = torch.from_numpy(chunks.stored(np.arange(len(images))))
    config = {
        "model_type": MODEL_TYPE,
        "encoder": {"name": name, "fingerprint": encoder.fingerprint},
        "channels": maps.shape[1],
        "points": sizes.points,
        "width": sizes.width,
        "state": states.shape[1],
        "action": actions.shape[1],
        "names": list(data.names),
        "side": task.side,
        "fps": data.fps,
        "target": task.target,
        "camera": task.camera,
    }
    network, vectors = PolicyNetwork(config), (torch.from_numpy(states), torch.from_numpy(actions))
    initialise(network, generator_for(setting.seed, 0, "cpu"))
    network.normalise_by(maps[:256], *vectors)
    trained = dict(network.to(setting.device).named_parameters())
    return Work(network, trained, maps, *vectors, setting.seed)


def _recorded(count: int, side: int) -> str:
    """Return a name of what determines the episodes."""
    code = hash_of_code(blocks) + files.sha256_of_file(Path(world.__file__))[:16]
    return f"{code}-{side}px-{count}"


def _episodes(recorded: str, count: int, task: Task, monitor: Monitor) -> Path:
    folder = settings().cache / "policy" / f"episodes-{recorded}"
    if not is_episodes(folder):
        monitor.start("recording the expert", count)
        with folders.working_folder(folder) as working:
            for _ in record(working, task, TRAINING_WORLD, count):
                monitor.advance()
    return folder


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Return shares of `count` held-out starts from which the goal is reached."""
    model, task = load_policy(str(folder), setting.device), Task(side=setting.side)
    acts = {
        "success": of_policy(model),
        "success_of_random": random_actions(setting.seed),
        "success_of_expert": expert,
        "success_without_seeing": of_policy(model, blind=True),
    }
    return {name: success_of(a, task, HELD_OUT_WORLD, count).success for name, a in acts.items()}
