"""A robot policy, by behaviour cloning from episodes of the exact expert in LeRobot's layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from .. import blocks, files, folders
from ..models.hub import builtin_folder
from ..policy import world
from ..policy.episodes import Episodes, is_episodes, read_episodes
from ..policy.network import ENCODER, MODEL_TYPE, Eyes, PolicyNetwork, load_policy, open_eyes
from ..policy.rollout import expert, of_policy, random_actions, success_of
from ..policy.world import Task, record
from ..settings import settings
from ..training.session import Plan
from ..training.state import generator_for, initialise
from ..types import Monitor
from .arrays import open_chunks
from .registry import HELD_OUT_WORLD, TRAINING_WORLD, Setting
from .result import save_own
from .scenes import hash_of_code, in_order

_STRIDE = 2  # of the frames that are learned from: neighbours show nearly the same


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


class Work:
    """Actions from feature maps and states; see `training.session.Task`."""

    def __init__(self, sizes: Sizes, data: Episodes, eyes: Eyes, setting: Setting) -> None:
        self._setting = setting
        self._rows = np.arange(0, len(data.states), _STRIDE)
        images = data.images[self._rows]
        where = f"policy/maps-{eyes.fingerprint[:16]}-{_recorded(sizes.scenes, setting.side)}"

        def look(span: range) -> Tensor:
            return eyes.maps(images[span.start : span.stop])

        self._maps = open_chunks(where, len(images), 4, "looking", look, setting.monitor)
        self._states = torch.from_numpy(data.states[self._rows])
        self._actions = torch.from_numpy(data.actions[self._rows])
        first = self._maps.of(np.arange(min(256, len(images))))
        task = Task(side=setting.side)
        self._config = {
            "model_type": MODEL_TYPE,
            "encoder": {"name": eyes.name, "fingerprint": eyes.fingerprint},
            "channels": first.shape[1],
            "points": sizes.points,
            "width": sizes.width,
            "state": data.states.shape[1],
            "action": data.actions.shape[1],
            "names": list(data.names),
            "side": setting.side,
            "fps": data.fps,
            "target": task.target,
            "camera": task.camera,
        }
        self._network = PolicyNetwork(self._config)
        initialise(self._network, generator_for(setting.seed, 0, "cpu"))
        self._network.normalise_by(first, self._states, self._actions)
        self._network.to(setting.device)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights."""
        return dict(self._network.named_parameters())

    def batch(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        """Numbers of frames."""
        return in_order(len(self._rows), first, count, self._setting.seed)

    def loss(
        self,
        batch: Int64[np.ndarray, " n"],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of the predicted actions."""
        maps, states, actions = (
            one.to(self._setting.device)
            for one in (self._maps.of(batch), self._states[batch], self._actions[batch])
        )
        return self._network.loss(maps, states, actions), {}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the network with the statistics of its inputs."""
        save_own(folder, self._config, dict(self._network.named_buffers()) | dict(weights))


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Record the expert's episodes, unless they are cached, and create the network."""
    folder = _episodes(sizes.scenes, setting.side, setting.monitor)
    encoder = setting.dependencies["perception"]
    name = ENCODER if encoder == builtin_folder(ENCODER) else str(encoder)
    return Work(sizes, read_episodes(folder), open_eyes(name, setting.device), setting)


def _recorded(count: int, side: int) -> str:
    """Return a name of what determines the episodes."""
    code = hash_of_code(blocks) + files.sha256_of_file(Path(world.__file__))[:16]
    return f"{code}-{side}px-{count}"


def _episodes(count: int, side: int, monitor: Monitor) -> Path:
    folder = settings().cache / "policy" / f"episodes-{_recorded(count, side)}"
    if not is_episodes(folder):
        monitor.start("recording the expert", count)
        with folders.working_folder(folder) as working:
            for _ in record(working, Task(side=side), TRAINING_WORLD, count):
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
