"""`graft fit --task generate|write`: LoRA on the task that a model was made for."""

import math
import time
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..finetune.results import TaughtResult
from ..requests.base import DEFAULT_PIPELINE
from ..requests.finetune import Fit
from ..results import LeftOut
from ..types import Monitor

if TYPE_CHECKING:
    from ..adapters.lora import Rank
    from ..finetune.lora_training import Taught
    from ..training.session import Plan


_READ = {
    "data",
    "model",
    "out",
    "task",
    "how",
    "rank",
    "alpha",
    "dropout",
    "targets",
    "batch",
    "learning_rate",
    "steps",
    "seed",
    "device",
}
_BATCH, _LEARNING_RATE = 8, 5e-4


def teach(request: Fit, monitor: Monitor) -> TaughtResult:
    """Teach a model its own task from pictures or a text, and measure before and after.

    Raises:
        BadInput: pictures, text, model or options cannot be used.
        Diverged: the loss is not finite any more.
        Cancelled: stopped by the user; running it again goes on.
        NoRoom: something cannot be written.
    """
    _require_options(request)
    if request.task == "generate":
        return _from_pictures(request, monitor)
    return _from_text(request, monitor)


def _from_pictures(request: Fit, monitor: Monitor) -> TaughtResult:
    from pathlib import Path

    from ..finetune.lora_diffusion import Lesson, teach_pictures

    begin = time.perf_counter()
    lesson = Lesson(
        pictures=Path(request.data),
        caption=request.caption,
        model=request.model if "model" in request.model_fields_set else DEFAULT_PIPELINE,
        out=request.out,
        rank=_rank_of(request),
        plan=_plan_of(request),
        seed=request.seed,
        device=request.device,
    )
    taught, shown, size = teach_pictures(lesson, monitor)
    left_out = [LeftOut(name=name, reason=reason) for name, reason in shown.left_out.items()]
    return _report(request, lesson.model, taught, size).model_copy(
        update={
            "items": len(shown.pictures),
            "left_out": left_out,
            "seconds": time.perf_counter() - begin,
        }
    )


def _from_text(request: Fit, monitor: Monitor) -> TaughtResult:
    from pathlib import Path

    from ..finetune.lora_language import Lesson, teach_writing

    begin = time.perf_counter()
    if "model" not in request.model_fields_set:
        raise BadInput("no language model is named.", "Name its folder with --model.")
    lesson = Lesson(
        text=Path(request.data),
        model=request.model,
        out=request.out,
        rank=_rank_of(request),
        plan=_plan_of(request),
        seed=request.seed,
        device=request.device,
    )
    taught, tokens, size = teach_writing(lesson, monitor)
    return _report(request, request.model, taught, size).model_copy(
        update={
            "items": len(tokens.learned),
            "perplexity_before": math.exp(taught.change.before),
            "perplexity_after": math.exp(taught.change.after),
            "seconds": time.perf_counter() - begin,
        }
    )


def _report(request: Fit, model: str, taught: "Taught", size: int) -> TaughtResult:
    change = taught.change
    return TaughtResult(
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
        parameters=taught.parameters,
        layers=taught.layers,
        steps=taught.outcome.step,
        bytes=size,
        seconds=0.0,
    )


def _require_options(request: Fit) -> None:
    """Refuse options that this task does not look at.

    Raises:
        BadInput: names the first.
    """
    if request.how != "lora":
        raise BadInput(
            f"--task {request.task} is not done with --how {request.how}.", "Say --how lora."
        )
    read = _READ | ({"caption"} if request.task == "generate" else set())
    other = sorted(request.model_fields_set - read)
    if other:
        raise BadInput(
            f"--{other[0].replace('_', '-')} is not looked at with --task {request.task}.",
            "Leave it out.",
        )


def _rank_of(request: Fit) -> "Rank":
    from ..adapters.lora import Rank

    targets = tuple(request.targets) or None
    return Rank(request.rank, request.alpha, request.dropout, targets)


def _plan_of(request: Fit) -> "Plan":
    from ..training.session import Plan

    return Plan(
        steps=request.steps,
        batch=request.batch if "batch" in request.model_fields_set else _BATCH,
        learning_rate=request.learning_rate or _LEARNING_RATE,
        warm_up=max(1, min(20, request.steps // 10)),
        average_decay=0.98,
    )
