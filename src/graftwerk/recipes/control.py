"""ControlNet branches of the built-in diffusion model, one for each condition.

A branch is a copy of a small U-Net's encoder that trains its convolutions only; its time and
prompt layers stay as in the U-Net and are not saved, so a branch takes 3 MB in half precision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..blocks.networks import load_judge
from ..conditions import kinds
from ..conditions.base import Condition
from ..conditions.kinds import CONDITIONS
from ..controlnet.branch import Branch, Shape, make_branch, set_weights
from ..controlnet.checkpoint import open_branch, write_own
from ..controlnet.control import sample_controlled
from ..controlnet.task import Batch, ControlTask
from ..controlnet.train import TrainingJob, Watcher
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.prompts import TextStates
from ..models.checkpoint import fingerprint
from ..training.session import Plan, Session
from ..training.state import generator_for
from ..types import Monitor
from .autoencoder import latents_identity
from .cached import open_latents, open_states
from .diffusion import judge_right
from .registry import HELD_OUT_WORLD, REPEATS, TRAINING_WORLD, Setting
from .scenes import Chunks, Scenes, facts_of_row, hash_of_code, open_chunks, open_scenes, other_rows


class ScenePairs:
    """Stored scenes with their conditions; see `controlnet.task.Pairs`."""

    def __init__(
        self, count: int, latents: Chunks, states: Chunks, maps: Chunks, empty: torch.Tensor
    ) -> None:
        self._count, self._latents, self._states = count, latents, states
        self._maps, self._empty = maps, empty

    def __len__(self) -> int:
        return self._count

    def take(self, numbers: Int64[np.ndarray, " n"], predicted: np.ndarray) -> Batch:
        """Return these scenes; the prompt is empty for those not `predicted`."""
        states = self._states.of(numbers)
        states[torch.from_numpy(~predicted)] = self._empty
        maps = self._maps.stored(numbers)
        return Batch(self._latents.of(numbers), maps, TextStates(states))


def open_pairs(
    model: DiffusionModel,
    folder: Path,
    world: int,
    count: int,
    condition: Condition,
    dropped: float,
    monitor: Monitor,
    factor: int | None = None,
) -> ScenePairs:
    """Render scenes, encode them and compute conditions, where they are not in the cache.

    Args:
        model: the frozen model.
        folder: of the model.
        world: seed of the scenes.
        count: number of scenes.
        condition: to compute for each.
        dropped: share of captions with missing parts.
        monitor: shows progress.
        factor: pixels of a condition per latent, along a side; None: as of the images.
    """
    if model.reader is None:
        raise ValueError("a model that reads no prompts")
    repeats = REPEATS if world == TRAINING_WORLD else 0.0
    side = model.size[0]
    scenes = open_scenes("maps", world, count, side, monitor, repeats=repeats)
    latents = open_latents(
        model.decoder, latents_identity(folder / "vae"), scenes, model.device, monitor
    )
    identity = fingerprint(folder / "text_encoder", {})
    states = open_states(model.reader, identity, scenes, dropped, monitor)
    empty = model.reader.read([""]).states[0].cpu()
    side = side * (factor or model.factor) // model.factor
    seen = open_scenes("maps", world, count, side, monitor, repeats=repeats)
    maps = _open_conditions(seen, condition, monitor)
    return ScenePairs(len(scenes), latents, states, maps, empty)


def _open_conditions(scenes: Scenes, condition: Condition, monitor: Monitor) -> Chunks:
    """Compute conditions that are not in the cache: [y x 3] each, bytes."""

    def make(span: range) -> torch.Tensor:
        sampled = condition.from_rows(scenes.rows(np.array(span)))
        return torch.from_numpy(np.ascontiguousarray(sampled))

    location = f"conditions/{scenes.name}-{condition.name}-{hash_of_code(kinds)}"
    return open_chunks(location, len(scenes), 4, "drawing conditions", make, monitor)


_PARTIAL = 0.25  # share of captions that leave parts out, as the model was trained
_HELD_OUT = 500  # scenes for the meter; the first of them are drawn
_STEPS, _GUIDANCE = 12, 3.0
_WIDTHS = (16, 32, 64, 96)  # of the hint encoder


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters of the recipe."""

    plan: Plan
    scenes: int
    hint_widths: tuple[int, ...]
    held_out: int = _HELD_OUT
    measured: int = 96


REAL = Sizes(
    plan=Plan(steps=1_000, batch=32, learning_rate=1e-3, warm_up=30, average_decay=0.995),
    scenes=28_672,
    hint_widths=_WIDTHS,
)
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=12,
    hint_widths=(4, 4, 4, 4),
    held_out=8,
    measured=4,
)


