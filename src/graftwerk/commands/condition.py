"""`graft condition` and `graft eval edges`: conditions of images or scenes.

`graft condition list` lists the kinds of condition. `graft eval edges` evaluates Canny's edges
against boundaries that people drew.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageChops
from PIL.Image import Resampling

from .. import conditions, files, folders
from ..adapters.manifest import is_replaceable, write_bundle
from ..blocks.sampling import sample_scene
from ..conditions.base import PERCEPTION, maps_of_scene
from ..conditions.estimators import ESTIMATED, ESTIMATOR_ADVICE, hed_strength, load_hed
from ..conditions.kinds import CONDITIONS, canny, condition_named
from ..conditions.results import ConditionKind, ConditionKinds, ConditionResult, EdgeEvaluation
from ..controlnet import results
from ..data.benchmarks import BoundaryData
from ..data.image_inputs import as_image
from ..data.images import OpenedImage, open_image, require_image_size, write_image
from ..errors import BadFile, BadInput, UnknownName
from ..generation.provenance import require_folder
from ..metrics.edges import TOLERANCE, count_pairs, quality_of
from ..metrics.intervals import student
from ..metrics.plots import Tile, tile_sheet
from ..models.encoders import note_unlike_blocks
from ..models.hub import BUILTIN, builtin_folder, locate
from ..requests.base import DEFAULT_PIPELINE, require_effect
from ..requests.control import (
    ABLATION_NEEDS,
    ConditionList,
    ControlAblation,
    ControlExport,
    ControlTrain,
    EvalEdges,
    MakeCondition,
)
from ..text_safety import counted
from ..types import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from ..generation.control_ablation import Trial

_ALL = "all"


def run_condition(request: MakeCondition, monitor: Monitor) -> ConditionResult:
    """Compute the condition and write it."""
    begin = time.perf_counter()
    if request.kind not in {_ALL, *CONDITIONS}:
        raise UnknownName("condition", request.kind, (_ALL, *CONDITIONS))
    settings = _checked(request)
    monitor.start(f"making {request.kind}")
    opened = _open(request, monitor)
    image = None if opened is None else opened.image
    tiles, stages, thresholds = None, None, None
    if request.kind == _ALL:
        tiles, by = _all(request, image)
        made = as_image(tiles["picture"])
    else:
        made, by, stages, thresholds = _make(request, settings, image)
    if stages is not None and request.stages:
        tiles = {"picture": np.asarray(image)} | canny.stage_tiles(stages)
    out_of_distribution = None
    if image is not None and by == PERCEPTION:
        out_of_distribution = note_unlike_blocks(
            [image], "image", PERCEPTION, monitor, advice=ESTIMATOR_ADVICE,
            device=request.device,
        )  # fmt: skip
    sampled = _pixels_drawn(made)
    if not sampled:
        monitor.note(f"this {request.kind} map is empty: there is nothing to follow in it")
    columns = 3 if request.kind == _ALL else 4
    write_image(request.out, made if tiles is None else tile_sheet(tiles, columns))
    return ConditionResult(
        kind=request.kind,
        made_by=by,
        out=str(request.out),
        width=made.width,
        height=made.height,
        drawn=sampled / (made.width * made.height),
        thresholds=thresholds,
        unfamiliar=out_of_distribution,
        converted=[] if opened is None else list(opened.notes),
        seconds=time.perf_counter() - begin,
    )


def _pixels_drawn(image: "Image") -> int:
    brightest = reduce(ImageChops.lighter, image.split())
    return image.width * image.height - brightest.histogram()[0]


def _open(request: MakeCondition, monitor: Monitor) -> OpenedImage | None:
    if request.image is None:
        return None
    is_depth = request.finished and request.kind == "depth"
    opened = open_image(request.image, depth=is_depth)
    if opened.notes:
        monitor.note(f"{request.image} was read as: {', '.join(opened.notes)}")
    if "size" in request.model_fields_set:
        scale = request.size / min(opened.image.size)
        width, height = (max(1, round(scale * side)) for side in opened.image.size)
        require_image_size(f"{request.image}, resized", width, height)
        opened = opened._replace(image=opened.image.resize((width, height), Resampling.LANCZOS))
    return opened


def _make(
    request: MakeCondition, settings: canny.CannySettings, image: "Image | None"
) -> "tuple[Image, str, canny.CannyStages | None, list[float] | None]":
    """Return the condition, its source, and for Canny's method its stages and thresholds."""
    kind = request.kind
    if request.scene is not None:
        by = "Canny's method on the render" if kind == "canny" else "exact maps"
        made = conditions.of_scene(kind, request.scene, seed=request.seed, size=request.size)
        return made, by, None, None
    assert image is not None  # noqa: S101  checked with the options
    if request.finished:
        made = conditions.require_map(kind, image, str(request.image))
        return made, "used as given", None, None
    if kind != "canny" or request.estimator is not None:
        estimator = request.estimator  # or KIND=MODEL, as in `generate`
        estimator = None if estimator is None else estimator.removeprefix(f"{kind}=")
        made = conditions.of_image(kind, image, estimator=estimator, device=request.device)
        return made, estimator or condition_named(kind).read_by, None, None
    by = f"Canny, thresholds by {settings.unit}"
    if not request.stages:  # stages take ten times the memory
        edges, lows, highs = canny.find_edges(np.asarray(image)[None], settings)
        return canny.image_of(edges[0]), by, None, [float(lows[0]), float(highs[0])]
    stages = canny.canny(np.asarray(image)[None], settings).single()
    return stages.image, by, stages, [float(stages.low), float(stages.high)]


