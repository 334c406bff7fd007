"""`graft generate`: images from a prompt, or the repetition of a generated image."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.images import ImageNotes, read_image, write_image
from ..data.walk import names_of
from ..errors import BadFile, BadInput, Cancelled, Failure, LimitExceeded, WrongBase
from ..generation import provenance
from ..generation.results import (
    Generation,
    GridCell,
    GuideSweepReport,
    GuideVerdicts,
    ImageReport,
    Inversion,
    SweepRow,
)
from ..generation.spec import SCALED, GenerationSpec, Once, options_of, parse_grid
from ..generation.validate import require_class, validate
from ..metrics.plots import image_sheet
from ..models.checkpoint import own_classes
from ..models.encoders import list_images, note_unlike_blocks, nothing_readable, real_images_in
from ..models.hub import locate
from ..models.transformers import choose_device
from ..requests.base import require_effect
from ..requests.control import GuideCheck, GuideSweep, Invert
from ..requests.generate import NEEDS, Generate, require_guides
from ..results import Skipped
from ..text_safety import counted
from ..types import Monitor, Noting

if TYPE_CHECKING:
    from ..diffusion.guidance import Overflowed
    from ..diffusion.sampling import ImageArray
    from ..generation.job import Group, Job
    from ..library.pipeline import Pipeline


def run_generate(request: Generate, monitor: Monitor) -> Generation:
    """Generate images; each is written as soon as its batch is done."""
    noting = Noting(monitor)
    return _run(request, noting).model_copy(update={"notes": noting.notes})


def _run(request: Generate, monitor: Monitor) -> Generation:
    begin = time.perf_counter()
    record = None if request.from_ is None else provenance.read_record(request.from_)
    requested = request if record is None else _repeated(request, record)
    if "count" not in request.model_fields_set and requested.out.suffix.lower() == ".png":
        requested = requested.model_copy(update={"count": 1})
    varied = [axis.name for axis in parse_grid(requested.grid).axes] if requested.grid else []
    if twice := sorted({*varied} & request.model_fields_set):
        raise BadInput(f"--grid varies {twice[0]}, which is also given.", "Leave one of them out.")
    require_effect(requested, NEEDS, {*request.model_fields_set, *varied}, varied)
    spec = validate(requested, from_record=record is not None)
    require_guides(requested, request.model_fields_set, [guide.aim for guide in spec.guides])
    single = requested.count == 1 and not requested.grid
    file = requested.out if provenance.require_place(requested.out, single) else None
    if requested.previews is not None:
        provenance.require_folder(requested.previews)

    from ..diffusion.sampling import contact_sheet
    from ..library.adapters import open_spec

    monitor.start("loading the model")
    pipe = open_spec(spec)
    if requested.grid:
        return _grid(pipe, spec, request, record, monitor)
    job = pipe.prepare(spec.options, monitor, literal=_says(request, record))
    if record is not None:
        _check_same(request, record, job, monitor)
    groups = _groups(request, record, job)
    drawing = time.perf_counter()
    pictures: list[ImageReport] = []
    images = _generate(job, groups, file, request.from_, monitor, pictures)
    seconds = time.perf_counter() - drawing
    sheet = requested.out / f"{job.stem}-sheet.png" if len(images) > 1 else None
    free = [] if sheet is None else job.uncontrolled(len(images), monitor)
    if sheet is not None:
        write_image(sheet, _beside(images, free) if free else contact_sheet(images))
    return job.report(pictures, images, monitor, free).model_copy(
        update={
            "sheet": None if sheet is None else str(sheet),
            **job.times(groups, seconds, time.perf_counter() - begin),
        }
    )


def _generate(
    job: "Job",
    groups: "list[Group]",
    file: Path | None,
    origin: Path | None,
    monitor: Monitor,
    reports: "list[ImageReport]",
) -> "list[ImageArray]":
    """Write images, add their reports to `reports`, and return them."""
    images = []
    try:
        for made in job.run(groups, monitor):
            path = file or job.request.out / f"{job.stem}-{made.number:03d}.png"
            if origin is not None and path.exists() and path.samefile(origin):
                path = path.with_stem(f"{path.stem}-again")  # never overwrite the original
            record = provenance.Record(
                request=job.request,
                fingerprint=job.model.fingerprint,
                number=made.number,
                together=tuple(made.group.numbers),
                surroundings=job.environment,
                **job.steering,
            )
            provenance.write_png(path, made.image, record)
            reports.append(job.image_report(made, str(path)))
            images.append(made.image)
    except Cancelled:
        if reports:
            monitor.note(
                f"{counted(len(reports), 'finished image is', 'finished images are')} in "
                f"{job.request.out}"
            )
        raise
    return images


def _beside(images: "list[ImageArray]", free: "list[ImageArray]") -> "ImageArray":
    """Return a contact sheet of controlled images, and below them the first without control."""
    columns = len(free)
    blank = [images[0].point(lambda _: 255)] * (-len(images) % columns)
    rows = (len(images) + len(blank)) // columns
    left = ["controlled", *[""] * (rows - 1), "without"]
    return image_sheet([*images, *blank, *free], columns, left=left, gap=4)


def _grid(
    pipe: "Pipeline",
    spec: GenerationSpec,
    request: Generate,
    record: provenance.Record | None,
    monitor: Monitor,
) -> Generation:
    from ..diffusion.sampling import contact_sheet
    from ..library.adapters import adapters_of

    begin, once, start = time.perf_counter(), Once(monitor), spec.options.start
    grid = parse_grid(spec.request.grid)
    requests = grid.cells(spec.request)
    init, mask = (None, None) if start is None else (start.image, start.mask)
    regions = spec.options.regions
    # validate all cells first
    options = [options_of(cell, init, mask, regions) for _, cell in requests]
    pictures: list[ImageReport] = []
    cells, tiles, steps, sampled = [], [], 0, 0.0
    for (values, cell), option in zip(requests, options, strict=True):
        if SCALED.keys() & values.keys():
            pipe = pipe.without().with_(*adapters_of(spec.with_scales_of(cell)))
        job = pipe.prepare(option, once, literal=_says(request, record))
        if record is not None:
            _check_same(request, record, job, once)
        groups, drawing = _groups(request, record, job), time.perf_counter()
        before = len(pictures)
        made = _generate(job, groups, None, None, once, pictures)
        sampled += time.perf_counter() - drawing
        steps += job.steps * sum(len(group.numbers) for group in groups)
        tiles.append(made[0] if len(made) == 1 else contact_sheet(made))
        cells.append(_cell(values, pictures[before:]))
    sheet = spec.request.out / f"{job.stem}-grid.png"
    rows, names = grid.rows, [job.request.model, *([request.prompt] if request.prompt else [])]
    write_image(
        sheet,
        image_sheet(
            tiles,
            len(grid.columns.values),
            above=grid.columns.labels,
            left=() if rows is None else rows.labels,
            title=", ".join(names),
        ),
    )
    seconds = time.perf_counter() - begin
    return job.report([], [], once).model_copy(
        update={
            "pictures": pictures, "grid": cells, "sheet": str(sheet), "start": None,
            "steps_per_second": steps / sampled, "seconds": seconds, "controls": [], "guides": [],
        }
    )  # fmt: skip


def _cell(values: dict[str, str], reports: "list[ImageReport]") -> GridCell:
    def mean(of: str) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for report in reports:
            for kind, value in getattr(report, of).items():
                found.setdefault(kind, []).append(value)
        return {kind: sum(some) / len(some) for kind, some in found.items()}

    paths = [report.path for report in reports]
    return GridCell(values=values, pictures=paths, kept=mean("kept"), chance=mean("chance"))


def _repeated(request: Generate, record: provenance.Record) -> Generate:
    given = request.model_dump(include=request.model_fields_set - {"from_"})
    recorded = record.request.model_dump(exclude=set(provenance.LOCATIONS))
    return Generate.model_validate(recorded | {"best_of": 1} | given)


def _says(request: Generate, record: provenance.Record | None) -> bool:
    """Whether the prompt is a record's, which holds what the model was given."""
    return record is not None and "prompt" not in request.model_fields_set


