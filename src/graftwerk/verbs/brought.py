"""Pictures and conditions as a user brings them: what branches are trained on."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL.Image import Image

from ..adapt.captioned import Shown
from ..adapt.picture_table import CONDITION, METADATA
from ..conditions import Condition
from ..contracts import Monitor
from ..control.stored import Raw, StoredPairs, is_empty
from ..errors import BadInput
from ..search.readers import read_image

_SLANT = 0.02  # by which the sides of a condition and its picture may be in another proportion
_NAMED = 5  # files that an error lists


def raw_pairs(conditions: Path | None, shown: Shown, condition: Condition) -> Raw:
    """Captioned pictures with their conditions: brought, or to be made.

    Args:
        conditions: folder of finished conditions; None: a column of the table, or they are made.
        shown: the pictures.
        condition: what is made where nothing is brought.

    Raises:
        BadInput: some pictures have no condition, or one that is none of this kind.
    """
    paths = _brought(conditions, shown)
    maps = None
    if paths is not None:
        maps = [
            _map_in(path, condition, picture.size)
            for path, picture in zip(paths, shown.pictures, strict=True)
        ]
    return Raw(
        pictures=shown.pictures,
        captions=shown.captions,
        maps=maps,
        draw=None if maps is not None else condition.from_picture,
        identity=condition.name if maps is None else "brought",
    )


def _brought(conditions: Path | None, shown: Shown) -> list[Path] | None:
    """Files of the conditions that the user brings; None: none are brought.

    Raises:
        BadInput: some pictures have none, or the name of another one.
    """
    pictures = shown.paths
    chosen: list[Path | None]
    if conditions is not None:
        twice = [name for name, count in Counter(one.stem for one in pictures).items() if count > 1]
        if twice:
            raise BadInput(
                f"several pictures have the same name ({', '.join(twice[:_NAMED])}), by which "
                f"conditions in {conditions} are found.",
                f"Name each one's condition in the column {CONDITION} of {METADATA}.",
            )
        found = {path.stem: path for path in sorted(conditions.glob("*")) if path.is_file()}
        chosen = [found.get(path.stem) for path in pictures]
        where = str(conditions)
    else:
        if not any(shown.conditions):
            return None
        chosen = list(shown.conditions)
        where = f"the column {CONDITION} of {METADATA}"
    missing = [
        path.name for path, condition in zip(pictures, chosen, strict=True) if condition is None
    ]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise BadInput(
            f"{len(missing)} of {len(pictures)} pictures have no condition in {where}: "
            f"{', '.join(missing[:_NAMED])}{more}.",
            "Bring one for each picture, of the same name, or none to have them made.",
        )
    return [condition for condition in chosen if condition is not None]


def _map_in(path: Path, condition: Condition, size: tuple[int, int]) -> Image:
    """A finished condition, of the same shape as its picture; it may be of one colour.

    Raises:
        BadInput: it is of another kind or shape; it is named.
    """
    found = read_image(str(path)).convert("RGB")
    pixels = np.asarray(found)
    if not is_empty(pixels[None])[0]:
        condition.check_map(pixels, str(path))
    if abs(found.width * size[1] - found.height * size[0]) > _SLANT * size[0] * size[1]:
        raise BadInput(
            f"{path} has {found.width} x {found.height} pixels, its picture {size[0]} x {size[1]}.",
            "Bring conditions of the shape of their pictures.",
        )
    return found


def require_drawn(pairs: StoredPairs, condition: Condition, monitor: Monitor) -> None:
    """Say how many conditions are of one colour.

    Raises:
        BadInput: all of them are.
    """
    empty, total = pairs.empty_maps(), len(pairs)
    if empty == total:
        raise BadInput(
            f"all {total:,} {condition.name} conditions are empty, each of one colour.",
            "Bring pictures in which there is something to follow, or another --condition.",
        )
    if empty:
        monitor.note(
            f"{empty:,} of {total:,} {condition.name} conditions are empty; they teach nothing"
        )
