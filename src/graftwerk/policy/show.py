"""Show episodes as a contact sheet or a film."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from .. import files
from ..data.images import write_image
from ..errors import UnknownName
from ..metrics.plots import image_sheet

_SMALLEST = 128  # side of a frame in pixels; smaller ones are enlarged
_MOST = 8  # frames of an episode on a sheet
Frame = UInt8[np.ndarray, "h w 3"]


def require_film(path: Path) -> None:
    """Refuse a file that can be neither a sheet nor a film.

    Raises:
        UnknownName: its ending is another.
    """
    if path.suffix.lower() not in {".png", ".gif"}:
        raise UnknownName("ending of the output file", path.suffix, [".png", ".gif"])


def write_film(path: Path, episodes: Sequence[Sequence[Frame]], fps: float, title: str) -> None:
    """Write episodes: as rows of up to eight frames (.png), or side by side as a film (.gif)."""
    from PIL import Image

    def enlarged(frame: Frame) -> Any:
        image = Image.fromarray(frame)
        times = max(1, -(-_SMALLEST // min(image.size)))
        return image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)

    longest = max(map(len, episodes))
    whole = [[*one, *[one[-1]] * (longest - len(one))] for one in episodes]
    if path.suffix.lower() == ".png":
        shown = np.unique(np.linspace(0, longest - 1, _MOST).round().astype(int)).tolist()
        tiles = [enlarged(one[number]) for one in whole for number in shown]
        above = [f"frame {number}" for number in shown]
        write_image(path, image_sheet(tiles, len(shown), above=above, title=title, gap=6))
        return
    columns = min(len(whole), 3)
    frames = [
        image_sheet([enlarged(one[number]) for one in whole], columns, title=title, gap=6)
        for number in range(longest)
    ]
    buffer = io.BytesIO()
    hold = round(1000 / fps)
    durations = [*[hold] * (longest - 1), 4 * hold]  # the last frame stays, before it starts again
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    files.write_bytes(path, buffer.getvalue())
