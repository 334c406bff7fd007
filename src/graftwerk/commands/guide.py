"""`graft invert`: gradient descent on an input, and a picture back to its noise.

`graft guide sweep`: what the scale of a guide buys, and what it costs.

`graft guide check`: are pictures real ones of a class, or do they only fool a classifier?
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..data.images import read_image, write_image
from ..errors import BadInput, Failure, LimitExceeded, UnknownName
from ..generation.guidance_report import chances_of
from ..generation.provenance import require_folder
from ..generation.results import GuideSweepReport, GuideVerdicts, Inversion, SweepRow
from ..generation.validate import require_class
from ..models.encode_files import real_pictures_in
from ..requests.guide import GuideCheck, GuideSweep, Invert
from ..types import Monitor

if TYPE_CHECKING:
    from ..diffusion.guidance import Overflowed
    from ..generation.invert import Found, Target
    from ..generation.results import PictureVerdict


def run_guide_check(request: GuideCheck, monitor: Monitor) -> GuideVerdicts:
    """Ask the witnesses.

    Raises:
        UnknownName: a class that the guide does not have.
        BadInput: no picture can be read, or what real ones look like is not known.
        WrongBase: the guide reads another latent space.
    """
    began = time.perf_counter()
    from ..data.images import read_image
    from ..diffusion.pipeline import load_diffusion
    from ..generation.authenticity import LIMIT, as_pictures, open_witnesses
    from ..generation.guides import GuideModels, Settings
    from ..models.encode_files import list_pictures

    paths, skipped = list_pictures(request.images)
    for skip in skipped:
        monitor.note(f"{skip.path}: {skip.reason}")
    monitor.start("loading the models")
    model = load_diffusion(request.model, request.device)
    settings = Settings(request.guide_model, tuple(request.guide_labels), "")
    images = [read_image(path) for path in paths]
    if any(image.size != model.size for image in images):
        monitor.note(f"pictures are resized to {model.size[0]} x {model.size[1]} pixels")
    pictures = as_pictures(images, model.size)
    chances = chances_of(GuideModels(settings, model), request.class_, pictures)
    real = None if request.real is None else str(request.real)
    witnesses = open_witnesses(model, real, monitor)
    return GuideVerdicts(
        label=request.class_,
        pictures=witnesses.testify(paths, pictures, request.class_, chances),
        limit=LIMIT,
        real=witnesses.real,
        seconds=time.perf_counter() - began,
    )


_SCALES, _SHOWN = 50, 36


# ADM, table 4: unconditional and unguided, at scale 1, at scale 10.
_PAPER = (
    "the paper has Frechet distance 26.21 -> 33.03 -> 12.00, precision 0.61 -> 0.76, recall "
    "0.63 -> 0.44"
)


def run_guide_sweep(request: GuideSweep, monitor: Monitor) -> GuideSweepReport:
    """Draw every class at every scale from the same noise, and measure.

    Raises:
        UnknownName: a class that the guide does not have.
        WrongBase: the guide reads another latent space.
        BadInput: scales or a model that are not possible.
        Failure: values overflow at the lowest scale.
        NoRoom: the out folder cannot be written.
    """
    began = time.perf_counter()
    scales = parse_scales(request.scales)
    require_folder(request.out)
    from ..diffusion.guidance import Overflowed
    from ..diffusion.sampling import contact_sheet
    from ..generation.guidance_sweep import open_ground, plot_sweep

    ground = open_ground(request, monitor)
    monitor.start("drawing", len(scales) * request.count)
    rows: list[SweepRow] = []
    overflow = None
    for scale in scales:
        try:
            images, pictures = ground.draw(scale, monitor)
        except Overflowed as error:
            overflow = _told(error, scale, ground.step_of(error.sigma), request.steps, rows)
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


def _told(
    error: "Overflowed", scale: float, step: int, steps: int, rows: Sequence[SweepRow]
) -> str:
    """What is said of a scale that is too high; the error where none below it held.

    Raises:
        Failure: there is nothing to show.
    """
    where = (
        f"guided values overflow at scale {scale:g}, at step {step} of {steps} (noise level "
        f"{error.sigma:.3g})"
    )
    if not rows:
        raise Failure(f"{where}.", "Sweep lower scales, or leave --guide-plain out.") from error
    return f"{where}; it and higher scales are left out, {rows[-1].scale:g} held"


def parse_scales(text: str) -> list[float]:
    """Different finite scales, rising.

    Raises:
        BadInput: something else is written.
        LimitExceeded: there are too many.
    """
    try:
        scales = sorted({float(part) for part in text.split(",")})
    except ValueError:
        scales = []
    if not scales or not all(math.isfinite(scale) for scale in scales):
        raise BadInput(f"scales {text!r} are not numbers.", "Write for example 0,1,3,10,30.")
    if len(scales) > _SCALES:
        raise LimitExceeded(f"{len(scales)} scales; at most {_SCALES} are drawn.", "Take fewer.")
    return scales


def shape_of(rows: Sequence[SweepRow]) -> str:
    """The course of the figures in a sentence, beside the paper's."""
    unguided = [row for row in rows if row.scale == 0]
    guided = [row for row in rows if row.scale > 0]
    if not unguided or not guided:
        return "no comparison: sweep scale 0 and at least one above it"
    first, worst = unguided[0], max(guided, key=lambda row: row.frechet)
    best = max(guided, key=lambda row: (row.share, -row.scale))
    nearest = min(guided, key=lambda row: row.frechet)
    weak = [row for row in guided if row.scale < nearest.scale and row.frechet > first.frechet]
    if nearest.frechet > first.frechet:
        course = (
            f"farther from real pictures at every scale: {first.frechet:.2f} -> "
            f"{nearest.frechet:.2f} at {nearest.scale:g}, {worst.frechet:.2f} at {worst.scale:g}"
        )
    elif weak:
        course = (
            f"weak guidance moves away from real pictures at scale {weak[0].scale:g} "
            f"({first.frechet:.2f} -> {weak[0].frechet:.2f}) and nearer at {nearest.scale:g} "
            f"({nearest.frechet:.2f})"
        )
    else:
        course = (
            f"no dip: nearest to real pictures at scale {nearest.scale:g} ({first.frechet:.2f} -> "
            f"{nearest.frechet:.2f}), farthest at {worst.scale:g} ({worst.frechet:.2f})"
        )
    return (
        f"{course}; at the best scale {best.scale:g} the class is there in {best.share:.2f} "
        f"instead of {first.share:.2f}, precision {first.precision:.2f} -> {best.precision:.2f}, "
        f"recall {first.recall:.2f} -> {best.recall:.2f}; {_PAPER}"
    )


