"""`graft fit`, `predict`, `eval fit` and `compare`: pre-trained models on labeled data."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, folders
from ..data.image_folder import require_images
from ..data.inputs import read_inputs
from ..data.labels import stands_for_none
from ..data.load import read_examples
from ..data.raw import require_text
from ..data.tables import is_table
from ..data.targets import same_targets
from ..errors import BadInput, UnknownName
from ..finetune.methods import baselines, other_methods
from ..finetune.problem import LEFT_OUT, more_left_out, tell_converted
from ..finetune.results import (
    FitComparison,
    FitEvaluation,
    FitExported,
    FitResult,
    LoraTrainResult,
    Predictions,
)
from ..finetune.saved import describe_fit, open_fit, require_free, short, training_location
from ..finetune.scoring import confusions, details, score
from ..library.fitting import fit_problem, note_out_of_distribution, problem_of
from ..models.hub import locate
from ..policy.episodes import is_episodes
from ..policy.results import PolicyFit
from ..requests.base import DEFAULT_PIPELINE
from ..requests.finetune import Compare, EvalFit, Fit, FitExport, LoraTrain, Predict
from ..results import LeftOut
from ..types import Monitor, note_unused, report_reading
from .predictions import of_every_row, report, require_out

if TYPE_CHECKING:
    from ..finetune.lora_training import LoraJob, LoraTraining

_UNUSED: dict[str, tuple[str, ...]] = {"auto": ("steps", "caption")}  # without effect
_UNUSED["lora"] = (*_UNUSED["auto"], "rates", "minutes")
_UNUSED["full"] = (*_UNUSED["lora"], "rank", "alpha", "dropout", "lora_plus", "targets")
_UNUSED["linear"] = (*_UNUSED["full"], "top", "epochs", "batch", "learning_rate", "patience")


def run_eval_fit(request: EvalFit, monitor: Monitor) -> FitEvaluation:
    """Evaluate a fit on new data."""
    begin = time.perf_counter()
    saved = open_fit(request.fit, request.model, request.device)
    requested = saved.requested_of(request)
    learned_words = any(map(stands_for_none, saved.head.labels))
    missing = "learn" if learned_words and request.missing == "ask" else request.missing
    requested = replace(
        requested, content=tuple(request.content) or requested.content, missing=missing
    )
    if not is_table(request.data):
        requested = replace(requested, target=None, content=())
    examples = read_examples(request.data, requested)
    examples, targets, unlearned = same_targets(examples, saved.task, saved.head.labels)
    report_reading(examples.tables, (*examples.notes, *targets.notes), monitor)
    tell_converted(examples, monitor)
    new = [n for n, key in enumerate(examples.keys) if short(key) not in saved.learned]
    if not new:
        raise BadInput(
            f"{request.fit} has learned from every example of {request.data}.",
            "Name data that it has not seen.",
        )
    monitor.start("predicting", len(new))
    scores = saved.scores([examples.items[n] for n in new], monitor.advance)
    values, names = targets.values[new], [examples.names[n] for n in new]
    made_of = details(scores, values, saved.task, targets.labels, names)
    return FitEvaluation(
        fit=str(request.fit),
        how=saved.bundle.kind,
        score=score(scores, values, saved.task, request.seed),
        per_class={
            one.label: one.recall
            for one in (made_of.classes if made_of else [])
            if one.recall is not None
        },
        confusions=confusions(made_of),
        details=made_of,
        unlearned=unlearned,
        learned=len(examples) - len(new),
        left_out=list(examples.refused[:LEFT_OUT]),
        tables=list(examples.tables),
        notes=[*examples.notes, *targets.notes, *more_left_out(examples)],
        seconds=time.perf_counter() - begin,
    )


def run_fit(request: Fit, monitor: Monitor) -> FitResult | LoraTrainResult | PolicyFit:
    """Fit, evaluate on the test examples, and write the folder."""
    if is_episodes(request.data):
        from .policy import run_fit_policy

        return run_fit_policy(request, monitor)
    if request.task in {"generate", "write"}:
        return run_lora_train(as_lora_train(request), monitor)
    begin = time.perf_counter()
    note_unused(request.model_fields_set, _UNUSED, request.how or "", monitor)
    out = request.out.absolute()
    inputs = (request.data, request.test, request.model)
    folders.require_outside(inputs, out)
    require_free(out)
    folders.note_replaced(out, monitor.note)
    training = training_location(out)  # a stopped run resumes from it
    folders.require_outside(inputs, training)
    problem, made, tried = fit_problem(problem_of(request, monitor), request, training, monitor)
    size = describe_fit(problem, made).save(out)
    folders.remove(training)
    return FitResult(
        out=str(request.out),
        how=made.how,
        model=problem.base.name,
        data=problem.facts,
        score=made.test_score,
        details=made.details,
        baselines=baselines(problem, monitor),
        tried=list(tried),
        others=other_methods(problem, made, tried, request.epochs, monitor),
        parameters=made.parameters,
        bytes=size,
        seconds=time.perf_counter() - begin,
    )


def run_predict(request: Predict, monitor: Monitor) -> Predictions:
    """Predict for the inputs in order."""
    begin = time.perf_counter()
    require_out(request.out, request.inputs)
    saved = open_fit(request.fit, request.model, request.device)
    if request.threshold is not None and saved.task == "number":
        raise BadInput("--threshold is for classes and labels.", "Leave it out for numbers.")
    requested = saved.requested_of(request)
    read = read_inputs(request.inputs, requested, "this fit")
    report_reading(read.tables, read.notes, monitor)
    monitor.start("predicting", len(read.items))
    unusual: list[int] = []
    scores = of_every_row(read, saved.scores(read.items, monitor.advance, unusual.append))
    note_out_of_distribution(sum(unusual), len(read.items), saved.base.name, monitor)
    return report(request, saved.head, saved.kind, read, scores, monitor, begin, saved.learned)


def run_fit_export(request: FitExport, monitor: Monitor) -> FitExported:  # noqa: ARG001
    """Write only the head as an ONNX graph, without the network that computes its features."""
    from ..adapters.linear_head import to_onnx

    if request.out.suffix != ".onnx":
        raise UnknownName("ending of the output file", request.out.suffix, [".onnx"])
    saved = open_fit(request.fit, request.model, request.device)
    content = to_onnx(saved.head, saved.base.name)
    files.write_bytes(request.out, content)
    return FitExported(
        out=str(request.out),
        fit=str(request.fit),
        model=saved.base.name,
        task=saved.task,
        labels=list(saved.head.labels),
        features=saved.head.weight.shape[1],
        bytes=len(content),
    )


def run_compare(request: Compare, monitor: Monitor) -> FitComparison:
    """Run all methods, evaluate each on the same test examples, plot and recommend.

    Raises as `library.fitting.carry_out` does.
    """
    from ..library.fitting import carry_out

    return carry_out(request, monitor).report


_FIT_ONLY = {"how"}  # options of `fit` implied by its name and --task


def run_lora_train(request: LoraTrain, monitor: Monitor) -> LoraTrainResult:
    """Train a LoRA on a model's own task from images or a text, and evaluate before and after."""
    folders.note_replaced(request.out.absolute(), monitor.note)
    # what can be refused before PyTorch is loaded
    if request.task == "generate":
        require_images(Path(request.data))
        locate(request.model or DEFAULT_PIPELINE, "diffusion pipeline")
        return _from_images(request, monitor)
    if request.caption is not None:
        raise _not_read("caption", request.task)
    if request.model is None:
        raise BadInput("no language model is named.", "Name its folder with --model.")
    require_text(Path(request.data))
    locate(request.model, "language model")
    return _from_text(request, request.model, monitor)


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
    from ..finetune.lora_diffusion import train_on_images

    begin = time.perf_counter()
    job = _job_of(request, request.model or DEFAULT_PIPELINE)
    trained, shown, size = train_on_images(job, monitor)
    return _report(
        request,
        job,
        trained,
        items=len(shown.pictures),
        left_out=[LeftOut(name=name, reason=reason) for name, reason in shown.left_out.items()],
        perplexity_before=None,
        perplexity_after=None,
        bytes=size,
        seconds=time.perf_counter() - begin,
    )