def _all(request: MakeCondition, image: "Image | None") -> tuple[dict[str, Tile], str]:
    if request.scene is not None:
        maps = maps_of_scene(sample_scene(request.seed, request.scene), request.size)
        tiles = {name: one.draw(maps)[0] for name, one in CONDITIONS.items()}
        return {"picture": maps.pictures[0]} | tiles, "exact maps"
    picture = np.asarray(image)
    tiles = {name: one.from_image(picture) for name, one in CONDITIONS.items()}
    return {"picture": picture} | tiles, PERCEPTION


def _checked(request: MakeCondition) -> canny.CannySettings:
    """Check that the options are compatible, and return the settings of Canny's method."""
    if request.out.suffix.lower() != ".png" or request.out.is_dir():
        raise BadFile(f"{request.out} cannot be a PNG file.", "Name a file that ends in .png.")
    if (request.image is None) == (request.scene is None):
        none = request.image is None
        given = "neither an image nor a scene was" if none else "both an image and a scene were"
        raise BadInput(f"{given} given.", "Name an image, or a scene's number with --scene.")
    methods = {
        "--scene": request.scene is not None,
        "--finished": request.finished,
        "--estimator": request.estimator is not None,
        "--stages": request.stages,
    }
    named = [name for name, given in methods.items() if given]
    if len(named) > 1:
        raise BadInput(
            f"{' and '.join(named)} exclude each other.", "Leave all but one of them out."
        )
    if request.kind == _ALL and named not in ([], ["--scene"]):
        raise BadInput(f"{named[0]} is for one kind, not for all.", "Name the kind.")
    if request.finished and "size" in request.model_fields_set:
        raise BadInput("--size resizes an image or a scene, not a finished map.", "Leave it out.")
    fields = MakeCondition.model_fields
    own = ("thresholds", "sigma", "kernel", "stages")
    changed = [f"--{name}" for name in own if getattr(request, name) != fields[name].default]
    read = request.scene is None and not request.finished and request.estimator is None
    if changed and not (request.kind == "canny" and read):
        raise BadInput(
            f"{changed[0]} belongs to Canny's edges of an image.",
            f"Leave it out, or ask for: graft condition canny IMAGE {changed[0]} ...",
        )
    return _settings(request)


