"""A policy: a frozen image encoder, and a small network from its feature maps to an action.

The network finds points in the maps by a spatial softmax (Levine et al., "End-to-end training of
deep visuomotor policies", 2016) and computes the action from their positions and the robot's state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..blocks.judge import as_input
from ..blocks.perception import load_perception
from ..errors import BadInput, WrongBase
from ..models.checkpoint import fingerprint, read_object
from ..models.hub import locate
from ..models.trainable import load_own
from ..models.transformers import choose_device
from .episodes import Episodes

MODEL_TYPE = "graftwerk-policy"
HEADS = ("head",)
LAYERS = ("mix", "find", "first", "second", "head")
ENCODER = "builtin/blocks-perception"
_SCALE = 2  # of the encoder's pyramid: maps of a quarter of the image's sides
_BATCH = 64
_OTHERS = {  # policies of other libraries, by the type in their config.json
    "pi0": "PI0 of transformers, a vision-language-action model",
    "pi05": "LeRobot's PI0.5, a vision-language-action model",
    "smolvla": "LeRobot's SmolVLA, a vision-language-action model",
    "act": "LeRobot's ACT, a transformer of action chunks",
    "diffusion": "LeRobot's diffusion policy",
}
_BETA = 0.2  # deviation of an action below which its loss is quadratic
_MOST = 4096  # of a width in a configuration

Maps = Float[Tensor, "b c y x"]


class PolicyNetwork(nn.Module):
    """Maps features and states to actions.

    Inputs and outputs are scaled by the means and standard deviations of the training data.

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
        self.config = dict(config)
        named, known = config["encoder"], [config[name] for name in ("target", "camera")]
        if not all(isinstance(one, str) for one in (named["name"], named["fingerprint"], *known)):
            raise ValueError("encoder, target and camera are not texts")
        if not (int(config["side"]) >= 1 and float(config["fps"]) > 0):
            raise ValueError("side or fps is not a positive number")
        names = ("channels", "points", "width", "state", "action")
        channels, points, width, state, action = (int(config[name]) for name in names)
        if not all(1 <= size <= _MOST for size in (channels, points, width, state, action)):
            raise ValueError(f"{names} are not all from 1 to {_MOST}")
        self.mix = nn.Conv2d(channels, 2 * points, 1)
        self.find = nn.Conv2d(2 * points, points, 1)
        self.first = nn.Linear(3 * points + state, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, action)
        for name, size in (("feature", channels), ("state", state), ("action", action)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def normalise_by(self, maps: Maps, states: Tensor, actions: Tensor) -> None:
        """Set the statistics that inputs and outputs are scaled by."""
        rows = maps.float().transpose(0, 1).flatten(1).T
        for name, values in (("feature", rows), ("state", states), ("action", actions)):
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_std").copy_(values.std(dim=0).clamp(min=1e-4))

    def forward(self, maps: Maps, states: Float[Tensor, "b s"]) -> Float[Tensor, "b a"]:
        """Return actions in their own units."""
        maps = (maps - self.feature_mean[:, None, None]) / self.feature_std[:, None, None]
        scores = self.find(functional.gelu(self.mix(maps)))
        points, height = positions(scores), scores.amax(dim=(2, 3))
        known = torch.cat([points, height / 10, (states - self.state_mean) / self.state_std], dim=1)
        hidden = functional.gelu(self.second(functional.gelu(self.first(known))))
        found: Tensor = self.head(hidden) * self.action_std + self.action_mean
        return found

    def loss(self, maps: Maps, states: Tensor, actions: Tensor) -> Float[Tensor, ""]:
        """Return the loss of behaviour cloning, in standard deviations of the actions."""
        found, scale = self(maps, states), self.action_std
        return functional.smooth_l1_loss(found / scale, actions / scale, beta=_BETA)


def positions(scores: Float[Tensor, "b k y x"]) -> Float[Tensor, "b 2*k"]:
    """Return the expected x and y of each map's softmax, from -1 to 1."""
    height, width = scores.shape[-2:]
    share = scores.flatten(2).softmax(dim=-1).view(scores.shape)
    across = torch.linspace(-1, 1, width, device=scores.device)
    down = torch.linspace(-1, 1, height, device=scores.device)
    return torch.cat([share.sum(dim=2) @ across, share.sum(dim=3) @ down], dim=1)


@dataclass(frozen=True)
class Eyes:
    """The frozen image encoder.

    Attributes:
        name: as its user wrote it.
        fingerprint: hash of its weights and configuration.
        network: the module.
        device: that it runs on.
    """

    name: str
    fingerprint: str
    network: nn.Module
    device: str

    def maps(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n c y x"]:
        """Return the feature maps of images in half precision, on the CPU."""
        found = []
        for at in range(0, len(images), _BATCH):
            part = torch.from_numpy(np.ascontiguousarray(images[at : at + _BATCH]))
            with torch.inference_mode():
                pyramid: Any = self.network.pyramid
                found.append(pyramid.scales(as_input(part.to(self.device)))[_SCALE].half().cpu())
        return torch.cat(found)


def open_eyes(name: str, device: str) -> Eyes:
    """Load the image encoder of a policy."""
    found = load_perception(locate(name), device)
    return Eyes(name, found.fingerprint, found.network, found.device)


@dataclass
class PolicyModel:
    """A loaded policy.

    Attributes:
        name: as its user wrote it.
        fingerprint: hash of its weights and configuration.
        network: the trained part.
        eyes: the frozen part.
        device: of both.
    """

    name: str
    fingerprint: str
    network: PolicyNetwork
    eyes: Eyes
    device: str

    @property
    def heads(self) -> tuple[str, ...]:
        """The layers that the method `linear` trains."""
        return HEADS

    @property
    def config(self) -> dict[str, Any]:
        """The configuration: sizes, `side` of the images, `fps`, `task` and `camera`."""
        return self.network.config

    def act(self, images: UInt8[np.ndarray, "n h w 3"], states: Any) -> Float32[np.ndarray, "n a"]:
        """Return the action in each state.

        Raises:
            BadInput: images or states do not fit.
        """
        states = np.asarray(states, dtype=np.float32)
        self.require_fit(images.shape, states.shape, "what you passed")
        if not np.isfinite(states).all():
            raise BadInput("a state is not finite.", "Pass the robot's measured state.")
        found = [np.empty((0, int(self.config["action"])), dtype=np.float32)]
        for at in range(0, len(images), _BATCH):
            found.append(
                self.act_on(self.eyes.maps(images[at : at + _BATCH]), states[at : at + _BATCH])
            )
        return np.concatenate(found)

    def act_on(self, maps: Maps, states: Float32[np.ndarray, "n s"]) -> Float32[np.ndarray, "n a"]:
        """Return the actions for feature maps of the encoder."""
        with torch.inference_mode():
            given = torch.from_numpy(states).to(self.device)
            found: np.ndarray = self.network(maps.float().to(self.device), given).cpu().numpy()
        return found

    def require_fit(self, images: tuple[int, ...], states: tuple[int, ...], what: str) -> None:
        """Refuse images or states of another shape.

        Raises:
            BadInput: it says which sizes are allowed.
        """
        side, size = int(self.config["side"]), int(self.config["state"])
        if len(images) != 4 or images[1:] != (side, side, 3):
            shown = " x ".join(map(str, images[1:3][::-1]))
            raise BadInput(
                f"{what} has images of {shown} pixels; {self.name} reads {side} x {side}.",
                "Scale the images of the data and of the robot alike.",
            )
        if states != (images[0], size):
            raise BadInput(
                f"{what} has states of the shape {list(states)}; {self.name} reads "
                f"{[images[0], size]}.",
                "Pass one state of the robot for each image.",
            )

    def require_episodes(self, data: Episodes, what: str) -> None:
        """Refuse episodes of another robot.

        Raises:
            BadInput: sizes of images, states or actions, or the frames a second differ.
        """
        self.require_fit(data.images.shape, data.states.shape, what)
        size, fps = int(self.config["action"]), float(self.config["fps"])
        if data.actions.shape[1] != size:
            raise BadInput(
                f"an action of {what} has {data.actions.shape[1]} numbers, of {self.name} {size}.",
                "Adapt a policy of the same robot.",
            )
        if data.fps != fps:
            raise BadInput(
                f"{what} has {data.fps:g} frames a second, {self.name} acts {fps:g} times.",
                "Record at that rate: actions mean another speed otherwise.",
            )


def is_policy(folder: Path) -> bool:
    """Whether a folder contains a policy of `graft recipe run policy`."""
    path = folder / "config.json"
    return path.is_file() and read_object(path).get("model_type") == MODEL_TYPE


def load_policy(name: str, device: str = "auto") -> PolicyModel:
    """Load a policy and its encoder.

    Raises:
        BadFile: the folder contains something else, or its parts do not match.
        BadInput: it is a policy of another library, which is named.
        WrongBase: the encoder is not the one it was trained on.
        Damaged: a weight file is truncated.
    """
    folder = locate(name)
    if not (folder / "config.json").is_file() and is_policy(folder / "model"):
        folder = folder / "model"  # as `graft recipe run` writes it
    config = read_object(folder / "config.json")
    kind = config.get("model_type", config.get("type"))  # the latter in LeRobot's own policies
    if kind in _OTHERS:
        raise BadInput(
            f"{name} is {_OTHERS[str(kind)]}, which is not run: a policy here is a frozen image "
            "encoder with a small network for one task, without prompts or chunks of actions.",
            "Run it with the lerobot or transformers library; its data sets are read here.",
        )
    location = choose_device(device)
    network = load_own(folder, MODEL_TYPE, PolicyNetwork).to(location)
    named = network.config["encoder"]
    eyes = open_eyes(str(named["name"]), location)
    if eyes.fingerprint != named["fingerprint"]:
        made_on = f"the encoder {eyes.name} with fingerprint {named['fingerprint'][:12]}"
        hint = "Train it again: graft recipe run policy."
        raise WrongBase(name, made_on, eyes.fingerprint[:12], hint)
    return PolicyModel(name, fingerprint(folder, {}), network, eyes, location)