def _from_text(request: LoraTrain, model: str, monitor: Monitor) -> LoraTrainResult:
    from ..finetune.lora_language import train_on_text

    begin = time.perf_counter()
    job = _job_of(request, model)
    trained, tokens, sample, size = train_on_text(job, monitor)
    return _report(
        request,
        job,
        trained,
        items=len(tokens.learned),
        left_out=[],
        perplexity_before=math.exp(trained.change.before),
        perplexity_after=math.exp(trained.change.after),
        prompt=sample.prompt,
        text_before=sample.before,
        text_after=sample.after,
        bytes=size,
        seconds=time.perf_counter() - begin,
    )


def _report(
    request: LoraTrain, job: "LoraJob", trained: "LoraTraining", **found: Any
) -> LoraTrainResult:
    change = trained.change
    return LoraTrainResult(
        out=str(request.out),
        task=request.task,
        model=job.model,
        loss_before=change.before,
        loss_after=change.after,
        gain=change.gain,
        gain_low=change.gain - change.margin,
        gain_high=change.gain + change.margin,
        parameters=trained.parameters,
        layers=trained.layers,
        steps=trained.outcome.step,
        **found,
    )


def _job_of(request: LoraTrain, model: str) -> "LoraJob":
    from ..adapters.lora import Rank
    from ..finetune.lora_training import LoraJob
    from ..training.session import Plan

    return LoraJob(
        data=Path(request.data),
        model=model,
        out=request.out,
        rank=Rank(request.rank, request.alpha, request.dropout, tuple(request.targets) or None),
        plan=Plan(
            steps=request.steps,
            batch=request.batch,
            learning_rate=request.learning_rate,
            warm_up=max(1, min(20, request.steps // 10)),
            average_decay=0.98,
        ),
        seed=request.seed,
        device=request.device,
        caption=request.caption,
    )