def _check_same(request: Generate, record: provenance.Record, job: "Job", monitor: Monitor) -> None:
    """Report why the repetition may differ from the image."""
    provenance.refuse_other(request, record, job.steering, monitor)
    made, here = record.fingerprint, job.model.fingerprint
    recorded = record.surroundings
    if made != here and "model" not in request.model_fields_set:
        raise WrongBase(
            str(request.from_),
            made_on=f"{record.request.model} ({made[:12]})",
            received=f"the model of that name now ({here[:12]})",
            hint=f"To generate it with the present one, pass --model {record.request.model}",
        )
    if made != here:
        monitor.note("this is another model than the image's: the repeat will differ")
    elif recorded != job.environment:
        monitor.note(
            f"generated with PyTorch {recorded.torch} on {recorded.device} with {recorded.threads} "
            "threads: the repeat may differ in its last bits here"
        )


def _groups(request: Generate, record: provenance.Record | None, job: "Job") -> "list[Group]":
    """Return the batches to generate; for a repetition, the recorded batch of the image."""
    from ..diffusion.sampling import largest_batch
    from ..generation.job import Group

    if record is not None and "count" not in request.model_fields_set:
        most = largest_batch(job.width, job.height)
        if len(record.together) > most:
            raise BadFile(
                f"the request in {request.from_} says that {len(record.together):,} images of "
                f"{job.width} x {job.height} pixels were generated at once (together); at most "
                f"{most:,} are.",
                "Say --count to draw it again, in batches that the device takes.",
            )
        # repeat the whole batch, since another batch size changes the order of summation
        return [Group(record.together, [record.number])]
    return job.groups()


