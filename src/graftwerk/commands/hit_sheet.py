"""Contact sheets of the images that a search found."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.images import open_image, write_image
from ..errors import BadFile, LimitExceeded
from ..metrics.plots import image_sheet
from ..search.results import Hit

if TYPE_CHECKING:
    from PIL.Image import Image


_SIDE, _GAP = 192, 8  # pixels: side of an image, gap between two
_MOST = 100  # maximum number of images on a contact sheet
_GONE = (224, 224, 224)


def write_sheet(path: Path, hits: Sequence[Hit], indexed: Mapping[str, str]) -> None:
    """Write a PNG contact sheet; each image is labeled with its hit number and its cosine.

    A file that is not, or no longer, the image that was indexed is shown as a gray square: an index
    of any origin may name every path.
    """
    shown = [(n, hit) for n, hit in enumerate(hits, 1) if hit.kind == "image"][:_MOST]
    labels = [
        f"{number}" if hit.similarity is None else f"{number}   {hit.similarity:z.3f}"
        for number, hit in shown
    ]
    tiles = [_tile(hit.path, indexed.get(hit.path, "")) for _, hit in shown]
    columns = math.ceil(math.sqrt(len(shown)))
    write_image(path, image_sheet(tiles, columns, below=labels, gap=_GAP))


def _tile(path: str, content_hash: str) -> "Image":
    """Fit an image into the square; small images are enlarged without interpolation blur."""
    from PIL import Image

    with suppress(BadFile, LimitExceeded):
        opened = open_image(path)
        if opened.sha256 == content_hash:
            return _fitted(opened.image)
    return Image.new("RGB", (_SIDE, _SIDE), _GONE)


def _fitted(image: "Image") -> "Image":
    from PIL import Image

    scale = _SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return image.resize((width, height), how)
