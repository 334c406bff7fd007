"""A policy: a frozen image encoder, and a small network from its feature maps to an action.

The network finds points in the maps by a spatial softmax (Levine et al., "End-to-end training of
deep visuomotor policies", 2016) and computes the action from their positions and the robot's state.
It is adapted to episodes by its last layer, a LoRA adapter, or all weights above the encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..adapters import tuned
from ..adapters.lora import Rank
from ..adapters.tuned import Fitting, Method, Tuned
from ..blocks.networks import Perception, as_input, load_perception
from ..errors import BadInput, WrongBase
from ..models.checkpoint import fingerprint, read_object
from ..models.hub import locate
from ..models.trainable import load_own
from ..text_safety import counted
from ..training.session import Plan
from ..types import Monitor
from .episodes import Episodes
from .pi0 import MODEL_TYPE as PI0
from .pi0 import Pi0Model, load_pi0

MODEL_TYPE = "graftwerk-policy"
LAYERS = ("mix", "find", "first", "second", "head")
ENCODER = "builtin/blocks-perception"
_SCALE = 2  # of the encoder's pyramid: maps of a quarter of the image's sides
_BATCH = 64
_OTHERS = {  # policies of other libraries, by the type in their config.json
    "pi05": "LeRobot's PI0.5, a vision-language-action model",
    "smolvla": "LeRobot's SmolVLA, a vision-language-action model",
    "act": "LeRobot's ACT, a transformer of action chunks",
    "diffusion": "LeRobot's diffusion policy",
}
_BETA = 0.2  # deviation of an action below which its loss is quadratic
_MOST = 4096  # of a width in a configuration
_SIZES = ("channels", "points", "width", "state", "action", "side")

Maps = Float[Tensor, "b c y x"]
Images = UInt8[np.ndarray, "n h w 3"]


class PolicyNetwork(nn.Module):
    """Maps features and states to actions, scaled by the statistics of the training data.

    Args:
        config: `channels` of the feature maps, number of `points`, `width` of hidden layers, sizes
            of `state` and `action`; `encoder` (`name` and `fingerprint`), `side` of the images,
            `fps`, and the `target` and `camera` of the task.
    """

    feature_mean: Tensor
    feature_std: Tensor
    state_mean: Tensor
    state_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, named = dict(config), config["encoder"]
        texts = (named["name"], named["fingerprint"], config["target"], config["camera"])
        sizes = [int(config[name]) for name in _SIZES]
        if not all(1 <= size <= _MOST for size in sizes) or float(config["fps"]) <= 0:
            raise ValueError(f"{', '.join(_SIZES)} are not all from 1 to {_MOST}, or fps is not")
        if not all(isinstance(one, str) for one in texts):
            raise ValueError("encoder, target or camera is not a text")
        channels, points, width, state, action, _ = sizes
        self.mix = nn.Conv2d(channels, 2 * points, 1)
        self.find = nn.Conv2d(2 * points, points, 1)
        self.first = nn.Linear(3 * points + state, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, action)
        for name, size in (("feature", channels), ("state", state), ("action", action)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def normalise_by(self, maps: Maps, states: Tensor, actions: Tensor) -> None:
        """Set the statistics."""
        rows = maps.float().transpose(0, 1).flatten(1).T
        for name, values in (("feature", rows), ("state", states), ("action", actions)):
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_std").copy_(values.std(dim=0).clamp(min=1e-4))

    def forward(self, maps: Maps, states: Float[Tensor, "b s"]) -> Float[Tensor, "b a"]:
        """Return actions in their own units."""
        maps = (maps - self.feature_mean[:, None, None]) / self.feature_std[:, None, None]
        scores = self.find(functional.gelu(self.mix(maps)))
        points, height = _positions(scores), scores.amax(dim=(2, 3))
        known = torch.cat([points, height / 10, (states - self.state_mean) / self.state_std], dim=1)
        hidden = functional.gelu(self.second(functional.gelu(self.first(known))))
        found: Tensor = self.head(hidden) * self.action_std + self.action_mean
        return found

    def loss(self, maps: Maps, states: Tensor, actions: Tensor) -> Float[Tensor, ""]:
        """Return the loss of behavior cloning, in standard deviations of the actions."""
        found, scale = self(maps, states), self.action_std
        return functional.smooth_l1_loss(found / scale, actions / scale, beta=_BETA)


def _positions(scores: Float[Tensor, "b k y x"]) -> Float[Tensor, "b 2*k"]:
    height, width = scores.shape[-2:]
    share = scores.flatten(2).softmax(dim=-1).view(scores.shape)
    across = torch.linspace(-1, 1, width, device=scores.device)
    down = torch.linspace(-1, 1, height, device=scores.device)
    return torch.cat([share.sum(dim=2) @ across, share.sum(dim=3) @ down], dim=1)


def look(encoder: Perception, images: Images) -> Maps:
    """Return the encoder's feature maps of images in half precision, on the CPU."""
    found = []
    for at in range(0, len(images), _BATCH):
        part = torch.from_numpy(np.ascontiguousarray(images[at : at + _BATCH])).to(encoder.device)
        with torch.inference_mode():
            scales = encoder.network.pyramid.scales(as_input(part))
            found.append(scales[: _SCALE + 1][-1].half().cpu())  # small encoders have fewer
    return torch.cat(found)