def run_guide_check(request: GuideCheck, monitor: Monitor) -> GuideVerdicts:
    """Run the realism checks."""
    began = time.perf_counter()
    if request.class_ is not None:
        require_class(request.class_, request.guide_model, request.guide_labels)
    real = None if request.real is None else str(request.real)
    if real is not None:
        real_images_in(real)
    paths, images = _open_images(request.images, monitor)

    from ..diffusion.pipeline import load_diffusion
    from ..diffusion.sampling import stretch
    from ..generation.authenticity import LIMIT, draws_blocks, open_realism_check
    from ..generation.guidance_report import chances_of
    from ..generation.guides import GuideModels, Settings

    monitor.start("loading the models")
    settings = Settings(request.guide_model, tuple(request.guide_labels), "")
    # photographs come from no diffusion model here, but from the domain of their classifier
    of_photos = "model" not in request.model_fields_set and own_classes(locate(request.guide_model))
    model = None if of_photos else load_diffusion(request.model, request.device)
    models = GuideModels(settings, model, device=choose_device(request.device))
    head = models.networks.head(request.guide_model) if of_photos else None
    encoder = None if head is None else head.encoder
    realism_check = open_realism_check(model, real, monitor, encoder)
    size = realism_check.size
    if any(image.size != size for image in images):
        how = "cropped and resized" if realism_check.crops else "resized"
        monitor.note(f"images are {how} to {size[0]} x {size[1]} pixels")
    if real is None and model is not None and draws_blocks(model):
        note_unlike_blocks(
            images, "image", model.name, monitor,
            advice="for others name a folder of real ones: --real", device=model.device,
        )  # fmt: skip
    pictures = stretch(images, size, realism_check.crops)
    chances = chances_of(models, request.class_, pictures)
    return GuideVerdicts(
        label=request.class_,
        pictures=realism_check.testify(paths, pictures, request.class_, chances),
        limit=LIMIT,
        real=realism_check.real,
        self_test=realism_check.self_test,
        seconds=time.perf_counter() - began,
    )


