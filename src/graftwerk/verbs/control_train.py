"""`graft control train`: a control branch from a folder of pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, folders
from ..contracts import Monitor, Silent
from ..errors import Diverged
from ..reports import ControlTrained, LeftOut
from ..requests import ControlTrain

if TYPE_CHECKING:
    from ..adapt.captioned import Shown
    from ..conditions import Condition
    from ..control.stored import StoredPairs
    from ..control.training import Lesson, Trained
    from ..frozen.diffusion.model import DiffusionModel
    from ..steer.branch import Shape
    from ..train.processes import Group
    from ..train.session import Precision, Session

BRANCH, PAIRS, MODEL = "branch", "pairs", "model"
KIND = "control training"


def run(request: ControlTrain, monitor: Monitor) -> ControlTrained:
    """Train a branch, or go on, and write it with what the meter saw.

    Under torchrun every process calls this; only the first one writes.

    Raises:
        BadInput: pictures, captions, conditions or model cannot be used.
        Failure: the newborn branch changes the frozen model's loss.
        Diverged: the loss is not finite any more.
        Cancelled: stopped; running it again goes on.
        NoRoom: the folder cannot be written.
    """
    from ..adapt.captioned import read_captioned
    from ..conditions import condition_named
    from ..control.stored import store_pairs
    from ..control.training import PLOT, train_branch
    from ..frozen.diffusion.model import load_diffusion
    from ..train.processes import joined
    from .brought import raw_pairs, require_drawn

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
    from ..control.stored import is_pairs
    from ..train.begun import is_training

    return is_pairs(folder / PAIRS) or is_training(folder)


def _lesson(
    request: ControlTrain,
    model: "DiffusionModel",
    pairs: "StoredPairs",
    condition: "Condition",
    precision: "Precision",
) -> "Lesson":
    """A newborn branch and what it is trained on."""
    from ..control.training import Lesson
    from ..control.unlocked import save_memory, unlock
    from ..steer.branch import make_branch
    from ..train.state import generator_for

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
    from ..steer.branch import Shape

    return Shape(
        factor,
        body=request.body,
        start=request.start,
        hint=request.hint,
        middle_only=request.middle_only,
    )


def _plan_of(request: ControlTrain) -> Any:
    from ..train.task import Plan

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
    from ..control.stored import KEY
    from ..train.session import Session

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
    from ..train.arithmetic import fast_precision

    return fast_precision(device) if request.precision == "auto" else request.precision


def _save(request: ControlTrain, out: Path, lesson: "Lesson", trained: "Trained") -> None:
    """Write the branch, as diffusers has it where that class can hold it, and an unlocked model."""
    from ..control.unlocked import write_pipeline
    from ..frozen.diffusion.folder import open_pipeline
    from ..frozen.locate import locate
    from ..steer.branch_folder import KIND, is_controlnet, write_controlnet, write_own
    from ..steer.bundle import write_bundle

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
    from ..control.growth import told_forecast
    from ..control.training import PLOT, SAMPLES
    from ..steer.branch import weights_of
    from ..steer.branch_folder import is_controlnet

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