@dataclass
class PolicyModel:
    """A loaded policy.

    Attributes:
        heads: the layers that the method `linear` trains.
    """

    name: str
    fingerprint: str
    network: PolicyNetwork
    encoder: Perception
    device: str
    heads: tuple[str, ...] = ("head",)

    def describe(self) -> dict[str, str]:
        """Return what it is, for `graft models info`."""
        task = self.network.config
        return {
            "task": f"reach the {task['target']}, camera {task['camera']}",
            "actions": f"{', '.join(task['names'])}, {task['fps']:g} times a second",
            "images": f"{task['side']} x {task['side']} pixels, by {task['encoder']['name']}",
        }

    def act(self, images: Images, states: Any) -> Float32[np.ndarray, "n a"]:
        """Return the action in each state.

        Raises:
            BadInput: images or states do not fit.
        """
        states = np.asarray(states, dtype=np.float32)
        if states.ndim != 2 or len(states) != len(images):
            raise BadInput(
                f"there are {counted(len(images), 'image')}, and states of the shape "
                f"{list(states.shape)}.",
                "Pass a list with one state of the robot for each image.",
            )
        self._require("what you passed", images, states)
        if not np.isfinite(states).all():
            raise BadInput("a state is not finite.", "Pass the robot's measured state.")
        parts = [slice(at, at + _BATCH) for at in range(0, len(images), _BATCH)]
        return np.concatenate(
            [self.act_on(look(self.encoder, images[p]), states[p]) for p in parts]
        )

    def act_on(self, maps: Maps, states: Float32[np.ndarray, "n s"]) -> Float32[np.ndarray, "n a"]:
        """Return the actions for feature maps of the encoder."""
        with torch.inference_mode():
            given = torch.from_numpy(states).to(self.device)
            found: np.ndarray = self.network(maps.float().to(self.device), given).cpu().numpy()
        return found

    def require_episodes(self, data: Episodes, what: str) -> None:
        """Refuse episodes of another robot.

        Raises:
            BadInput: sizes of images, states or actions, or the frames a second differ.
        """
        fps = ("frames a second", [data.fps], [float(self.network.config["fps"])])
        action = ("actions", data.actions.shape[1:], [int(self.network.config["action"])])
        self._require(what, data.images, data.states, action, fps)

    def _require(self, what: str, images: Any, states: Any, *others: Any) -> None:
        side, size = (int(self.network.config[name]) for name in ("side", "state"))
        first = ("images", images.shape[1:3], [side, side]), ("states", states.shape[1:], [size])
        for name, found, needed in (*first, *others):
            if list(found) != needed:
                has, takes = (" x ".join(f"{one:g}" for one in row) for row in (found, needed))
                raise BadInput(
                    f"{what} has {name} of size {has}; {self.name} takes {takes}.",
                    "Use data of the same robot, camera size and rate as the policy.",
                )


def load_policy(name: str, device: str = "auto") -> PolicyModel:
    """Load a policy of this package, which can be adapted and simulated; see `open_policy`.

    Raises:
        BadInput: it is of another library.
    """
    found = open_policy(name, device)
    if isinstance(found, Pi0Model):
        raise found.refuse("is not adapted or simulated here")
    return found


