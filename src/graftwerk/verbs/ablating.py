"""What an ablation stands on: pairs, prompts, and what is measured of drawn pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from .. import folders
from ..adapt.captioned import read_captioned
from ..blocks.captions import Facts, parse, say
from ..conditions import Condition, condition_named
from ..contracts import Monitor
from ..control.grid import Pictures, draw_controlled
from ..control.stored import Raw, StoredPairs, fit_picture, is_pairs, store_pairs
from ..control.task import Batch
from ..errors import BadInput
from ..frozen.builtin import builtin_folder
from ..frozen.diffusion.model import DiffusionModel, load_diffusion
from ..frozen.diffusion.texts import TextStates
from ..frozen.judge import Judge, load_judge
from ..measure.frechet import frechet_distance
from ..recipes.drawn import judge_right
from ..recipes.recipe import HELD_OUT_WORLD, SIDE, TRAINING_WORLD
from ..recipes.scenes import facts_of_row, open_scenes
from ..requests import ControlAblation
from ..steer.branch import Branch
from .brought import raw_pairs

PROMPTS = ("none", "insufficient", "conflicting", "perfect")
JUDGE = "builtin/blocks-judge"
PAIRS = "pairs"
ABLATION = "ablation"
_READ = 64  # prompts that are read at once
Features = Callable[[UInt8[np.ndarray, "n h w 3"]], Float32[np.ndarray, "n d"]]


@dataclass(frozen=True)
class Ground:
    """What every branch is trained and measured on.

    Attributes:
        request: what was asked for.
        model: the frozen one.
        condition: what the branches read.
        learned: pairs to learn from.
        held: pairs that are drawn, never learned from.
        real: their pictures.
        prompts: one for each of them, by the kind of prompt.
        facts: what the scenes hold, and what conflicting prompts ask for; None where the captions
            are not of Blocks scenes.
        judge: of Blocks pictures.
        features: for Frechet distances.
    """

    request: ControlAblation
    model: DiffusionModel
    condition: Condition
    learned: StoredPairs
    held: StoredPairs
    real: Pictures
    prompts: Mapping[str, list[str]]
    facts: Mapping[str, list[Facts]] | None
    judge: Judge
    features: Features

    @property
    def wanted(self) -> Pictures:
        """The conditions that are drawn."""
        return self._batch().maps

    def fidelity(self, pictures: Pictures) -> float:
        """What pictures keep of them, 0 to 1."""
        read = None if self.facts is not None else self.condition.read
        return self.condition.fidelity(self.wanted, pictures, read).score

    def draw(self, branch: Branch | None, prompt: str, seed: int) -> Pictures:
        """A picture of each held-out condition; the same noise for every branch."""
        batch, request = self._batch(), self.request
        texts = None
        if self.model.reader is not None:
            texts = self._states(self.prompts[prompt])
        rows = Batch(batch.latents, batch.maps, texts)
        return draw_controlled(self.model, branch, rows, request.drawing_steps, request.cfg, seed)

    def measure(self, prompt: str, pictures: Pictures) -> dict[str, float | None]:
        """Figures of the pictures of one branch, prompt and seed."""
        judged = obeyed = None
        if self.facts is not None:
            judged = judge_right(self.judge, self.facts["perfect"], pictures)
            if prompt == "conflicting":
                obeyed = judge_right(self.judge, self.facts["conflicting"], pictures)
        distance = frechet_distance(self.features(pictures), self.features(self.real))
        return {
            "fidelity": self.fidelity(pictures),
            "judge": judged,
            "obeyed": obeyed,
            "frechet": distance,
        }

    def _batch(self) -> Batch:
        numbers = np.arange(len(self.held))
        return self.held.take(numbers, numbers >= 0)

    def _states(self, prompts: list[str]) -> TextStates:
        if self.model.reader is None:
            raise ValueError("a model that reads no prompts")
        read = self.model.reader.read
        parts = [read(prompts[n : n + _READ]) for n in range(0, len(prompts), _READ)]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        states = torch.cat([part.states for part in parts])
        return TextStates(states, torch.cat(pooled) if pooled else None)


def require_ours(request: ControlAblation) -> None:
    """See before any work that the out folder is free or an ablation's, and holds no input.

    Raises:
        BadFile: it holds something else.
    """
    out = request.out.absolute()
    folders.require_free(out, ABLATION, ABLATION, _is_former)
    folders.require_outside((request.data, request.conditions, request.model), out)


def open_ground(request: ControlAblation, monitor: Monitor) -> Ground:
    """Load the models, and render, read and encode the pairs where that was not done yet.

    Raises:
        BadInput: pictures, captions, conditions or model cannot be used, or are too few.
        UnknownName: there is no such condition.
    """
    condition = condition_named(request.condition)
    raw = _raw(request, condition, monitor)
    model = load_diffusion(request.model, request.device)
    out = folders.claim(request.out.absolute(), ABLATION, verify=_is_former)
    pairs = store_pairs(raw, model, out / PAIRS, monitor)
    if request.data is None:  # the last ones are of a world that no built-in model learned from
        numbers = np.arange(len(pairs))
        learned, held = pairs.only(numbers[: request.scenes]), pairs.only(numbers[request.scenes :])
    else:
        learned, held = pairs.split(request.count, 0)
    told = [raw.captions[number] for number in held.chosen]
    prompts = {"none": [""] * len(told)}
    if model.reader is not None:
        prompts["insufficient"] = [request.insufficient] * len(told)
        prompts["conflicting"] = conflicting(told)
        prompts["perfect"] = told
    facts = _facts(prompts)
    if facts is None:
        monitor.note("the captions are not of Blocks scenes, of which alone the judge knows")
    judge = load_judge(builtin_folder(JUDGE), model.device)
    features = judge.features if request.encoder is None else _features_of(request)
    real = np.stack([fit_picture(raw.pictures[number], *model.size) for number in held.chosen])
    return Ground(
        request, model, condition, learned, held, real, prompts, facts, judge, features
    )  # fmt: skip


def _is_former(folder: Path) -> bool:
    """Whether an unmarked folder holds the pairs of an ablation."""
    return is_pairs(folder / PAIRS)


def conflicting(captions: list[str]) -> list[str]:
    """For each caption the next one that says something else.

    Raises:
        BadInput: they all say the same.
    """
    found = []
    for number, caption in enumerate(captions):
        others = (*captions[number + 1 :], *captions[:number])
        other = next((text for text in others if text != caption), None)
        if other is None:
            raise BadInput(
                f"all {len(captions)} held-out pictures have one caption: {caption!r}.",
                "Bring captions of their own, so that prompts can conflict with pictures.",
            )
        found.append(other)
    return found


def _facts(prompts: Mapping[str, list[str]]) -> dict[str, list[Facts]] | None:
    try:
        return {
            name: [parse(text) for text in prompts[name]]
            for name in ("perfect", "conflicting")
            if name in prompts
        } or None
    except BadInput:
        return None


def _raw(request: ControlAblation, condition: Condition, monitor: Monitor) -> Raw:
    """Pictures, captions and conditions: the user's, or of rendered scenes."""
    if request.data is not None:
        shown = read_captioned(request.data, request.caption)
        return raw_pairs(request.conditions, shown, condition)
    pictures, captions, maps = [], [], []
    for world, count in ((TRAINING_WORLD, request.scenes), (HELD_OUT_WORLD, request.count)):
        rows = open_scenes("maps", world, count, SIDE, monitor).rows(np.arange(count))
        pictures += [Image.fromarray(picture) for picture in rows["picture"]]
        captions += [say(facts_of_row(row)) for row in rows]
        maps += [Image.fromarray(drawn) for drawn in condition.from_rows(rows)]
    return Raw(pictures, captions, maps, None, f"rendered {condition.name}")


def _features_of(request: ControlAblation) -> Features:
    from ..frozen.encoders import load_encoder

    encoder = load_encoder(str(request.encoder), device=request.device)
    if "image" not in encoder.reads:
        raise BadInput(
            f"encoder {request.encoder!r} reads no pictures.",
            "Name an image encoder, for example builtin/blocks-clip.",
        )

    def features(pictures: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        return encoder.encode_images([Image.fromarray(picture) for picture in pictures])

    return features
