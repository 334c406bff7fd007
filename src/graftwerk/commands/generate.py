"""`graft generate`: a prompt to pictures, or a picture to its repeat."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.images import write_image
from ..errors import BadFile, Cancelled, WrongBase
from ..generation.guide_spec import parse_guide
from ..generation.provenance import (
    PLACES,
    Record,
    Steering,
    read_record,
    refuse_other,
    require_folder,
    write_picture,
)
from ..generation.results import Generation, PictureReport
from ..generation.validate import check
from ..models.hub import require_reachable
from ..requests.generate import Generate
from ..types import Monitor

if TYPE_CHECKING:
    from ..diffusion.sampling import Picture
    from ..generation.job import Group, Job
    from ..generation.results import PictureVerdict


def run_generate(request: Generate, monitor: Monitor) -> Generation:
    """Draw pictures; each is written as soon as its batch is done.

    Raises:
        BadInput: a sampler, size, step count or model that is not possible, or a picture to
            repeat that holds no request; most of it is told before a network is loaded.
        WrongBase: the model of the picture to repeat is another one now.
        Damaged: a weight file is cut short.
        NoRoom: the out folder cannot be written.
        Cancelled: the monitor stopped it; finished pictures are kept.
    """
    begin = time.perf_counter()
    record = None if request.from_ is None else read_record(request.from_)
    wanted = request if record is None else _repeated(request, record)
    check(wanted)
    for folder in (wanted.out, wanted.previews):
        if folder is not None:
            require_folder(folder)

    from ..diffusion.sampling import contact_sheet
    from ..generation.job import control_reports, open_job

    job = open_job(wanted, monitor)
    if record is not None:
        _check_same(request, record, job, monitor)
    groups = _groups(request, record, job)
    drawing = time.perf_counter()
    pictures, images = [], []
    try:
        for report, image in _draw_and_write(job, groups, request.from_, monitor):
            pictures.append(report)
            images.append(image)
    except Cancelled:
        monitor.note(f"{len(pictures)} finished pictures are in {wanted.out}")
        raise
    seconds = time.perf_counter() - drawing
    sheet = wanted.out / f"{job.stem}-sheet.png" if len(images) > 1 else None
    if sheet is not None:
        write_image(sheet, contact_sheet(images))
    return Generation(
        prompt=wanted.prompt,
        cut=job.cut,
        pictures=pictures,
        sheet=None if sheet is None else str(sheet),
        model=wanted.model,
        fingerprint=job.model.fingerprint,
        sampler=wanted.sampler,
        steps=job.steps,
        width=job.width,
        height=job.height,
        steps_per_second=job.steps * sum(len(group.numbers) for group in groups) / seconds,
        seconds=time.perf_counter() - begin,
        guides=[] if job.guides is None else job.pulls.reports(job.guides.steer.terms),
        fights=job.pulls.fights(),
        verdicts=_verdicts(job, [picture.path for picture in pictures], images, monitor),
        converted=dict(job.controls.notes.counts),
        controls=control_reports(job, pictures, monitor),
    )


def _verdicts(
    job: "Job", paths: list[str], images: "list[Picture]", monitor: Monitor
) -> "list[PictureVerdict]":
    """What witnesses say of guided pictures; nothing where real ones are not known."""
    if job.guides is None or job.guides.steer.is_zero or not job.request.check:
        return []
    from ..generation.guidance_report import verdicts_on

    return verdicts_on(job.model, job.request, paths, images, monitor)


def _draw_and_write(
    job: "Job", groups: "list[Group]", origin: Path | None, monitor: Monitor
) -> "Iterator[tuple[PictureReport, Picture]]":
    from ..diffusion.sampling import picture_seed
    from ..generation.job import chosen

    for number, image, group, kept in chosen(job, groups, monitor):
        path = job.request.out / f"{job.stem}-{number:03d}.png"
        if origin is not None and path.exists() and path.samefile(origin):
            path = path.with_stem(f"{path.stem}-again")  # what is repeated is never overwritten
        record = Record(
            request=job.request,
            fingerprint=job.model.fingerprint,
            number=number,
            together=tuple(group.numbers),
            surroundings=job.surroundings,
            loras=job.loras,
            guides=job.prints,
            controls=job.controls.fingerprints,
        )
        write_picture(path, image, record)
        seed = picture_seed(job.request.seed, number)
        yield PictureReport(path=str(path), number=number, seed=seed, kept=kept), image


def _repeated(request: Generate, record: Record) -> Generate:
    """The recorded request, changed by what was given beside `--from`.

    Raises:
        BadFile: it would fetch a model that the caller did not name.
    """
    given = request.model_dump(include=request.model_fields_set - {"from_"})
    recorded = record.request.model_dump(exclude=set(PLACES))
    wanted = Generate.model_validate(recorded | {"best_of": 1} | given)
    aims = {parse_guide(entry).aim for entry in wanted.guide}
    require_reachable(wanted.model, "--model")
    if "class" in aims:
        require_reachable(wanted.guide_model, "--guide-model")
    if aims & {"text", "image"}:
        require_reachable(wanted.guide_encoder, "--guide-encoder")
    return wanted


def _check_same(request: Generate, record: Record, job: "Job", monitor: Monitor) -> None:
    """Say where the repeat cannot equal the picture.

    Raises:
        WrongBase: the model is another one now, and the caller did not name it.
    """
    was, controls = record.request, job.controls.fingerprints
    for steering in (
        Steering("lora", ("lora",), was.lora, record.loras, job.loras),
        Steering("guide", ("guide",), was.guide, record.guides, job.prints),
        Steering("control", ("control", "branch"), was.control, record.controls, controls),
    ):
        refuse_other(request, str(request.from_), steering, monitor)
    made, here = record.fingerprint, job.model.fingerprint
    drawn_on = record.surroundings
    if made != here and "model" not in request.model_fields_set:
        raise WrongBase(
            str(request.from_),
            made_on=f"{record.request.model} ({made[:12]})",
            received=f"the model of that name now ({here[:12]})",
            hint=f"To draw it with the present one, say --model {record.request.model}",
        )
    if made != here:
        monitor.note("this is another model than the picture's: the repeat will differ")
    elif drawn_on != job.surroundings:
        monitor.note(
            f"drawn with PyTorch {drawn_on.torch} on {drawn_on.device} with {drawn_on.threads} "
            "threads: the repeat may differ in its last bits here"
        )


def _groups(request: Generate, record: Record | None, job: "Job") -> "list[Group]":
    """What is drawn together; of a repeat what was drawn together then.

    Raises:
        BadFile: the record's batch is larger than any that is drawn.
    """
    from ..diffusion.sampling import batches, largest_batch
    from ..generation.job import Group

    if record is not None and "count" not in request.model_fields_set:
        most = largest_batch(job.width, job.height)
        if len(record.together) > most:
            raise BadFile(
                f"the request in {request.from_} says that {len(record.together):,} pictures of "
                f"{job.width} x {job.height} pixels were drawn at once (together); at most "
                f"{most:,} are.",
                "Say --count to draw it anew, in batches that the device takes.",
            )
        # the whole batch again, for a batch of another size sums in another order
        return [Group(record.together, [record.number])]
    count = job.request.count * job.request.best_of
    found = batches(count, job.width, job.height, job.model.device)
    return [Group(numbers, numbers) for numbers in found]
