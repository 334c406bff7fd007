"""Ablation of a ControlNet branch: training, measurements and contact sheet.

Each training is stored in its own folder and never repeated.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from .. import files, folders
from ..blocks.captions import Facts, parse, say
from ..blocks.networks import Judge, load_judge
from ..blocks.scene import SIDE
from ..conditions.base import Condition, Fidelity
from ..conditions.kinds import condition_named
from ..controlnet.branch import Branch, Shape, make_branch, weights_of
from ..controlnet.checkpoint import open_branch, write_own
from ..controlnet.control import ImageBatch, sample_controlled, strip_of
from ..controlnet.pairs import KEY, PairSource, StoredPairs, is_pairs, raw_pairs, store_pairs
from ..controlnet.task import Batch
from ..controlnet.train import Trained, TrainingJob, train_branch
from ..data.image_folder import read_captioned
from ..data.images import write_image
from ..diffusion.checkpoint import locate_pipeline, open_pipeline, read_sizes
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.prompts import TextStates, join
from ..diffusion.sampling import fit
from ..diffusion.unet import zero_convolutions_of
from ..errors import BadInput
from ..metrics.distributions import frechet_distance
from ..metrics.plots import image_sheet
from ..models.encoders import load_encoder
from ..models.hub import builtin_folder
from ..recipes.diffusion import judge_right
from ..recipes.registry import HELD_OUT_WORLD, TRAINING_WORLD
from ..recipes.scenes import facts_of_row, open_scenes
from ..requests.control import ControlAblation
from ..training.loop import CHECKPOINTS
from ..training.session import Plan, Session
from ..training.state import fast_precision, generator_for, refuse_other
from ..types import Monitor

PROMPTS = ("none", "insufficient", "conflicting", "perfect")
JUDGE = "builtin/blocks-judge"
PAIRS = "pairs"
ABLATION = "ablation"
_READ = 64  # prompts per batch of the text encoder
Features = Callable[[UInt8[np.ndarray, "n h w 3"]], Float32[np.ndarray, "n d"]]


@dataclass(frozen=True)
class Ground:
    """Model, data and metrics that all branches of an ablation share.

    Attributes:
        held: held-out pairs, whose conditions are used to generate images.
        prompts: a prompt for each held-out pair, by kind of prompt.
        facts: contents of the scenes, and those that conflicting prompts request; None if the
            captions do not describe Blocks scenes.
    """

    request: ControlAblation
    model: DiffusionModel
    condition: Condition
    learned: StoredPairs
    held: StoredPairs
    real: ImageBatch
    prompts: Mapping[str, list[str]]
    facts: Mapping[str, list[Facts]] | None
    judge: Judge
    features: Features

    @property
    def requested(self) -> ImageBatch:
        """The conditions of the held-out pairs."""
        return self._batch().maps

    def fidelity(self, images: ImageBatch) -> float:
        """Return how well images follow the held-out conditions, 0 to 1."""
        return self.compared(images).score

    def compared(self, images: ImageBatch) -> Fidelity:
        """Return the fidelity, and the fidelity that is reached by chance."""
        read = None if self.facts is not None else self.condition.read
        return self.condition.fidelity(self.requested, images, read)

    def draw(self, branch: Branch | None, prompt: str, seed: int) -> ImageBatch:
        """Generate an image for each held-out condition; all branches get the same noise."""
        batch, request = self._batch(), self.request
        texts = None
        if self.model.reader is not None:
            texts = self._states(self.prompts[prompt])
        rows = Batch(batch.latents, batch.maps, texts)
        return sample_controlled(self.model, branch, rows, request.drawing_steps, request.cfg, seed)

    def measure(self, prompt: str, images: ImageBatch) -> dict[str, float | None]:
        """Return the metrics of the images of one branch, prompt and seed."""
        judged = obeyed = None
        if self.facts is not None:
            judged = judge_right(self.judge, self.facts["perfect"], images)
            if prompt == "conflicting":
                obeyed = judge_right(self.judge, self.facts["conflicting"], images)
        distance = frechet_distance(self.features(images), self.features(self.real))
        return {
            "fidelity": self.fidelity(images),
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
        return reduce(join, (read(prompts[n : n + _READ]) for n in range(0, len(prompts), _READ)))


def require_ours(request: ControlAblation) -> None:
    """Require an out folder that is free or an ablation's, and that contains no input.

    Raises:
        BadFile: it contains something else.
    """
    out = request.out.absolute()
    folders.require_free(out, ABLATION, ABLATION, _is_former)
    folders.require_outside((request.data, request.conditions, request.model), out)


def open_ground(request: ControlAblation, monitor: Monitor) -> Ground:
    """Load the models, and render, read and encode pairs that are not stored yet.

    Raises:
        BadInput: images, captions, conditions or model cannot be used, or there are too few images.
        UnknownName: there is no such condition.
    """
    condition = condition_named(request.condition)
    raw = _raw(request, condition, monitor)
    model = load_diffusion(request.model, request.device)
    zero_convolutions_of(model.unet)  # refuses what has none, before any work is done
    out = folders.claim(request.out.absolute(), ABLATION, verify=_is_former)
    pairs = store_pairs(raw, model, out / PAIRS, monitor)
    if request.data is None:  # no built-in model was trained on the world of the last pairs
        numbers = np.arange(len(pairs))
        learned, held = pairs.only(numbers[: request.scenes]), pairs.only(numbers[request.scenes :])
    else:
        learned, held = pairs.split(request.count, 0)
    reported = [raw.captions[number] for number in held.chosen]
    prompts = {"none": [""] * len(reported)}
    if model.reader is not None:
        prompts["insufficient"] = [request.insufficient] * len(reported)
        prompts["conflicting"] = conflicting(reported)
        prompts["perfect"] = reported
    facts = _facts(prompts)
    if facts is None:
        monitor.note("the captions are not of Blocks scenes, of which alone the judge knows")
    judge = load_judge(builtin_folder(JUDGE), model.device)
    features = judge.features if request.encoder is None else _features_of(request)
    real = np.stack([fit(raw.pictures[number], *model.size) for number in held.chosen])
    return Ground(
        request, model, condition, learned, held, real, prompts, facts, judge, features
    )  # fmt: skip


def _is_former(folder: Path) -> bool:
    """Whether a folder without a marker contains the pairs of an ablation."""
    return is_pairs(folder / PAIRS)


def conflicting(captions: list[str]) -> list[str]:
    """Return for each caption the next caption with a different text.

    Raises:
        BadInput: all captions are equal.
    """
    found = []
    for number, caption in enumerate(captions):
        others = (*captions[number + 1 :], *captions[:number])
        other = next((text for text in others if text != caption), None)
        if other is None:
            raise BadInput(
                f"all {len(captions)} held-out images have one caption: {caption!r}.",
                "Bring captions of their own, so that prompts can conflict with images.",
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


def _raw(request: ControlAblation, condition: Condition, monitor: Monitor) -> PairSource:
    """Return images, captions and conditions, user-provided or of rendered scenes."""
    if request.data is not None:
        shown = read_captioned(request.data, request.caption)
        return raw_pairs(request.conditions, shown, condition)
    sizes = read_sizes(open_pipeline(locate_pipeline(request.model)))
    side = SIDE if sizes is None else sizes.own[0]
    images, captions, maps = [], [], []
    for world, count in ((TRAINING_WORLD, request.scenes), (HELD_OUT_WORLD, request.count)):
        rows = open_scenes("maps", world, count, side, monitor).rows(np.arange(count))
        images += [Image.fromarray(image) for image in rows["picture"]]
        captions += [say(facts_of_row(row)) for row in rows]
        maps += [Image.fromarray(sampled) for sampled in condition.from_rows(rows)]
    return PairSource(images, captions, maps, None, f"rendered {condition.name}")


def _features_of(request: ControlAblation) -> Features:
    encoder = load_encoder(str(request.encoder), device=request.device)
    if "image" not in encoder.reads:
        raise BadInput(
            f"encoder {request.encoder!r} reads no images.",
            "Name an image encoder, for example builtin/blocks-clip.",
        )

    def features(images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        return encoder.encode_images([Image.fromarray(image) for image in images])

    return features


BRANCHES: Mapping[str, tuple[Literal["copy", "light"], Literal["zero", "gaussian"]]] = {
    "zero": ("copy", "zero"),
    "gaussian": ("copy", "gaussian"),
    "light": ("light", "zero"),
}
ALONE = "alone"
SHOWN = 3  # images per branch and prompt on the contact sheet
_MEASUREMENTS, _METERED, _WARM_UP = 30, 64, 30
_TRIAL, _FIGURES, _BRANCH = "trial.json", "figures.json", "branch"


@dataclass(frozen=True)
class Trial:
    """A branch trained with one seed.

    Attributes:
        name: a key of `BRANCHES`, or `alone`.
        branch: the branch; None for the frozen model alone.
        record: verdict, gap, size and training time in seconds.
    """

    name: str
    seed: int
    folder: Path
    branch: Branch | None
    record: Mapping[str, Any]


def trials_of(ground: Ground, monitor: Monitor) -> Iterator[Trial]:
    """Yield the model alone and all branches for each seed; train missing branches.

    Raises:
        BadInput: the folder contains an ablation with another configuration.
        Failure, Diverged, Cancelled, NoRoom: see `controlnet.train.train_branch`.
    """
    out = ground.request.out.absolute()
    for number in range(ground.request.seeds):
        seed = ground.request.seed + number
        for name in (ALONE, *BRANCHES):
            folder = out / f"{name}-{seed}"
            if name == ALONE:
                yield Trial(name, seed, folder, None, {})
                continue
            monitor.note(f"{name}, seed {seed}")
            yield _trial(ground, name, seed, folder, monitor)


def _trial(ground: Ground, name: str, seed: int, folder: Path, monitor: Monitor) -> Trial:
    request, model = ground.request, ground.model
    body, start = BRANCHES[name]
    shape = Shape(model.factor, body=body, start=start)
    configuration = {
        "pairs": files.read_json(request.out.absolute() / PAIRS / KEY),
        "model": model.fingerprint,
        "shape": asdict(shape),
        "steps": request.steps,
        "batch": request.batch,
        "learning_rate": request.learning_rate,
        "seed": seed,
    }
    if (folder / _TRIAL).is_file():
        retained = files.read_json(folder / _TRIAL)
        refuse_other(folder, retained["configuration"], configuration)
        branch = open_branch(folder / _BRANCH, model)
        return Trial(name, seed, folder, branch, retained["record"])
    # a folder inside an ablation may have been written before there were markers
    folders.claim(folder, "trial", verify=lambda path: folders.kind_of(path.parent) == ABLATION)
    branch = make_branch(model.unet, shape, generator_for(seed, 0, "cpu"))
    trained = _train(ground, branch, seed, folder, configuration, monitor)
    with folders.working_folder(folder / _BRANCH) as location:
        base = {"name": model.name, "fingerprint": model.denoiser_fingerprint}
        write_own(location, branch, base, request.condition)
    record = {
        "verdict": trained.verdict.state,
        "converged_at": trained.verdict.step,
        "gap": trained.measurements[-1].gap,
        "parameters": sum(weight.numel() for weight in weights_of(branch).values()),
        "seconds": trained.outcome.seconds,
    }
    files.write_json(folder / _TRIAL, {"configuration": configuration, "record": record})
    folders.remove(folder / CHECKPOINTS)  # not needed any more; four times as large as the branch
    return Trial(name, seed, folder, branch.eval().requires_grad_(False), record)


def _train(
    ground: Ground,
    branch: Branch,
    seed: int,
    folder: Path,
    configuration: Mapping[str, Any],
    monitor: Monitor,
) -> Trained:
    request = ground.request
    plan = Plan(
        steps=request.steps,
        batch=request.batch,
        learning_rate=request.learning_rate,
        warm_up=max(1, min(_WARM_UP, request.steps // 10)),
        average_decay=0.995,
    )
    job = TrainingJob(
        ground.model,
        branch,
        ground.learned,
        ground.held,
        ground.condition,
        plan,
        measured=min(_METERED, len(ground.held)),
        measurements=_MEASUREMENTS,
        grids=0,
    )
    precision = fast_precision(ground.model.device)
    return train_branch(job, Session(folder, configuration, seed, precision=precision), monitor)


def sampled_figures(
    ground: Ground, trial: Trial, monitor: Monitor
) -> dict[str, dict[str, float | None]]:
    """Return metrics by kind of prompt, and generate images that are not measured yet.

    The first images of each prompt are saved for the contact sheet.
    """
    request = ground.request
    key = {
        "pairs": files.read_json(request.out.absolute() / PAIRS / KEY),
        "model": ground.model.fingerprint,
        "drawing_steps": request.drawing_steps,
        "cfg": request.cfg,
        "insufficient": request.insufficient,
        "encoder": request.encoder,
    }
    path = trial.folder / _FIGURES
    retained = files.read_json(path) if path.is_file() else {}
    if retained.get("key") == key:
        return {prompt: retained["figures"][prompt] for prompt in ground.prompts}
    trial.folder.mkdir(parents=True, exist_ok=True)
    monitor.start(f"generating {trial.name}", len(ground.prompts))
    figures = {}
    for prompt in ground.prompts:
        images = ground.draw(trial.branch, prompt, trial.seed)
        figures[prompt] = ground.measure(prompt, images)
        write_image(trial.folder / f"{prompt}.png", strip_of(images[:SHOWN]))
        monitor.advance()
    files.write_json(path, {"key": key, "figures": figures})
    return figures


_TILE = 96  # pixels


def result_sheet(ground: Ground, trials: Sequence[Trial]) -> Image.Image:
    """Return a contact sheet: the conditions on top, then each branch's images by prompt."""
    prompts = list(ground.prompts)
    strips = [strip_of(ground.requested[:SHOWN])] * len(prompts)
    for trial in trials:
        for prompt in prompts:
            with Image.open(trial.folder / f"{prompt}.png") as image:
                strips.append(image.convert("RGB"))
    scale = _TILE / ground.model.size[0]
    size = round(strips[0].width * scale), round(strips[0].height * scale)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return image_sheet(
        [strip.resize(size, method) for strip in strips],
        len(prompts),
        left=[ground.request.condition, *(trial.name for trial in trials)],
        above=[f"prompt: {prompt}" for prompt in prompts],
        gap=14,
    )
