"""Where a picture cannot be repeated because of what it was controlled by."""

from collections.abc import Sequence

from ..contracts import Monitor
from ..errors import WrongBase
from ..requests import Generate
from .picture_record import Record


def refuse_other_controls(
    request: Generate, record: Record, here: Sequence[str], monitor: Monitor
) -> None:
    """Say that picture, map, mask or branch of a control is another one now.

    Raises:
        WrongBase: the caller did not name the present ones.
    """
    if request.model_fields_set & {"control", "branch"}:
        monitor.note("these are other controls than the picture's: the repeat will differ")
        return
    pairs = zip(record.request.control, record.controls, here, strict=True)
    name, was, now = next(pair for pair in pairs if pair[1] != pair[2])
    raise WrongBase(
        str(request.from_),
        made_on=f"the control {name} ({was[:12]})",
        received=f"what its files and branch are now ({now[:12]})",
        hint=f"To draw it with the present ones, say --control {name}",
    )
