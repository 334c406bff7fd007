"""`graft generate`: images from a prompt, or the repetition of a generated image."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.images import write_image
from ..errors import BadFile, Cancelled, WrongBase
from ..generation.grid import Once, parse_grid
from ..generation.provenance import (
    LOCATIONS,
    Record,
    Steering,
    read_record,
    refuse_other,
    require_folder,
    started,
    write_png,
)
from ..generation.results import Generation, GridCell, ImageReport
from ..generation.spec import GenerationSpec, options_of
from ..generation.validate import validate
from ..requests.base import require_effect
from ..requests.generate import NEEDS, Generate
from ..types import Monitor

if TYPE_CHECKING:
    from ..diffusion.sampling import ImageArray
    from ..generation.job import Group, Job
    from ..library.pipeline import Pipeline


def run_generate(request: Generate, monitor: Monitor) -> Generation:
    """Generate images; each is written as soon as its batch is done."""
    begin = time.perf_counter()
    record = None if request.from_ is None else read_record(request.from_)
    requested = request if record is None else _repeated(request, record)
    varied = [axis.name for axis in parse_grid(requested.grid).axes] if requested.grid else []
    require_effect(requested, NEEDS, {*request.model_fields_set, *varied}, varied)
    spec = validate(requested, from_record=record is not None)
    for folder in (requested.out, requested.previews):
        if folder is not None:
            require_folder(folder)

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
    pictures, images = _generate(job, groups, request.from_, monitor)
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
    job: "Job", groups: "list[Group]", origin: Path | None, monitor: Monitor
) -> "tuple[list[ImageReport], list[ImageArray]]":
    pictures, images = [], []
    try:
        for report, image in _draw_and_write(job, groups, origin, monitor):
            pictures.append(report)
            images.append(image)
    except Cancelled:
        monitor.note(f"{len(pictures)} finished images are in {job.request.out}")
        raise
    return pictures, images


def _beside(images: "list[ImageArray]", free: "list[ImageArray]") -> "ImageArray":
    """Return a contact sheet of controlled images, and below them the first without control."""
    from ..metrics.plots import image_sheet

    columns = len(free)
    blank = [images[0].point(lambda _: 255)] * (-len(images) % columns)
    rows = (len(images) + len(blank)) // columns
    left = ["controlled", *[""] * (rows - 1), "without"]
    return image_sheet([*images, *blank, *free], columns, left=left, gap=4)


def _grid(
    pipe: "Pipeline",
    spec: GenerationSpec,
    request: Generate,
    record: Record | None,
    monitor: Monitor,
) -> Generation:
    from ..diffusion.sampling import contact_sheet
    from ..metrics.plots import image_sheet

    begin, once, start = time.perf_counter(), Once(monitor), spec.options.start
    grid = parse_grid(spec.request.grid)
    requests = grid.cells(spec.request)
    init, mask = (None, None) if start is None else (start.image, start.mask)
    regions = spec.options.regions
    # validate all cells first
    options = [options_of(cell, init, mask, regions) for _, cell in requests]
    cells, tiles, pictures, steps, sampled = [], [], [], 0, 0.0
    for (values, _), option in zip(requests, options, strict=True):
        job = pipe.prepare(option, once, literal=_says(request, record))
        if record is not None:
            _check_same(request, record, job, once)
        groups, drawing = _groups(request, record, job), time.perf_counter()
        reports, made = _generate(job, groups, None, once)
        sampled += time.perf_counter() - drawing
        steps += job.steps * sum(len(group.numbers) for group in groups)
        pictures += reports
        tiles.append(made[0] if len(made) == 1 else contact_sheet(made))
        cells.append(_cell(values, reports))
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


def _draw_and_write(
    job: "Job", groups: "list[Group]", origin: Path | None, monitor: Monitor
) -> "Iterator[tuple[ImageReport, ImageArray]]":
    for made in job.run(groups, monitor):
        path = job.request.out / f"{job.stem}-{made.number:03d}.png"
        if origin is not None and path.exists() and path.samefile(origin):
            path = path.with_stem(f"{path.stem}-again")  # never overwrite the original
        record = Record(
            request=job.request,
            fingerprint=job.model.fingerprint,
            number=made.number,
            together=tuple(made.group.numbers),
            surroundings=job.environment,
            loras=job.loras,
            guides=job.prints,
            controls=job.controls.fingerprints,
            inits=job.inits,
            regions=job.regions,
            weaker=job.weaker,
        )
        write_png(path, made.image, record)
        yield job.image_report(made, str(path)), made.image


def _repeated(request: Generate, record: Record) -> Generate:
    given = request.model_dump(include=request.model_fields_set - {"from_"})
    recorded = record.request.model_dump(exclude=set(LOCATIONS))
    return Generate.model_validate(recorded | {"best_of": 1} | given)


def _says(request: Generate, record: Record | None) -> bool:
    """Whether the prompt is a record's, which holds what the model was given."""
    return record is not None and "prompt" not in request.model_fields_set


def _check_same(request: Generate, record: Record, job: "Job", monitor: Monitor) -> None:
    """Report why the repetition may differ from the image."""
    was, controls = record.request, job.controls.fingerprints
    for steering in (
        Steering("lora", ("lora",), was.lora, record.loras, job.loras),
        Steering("guide", ("guide",), was.guide, record.guides, job.prints),
        Steering(
            "control", ("control", "branch", "estimator"), was.control, record.controls, controls
        ),
        Steering("init", ("init", "inpaint"), started(was), record.inits, job.inits),
        Steering("region", ("region",), was.region, record.regions, job.regions),
        Steering("autoguide", ("autoguide",), was.autoguide, record.weaker, job.weaker),
    ):
        refuse_other(request, str(request.from_), steering, monitor)
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


def _groups(request: Generate, record: Record | None, job: "Job") -> "list[Group]":
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