_STEPS, _STEPS_AND_BACK = 50, 10  # of the sampler: forth alone, and with a way back through it


def run_invert(request: Invert, monitor: Monitor) -> Inversion:
    """Descend, or invert a picture; write pictures, a film strip, and every step's loss.

    Raises:
        UnknownName: a class that the classifier does not have.
        WrongBase: the classifier reads another latent space.
        BadInput: a target, start or model that is not possible, or a loss that is not finite.
        NoRoom: the out folder cannot be written.
    """
    began = time.perf_counter()
    _check(request)
    require_folder(request.out)
    from ..diffusion.pipeline import load_diffusion
    from ..generation.invert import descend_to, invert_picture, open_target

    monitor.start("loading the models")
    model = load_diffusion(request.model, request.device)
    target = open_target(request, model)
    exact = request.space == "noise" and target.picture is not None
    if exact:
        found = invert_picture(model, target, request.sampling_steps or _STEPS, monitor)
    else:
        steps = request.sampling_steps or _STEPS_AND_BACK
        found = descend_to(request, model, target, steps, monitor)
        if request.space == "latent" and target.latent_loss is not None:
            monitor.note(
                "the loss is of the latents that were moved, the witnesses read the picture that "
                "was decoded from them: what only the latents held is lost between the two"
            )
    return _write(request, target, found, monitor, began)


def _check(request: Invert) -> None:
    """Refuse what can be refused before a network is loaded."""
    aim, equals, what = request.to.partition("=")
    if not equals or Path(request.to).exists():
        read_image(request.to)
        if request.space == "noise":
            _refuse_unused(request)
    elif aim not in {"class", "text"} or not what.strip():
        raise UnknownName("target", aim, ["class", "text"])
    elif aim == "class":
        require_class(what.strip(), request.guide_model, request.guide_labels)
    if request.space != "noise" and request.sampling_steps is not None:
        raise BadInput(
            f"--space {request.space} goes through no sampler, so --sampling-steps is of no use.",
            "Leave it out, or choose --space noise.",
        )
    if request.real is not None:
        real_pictures_in(str(request.real))
    if request.start is not None:
        if request.space == "noise":
            raise BadInput(
                "a descent on noise begins from noise.",
                "Leave --start out, or choose --space latent.",
            )
        read_image(request.start)


def _refuse_unused(request: Invert) -> None:
    given = [
        name for name in ("steps", "rate", "start", "count") if name in request.model_fields_set
    ]
    if given:
        raise BadInput(
            f"the noise of a picture is found by DDIM inversion, which takes no --{given[0]}.",
            "Set --sampling-steps, or choose --space latent.",
        )


def _write(
    request: Invert, target: "Target", found: "Found", monitor: Monitor, began: float
) -> Inversion:
    from ..diffusion.sampling import film_strip

    stem = f"{request.space}-{target.slug}-{request.seed}"
    paths = [request.out / f"{stem}-{number:03d}.png" for number in range(len(found.pictures))]
    for path, picture in zip(paths, found.pictures, strict=True):
        write_image(path, picture)
    film = request.out / f"{stem}-film.png"
    write_image(film, film_strip(found.film))
    losses = request.out / f"{stem}-losses.json"
    files.write_json(losses, {"to": request.to, "space": request.space, "losses": found.losses})
    return Inversion(
        to=request.to,
        space=request.space,
        pictures=[str(path) for path in paths],
        film=str(film),
        losses_file=str(losses),
        losses=found.losses,
        psnr_db=found.psnr_db,
        psnr_db_of_decoder=found.psnr_db_of_decoder,
        verdicts=_verdicts(request, target, found, [str(path) for path in paths], monitor),
        seconds=time.perf_counter() - began,
    )


def _verdicts(
    request: Invert, target: "Target", found: "Found", paths: list[str], monitor: Monitor
) -> "list[PictureVerdict]":
    from ..generation.authenticity import as_pictures, can_testify, open_witnesses

    real = None if request.real is None else str(request.real)
    if not can_testify(target.model, real):
        monitor.note("no verdict: name a folder of real pictures with --real")
        return []
    witnesses = open_witnesses(target.model, real, monitor)
    pictures = as_pictures(found.pictures, target.model.size)
    chances = chances_of(target.models, target.label, pictures)
    return witnesses.testify(paths, pictures, target.label, chances)