def _settings(request: MakeCondition) -> canny.CannySettings:
    if request.thresholds == "auto":
        return canny.CannySettings(request.sigma, request.kernel, "auto")
    try:
        low, high = (float(part) for part in request.thresholds.split(","))
    except ValueError:
        raise BadInput(
            f"--thresholds {request.thresholds!r} cannot be read.",
            "Write LOW,HIGH, for example 0.1,0.3 (of the largest slope) or 100,200; or auto.",
        ) from None
    return canny.settings_of(request.sigma, request.kernel, low, high, auto=False)


def run_condition_list(request: ConditionList, monitor: Monitor) -> ConditionKinds:  # noqa: ARG001
    """List the kinds of condition."""
    kinds = [
        ConditionKind(
            name=name,
            about=condition.about,
            read_by=condition.read_by,
            estimators=ESTIMATED.get(name, ""),
            measure=condition.measure,
            higher_is_better=condition.higher_is_better,
        )
        for name, condition in CONDITIONS.items()
    ]
    return ConditionKinds(kinds=kinds)


def run_eval_edges(request: EvalEdges, monitor: Monitor) -> EdgeEvaluation:
    """Detect edges of each image at every threshold and match them with each person's."""
    begin = time.perf_counter()
    data = BoundaryData(request.data)
    find: Callable[[np.ndarray], np.ndarray] = canny.edge_strength
    method = "color at two scales"
    if request.plain:
        find, method = canny.plain_strength, "gray at one scale"
    if request.estimator is not None:
        find, method = _edge_finder(request), request.estimator
    monitor.start("pairing edges with boundaries", len(data))
    counts, people = [], 0
    for image, sampled in data:
        counts.append(count_pairs(find(image), list(sampled)))
        people += len(sampled)
        monitor.advance()
    quality = quality_of(counts)
    return EdgeEvaluation(
        pictures=len(data),
        people=people,
        method=method,
        **asdict(quality),
        tolerance=TOLERANCE,
        seconds=time.perf_counter() - begin,
    )


def _edge_finder(request: EvalEdges) -> "Callable[[np.ndarray], np.ndarray]":
    """Return the function from an image to the strength of its edges by a model."""
    if request.plain:
        raise BadInput("--plain is for Canny's method.", "Leave it or --estimator out.")
    soft = load_hed(locate(str(request.estimator), "estimator"), request.device)
    return lambda image: hed_strength(soft(image))


TABLE, SHEET = "table.md", "sheet.png"
_MEASURES = ("fidelity", "judge", "obeyed", "frechet")
Figures = Mapping[tuple[str, str], Sequence[Mapping[str, float | None]]]


