"""A handful of pictures with captions: what a diffusion model is taught from."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded
from ..search.readers import is_image_path, opening, read_image
from .picture_table import CAPTIONS, METADATA, Row, read_tables

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_NAMED = 5  # pictures that an error lists


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures that were read.

    Attributes:
        pictures: in RGB.
        captions: of each.
        paths: of each.
        conditions: file of each one's condition, where a table names it.
        left_out: files that could not be read, and why.
    """

    pictures: "tuple[Image, ...]"
    captions: tuple[str, ...]
    paths: tuple[Path, ...]
    conditions: tuple[Path | None, ...]
    left_out: Mapping[str, str]


def read_captioned(folder: Path, caption: str | None) -> Shown:
    """Read the pictures of a folder with their captions; what cannot be read is left out.

    Captions come from a `metadata.jsonl` beside the pictures (ImageFolder: `file_name` and one of
    `caption`, `text`, `prompt`), or from `NAME.txt` beside `NAME.png`, or are `caption` for all.

    Raises:
        BadInput: no picture, no caption for some of them, or a folder that is none.
        BadFile: a row of a table names a file that is not there, or has no caption.
        LimitExceeded: too many pictures.
    """
    if not folder.is_dir():
        raise BadFile(f"{folder} is not a folder.", "Name a folder of pictures.")
    rows = read_tables(folder)
    maps = {row.condition for row in rows.values()}
    found = [path for path in _pictures(folder) if path not in maps]
    if len(found) > limits.TAUGHT_PICTURES:
        raise LimitExceeded(
            f"{folder} has {len(found):,} pictures; at most {limits.TAUGHT_PICTURES:,} are read.",
            "Choose some of them.",
        )
    captions = _captions(found, rows, caption)
    pictures, kept, left_out = [], [], {}
    for path in found:
        try:
            pictures.append(read_image(str(path)))
            kept.append(path)
        except BadInput as error:
            left_out[str(path.relative_to(folder))] = error.message
    if not kept:
        first = f" The first: {next(iter(left_out.values()))}" if left_out else ""
        raise BadInput(
            f"{folder} holds no picture that can be read.{first}",
            "Name a folder with .png, .jpg or .webp files.",
        )
    conditions = tuple(rows[path].condition if path in rows else None for path in kept)
    texts = tuple(captions[path] for path in kept)
    return Shown(tuple(pictures), texts, tuple(kept), conditions, left_out)


def _pictures(folder: Path) -> Iterator[Path]:
    """Every picture below a folder, in a fixed order; the maps of a rendered world are none."""
    for place, inner, names in os.walk(folder):
        rendered = (Path(place) / "scenes").is_dir() and (Path(place) / "train").is_dir()
        inner[:] = sorted(
            n for n in inner if not n.startswith(".") and not (rendered and n == "conditions")
        )
        for name in sorted(names):
            if is_image_path(name) and not name.startswith("."):
                yield Path(place) / name


def _captions(paths: list[Path], rows: Mapping[Path, Row], caption: str | None) -> dict[Path, str]:
    if caption is not None:
        return dict.fromkeys(paths, caption.strip())
    found = {}
    for path in paths:
        text, beside = None, path.with_suffix(".txt")
        if path in rows:
            text = _caption_in(rows[path])
        elif beside.is_file():
            text = opening.decode(opening.read_bytes(str(beside), limits.TEXT_FILE), beside.name)
        if text is not None and text.strip():
            found[path] = " ".join(text.split())
    without = [path.name for path in paths if path not in found]
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        raise BadInput(
            f"{len(without)} of {len(paths)} pictures have no caption: "
            f"{', '.join(without[:_NAMED])}{more}.",
            f"Write NAME.txt beside NAME.png, a {METADATA}, or give one caption for all with "
            "--caption.",
        )
    return found


def _caption_in(row: Row) -> str:
    if row.caption is None:
        raise BadFile(
            f"{row.place} has no caption.",
            f"Columns: file_name and one of {', '.join(CAPTIONS)}; or give --caption.",
        )
    return row.caption


def as_squares(pictures: "tuple[Image, ...]", width: int, height: int) -> "Tensor":
    """The middles of pictures, scaled to one size: [n 3 height width], values 0 to 1."""
    import numpy as np
    from PIL import Image, ImageOps

    from ..frozen.diffusion.latents import values_of

    rows = [
        np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))
        for picture in pictures
    ]
    return values_of(np.stack(rows))