def _open_images(named: list[str], monitor: Monitor) -> tuple[list[str], "list[ImageArray]"]:
    """Return paths and images; what cannot be read in a folder is skipped and noted.

    Raises:
        BadFile: an image that is named itself cannot be read.
        BadInput: no image is left.
    """
    found, skipped = list_images(named)
    own = {names_of(name)[0] for name in named}
    single = [path for path in found if path in own or not provenance.is_sheet(path)] or found
    if len(single) < len(found):
        count = len(found) - len(single)
        words = ("contact sheet or film strip", "contact sheets or film strips")
        monitor.note(f"{counted(count, *words)} left out")
    paths, images, notes = [], [], ImageNotes()
    for path in single:
        try:
            images.append(read_image(path, notes))
            paths.append(path)
        except (BadFile, LimitExceeded) as error:
            if path in own:
                raise
            skipped.append(Skipped(path=path, reason=error.text))
    if not images:
        raise nothing_readable(named, skipped)
    for skip in skipped:
        monitor.note(f"{skip.path}: {skip.reason}")
    notes.report(monitor)
    return paths, images


_SCALES, _SHOWN = 50, 36


# ADM, table 4: unconditional and unguided, at scale 1, at scale 10.
_PAPER = (
    "the paper has Frechet distance 26.21 -> 33.03 -> 12.00, precision 0.61 -> 0.76, recall "
    "0.63 -> 0.44"
)


def run_guide_sweep(request: GuideSweep, monitor: Monitor) -> GuideSweepReport:
    """Generate every class at every scale from the same noise, and evaluate."""
    began = time.perf_counter()
    scales = parse_scales(request.scales)
    provenance.require_folder(request.out)
    from ..diffusion.guidance import Overflowed
    from ..diffusion.sampling import contact_sheet
    from ..generation.guidance_sweep import open_ground, plot_sweep

    ground = open_ground(request, monitor)
    monitor.start("generating", len(scales) * request.count)
    rows: list[SweepRow] = []
    overflow = None
    for scale in scales:
        try:
            images, pictures = ground.draw(scale, monitor)
        except Overflowed as error:
            overflow = _reported(error, scale, ground.step_of(error.sigma), request.steps, rows)
            monitor.note(overflow)
            break
        rows.append(ground.measure(scale, pictures))
        write_image(request.out / f"scale-{scale:g}.png", contact_sheet(images[:_SHOWN]))
    curves = request.out / "curves.png"
    write_image(curves, plot_sweep(rows, ground.real))
    return GuideSweepReport(
        classes=list(dict.fromkeys(ground.labels)),
        count=request.count,
        rows=rows,
        real=ground.real,
        overflow=overflow,
        shape=shape_of(rows),
        curves=str(curves),
        model=request.model,
        guide_model=request.guide_model,
        seconds=time.perf_counter() - began,
    )


def _reported(
    error: "Overflowed", scale: float, step: int, steps: int, rows: Sequence[SweepRow]
) -> str:
    """Return the message for a scale that is too high; raise if no lower one stayed finite."""
    where = (
        f"guided values overflow at scale {scale:g}, at step {step} of {steps} (noise level "
        f"{error.sigma:.3g})"
    )
    if not rows:
        raise Failure(f"{where}.", "Sweep lower scales, or leave --guide-plain out.") from error
    return f"{where}; it and higher scales are left out, {rows[-1].scale:g} held"


def parse_scales(text: str) -> list[float]:
    """Parse distinct finite scales, in ascending order."""
    try:
        scales = sorted({float(part) for part in text.split(",")})
    except ValueError:
        scales = []
    if not scales or not all(math.isfinite(scale) for scale in scales):
        raise BadInput(f"scales {text!r} are not numbers.", "Write for example 0,1,3,10,30.")
    if len(scales) > _SCALES:
        raise LimitExceeded(
            f"{counted(len(scales), 'scale')}; at most {_SCALES} are generated.", "Take fewer."
        )
    return scales


