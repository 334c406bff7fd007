"""`graft control train`: a control branch from a folder of pictures.

`graft control ablation`: what the zeros, the copy and the prompt are worth to a branch.

`graft control export`: a branch as a whole `ControlNetModel`, for other tools.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, folders
from ..controlnet.results import (
    Ablation,
    AblationRow,
    AblationTraining,
    ControlExported,
    ControlTrained,
)
from ..data.images import write_image
from ..errors import BadInput, Diverged
from ..generation.provenance import require_folder
from ..metrics.intervals import student
from ..requests.base import DEFAULT_PIPELINE
from ..requests.control import ControlAblation, ControlExport, ControlTrain
from ..results import LeftOut
from ..types import Monitor, Silent

if TYPE_CHECKING:
    from ..conditions.base import Condition
    from ..controlnet.branch import Shape
    from ..controlnet.pairs import StoredPairs
    from ..controlnet.train import Lesson, Trained
    from ..data.image_folder import Shown
    from ..diffusion.pipeline import DiffusionModel
    from ..generation.control_ablation import Trial
    from ..training.distributed import Group
    from ..training.session import Precision, Session


TABLE, SHEET = "table.md", "sheet.png"
_MEASURES = ("fidelity", "judge", "obeyed", "frechet")
Figures = Mapping[tuple[str, str], Sequence[Mapping[str, float | None]]]


def run_control_ablation(request: ControlAblation, monitor: Monitor) -> Ablation:
    """Train every branch with every seed, draw under every prompt, and compare.

    What is finished in the out folder is not made again.

    Raises:
        BadInput: pictures, captions, conditions or model cannot be used, or the folder holds an
            ablation of another configuration.
        Failure: a newborn branch of zeros changes the frozen model's loss.
        Diverged: a loss is not finite any more.
        Cancelled: stopped; running it again goes on.
        NoRoom: the folder cannot be written.
    """
    began = time.perf_counter()
    require_folder(request.out)
    from ..generation.control_ablation import (
        ALONE,
        JUDGE,
        drawn_figures,
        open_ground,
        require_ours,
        result_sheet,
        trials_of,
    )

    require_ours(request)
    ground = open_ground(request, monitor)
    found: dict[tuple[str, str], list[Mapping[str, float | None]]] = {}
    trials: list[Trial] = []
    for trial in trials_of(ground, monitor):
        trials.append(trial)
        for prompt, figures in drawn_figures(ground, trial, monitor).items():
            found.setdefault((trial.name, prompt), []).append(figures)
    rows = [_row(branch, prompt, figures) for (branch, prompt), figures in found.items()]
    table, sheet = request.out / TABLE, request.out / SHEET
    write_image(sheet, result_sheet(ground, [t for t in trials if t.seed == request.seed]))
    report = Ablation(
        condition=request.condition,
        model=request.model,
        rows=rows,
        trainings=[_training(trial) for trial in trials if trial.name != ALONE],
        findings=findings(found),
        fidelity_of_real=ground.fidelity(ground.real),
        features=request.encoder or JUDGE,
        pairs=len(ground.learned),
        count=len(ground.held),
        steps=request.steps,
        seeds=request.seeds,
        table=str(table),
        sheet=str(sheet),
        seconds=time.perf_counter() - began,
    )
    files.write_text(table, markdown(report))
    return report


def findings(found: Figures) -> list[str]:
    """What zeros and copy are worth under each prompt: differences of fidelity, seed by seed."""
    lines = []
    prompts = dict.fromkeys(prompt for _, prompt in found)
    for other in ("gaussian", "light"):
        for prompt in prompts:
            pairs = zip(found["zero", prompt], found[other, prompt], strict=True)
            gains = [_fidelity(one) - _fidelity(two) for one, two in pairs]
            mean, margin = student(gains)
            if margin is None:
                told = "one seed says nothing of its interval"
            elif abs(mean) <= margin:
                told = "no difference beyond the interval"
            else:
                told = f"zero is {'ahead' if mean > 0 else 'behind'}"
            shown = f"{mean:+.3f}" + ("" if margin is None else f" ±{margin:.3f}")
            lines.append(f"fidelity of zero minus {other}, prompt {prompt}: {shown}: {told}")
    return lines


def _fidelity(figures: Mapping[str, float | None]) -> float:
    value = figures["fidelity"]
    return float("nan") if value is None else value


def _row(branch: str, prompt: str, figures: Sequence[Mapping[str, float | None]]) -> AblationRow:
    values: dict[str, object] = {"branch": branch, "prompt": prompt}
    for measure in _MEASURES:
        there = [value for one in figures if (value := one[measure]) is not None]
        mean, margin = student(there) if there else (None, None)
        values |= {measure: mean, f"{measure}_margin": margin}
    return AblationRow.model_validate(values)


def _training(trial: "Trial") -> AblationTraining:
    return AblationTraining.model_validate(
        {"branch": trial.name, "seed": trial.seed, **trial.record}
    )


def markdown(report: Ablation) -> str:
    """The table as a file."""
    lines = [
        f"{report.condition} on {report.model}: {report.pairs:,} pairs, {report.steps:,} steps, "
        f"{report.seeds} seeds, {report.count:,} pictures of each branch, prompt and seed; margins "
        "are half of 95 % intervals over the seeds. Fidelity of the real pictures: "
        f"{report.fidelity_of_real:.3f}.",
        "",
        f"| {' | '.join(AblationRow.HEADER)} |",
        "|" + "---|" * len(AblationRow.HEADER),
        *(f"| {' | '.join(row.cells())} |" for row in report.rows),
        "",
        *(f"- {line}" for line in report.findings),
    ]
    return "\n".join(lines) + "\n"


def run_control_export(request: ControlExport, monitor: Monitor) -> ControlExported:
    """Put the learned parts and those that stay as the U-Net has them into one folder.

    Raises:
        BadFile: a `ControlNetModel` cannot hold the branch: it is light, or joined to the middle
            alone, or of a U-Net without prompts.
        BadInput: there is no such branch, or the out folder is not free.
        WrongBase: it was made on another model.
        NoRoom: the out folder cannot be written.
    """
    from ..adapters.manifest import is_replaceable, write_bundle
    from ..controlnet.checkpoint import KIND, read_branch, write_controlnet
    from ..diffusion.pipeline import load_diffusion
    from ..models.hub import locate

    def is_branch(folder: Path) -> bool:
        return is_replaceable(folder, KIND)

    out = request.out.absolute()
    folders.require_replaceable(out, "control branch", verify=is_branch)
    source = _folder(request)
    folders.require_outside((source, request.model), out)
    monitor.start("loading the model")
    model = load_diffusion(request.model, "cpu")
    branch = read_branch(source, model.unet, model.factor, model.name, model.fingerprint)
    with folders.working_folder(out, is_branch) as folder:
        write_controlnet(folder, branch, model.unet)
        content = {"exported from": request.branch}
        write_bundle(folder, KIND, model.name, model.fingerprint, content)
    return ControlExported(
        out=str(request.out),
        branch=request.branch,
        model=request.model,
        pipeline=str(locate(request.model)),
        parameters=sum(weight.numel() for weight in branch.parameters()),
        bytes=sum(path.stat().st_size for path in out.iterdir()),
    )


def _folder(request: ControlExport) -> Path:
    """A folder as it is named, or a built-in branch by its name or its condition alone."""
    from ..models.hub import BUILTIN, builtin_folder

    if Path(request.branch).exists():
        return Path(request.branch)
    for name in (request.branch, f"{DEFAULT_PIPELINE}-{request.branch}"):
        if name in BUILTIN:
            return builtin_folder(name)
    raise BadInput(
        f"{request.branch!r} is neither a folder nor a built-in branch.",
        "Name a folder that `graft control train` wrote, or for example canny "
        f"({DEFAULT_PIPELINE}-canny).",
    )


BRANCH, PAIRS, MODEL = "branch", "pairs", "model"
KIND = "control training"


def run_control_train(request: ControlTrain, monitor: Monitor) -> ControlTrained:
    """Train a branch, or go on, and write it with what the meter saw.

    Under torchrun every process calls this; only the first one writes.

    Raises:
        BadInput: pictures, captions, conditions or model cannot be used.
        Failure: the newborn branch changes the frozen model's loss.
        Diverged: the loss is not finite any more.
        Cancelled: stopped; running it again goes on.
        NoRoom: the folder cannot be written.
    """
    from ..conditions.kinds import condition_named
    from ..controlnet.pairs import raw_pairs, require_drawn, store_pairs
    from ..controlnet.train import PLOT, train_branch
    from ..data.image_folder import read_captioned
    from ..diffusion.pipeline import load_diffusion
    from ..training.distributed import joined

    condition = condition_named(request.condition)
    out = request.out.absolute()
    folders.require_free(out, KIND, KIND, _is_former)
    folders.require_outside(
        (request.data, request.conditions, request.model), out / BRANCH, out / MODEL, out / PAIRS
    )
    shown = read_captioned(request.data, request.caption)
    raw = raw_pairs(request.conditions, shown, condition)
    model = load_diffusion(request.model, request.device)
    with joined(model.device) as group:
        watcher = monitor if group.leads else Silent()
        if group.leads:
            folders.claim(out, KIND, verify=_is_former)
            stored = store_pairs(raw, model, out / PAIRS, watcher)
            require_drawn(stored, condition, watcher)
        group.wait()
        pairs = store_pairs(raw, model, out / PAIRS, Silent())
        precision = _precision(request, model.device)
        lesson = _lesson(request, model, pairs, condition, precision)
        session = _session(request, out, lesson, group, precision)
        trained = train_branch(lesson, session, watcher)
        if trained.verdict.state == "diverged":
            raise Diverged(
                f"the training diverged, so no branch is written: {trained.verdict.reason}",
                f"Lower --learning-rate {request.learning_rate:g} and name another --out; what "
                f"was measured is in {out / PLOT}.",
            )
        if group.leads:
            _save(request, out, lesson, trained)
        group.wait()
    return _report(request, out, lesson, trained, shown)


def _is_former(folder: Path) -> bool:
    """Whether an unmarked folder holds a training of a branch."""
    from ..controlnet.pairs import is_pairs
    from ..training.log import is_training

    return is_pairs(folder / PAIRS) or is_training(folder)


def _lesson(
    request: ControlTrain,
    model: "DiffusionModel",
    pairs: "StoredPairs",
    condition: "Condition",
    precision: "Precision",
) -> "Lesson":
    """A newborn branch and what it is trained on."""
    from ..controlnet.branch import make_branch
    from ..controlnet.task import save_memory, unlock
    from ..controlnet.train import Lesson
    from ..training.state import generator_for

    learned, held = pairs.split(min(request.held_out, len(pairs) // 2), request.seed)
    if request.checkpointing:
        save_memory(model.unet, model.device, precision)
    shape = _shape_of(request, model.factor)
    branch = make_branch(model.unet, shape, generator_for(request.seed, 0, "cpu"))
    return Lesson(
        model=model,
        branch=branch,
        pairs=learned,
        held_out=held,
        condition=condition,
        plan=_plan_of(request),
        dropped=request.drop,
        measured=len(held),
        stops=request.stop,
        measurements=request.measurements,
        unlocked=unlock(model.unet) if request.unlock else {},
    )


def _shape_of(request: ControlTrain, factor: int) -> "Shape":
    from ..controlnet.branch import Shape

    return Shape(
        factor,
        body=request.body,
        start=request.start,
        hint=request.hint,
        middle_only=request.middle_only,
    )


def _plan_of(request: ControlTrain) -> Any:
    from ..training.session import Plan

    return Plan(
        steps=request.steps,
        batch=request.batch,
        learning_rate=request.learning_rate,
        warm_up=max(1, min(30, request.steps // 10)),
        average_decay=0.995,
        accumulate=request.accumulate,
    )


def _session(
    request: ControlTrain,
    out: Path,
    lesson: "Lesson",
    group: "Group",
    precision: "Precision",
) -> "Session":
    from ..controlnet.pairs import KEY
    from ..training.session import Session

    content = files.read_json(out / PAIRS / KEY)
    configuration = {
        "condition": request.condition,
        "pairs": content,
        "model": lesson.model.fingerprint,
        "shape": asdict(lesson.branch.shape),
        "batch": request.batch,
        "accumulate": request.accumulate,
        "learning_rate": request.learning_rate,
        "drop": request.drop,
        "held_out": request.held_out,
        "seed": request.seed,
    }
    if request.unlock:
        configuration["unlocked"] = True
    return Session(
        out,
        configuration,
        request.seed,
        request.minutes,
        group=group,
        precision=precision,
    )


def _precision(request: ControlTrain, device: str) -> "Precision":
    from ..training.state import fast_precision

    return fast_precision(device) if request.precision == "auto" else request.precision


def _save(request: ControlTrain, out: Path, lesson: "Lesson", trained: "Trained") -> None:
    """Write the branch, as diffusers has it where that class can hold it, and an unlocked model."""
    from ..adapters.manifest import write_bundle
    from ..controlnet.checkpoint import KIND, is_controlnet, write_controlnet, write_own
    from ..controlnet.task import write_pipeline
    from ..diffusion.checkpoint import open_pipeline
    from ..models.hub import locate

    model, verdict = lesson.model, trained.verdict
    base = {"name": model.name, "fingerprint": model.fingerprint}
    if request.unlock:
        with folders.working_folder(out / MODEL) as folder:
            write_pipeline(folder, locate(model.name), model.unet)
            identity = open_pipeline(folder).fingerprint()
        base = {"name": str(out / MODEL), "fingerprint": identity}
    with folders.working_folder(out / BRANCH) as folder:
        if is_controlnet(lesson.branch, model.unet):
            write_controlnet(folder, lesson.branch, model.unet)
        else:
            write_own(folder, lesson.branch, base, request.condition)
        content = {
            "condition": request.condition,
            "request": request.model_dump(mode="json", exclude={"data", "out", "conditions"}),
            "steps": trained.outcome.step,
            "verdict": asdict(verdict),
            "measured": trained.measurements[-1].to_json(),
        }
        write_bundle(folder, KIND, base["name"], base["fingerprint"], content)


def _report(
    request: ControlTrain, out: Path, lesson: "Lesson", trained: "Trained", shown: "Shown"
) -> ControlTrained:
    from ..controlnet.branch import weights_of
    from ..controlnet.checkpoint import is_controlnet
    from ..controlnet.forecast import told_forecast
    from ..controlnet.train import PLOT, SAMPLES

    last, outcome = trained.measurements[-1], trained.outcome
    drawn = [one.fidelity for one in trained.measurements if one.fidelity is not None]
    folder = out / BRANCH
    return ControlTrained(
        out=str(request.out),
        branch=str(request.out / BRANCH),
        controlnet=is_controlnet(lesson.branch, lesson.model.unet),
        condition=request.condition,
        model=request.model,
        unlocked=str(request.out / MODEL) if request.unlock else None,
        pairs=len(lesson.pairs),
        held_out=len(lesson.held_out),
        left_out=[LeftOut(name=name, reason=why) for name, why in shown.left_out.items()],
        steps=outcome.step,
        planned=request.steps,
        finished=outcome.finished,
        verdict=trained.verdict.state,
        converged_at=trained.verdict.step,
        reason=trained.verdict.reason,
        forecast=told_forecast(trained.forecast, trained.verdict),
        forecast_at=trained.forecast.step,
        gap=last.gap,
        gap_low=last.gap_low,
        gap_high=last.gap_high,
        loss=last.loss,
        frozen_loss=trained.frozen_loss,
        norm=last.norm,
        change=last.change,
        fidelity=drawn[-1] if drawn else None,
        parameters=sum(w.numel() for w in weights_of(lesson.branch).values()),
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        items_per_second=outcome.items_per_second,
        seconds=outcome.seconds,
        plot=str(request.out / PLOT),
        strips=str(request.out / SAMPLES / "strips.png"),
    )