class Work(ControlTask):
    """Trains a branch; see `training.session.Task` and `registry.Recipe`."""

    def __init__(self, job: TrainingJob, setting: Setting, condition: Condition) -> None:
        super().__init__(job.model, job.branch, job.pairs, setting.seed)
        self._job, self._setting, self._condition = job, setting, condition

    def watcher(self, session: Session) -> Watcher:
        """The convergence meter."""
        watcher = Watcher(self._job, session, self._setting.monitor)
        watcher.begin(self._setting.monitor)
        return watcher

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the trained weights, with the condition and the base model."""
        set_weights(self._job.branch, weights)
        base = {"name": "builtin/blocks", "fingerprint": self._job.model.denoiser_fingerprint}
        write_own(folder, self._job.branch, base, self._condition.name)


@dataclass(frozen=True, slots=True)
class ControlRecipe:
    """The recipe of one condition; see `registry.Recipe`.

    Attributes:
        condition: of the branch.
    """

    condition: Condition
    REAL = REAL
    TINY = TINY

    def prepare(self, sizes: Sizes, setting: Setting) -> Work:
        """Render scenes, encode them, compute conditions and create the branch."""
        folder = setting.dependencies["diffusion"]
        model = load_diffusion(str(folder), setting.device)
        shape = Shape(model.factor, hint_widths=sizes.hint_widths, learned="convolutions")
        branch = make_branch(model.unet, shape, generator_for(setting.seed, 0, "cpu"))
        learned = open_pairs(
            model, folder, TRAINING_WORLD, sizes.scenes, self.condition, _PARTIAL, setting.monitor
        )
        held = open_pairs(
            model, folder, HELD_OUT_WORLD, sizes.held_out, self.condition, 0.0, setting.monitor
        )
        job = TrainingJob(
            model, branch, learned, held, self.condition, sizes.plan, measured=sizes.measured
        )
        return Work(job, setting, self.condition)

    def evaluate(self, folder: Path, count: int, setting: Setting) -> dict[str, float]:
        """Measure how well images generated from held-out conditions follow them.

        `fidelity` is measured with prompts, `fidelity_unprompted` without, `fidelity_uncontrolled`
        without the branch, and `fidelity_of_real` on the rendered images themselves, which bounds
        the others; `kept` is the first as a share of that bound. `judge` and `judge_uncontrolled`
        are the shares of images with exactly the objects of the caption.
        """
        pipeline = setting.dependencies["diffusion"]
        model = load_diffusion(str(pipeline), setting.device)
        branch = open_branch(folder, model)
        pairs = open_pairs(
            model, pipeline, HELD_OUT_WORLD, count, self.condition, 0.0, setting.monitor,
            factor=branch.shape.factor,
        )  # fmt: skip
        numbers = np.arange(count)
        prompted = pairs.take(numbers, numbers >= 0)
        unprompted = pairs.take(numbers, numbers < 0)
        rows = other_rows("maps", count, setting)
        setting.monitor.start("generating", 3 * count)
        sampled, alone, free = (
            _draw(model, one, pairs_of, setting)
            for one, pairs_of in ((branch, prompted), (None, prompted), (branch, unprompted))
        )
        requested, score = prompted.maps, self.condition.fidelity
        bound = score(requested, np.ascontiguousarray(rows["picture"])).score
        with_prompts = score(requested, sampled).score
        without = score(requested, free).score
        judge = load_judge(setting.dependencies["judge"], setting.device)
        facts = [facts_of_row(row) for row in rows]
        return {
            "fidelity": with_prompts,
            "fidelity_unprompted": without,
            "fidelity_uncontrolled": score(requested, alone).score,
            "fidelity_of_real": bound,
            "kept": with_prompts / bound,
            "kept_unprompted": without / max(with_prompts, 1e-12),
            "judge": judge_right(judge, facts, sampled),
            "judge_uncontrolled": judge_right(judge, facts, alone),
        }


def _draw(
    model: DiffusionModel, branch: Branch | None, batch: Batch, setting: Setting
) -> UInt8[np.ndarray, "n h w 3"]:
    images = sample_controlled(model, branch, batch, _STEPS, _GUIDANCE, setting.seed)
    setting.monitor.advance(len(images))
    return images


def variant(name: str) -> ControlRecipe:
    """Return the recipe of the condition with this name."""
    return ControlRecipe(CONDITIONS[name])
