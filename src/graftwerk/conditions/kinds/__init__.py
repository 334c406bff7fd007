"""The eight conditions: exact ones of scenes, detection in images, and fidelity.

`CONDITIONS["canny"].from_image(image)`; see `conditions.base.Condition`.
"""

from collections.abc import Mapping

from ...errors import UnknownName
from ..base import Condition, Fidelity
from .canny import CANNY
from .hough import HOUGH
from .maps import DEPTH, NORMALS, SEGMENTATION
from .pose import POSE
from .strokes import LINEART, SCRIBBLE

__all__ = ["CONDITIONS", "Condition", "Fidelity", "condition_named"]

CONDITIONS: Mapping[str, Condition] = {
    kind.name: kind
    for kind in (CANNY, HOUGH, SCRIBBLE, POSE, SEGMENTATION, NORMALS, DEPTH, LINEART)
}


def condition_named(name: str) -> Condition:
    """Return the condition with this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in CONDITIONS:
        raise UnknownName("condition", name, CONDITIONS)
    return CONDITIONS[name]
