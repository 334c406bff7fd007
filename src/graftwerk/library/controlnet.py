"""Train a ControlNet: a branch that makes a frozen pipeline follow a condition."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, folders
from ..adapters.manifest import write_bundle
from ..conditions.base import PERCEPTION, Condition
from ..conditions.kinds import condition_named
from ..controlnet import checkpoint
from ..controlnet import pairs as stored_pairs
from ..controlnet.branch import Shape, weights_of
from ..controlnet.convergence import Measurement
from ..controlnet.results import ControlTrained
from ..controlnet.task import save_memory, unlock, write_pipeline
from ..controlnet.train import PLOT, SAMPLES, Trained, TrainingJob, reported_forecast, train_branch
from ..controlnet.transformer import new_branch, require_branch
from ..data.image_folder import CaptionedImages, read_captioned
from ..data.images import image_html, read_image
from ..diffusion.checkpoint import open_pipeline
from ..diffusion.pipeline import DiffusionModel
from ..errors import BadInput, Diverged
from ..generation.authenticity import draws_blocks
from ..models.encoders import note_unlike_blocks
from ..models.hub import locate
from ..requests.base import PathArgument, checked, path_texts
from ..requests.control import ControlTrain
from ..results import LeftOut
from ..training.loop import is_training
from ..training.session import Group, Plan, Precision, Session, joined
from ..training.state import fast_precision, generator_for
from ..types import Monitor, Silent
from .adapters import ControlNet
from .pipeline import Pipeline, require_pipeline

if TYPE_CHECKING:
    from PIL.Image import Image

BRANCH, PAIRS, MODEL = "branch", "pairs", "model"
KIND = "control training"
_LOOKED_AT = 64  # images checked for being out of distribution for a built-in model


@dataclass(frozen=True, eq=False)
class ControlNetTraining:
    """A training of a ControlNet, finished or not.

    Attributes:
        folder: folder with the branch, the meter's measurements, sample images and checkpoints.
        report: the report of `graft control train --json`.
        measurements: all measurements of the convergence meter, in order.
    """

    folder: Path
    report: ControlTrained
    measurements: tuple[Measurement, ...]

    @property
    def converged_at(self) -> int | None:
        """Step of the sudden convergence to the condition; None if it has not converged."""
        return self.report.converged_at

    @property
    def verdict(self) -> str:
        """`not yet`, `converging`, `converged` or `not learning`; see the report's reason."""
        return self.report.verdict

    @property
    def controlnet(self) -> ControlNet:
        """The trained ControlNet, for `pipe.with_(run.controlnet(image))`."""
        return ControlNet(self.folder / BRANCH, self.report.condition)

    def plot(self) -> "Image":
        """Return the plot of loss, condition gap, norms and fidelity over the steps."""
        return read_image(str(self.folder / PLOT))

    def __repr__(self) -> str:
        report, at = self.report, ""
        if self.converged_at is not None:
            at = f" at step {self.converged_at:,}"
        return (
            f"ControlNetTraining({report.condition!r}, {report.steps:,} of {report.planned:,} "
            f"steps, {report.verdict}{at})"
        )

    def _repr_html_(self) -> str:
        return image_html(self.plot(), repr(self))


def train_controlnet(
    pipe: Pipeline,
    pairs: PathArgument,
    *,
    condition: str,
    steps: int = 1_000,
    out: PathArgument | None = None,
    monitor: Monitor | None = None,
    **options: Any,
) -> ControlNetTraining:
    """Train a ControlNet on a frozen pipeline, or resume a stopped training.

    >>> import graftwerk as gw
    >>> pipe = gw.Pipeline("builtin/blocks")
    >>> gw.train_controlnet(pipe, "pairs/", condition="cany")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graftwerk.errors.UnknownName: condition 'cany' is not known. Did you mean canny? ...

    Args:
        pipe: the frozen pipeline, without adapters; it is not changed.
        pairs: folder of images with captions: `metadata.jsonl` (`file_name`, `caption`), or
            `NAME.txt` next to `NAME.png`; conditions are computed, or read from the column
            `conditioning_image`.
        condition: `canny`, `depth`, ...; see `graftwerk.conditions`.
        steps: total number of optimizer steps.
        out: folder for the branch, its measurements and checkpoints; default:
            `controlnet-CONDITION` in the working directory. The same call resumes the training
            there.
        monitor: informed about progress; silent by default.
        **options: the other fields of `graftwerk.ControlTrain`: `conditions`, `batch`,
            `learning_rate`, `seed`, `minutes`, `stop`, ...

    Raises:
        BadInput: images, captions, conditions, pipeline or an option cannot be used.
        Failure: the zero-initialized branch changes the frozen model's loss.
        Diverged: the loss is no longer finite.
        Cancelled: stopped; calling it again resumes the training.
        NoRoom: the folder cannot be written.
    """
    require_pipeline(pipe)
    if pipe.adapters:
        raise BadInput(
            f"{pipe!r} has adapters, and a ControlNet is trained on a frozen pipeline.",
            "Pass pipe.without().",
        )
    refused = {"model", "data", "device"}.intersection(options)
    if refused:
        raise BadInput(
            f"{min(refused)} is not an option of a training.", "It is the pipeline's, or `pairs`."
        )
    request = checked(
        ControlTrain,
        data=path_texts(pairs)[0],
        model=pipe.name,
        condition=condition,
        steps=steps,
        out=f"controlnet-{condition}" if out is None else path_texts(out)[0],
        **options,
    )
    return carry_out(request, lambda: pipe, monitor or Silent())