def shape_of(rows: Sequence[SweepRow]) -> str:
    """Describe the metrics over the scales, given their intervals, next to the paper's."""
    unguided = [row for row in rows if row.scale == 0]
    guided = [row for row in rows if row.scale > 0]
    if not unguided or not guided:
        return "no comparison: sweep scale 0 and at least one above it"
    first, best = unguided[0], max(guided, key=lambda row: (row.share, -row.scale))
    others = [_change("precision", first, best), _change("recall", first, best)]
    return (
        f"{_course(first, guided)}; at the best scale {best.scale:g}: "
        f"{_change('share', first, best)}, {', '.join(others)}; {_PAPER}"
    )


def _course(first: SweepRow, guided: Sequence[SweepRow]) -> str:
    """Describe the Frechet distance over the scales, using only significant differences."""
    nearer, farther = (
        [
            row
            for row in guided
            if _differ("frechet", first, row) and (row.frechet < first.frechet) is near
        ]
        for near in (True, False)
    )
    begin = f"{first.frechet:.2f} at 0"
    if not nearer and not farther:
        last = max(guided, key=lambda row: abs(row.frechet - first.frechet))
        return (
            f"Frechet distance {begin}, {last.frechet:.2f} at {last.scale:g}: no difference beyond "
            f"the intervals (±{first.frechet_margin:.2f}, ±{last.frechet_margin:.2f}), which more "
            "images narrow"
        )
    nearest = min(guided, key=lambda row: row.frechet)
    ends = {row.scale: f"{row.frechet:.2f} at {row.scale:g}" for row in (nearest, guided[-1])}
    way = f"{begin} -> {', '.join(ends.values())}"
    if not nearer:
        every = "every scale" if len(farther) == len(guided) else f"{farther[0].scale:g} and above"
        return f"farther from real images at {every}: {way}"
    before = [row for row in farther if row.scale < nearest.scale]
    if before:
        return (
            f"weak guidance moves away from real images at scale {before[0].scale:g} "
            f"({first.frechet:.2f} -> {before[0].frechet:.2f}) and nearer at {nearest.scale:g} "
            f"({nearest.frechet:.2f})"
        )
    return f"no dip: nearest to real images at scale {nearest.scale:g}: {way}"


def _differ(name: str, one: SweepRow, other: SweepRow) -> bool:
    """Whether a metric differs by more than its 95 % intervals explain."""
    apart: float = abs(getattr(one, name) - getattr(other, name))
    return apart > math.hypot(getattr(one, f"{name}_margin"), getattr(other, f"{name}_margin"))


def _change(name: str, first: SweepRow, other: SweepRow) -> str:
    words = f"{_CALLED.get(name, name)} {getattr(first, name):.2f} -> {getattr(other, name):.2f}"
    return words if _differ(name, first, other) else f"{words} (within the intervals)"


_CALLED = {"share": "requested class"}


def run_invert(request: Invert, monitor: Monitor) -> Inversion:
    """Optimize an input, or invert an image; write images, a film strip, and all losses."""
    from ..generation.invert import parse_target
    from ..library.inversion import carry_out, check
    from ..library.pipeline import Pipeline

    aim = parse_target(request.to)
    check(request, aim)
    start = None if request.start is None else read_image(request.start)
    provenance.require_folder(request.out)
    found = carry_out(
        request, aim, start, lambda: Pipeline(request.model, device=request.device), monitor
    )
    letters = "".join(c if c.isalnum() else " " for c in request.to)
    slug = Path(request.to).stem if aim.aim == "image" else "-".join(letters.split())
    return found.save(request.out, f"{request.space}-{slug[:40]}-{request.seed}").report
