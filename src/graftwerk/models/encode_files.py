"""What several commands do with pictures: list, read and embed them, tell what is unfamiliar."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ..data.documents.formats import is_image_path
from ..data.images import read_image
from ..data.walk import list_files
from ..errors import BadFile, BadInput, LimitExceeded
from ..results import Familiarity, Skipped
from ..types import Encoder, Monitor, Vectors
from .image_encoder import ImageEncoder, encode_and_compare

_BATCH_PIXELS = 50_000_000  # of pictures held in memory at once, about 150 MB
_BATCH = 32  # pictures
_FEWEST_REAL = 40  # pictures that tell what is usual


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pictures that could be read.

    Attributes:
        places: their places among those that were named.
        vectors: one row each.
        familiarity: how familiar each is to the encoder; None where it does not tell.
        skipped: those that could not be read, with reasons.
    """

    places: list[int]
    vectors: Vectors
    familiarity: list[Familiarity] | None
    skipped: list[Skipped]

    @property
    def unfamiliar(self) -> int | None:
        """How many are unfamiliar; None where the encoder does not tell."""
        return None if self.familiarity is None else sum(x.unfamiliar for x in self.familiarity)


def list_pictures(named: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    """Paths of the named pictures and of those in named folders, sorted; and what was left out.

    Raises:
        BadFile: a named path does not exist.
        BadInput: there is no picture.
    """
    found = list_files(named)
    pictures = [path for path in found.files if is_image_path(path)]
    # what lies in a folder beside its pictures was not asked for
    own = {os.path.abspath(path) for path in named}  # noqa: PTH100  a name of any bytes
    skipped = [skip for skip in found.skipped if skip.path in own or is_image_path(skip.path)]
    skipped += [
        Skipped(path=path, reason="It is no picture.")
        for path in found.files
        if path in own and not is_image_path(path)
    ]
    if not pictures:
        raise nothing_readable(named, skipped)
    return pictures, skipped


def nothing_readable(named: Sequence[str], skipped: Sequence[Skipped]) -> BadInput:
    """The error where no picture is left."""
    shown = "; ".join(
        f"{os.path.basename(skip.path)}: {skip.reason.rstrip('.')}"  # noqa: PTH119
        for skip in skipped[:3]
    )
    more = f"; and {len(skipped) - 3:,} more" if len(skipped) > 3 else ""
    where = ", ".join(named[:3]) + (", ..." if len(named) > 3 else "")
    return BadInput(
        f"there is no readable picture in {where}{': ' if shown else ''}{shown}{more}.",
        "Name PNG, JPEG, WebP, GIF, BMP or TIFF files, or folders of them.",
    )


def encode_pictures(encoder: Encoder, paths: Sequence[str], monitor: Monitor) -> Encoded:
    """Read and embed pictures, a few at a time; one that cannot be read is left out and named.

    Raises:
        Cancelled: stopped by the monitor.
    """
    monitor.start("embedding pictures", len(paths))
    places: list[int] = []
    skipped: list[Skipped] = []
    vectors = np.empty((len(paths), encoder.dimension), dtype=np.float32)
    distances = np.empty(len(paths))
    told = False
    waiting: list[tuple[int, object]] = []
    pixels = 0
    for place, path in enumerate(paths):
        try:
            picture = read_image(path)
        except (BadFile, LimitExceeded) as error:
            skipped.append(Skipped(path=path, reason=str(error)))
            monitor.advance()
        else:
            waiting.append((place, picture))
            pixels += picture.width * picture.height
        if len(waiting) >= _BATCH or pixels >= _BATCH_PIXELS or place == len(paths) - 1:
            numbers = [number for number, _ in waiting]
            images = [one for _, one in waiting]
            vectors[numbers], far = encode_and_compare(encoder, images, monitor.advance)
            if far is not None:
                told, distances[numbers] = True, far
            places += numbers
            waiting, pixels = [], 0
    known = familiarity(encoder, distances[places]) if told else None
    return Encoded(places, vectors[places], known, skipped)


def familiarity(encoder: Encoder, distances: Float64[np.ndarray, " n"]) -> list[Familiarity] | None:
    """Distances from what is familiar to an encoder as reports show them."""
    if not isinstance(encoder, ImageEncoder) or encoder.familiar is None:
        return None
    return [
        Familiarity(
            distance=float(distance),
            unfamiliar=bool(distance > 1),
            false_alarm_rate=encoder.familiar.false_alarm_rate,
        )
        for distance in distances
    ]


def real_pictures_in(folder: str) -> list[str]:
    """Paths of pictures that are to show what is usual.

    Raises:
        BadFile: there is no such folder.
        BadInput: it holds too few.
    """
    paths, _ = list_pictures([folder])
    if len(paths) < _FEWEST_REAL:
        raise BadInput(
            f"{folder} holds {len(paths)} pictures; {_FEWEST_REAL} are needed to know what is "
            "usual.",
            "Name a folder with more.",
        )
    return paths
