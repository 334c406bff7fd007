"""Robot policies: an action from an image and a state, adapted to another object or camera.

policy = Policy("builtin/policy")
policy.predict(images, states)
Policy("builtin/policy", method="lora").fit("demos").save("adapted")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32

from ..adapters.lora import Rank
from ..adapters.manifest import holds
from ..adapters.tuned import Method, Tuned, open_tuned, save_tuned
from ..data.image_inputs import ImageLike, as_image
from ..errors import BadInput, BadValue, finite
from ..models.hub import named_by_user
from ..policy.episodes import Episodes, read_episodes
from ..policy.network import (
    KIND,
    RATES,
    Adapted,
    PolicyModel,
    adapt,
    fitting,
    load_policy,
    open_policy,
)
from ..policy.pi0 import Pi0Model
from ..policy.results import Success
from ..policy.world import CAMERAS, Robot, Task, expert, of_policy, random_actions, success_of
from ..requests.base import DEFAULT_POLICY, Device, checked, given_path
from ..requests.finetune import Fit
from ..requests.models import View
from ..types import Monitor, Silent


@dataclass
class Policy:
    """A robot policy on a frozen image encoder, which can be adapted to a few episodes.

    >>> import graftwerk as gw
    >>> import numpy as np
    >>> gw.Policy().predict(np.zeros((2, 64, 64, 3), np.uint8), np.zeros((2, 3))).shape
    (2, 3)

    Args:
        model: `builtin/policy`, a folder of `graft recipe run policy`, one written by `save`, or a
            folder of transformers' PI0, which only predicts.
        method: what `fit` trains: `linear` (the last layer), `lora`, or `full` (all weights above
            the image encoder).
        steps: number of optimizer steps.
        batch: frames in a batch.
        learning_rate: peak learning rate; None for that of the method.
        rank: rank of LoRA's update of each matrix.
        alpha: LoRA's scale is alpha / rank.
        seed: random seed.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        BadInput: the name, device or a number cannot be used.
        BadFile, WrongBase, Damaged: the folder does not hold a policy, or is not as it was written.
    """

    model: str = DEFAULT_POLICY
    method: str = "lora"
    steps: int = 400
    batch: int = 32
    learning_rate: float | None = None
    rank: int = 8
    alpha: float = 16.0
    seed: int = 0
    device: Device = "auto"

    def __post_init__(self) -> None:
        self.model = str(self.model)
        if self.method not in RATES:
            raise BadValue(
                "method",
                self.method,
                f"it must be one of {', '.join(RATES)}",
                "See: help(graftwerk.Policy)",
            )
        checked(
            Fit,
            names={"how": "method"},
            data="episodes",
            out=Path("out"),
            model=self.model,
            how=self.method,
            **{name: getattr(self, name) for name in SHARED},
        )
        self._adapted: Adapted | None = None
        self._scale = 1.0
        with named_by_user([self.model]):
            self._open()

    def _open(self) -> None:
        self._tuned: Tuned | None = None
        self._about: dict[str, Any] = {}
        self._model: PolicyModel | Pi0Model
        if holds(self.model, KIND):
            opened = open_tuned(self.model, KIND, lambda name: load_policy(name, self.device))
            self._model, self._tuned = opened[:2]
            self.method, self._about = opened[1].method, dict(opened[2])
        else:
            self._model = open_policy(self.model, self.device)

    @property
    def kernel(self) -> PolicyModel:
        """The loaded model.

        Raises:
            BadInput: it is PI0, which only predicts.
        """
        if isinstance(self._model, Pi0Model):
            raise self._model.refuse("is not adapted or simulated here")
        return self._model

    @property
    def adapted(self) -> Adapted | None:
        """What `fit` came to; None before."""
        return self._adapted

    @property
    def scale(self) -> float:
        """Factor of the learned change; at 0 the frozen policy acts, bit for bit."""
        return self._scale

    @scale.setter
    def scale(self, value: object) -> None:
        network = self.kernel.network
        self._scale = finite("scale", value, "0 is the frozen policy.")
        if self._tuned is not None:
            self._tuned.apply(network, self._scale)

    @property
    def task(self) -> Task:
        """The task in simulation that the policy was trained or adapted for."""
        known = {**self.kernel.network.config, **self._about}
        return Task(known["target"], known["camera"], int(known["side"]))

    def task_with(self, target: str | None, camera: View | None) -> Task:
        """Return `task` with another object or camera, where one is named.

        Raises:
            BadValue: there is no such object.
        """
        own = self.task
        return Task(own.target if target is None else target, camera or own.camera, own.side)

    def predict(
        self,
        images: Sequence[ImageLike] | Any,
        states: Any = None,
        *,
        prompt: str | None = None,
        noise: Any = None,
    ) -> Float32[np.ndarray, "n *chunk a"]:
        """Return the action for each image and state of the robot; of PI0 a chunk of actions.

        Args:
            images: files, Pillow images, or an array [n h w 3] of bytes; for PI0 also lists of the
                images of several cameras.
            states: the robot's measured state at each image, [n s].
            prompt: the instruction, for PI0.
            noise: for PI0: what the chunks are made from, [n c a]; by default random, by `seed`.

        Raises:
            BadInput: they are of other sizes than the policy was trained on, or not finite.
        """
        if isinstance(self._model, Pi0Model):
            seen = [list(one) if isinstance(one, list | tuple) else [one] for one in images]
            views = [[np.asarray(as_image(view)) for view in one] for one in seen]
            return self._model.act(views, states, prompt or "", noise, self.seed)
        if prompt is not None or noise is not None:
            raise BadInput(f"{self.model} takes no prompt and no noise.", "PI0 does.")
        shown = [np.asarray(as_image(one)) for one in images]
        if len({one.shape for one in shown}) > 1:
            raise BadInput("the images differ in size.", "Pass images of one size.")
        if not shown:
            return np.empty((0, int(self.kernel.network.config["action"])), dtype=np.float32)
        return self.kernel.act(np.stack(shown), states)

    def fit(self, episodes: str | Path | Episodes, *, monitor: Monitor | None = None) -> "Policy":
        """Adapt the policy to episodes by `method`, from the frozen policy.

        Args:
            episodes: a folder in LeRobot's layout.
            monitor: informed about progress; may stop the work by raising.

        Raises:
            BadFile: the folder is damaged or lacks frames.
            BadInput: the episodes are of another robot, or too few.
            Diverged: the loss is no longer finite.
        """
        if isinstance(episodes, Episodes):
            data, what = episodes, "the data"
        else:
            data, what = read_episodes(given_path(episodes)), str(episodes)
        if holds(self.model, KIND):
            raise BadInput(
                f"{self.model} is an adapted policy.", "Adapt its base to all episodes together."
            )
        if self._tuned is not None:
            self._open()
        method = cast("Method", self.method)
        rank, rate = Rank(self.rank, self.alpha), self.learning_rate
        how = fitting(method, self.steps, self.batch, rate, rank, self.seed)
        self._adapted = adapt(self.kernel, data, how, what, monitor or Silent())
        self._tuned, self._scale = self._adapted.tuned, 1.0
        if data.camera in CAMERAS and len(data.tasks) == 1:  # of the Blocks world: for `task`
            target = data.tasks[0].removeprefix("reach the ")
            self._about = {"target": target, "camera": data.camera}
        return self

    def success(
        self,
        count: int = 100,
        *,
        target: str | None = None,
        camera: View | None = None,
        monitor: Monitor | None = None,
    ) -> list[Success]:
        """Run the policy in simulation, beside the frozen one, a blind one, chance and the expert.

        Args:
            count: number of starts, which no training has seen.
            target: color and kind of the object; None for that of `task`.
            camera: None for that of `task`.
            monitor: informed about progress.

        Raises:
            BadValue: there is no such object.
            BadInput: the count is below 1.
        """
        if count < 1:
            raise BadInput(f"{count} starts cannot be run.", "Run at least 1.")
        acts = {self.model: of_policy(self.kernel)}
        if self._tuned is not None:
            acts["its base"] = self._at_zero
        acts["the same without seeing"] = of_policy(self.kernel, blind=True)
        acts |= {"random": random_actions(self.seed), "expert": expert}
        task, monitor = self.task_with(target, camera), monitor or Silent()
        monitor.start("rolling out", len(acts) * count)
        rows = []
        for name, act in acts.items():
            rows.append(success_of(act, task, HELD_OUT + self.seed, count, name))
            monitor.advance(count)
        return rows

    def _at_zero(self, robots: Sequence[Robot], frame: int) -> Float32[np.ndarray, "n a"]:
        scale, self.scale = self.scale, 0.0
        try:
            return of_policy(self.kernel)(robots, frame)
        finally:
            self.scale = scale

    def save(self, path: str | Path) -> None:
        """Save what was learned to a folder for `gw.load`, `Policy` and `graft eval policy`.

        Raises:
            BadInput: nothing was fitted.
            BadFile, NoRoom: the folder contains something else, or cannot be written.
        """
        if self._adapted is None or self._tuned is None:
            raise BadInput("nothing was fitted here to save.", "Call fit(episodes).")
        folder = given_path(path).absolute()
        save_tuned(folder, KIND, self.kernel, self._tuned, self._about)


SHARED = ("steps", "batch", "learning_rate", "rank", "alpha", "seed", "device")  # with `Fit`
HELD_OUT = 1_000_000  # added to the seed: starts that are in no recorded episodes
