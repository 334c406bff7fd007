"""Pictures of a request with what they keep of its controls; of several the most faithful."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..contracts import Monitor
from ..diffuse.drawing import draw_batch
from ..diffuse.pictures import Picture, decode
from ..reports import ControlReport, PictureReport
from .controls import kept
from .drawing import Group, Job, draw_groups

Kept = dict[str, float]
_FEW = 4  # pictures that are drawn again to say what reuse costs


def chosen(
    job: Job, groups: Sequence[Group], monitor: Monitor
) -> Iterator[tuple[int, Picture, Group, Kept]]:
    """Draw, read the controls back out of the pictures, and of each `best_of` keep the best.

    Yields:
        Number, picture, group and what is kept, of each picture that is wanted.
    """
    wanted, best_of = job.controls.wanted, job.request.best_of
    measured = [one for one in wanted if not one.asked.masks]
    waiting: list[tuple[int, Picture, Group, Kept, float]] = []
    for number, image, group in draw_groups(job, groups, monitor):
        [(values, score)] = kept(measured, [image]) if measured else [({}, 0.0)]
        waiting.append((number, image, group, values, score))
        if len(waiting) == best_of:
            best = max(waiting, key=lambda one: one[4])
            yield best[:4]
            waiting.clear()


def control_reports(
    job: Job, pictures: Sequence[PictureReport], monitor: Monitor
) -> list[ControlReport]:
    """What all pictures together keep of each control, and what reusing branches costs them."""
    reports = []
    few = pictures[:_FEW]
    anew = _anew(job, [picture.number for picture in few], monitor)
    for one in job.controls.wanted:
        kind = one.asked.kind
        values = [picture.kept[kind] for picture in pictures if kind in picture.kept]
        reports.append(
            ControlReport(
                kind=kind,
                weight=one.asked.weight,
                measure=one.condition.measure,
                value=_mean(values),
                reused=_mean([p.kept[kind] for p in few if kind in p.kept]) if anew else None,
                anew=_mean([found[kind] for found in anew if kind in found]),
            )
        )
    return reports


def _anew(job: Job, numbers: Sequence[int], monitor: Monitor) -> list[Kept]:
    """What a few of the pictures keep where no branch's output is used twice."""
    controls = job.controls.controls
    measured = [one for one in job.controls.wanted if not one.asked.masks]
    if controls is None or controls.reuse == 1 or not measured or not job.request.check:
        return []
    monitor.start(f"drawing {len(numbers)} without reuse", None)
    plan = replace(job.plan, control=replace(controls, reuse=1))
    images = decode(job.model, draw_batch(job.model, plan, numbers))
    return [values for values, _ in kept(measured, images)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
