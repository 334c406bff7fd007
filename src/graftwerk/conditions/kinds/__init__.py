"""Eight conditions of images: made exactly from scenes, read out of images, measured.

`CONDITIONS["canny"].from_picture(image)`; see `condition.Condition`.
"""

from collections.abc import Mapping

from ...errors import UnknownName
from ..base import Condition, Fidelity
from . import canny, depth, hough, lineart, normals, pose, scribble, segmentation

__all__ = ["CONDITIONS", "Condition", "Fidelity", "condition_named"]

CONDITIONS: Mapping[str, Condition] = {
    kind.CONDITION.name: kind.CONDITION
    for kind in (canny, hough, scribble, pose, segmentation, normals, depth, lineart)
}


def condition_named(name: str) -> Condition:
    """The condition of a name.

    Raises:
        UnknownName: there is none of this name.
    """
    if name not in CONDITIONS:
        raise UnknownName("condition", name, CONDITIONS)
    return CONDITIONS[name]
