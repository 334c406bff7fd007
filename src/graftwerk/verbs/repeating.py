"""Where a picture cannot be repeated because what steered it is another thing now."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..contracts import Monitor
from ..errors import WrongBase
from ..requests import Generate


@dataclass(frozen=True, slots=True)
class Steering:
    """Options of one kind that steered a picture.

    Attributes:
        option: its name.
        with_it: begin of the names of all options that change what it means.
        entries: as the picture's request has them.
        was: fingerprint of each.
        now: the same today.
    """

    option: str
    with_it: tuple[str, ...]
    entries: Sequence[str]
    was: Sequence[str]
    now: Sequence[str]


def refuse_other(request: Generate, origin: str, steering: Steering, monitor: Monitor) -> None:
    """Say that something which steered a picture is another one now.

    Args:
        request: what was given beside `--from`.
        origin: the picture to repeat.
        steering: what steered it.
        monitor: told where the caller asked for it.

    Raises:
        WrongBase: the caller did not name the present one.
    """
    if tuple(steering.was) == tuple(steering.now):
        return
    if any(field.startswith(steering.with_it) for field in request.model_fields_set):
        monitor.note(f"--{steering.option} is another than the picture's: the repeat will differ")
        return
    pairs = zip(steering.entries, steering.was, steering.now, strict=True)
    entry, was, now = next(pair for pair in pairs if pair[1] != pair[2])
    raise WrongBase(
        origin,
        made_on=f"--{steering.option} {entry} ({was[:12]})",
        received=f"what lies there now ({now[:12]})",
        hint=f"To draw it with the present one, say --{steering.option} {entry}",
    )
