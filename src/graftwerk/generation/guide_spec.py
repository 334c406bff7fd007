"""Parse `--guide KIND=WHAT:SCALE`."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from ..data.images import OpenedImage, open_image
from ..errors import BadInput, UnknownName

Aim = Literal["class", "text", "image"]
AIMS: tuple[Aim, ...] = ("class", "text", "image")
_EXAMPLE = 'Write class=cone:8, "class=red cube:10" or image=ref.png:30.'


@dataclass(frozen=True, slots=True)
class Guide:
    """One `--guide`, as written.

    Attributes:
        what: class, sentence or path of an image.
        image: decoded image of `image=`; None until it is read.
    """

    aim: Aim
    what: str
    scale: float
    image: OpenedImage | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.aim}={self.what}"


def parse_guide(entry: str) -> Guide:
    """Parse one `KIND=WHAT:SCALE`.

    Raises:
        BadInput: it has another form, or the scale is not a finite number.
    """
    aim, equals, rest = entry.partition("=")
    what, colon, number = rest.rpartition(":")
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not equals or not colon or not what.strip() or not math.isfinite(scale):
        raise BadInput(f"--guide {entry!r} is not KIND=WHAT:SCALE with a finite scale.", _EXAMPLE)
    for known in AIMS:
        if aim.strip() == known:
            return Guide(known, what.strip(), scale)
    raise UnknownName("kind of guide", aim, AIMS)


def read_guide(guide: Guide) -> Guide:
    """Decode the image of an `image=` guide; return other guides as they are.

    Raises:
        BadFile: it cannot be read.
    """
    if guide.aim != "image" or guide.image is not None:
        return guide
    return replace(guide, image=open_image(guide.what))