def carry_out(
    request: ControlTrain, open_pipe: Callable[[], Pipeline], monitor: Monitor
) -> ControlNetTraining:
    """Train a branch or resume its training, and write it with its measurements.

    Under torchrun every process calls this; only the first one writes.

    Args:
        request: the requested training.
        open_pipe: loads the pipeline, after everything that can be checked without it.
        monitor: informed about progress.

    Raises:
        BadInput: images, captions, conditions or model cannot be used.
        Failure: the zero-initialized branch changes the frozen model's loss.
        Diverged: the loss is no longer finite.
        Cancelled: stopped; calling it again resumes the training.
        NoRoom: the folder cannot be written.
    """
    condition = condition_named(request.condition)
    out = request.out.absolute()
    folders.require_free(out, KIND, KIND, _is_former)
    folders.require_outside(
        (request.data, request.conditions, request.model), out / BRANCH, out / MODEL, out / PAIRS
    )
    shown = read_captioned(request.data, request.caption)
    raw = stored_pairs.raw_pairs(request.conditions, shown, condition)
    model = _trainable(open_pipe().steered.frozen, request)
    require_branch(model, _shape_of(request, model.factor))
    _note_unlike(raw, condition, model, monitor)
    with joined(model.device) as group:
        watcher = monitor if group.leads else Silent()
        if group.leads:
            folders.claim(out, KIND, verify=_is_former)
            stored = stored_pairs.store_pairs(raw, model, out / PAIRS, watcher)
            stored_pairs.require_sampled(stored, condition, watcher)
        group.wait()
        pairs = stored_pairs.store_pairs(raw, model, out / PAIRS, Silent())
        fast, asked = fast_precision(model.device), request.precision
        precision = fast if asked == "auto" else asked
        job = _job(request, model, pairs, condition, precision)
        if len(job.held_out) < request.held_out and "held_out" in request.model_fields_set:
            watcher.note(
                f"--held-out {request.held_out}: at most half of the {len(pairs)} pairs is held "
                f"out, {len(job.held_out)}"
            )
        session = _session(request, out, job, group, precision)
        trained = train_branch(job, session, watcher)
        if trained.verdict.state == "diverged":
            raise Diverged(
                f"the training diverged, so no branch is written: {trained.verdict.reason}",
                f"Lower --learning-rate {request.learning_rate:g} and name another --out; what "
                f"was measured is in {out / PLOT}.",
            )
        if group.leads:
            _save(request, out, job, trained)
        group.wait()
    report = _report(request, out, job, trained, shown)
    return ControlNetTraining(out, report, trained.measurements)


def _note_unlike(
    raw: stored_pairs.PairSource, condition: Condition, model: DiffusionModel, monitor: Monitor
) -> None:
    """Note that images are out of distribution for the model or the condition's estimator."""
    if draws_blocks(model):
        who, advice = model.name, "train a branch of a model that knows such images: --model"
    elif raw.maps is None and condition.read_by == PERCEPTION:
        who = PERCEPTION
        advice = f"pass a folder of {condition.name} maps as --conditions (graft condition --help)"
    else:
        return
    note_unlike_blocks(
        raw.pictures[:_LOOKED_AT], "training image", who, monitor, advice=advice,
        device=model.device,
    )  # fmt: skip


def _trainable(model: DiffusionModel, request: ControlTrain) -> DiffusionModel:
    """Return the model, or a copy of it if the training changes its U-Net."""
    if request.unlock and model.trunk != "unet":
        raise BadInput("only U-Nets of diffusers can be unlocked.", "Leave --unlock out.")
    if not (request.unlock or request.checkpointing):
        return model
    return replace(model, unet=deepcopy(model.unet))


def _is_former(folder: Path) -> bool:
    """Whether a folder without a marker contains the training of a branch."""
    return stored_pairs.is_pairs(folder / PAIRS) or is_training(folder)


