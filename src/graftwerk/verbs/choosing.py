"""Pictures of a request with what they keep of its controls; of several the most faithful."""

from collections.abc import Iterator, Sequence

from ..contracts import Monitor
from ..diffuse.pictures import Picture
from ..errors import BadInput
from ..reports import ControlReport, PictureReport
from .controls import kept
from .drawing import Group, Job, draw_groups

Kept = dict[str, float]


def chosen(
    job: Job, groups: Sequence[Group], monitor: Monitor
) -> Iterator[tuple[int, Picture, Group, Kept]]:
    """Draw, read the controls back out of the pictures, and of each `best_of` keep the best.

    Yields:
        Number, picture, group and what is kept, of each picture that is wanted.

    Raises:
        BadInput: the best is asked for, and there is nothing to measure.
    """
    wanted, best_of = job.controls.wanted, job.request.best_of
    measured = [one for one in wanted if one.asked.mask is None]
    if best_of > 1 and not measured:
        raise BadInput(
            "--best-of keeps the most faithful picture, and there is no control to be faithful to.",
            "Give a --control without a mask.",
        )
    waiting: list[tuple[int, Picture, Group, Kept, float]] = []
    for number, image, group in draw_groups(job, groups, monitor):
        [(values, score)] = kept(measured, [image]) if measured else [({}, 0.0)]
        waiting.append((number, image, group, values, score))
        if len(waiting) == best_of:
            best = max(waiting, key=lambda one: one[4])
            yield best[:4]
            waiting.clear()


def control_reports(job: Job, pictures: Sequence[PictureReport]) -> list[ControlReport]:
    """What all pictures together keep of each control."""
    reports = []
    for one in job.controls.wanted:
        kind = one.asked.kind
        values = [picture.kept[kind] for picture in pictures if kind in picture.kept]
        reports.append(
            ControlReport(
                kind=kind,
                weight=one.asked.weight,
                measure=one.condition.measure,
                value=sum(values) / len(values) if values else None,
            )
        )
    return reports