def run_control_ablation(request: ControlAblation, monitor: Monitor) -> results.Ablation:
    """Train every branch with every seed, generate images for every prompt, and compare.

    Results that are already in the out folder are not computed again.
    """
    began = time.perf_counter()
    require_folder(request.out)
    from ..generation import control_ablation

    require_effect(request, ABLATION_NEEDS, request.model_fields_set)
    control_ablation.require_ours(request)
    ground = control_ablation.open_ground(request, monitor)
    found: dict[tuple[str, str], list[Mapping[str, float | None]]] = {}
    trials: list[Trial] = []
    for trial in control_ablation.trials_of(ground, monitor):
        trials.append(trial)
        for prompt, figures in control_ablation.sampled_figures(ground, trial, monitor).items():
            found.setdefault((trial.name, prompt), []).append(figures)
    rows = [_row(branch, prompt, figures) for (branch, prompt), figures in found.items()]
    table, sheet = request.out / TABLE, request.out / SHEET
    write_image(
        sheet, control_ablation.result_sheet(ground, [t for t in trials if t.seed == request.seed])
    )
    real = ground.compared(ground.real)
    report = results.Ablation(
        condition=request.condition,
        model=request.model,
        rows=rows,
        trainings=[
            results.AblationTraining(branch=trial.name, seed=trial.seed, **trial.record)
            for trial in trials
            if trial.name != control_ablation.ALONE
        ],
        findings=findings(found),
        fidelity_of_real=real.score,
        fidelity_by_chance=real.chance_score,
        features=request.encoder or control_ablation.JUDGE,
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
    """Describe the effect of zero initialization and copy per prompt, as paired differences.

    The differences are those of fidelity, paired by seed.
    """
    lines = []
    prompts = dict.fromkeys(prompt for _, prompt in found)
    for other in ("gaussian", "light"):
        for prompt in prompts:
            pairs = zip(found["zero", prompt], found[other, prompt], strict=True)
            gains = [_fidelity(one) - _fidelity(two) for one, two in pairs]
            mean, margin = student(gains)
            if margin is None:
                reported = "one seed gives no interval"
            elif abs(mean) <= margin:
                reported = "no difference beyond the interval"
            else:
                reported = f"zero is {'ahead' if mean > 0 else 'behind'}"
            shown = f"{mean:+.3f}" + ("" if margin is None else f" ±{margin:.3f}")
            lines.append(f"fidelity of zero minus {other}, prompt {prompt}: {shown}: {reported}")
    return lines


def _fidelity(figures: Mapping[str, float | None]) -> float:
    value = figures["fidelity"]
    return float("nan") if value is None else value


def _row(
    branch: str, prompt: str, figures: Sequence[Mapping[str, float | None]]
) -> results.AblationRow:
    values: dict[str, object] = {"branch": branch, "prompt": prompt}
    for measure in _MEASURES:
        there = [value for one in figures if (value := one[measure]) is not None]
        mean, margin = student(there) if there else (None, None)
        values |= {measure: mean, f"{measure}_margin": margin}
    return results.AblationRow.model_validate(values)


def markdown(report: results.Ablation) -> str:
    """Return the table as Markdown."""
    lines = [
        f"{report.condition} on {report.model}: {counted(report.pairs, 'pair')}, "
        f"{counted(report.steps, 'step')}, {counted(report.seeds, 'seed')}, "
        f"{counted(report.count, 'image')} of each branch, prompt and seed; margins are half of 95 "
        f"% intervals over the seeds. Fidelity of the real images: {report.fidelity_of_real:.3f}.",
        "",
        f"| {' | '.join(results.AblationRow.HEADER)} |",
        "|" + "---|" * len(results.AblationRow.HEADER),
        *(f"| {' | '.join(row.cells())} |" for row in report.rows),
        "",
        *(f"- {line}" for line in report.findings),
    ]
    return "\n".join(lines) + "\n"


def run_control_export(request: ControlExport, monitor: Monitor) -> results.ControlExported:
    """Write the trained weights, and those shared with the U-Net, into one folder."""
    from ..controlnet.checkpoint import KIND, open_branch, write_controlnet
    from ..diffusion.pipeline import load_diffusion

    def is_branch(folder: Path) -> bool:
        return is_replaceable(folder, KIND)

    out = request.out.absolute()
    folders.require_replaceable(out, "control branch", verify=is_branch)
    source = _folder(request)
    folders.require_outside((source, request.model), out)
    monitor.start("loading the model")
    model = load_diffusion(request.model, "cpu")
    branch = open_branch(source, model)
    with folders.working_folder(out, is_branch) as folder:
        write_controlnet(folder, branch, model.unet)
        content = {"exported from": request.branch}
        write_bundle(folder, KIND, model.name, model.denoiser_fingerprint, content)
    return results.ControlExported(
        out=str(request.out),
        branch=request.branch,
        model=request.model,
        pipeline=str(locate(request.model)),
        parameters=sum(weight.numel() for weight in branch.parameters()),
        bytes=files.size_of(out),
    )


def _folder(request: ControlExport) -> Path:
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


def run_control_train(request: ControlTrain, monitor: Monitor) -> results.ControlTrained:
    """Train a branch, or resume its training, and write it with the meter's measurements."""
    from ..library.controlnet import carry_out
    from ..library.pipeline import Pipeline

    return carry_out(
        request, lambda: Pipeline(request.model, device=request.device), monitor
    ).report