def _job(
    request: ControlTrain,
    model: DiffusionModel,
    pairs: stored_pairs.StoredPairs,
    condition: Condition,
    precision: Precision,
) -> TrainingJob:
    """Create a training job with a zero-initialized branch."""
    learned, held = pairs.split(min(request.held_out, len(pairs) // 2), request.seed)
    if request.checkpointing:
        save_memory(model.unet, model.device, precision)
    shape = _shape_of(request, model.factor)
    branch = new_branch(model, shape, generator_for(request.seed, 0, "cpu"))
    return TrainingJob(
        model=model,
        branch=branch,
        pairs=learned,
        held_out=held,
        condition=condition,
        plan=Plan(
            steps=request.steps,
            batch=request.batch,
            learning_rate=request.learning_rate,
            warm_up=max(1, min(30, request.steps // 10)),
            average_decay=0.995,
            accumulate=request.accumulate,
        ),
        dropped=request.drop,
        measured=len(held),
        stops=request.stop,
        measurements=request.measurements,
        unlocked=unlock(model.unet) if request.unlock else {},
    )


def _shape_of(request: ControlTrain, factor: int) -> Shape:
    chosen = ("body", "start", "hint", "middle_only")
    return Shape(factor, **{name: getattr(request, name) for name in chosen})


def _session(
    request: ControlTrain, out: Path, job: TrainingJob, group: Group, precision: Precision
) -> Session:
    same = ("condition", "batch", "accumulate", "learning_rate", "drop", "held_out", "seed")
    configuration = {name: getattr(request, name) for name in same} | {
        "pairs": files.read_json(out / PAIRS / stored_pairs.KEY),
        "model": job.model.fingerprint,
        "shape": asdict(job.branch.shape),
    }
    if request.unlock:
        configuration["unlocked"] = True
    return Session(
        out, configuration, request.seed, request.minutes, group=group, precision=precision
    )


def _save(request: ControlTrain, out: Path, job: TrainingJob, trained: Trained) -> None:
    """Write the branch, in diffusers' format if possible, and an unlocked model."""
    model, verdict = job.model, trained.verdict
    base = {"name": model.name, "fingerprint": model.denoiser_fingerprint}
    if request.unlock:
        with folders.working_folder(out / MODEL) as folder:
            write_pipeline(folder, locate(model.name), model.unet)
            identity = open_pipeline(folder).fingerprint()
        base = {"name": str(out / MODEL), "fingerprint": identity}
    with folders.working_folder(out / BRANCH) as folder:
        if checkpoint.is_controlnet(job.branch, model.unet):
            checkpoint.write_controlnet(folder, job.branch, model.unet)
        else:
            checkpoint.write_own(folder, job.branch, base, request.condition)
        content = {
            "condition": request.condition,
            "request": request.model_dump(mode="json", exclude={"data", "out", "conditions"}),
            "steps": trained.outcome.step,
            "verdict": asdict(verdict),
            "measured": asdict(trained.measurements[-1]),
        }
        write_bundle(folder, checkpoint.KIND, base["name"], base["fingerprint"], content)


_MEASURED = ("gap", "gap_low", "gap_high", "loss", "norm", "change")  # of what is reported


def _report(
    request: ControlTrain, out: Path, job: TrainingJob, trained: Trained, shown: CaptionedImages
) -> ControlTrained:
    last, outcome = trained.measurements[-1], trained.outcome
    sampled = [one for one in trained.measurements if one.fidelity is not None]
    folder = out / BRANCH
    return ControlTrained(
        out=str(request.out),
        branch=str(request.out / BRANCH),
        controlnet=checkpoint.is_controlnet(job.branch, job.model.unet),
        condition=request.condition,
        model=request.model,
        unlocked=str(request.out / MODEL) if request.unlock else None,
        pairs=len(job.pairs),
        held_out=len(job.held_out),
        left_out=[LeftOut(name=name, reason=why) for name, why in shown.left_out.items()],
        steps=outcome.step,
        planned=request.steps,
        finished=outcome.finished,
        verdict=trained.verdict.state,
        converged_at=trained.verdict.step,
        reason=trained.verdict.reason,
        forecast=reported_forecast(trained.forecast, trained.verdict),
        forecast_at=trained.forecast.step,
        **{name: getattr(last, name) for name in _MEASURED},
        frozen_loss=trained.frozen_loss,
        fidelity=sampled[-1].fidelity if sampled else None,
        fidelity_chance=sampled[-1].chance if sampled else None,
        parameters=sum(w.numel() for w in weights_of(job.branch).values()),
        bytes=files.size_of(folder),
        items_per_second=outcome.items_per_second,
        seconds=outcome.seconds,
        plot=str(request.out / PLOT),
        strips=str(request.out / SAMPLES / "strips.png"),
    )
