"""`graft guide sweep`: what the scale of a guide buys, and what it costs."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..contracts import Monitor
from ..errors import BadInput, Failure, LimitExceeded
from ..reports import GuideSweepReport, SweepRow
from ..requests import GuideSweep
from .picture_record import require_folder, write_image

if TYPE_CHECKING:
    from ..steer.gradient import Overflowed

_SCALES, _SHOWN = 50, 36


# ADM, table 4: unconditional and unguided, at scale 1, at scale 10.
_PAPER = (
    "the paper has Frechet distance 26.21 -> 33.03 -> 12.00, precision 0.61 -> 0.76, recall "
    "0.63 -> 0.44"
)


def run(request: GuideSweep, monitor: Monitor) -> GuideSweepReport:
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
    from ..diffuse.pictures import contact_sheet
    from ..steer.gradient import Overflowed
    from .curves import draw_sweep
    from .sweeping import open_ground

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
    write_image(curves, draw_sweep(rows, ground.real))
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