def open_policy(name: str, device: str = "auto") -> PolicyModel | Pi0Model:
    """Load a policy, with its encoder or tokenizer.

    Raises:
        BadFile: the folder contains something else, or its parts do not match.
        BadInput: it is a policy of another library, which is named.
        WrongBase: the encoder is not the one it was trained on.
        Damaged: a weight file is truncated.
    """
    folder = locate(name, "robot policy")
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        folder = folder / "model"  # as `graft recipe run` writes it
    config = read_object(folder / "config.json")
    kind = config.get("model_type", config.get("type"))  # the latter in LeRobot's own policies
    if kind == PI0:
        return load_pi0(name, folder, device)
    if kind in _OTHERS:
        raise BadInput(
            f"{name} is {_OTHERS[str(kind)]}, which is not run: its code is not a part "
            "of the transformers library.",
            "Run it with the lerobot library; its data sets are read here.",
        )
    network = load_own(folder, MODEL_TYPE, PolicyNetwork)
    named = network.config["encoder"]
    encoder = load_perception(locate(named["name"]), device)
    if encoder.fingerprint != named["fingerprint"]:
        made_on = f"the encoder {named['name']} with fingerprint {named['fingerprint'][:12]}"
        hint = "Train it again: graft recipe run policy."
        raise WrongBase(name, made_on, encoder.fingerprint[:12], hint)
    identity, place = fingerprint(folder, {}), encoder.device
    return PolicyModel(name, identity, network.to(place), encoder, place)


KIND = "policy"  # of what is saved
RATES: Mapping[Method, float] = {"linear": 3e-3, "lora": 5e-3, "full": 3e-3}
_HELD = 0.2  # share of the episodes that are held out


@dataclass(frozen=True, slots=True, eq=False)
class Cloning:
    """Behavior cloning; see `training.session.Task`.

    Attributes:
        maps: of the encoder, in half precision.
    """

    network: PolicyNetwork
    trained: Mapping[str, nn.Parameter]
    maps: Tensor
    states: Tensor
    actions: Tensor
    seed: int

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The trained weights."""
        return self.trained

    def batch(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        """Numbers of frames, sampled with replacement."""
        return np.random.default_rng([self.seed, first]).integers(0, len(self.states), count)

    def loss(
        self,
        batch: Int64[np.ndarray, " n"],
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of the predicted actions."""
        return self.network.loss(*self._rows(torch.from_numpy(batch))), {}

    def error(self) -> float:
        """Return the mean distance between predicted and recorded actions."""
        maps, states, actions = self._rows(torch.arange(len(self.states)))
        with torch.no_grad():
            return float((self.network(maps, states) - actions).norm(dim=1).mean())

    def _rows(self, rows: Tensor) -> list[Tensor]:
        device = self.network.action_std.device
        return [one[rows].float().to(device) for one in (self.maps, self.states, self.actions)]


@dataclass(frozen=True, slots=True)
class Adapted:
    """A policy adapted to episodes.

    Attributes:
        tuned: what was learned; its losses are mean distances of held-out actions.
        mean: the held-out distance of always taking the mean action.
    """

    tuned: Tuned
    episodes: int
    held: int
    frames: int
    mean: float


def fitting(
    method: Method, steps: int, batch: int, rate: float | None, rank: Rank, seed: int
) -> Fitting:
    """Return how to adapt a policy."""
    peak = RATES[method] if rate is None else rate
    plan = Plan(steps, batch, peak, warm_up=min(20, steps // 4 + 1), average_decay=0.98)
    return Fitting(method, plan, replace(rank, targets=LAYERS), seed, {})


def adapt(model: PolicyModel, data: Episodes, how: Fitting, what: str, monitor: Monitor) -> Adapted:
    """Adapt a policy, whose network is modified; the encoder stays as it is.

    Raises:
        BadInput: the episodes are of another robot, or too few.
        Diverged: the loss is no longer finite.
    """
    model.require_episodes(data, what)
    numbers = np.unique(data.episode)
    if len(numbers) < 2:
        raise BadInput(f"{what} has one episode.", "Record at least 2: one is held out to measure.")
    held = max(1, round(_HELD * len(numbers)))
    left = torch.from_numpy(np.isin(data.episode, numbers[-held:]))
    monitor.start("looking")
    maps = look(model.encoder, data.images)
    states, actions = torch.from_numpy(data.states), torch.from_numpy(data.actions)

    def task(rows: Tensor, trained: Mapping[str, nn.Parameter]) -> Cloning:
        given = (maps[rows], states[rows], actions[rows])
        return Cloning(model.network, trained, *given, how.seed)

    error = task(left, {}).error
    found = tuned.tune(model, how, lambda trained: task(~left, trained), error, monitor)
    away = actions[left] - actions[~left].mean(dim=0)
    frames, mean = int((~left).sum()), float(away.norm(dim=1).mean())
    return Adapted(found, len(numbers) - held, held, frames, mean)
