"""The eight conditions: exact ones of scenes, detection in images, and fidelity.

`CONDITIONS["canny"].from_image(image)`; see `conditions.base.Condition`.
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
    """Return the condition with this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in CONDITIONS:
        raise UnknownName("condition", name, CONDITIONS)
    return CONDITIONS[name]
