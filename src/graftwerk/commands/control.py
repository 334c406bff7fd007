"""`graft control`: control branches for diffusion models.

- `graft control train`: train a control branch on a folder of images.
- `graft control ablation`: measure the effect of zero initialization, the copy and the prompt.
- `graft control export`: write a branch as a complete `ControlNetModel` for other tools.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files, folders
from ..controlnet.results import (
    Ablation,
    AblationRow,
    AblationTraining,
    ControlExported,
    ControlTrained,
)
from ..data.images import write_image
from ..errors import BadInput
from ..generation.provenance import require_folder
from ..metrics.intervals import student
from ..requests.base import DEFAULT_PIPELINE, require_effect
from ..requests.control import ABLATION_NEEDS, ControlAblation, ControlExport, ControlTrain
from ..types import Monitor

if TYPE_CHECKING:
    from ..generation.control_ablation import Trial


TABLE, SHEET = "table.md", "sheet.png"
_MEASURES = ("fidelity", "judge", "obeyed", "frechet")
Figures = Mapping[tuple[str, str], Sequence[Mapping[str, float | None]]]


def run_control_ablation(request: ControlAblation, monitor: Monitor) -> Ablation:
    """Train every branch with every seed, generate images for every prompt, and compare.

    Results that are already in the out folder are not computed again.
    """
    began = time.perf_counter()
    require_folder(request.out)
    from ..generation.control_ablation import (
        ALONE,
        JUDGE,
        open_ground,
        require_ours,
        result_sheet,
        sampled_figures,
        trials_of,
    )

    require_effect(request, ABLATION_NEEDS, request.model_fields_set)
    require_ours(request)
    ground = open_ground(request, monitor)
    found: dict[tuple[str, str], list[Mapping[str, float | None]]] = {}
    trials: list[Trial] = []
    for trial in trials_of(ground, monitor):
        trials.append(trial)
        for prompt, figures in sampled_figures(ground, trial, monitor).items():
            found.setdefault((trial.name, prompt), []).append(figures)
    rows = [_row(branch, prompt, figures) for (branch, prompt), figures in found.items()]
    table, sheet = request.out / TABLE, request.out / SHEET
    write_image(sheet, result_sheet(ground, [t for t in trials if t.seed == request.seed]))
    real = ground.compared(ground.real)
    report = Ablation(
        condition=request.condition,
        model=request.model,
        rows=rows,
        trainings=[_training(trial) for trial in trials if trial.name != ALONE],
        findings=findings(found),
        fidelity_of_real=real.score,
        fidelity_by_chance=real.chance_score,
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
                reported = "one seed says nothing of its interval"
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
    """Return the table as Markdown."""
    lines = [
        f"{report.condition} on {report.model}: {report.pairs:,} pairs, {report.steps:,} steps, "
        f"{report.seeds} seeds, {report.count:,} images of each branch, prompt and seed; margins "
        "are half of 95 % intervals over the seeds. Fidelity of the real images: "
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
    """Write the trained weights, and those shared with the U-Net, into one folder."""
    from ..adapters.manifest import is_replaceable, write_bundle
    from ..controlnet.checkpoint import KIND, open_branch, write_controlnet
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
    branch = open_branch(source, model)
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


def run_control_train(request: ControlTrain, monitor: Monitor) -> ControlTrained:
    """Train a branch, or resume its training, and write it with the meter's measurements."""
    from ..library.controlnet import carry_out
    from ..library.pipeline import Pipeline

    return carry_out(
        request, lambda: Pipeline(request.model, device=request.device), monitor
    ).report
