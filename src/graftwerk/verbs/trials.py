"""The trainings of an ablation, each kept in a folder of its own and never made twice."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .. import files, folders
from ..contracts import Monitor
from ..control.grid import strip_of
from ..control.stored import KEY
from ..control.training import Lesson, Trained, train_branch
from ..steer.branch import Branch, Shape, make_branch, weights_of
from ..steer.branch_folder import read_branch, write_own
from ..train.arithmetic import fast_precision
from ..train.checkpoint import refuse_other
from ..train.loop import CHECKPOINTS
from ..train.session import Session
from ..train.state import generator_for
from ..train.task import Plan
from .ablating import ABLATION, PAIRS, Ground
from .picture_record import write_image

BRANCHES: Mapping[str, tuple[Literal["copy", "light"], Literal["zero", "gaussian"]]] = {
    "zero": ("copy", "zero"),
    "gaussian": ("copy", "gaussian"),
    "light": ("light", "zero"),
}
ALONE = "alone"
SHOWN = 3  # pictures of a branch and prompt on the sheet
_MEASUREMENTS, _METERED, _WARM_UP = 30, 64, 30
_TRIAL, _FIGURES, _BRANCH = "trial.json", "figures.json", "branch"


@dataclass(frozen=True)
class Trial:
    """One branch, trained from one seed.

    Attributes:
        name: of `BRANCHES`, or `alone`.
        seed: of first weights, order and noise.
        folder: where it is kept.
        branch: None: the model alone.
        record: verdict, gap, size and seconds of its training.
    """

    name: str
    seed: int
    folder: Path
    branch: Branch | None
    record: Mapping[str, Any]


def trials_of(ground: Ground, monitor: Monitor) -> Iterator[Trial]:
    """The model alone and all branches with each seed, trained where that was not done yet.

    Raises:
        BadInput: the folder holds an ablation of another configuration.
        Failure, Diverged, Cancelled, NoRoom: see `control.training.train_branch`.
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
        kept = files.read_json(folder / _TRIAL)
        refuse_other(folder, kept["configuration"], configuration)
        branch = read_branch(
            folder / _BRANCH, model.unet, model.factor, model.name, model.fingerprint
        )
        return Trial(name, seed, folder, branch, kept["record"])
    # in a folder of ours, which may be older than markers are
    folders.claim(folder, "trial", verify=lambda path: folders.kind_of(path.parent) == ABLATION)
    branch = make_branch(model.unet, shape, generator_for(seed, 0, "cpu"))
    trained = _train(ground, branch, seed, folder, configuration, monitor)
    with folders.working_folder(folder / _BRANCH) as place:
        base = {"name": model.name, "fingerprint": model.fingerprint}
        write_own(place, branch, base, request.condition)
    record = {
        "verdict": trained.verdict.state,
        "converged_at": trained.verdict.step,
        "gap": trained.measurements[-1].gap,
        "parameters": sum(weight.numel() for weight in weights_of(branch).values()),
        "seconds": trained.outcome.seconds,
    }
    files.write_json(folder / _TRIAL, {"configuration": configuration, "record": record})
    folders.remove(folder / CHECKPOINTS)  # the branch is whole now; they take four times its room
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
    lesson = Lesson(
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
    return train_branch(lesson, Session(folder, configuration, seed, precision=precision), monitor)


def drawn_figures(
    ground: Ground, trial: Trial, monitor: Monitor
) -> dict[str, dict[str, float | None]]:
    """Figures by the kind of prompt, drawn where that was not done yet; shown pictures are kept."""
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
    kept = files.read_json(path) if path.is_file() else {}
    if kept.get("key") == key:
        return {prompt: kept["figures"][prompt] for prompt in ground.prompts}
    trial.folder.mkdir(parents=True, exist_ok=True)
    monitor.start(f"drawing {trial.name}", len(ground.prompts))
    figures = {}
    for prompt in ground.prompts:
        pictures = ground.draw(trial.branch, prompt, trial.seed)
        figures[prompt] = ground.measure(prompt, pictures)
        write_image(trial.folder / f"{prompt}.png", strip_of(pictures[:SHOWN]))
        monitor.advance()
    files.write_json(path, {"key": key, "figures": figures})
    return figures
