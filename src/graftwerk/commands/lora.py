"""`graft lora train`, also `graft fit --task generate|write`: LoRA on a model's own task."""

import math
import time
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..finetune.results import LoraTrainResult
from ..requests.base import DEFAULT_PIPELINE
from ..requests.finetune import Fit, LoraTrain
from ..results import LeftOut
from ..types import Monitor

if TYPE_CHECKING:
    from ..adapters.lora import Rank
    from ..finetune.lora_training import LoraTraining
    from ..training.session import Plan


_FIT_ONLY = {"how"}  # options of `fit` implied by its name and --task


def run_lora_train(request: LoraTrain, monitor: Monitor) -> LoraTrainResult:
    """Train a LoRA on a model's own task from images or a text, and evaluate before and after."""
    if request.task == "generate":
        return _from_images(request, monitor)
    if request.caption is not None:
        raise _not_read("caption", request.task)
    return _from_text(request, monitor)


def as_lora_train(request: Fit) -> LoraTrain:
    """Convert a request of `graft fit --task generate|write` to one of `graft lora train`."""
    if request.how != "lora":
        raise BadInput(
            f"--task {request.task} is not done with --how {request.how}.", "Say --how lora."
        )
    given = {name: getattr(request, name) for name in request.model_fields_set - _FIT_ONLY}
    if given.get("learning_rate", 0) is None:
        del given["learning_rate"]
    other = sorted(given.keys() - LoraTrain.model_fields.keys())
    if other:
        raise _not_read(other[0], request.task)
    return LoraTrain.model_validate(given)


def _not_read(field: str, task: str) -> BadInput:
    option = f"--{field.replace('_', '-')}"
    return BadInput(f"{option} is not looked at with --task {task}.", "Leave it out.")


def _from_images(request: LoraTrain, monitor: Monitor) -> LoraTrainResult:
    from pathlib import Path

    from ..finetune.lora_diffusion import TrainingJob, train_on_images

    begin = time.perf_counter()
    job = TrainingJob(
        pictures=Path(request.data),
        caption=request.caption,
        model=request.model or DEFAULT_PIPELINE,
        out=request.out,
        rank=_rank_of(request),
        plan=_plan_of(request),
        seed=request.seed,
        device=request.device,
    )
    trained, shown, size = train_on_images(job, monitor)
    left_out = [LeftOut(name=name, reason=reason) for name, reason in shown.left_out.items()]
    return _report(request, job.model, trained, size).model_copy(
        update={
            "items": len(shown.pictures),
            "left_out": left_out,
            "seconds": time.perf_counter() - begin,
        }
    )


def _from_text(request: LoraTrain, monitor: Monitor) -> LoraTrainResult:
    from pathlib import Path

    from ..finetune.lora_language import TrainingJob, train_on_text

    begin = time.perf_counter()
    if request.model is None:
        raise BadInput("no language model is named.", "Name its folder with --model.")
    job = TrainingJob(
        text=Path(request.data),
        model=request.model,
        out=request.out,
        rank=_rank_of(request),
        plan=_plan_of(request),
        seed=request.seed,
        device=request.device,
    )
    trained, tokens, sample, size = train_on_text(job, monitor)
    return _report(request, request.model, trained, size).model_copy(
        update={
            "items": len(tokens.learned),
            "perplexity_before": math.exp(trained.change.before),
            "perplexity_after": math.exp(trained.change.after),
            "prompt": sample.prompt,
            "text_before": sample.before,
            "text_after": sample.after,
            "seconds": time.perf_counter() - begin,
        }
    )


def _report(request: LoraTrain, model: str, trained: "LoraTraining", size: int) -> LoraTrainResult:
    change = trained.change
    return LoraTrainResult(
        out=str(request.out),
        task=request.task,
        model=model,
        items=0,
        left_out=[],
        loss_before=change.before,
        loss_after=change.after,
        gain=change.gain,
        gain_low=change.gain - change.margin,
        gain_high=change.gain + change.margin,
        perplexity_before=None,
        perplexity_after=None,
        parameters=trained.parameters,
        layers=trained.layers,
        steps=trained.outcome.step,
        bytes=size,
        seconds=0.0,
    )


def _rank_of(request: LoraTrain) -> "Rank":
    from ..adapters.lora import Rank

    targets = tuple(request.targets) or None
    return Rank(request.rank, request.alpha, request.dropout, targets)


def _plan_of(request: LoraTrain) -> "Plan":
    from ..training.session import Plan

    return Plan(
        steps=request.steps,
        batch=request.batch,
        learning_rate=request.learning_rate,
        warm_up=max(1, min(20, request.steps // 10)),
        average_decay=0.98,
    )
