"""A handful of pictures with captions: what a diffusion model is taught from."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, limits
from ..errors import BadFile, BadInput, LimitExceeded
from ..search.readers import is_image_path, opening, read_image

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_METADATA = "metadata.jsonl"
_COLUMNS = ("caption", "text", "prompt")
_NAMED = 5  # pictures that an error lists


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures that were read.

    Attributes:
        pictures: in RGB.
        captions: of each.
        paths: of each.
        left_out: files that could not be read, and why.
    """

    pictures: "tuple[Image, ...]"
    captions: tuple[str, ...]
    paths: tuple[Path, ...]
    left_out: Mapping[str, str]


def read_captioned(folder: Path, caption: str | None) -> Shown:
    """Read the pictures of a folder with their captions; what cannot be read is left out.

    Captions come from a `metadata.jsonl` beside the pictures (ImageFolder: `file_name` and one of
    `caption`, `text`, `prompt`), or from `NAME.txt` beside `NAME.png`, or are `caption` for all.

    Raises:
        BadInput: no picture, no caption for some of them, or a folder that is none.
        LimitExceeded: too many pictures.
    """
    if not folder.is_dir():
        raise BadFile(f"{folder} is not a folder.", "Name a folder of pictures.")
    found = list(_pictures(folder))
    if len(found) > limits.TAUGHT_PICTURES:
        raise LimitExceeded(
            f"{folder} has {len(found):,} pictures; at most {limits.TAUGHT_PICTURES:,} are read.",
            "Choose some of them.",
        )
    captions = _captions(found, caption)
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
    return Shown(tuple(pictures), tuple(captions[path] for path in kept), tuple(kept), left_out)


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


def _captions(paths: list[Path], caption: str | None) -> dict[Path, str]:
    if caption is not None:
        return dict.fromkeys(paths, caption.strip())
    tables = {folder: _read_table(folder / _METADATA) for folder in {p.parent for p in paths}}
    found = {}
    for path in paths:
        text = tables[path.parent].get(path.name)
        beside = path.with_suffix(".txt")
        if text is None and beside.is_file():
            text = opening.decode(opening.read_bytes(str(beside), limits.TEXT_FILE), beside.name)
        if text is not None and text.strip():
            found[path] = " ".join(text.split())
    without = [path.name for path in paths if path not in found]
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        raise BadInput(
            f"{len(without)} of {len(paths)} pictures have no caption: "
            f"{', '.join(without[:_NAMED])}{more}.",
            f"Write NAME.txt beside NAME.png, a {_METADATA}, or give one caption for all with "
            "--caption.",
        )
    return found


def _read_table(path: Path) -> dict[str, str]:
    """Captions by the names of files; nothing where there is no table."""
    if not path.is_file():
        return {}
    found = {}
    for number, row in enumerate(files.read_json_lines(path), 1):
        name, caption = row.get("file_name"), _caption_of(row)
        if not isinstance(name, str) or caption is None:
            raise BadFile(
                f"line {number} of {path} has no file_name with a caption.",
                f"Columns: file_name and one of {', '.join(_COLUMNS)}.",
            )
        found[name] = caption
    return found


def _caption_of(row: Mapping[str, Any]) -> str | None:
    values = (row.get(column) for column in _COLUMNS)
    return next((value for value in values if isinstance(value, str)), None)


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
