"""Images with boundaries annotated by people, in the layout of BSDS, from a zip or folder."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from .. import limits
from ..errors import BadFile, BadInput, LimitExceeded
from .dataset import open_zip, read_member, resolve
from .documents.formats import is_image_path
from .images import decode_image

_KEY = "boundaries"
ImageArray = UInt8[np.ndarray, "h w 3"]
People = Bool[np.ndarray, "p h w"]


class BoundaryData:
    """Pairs of an image and its boundary file, read one by one.

    Args:
        path: a zip file, or a folder.

    Raises:
        BadFile: there is no such file, or it is no zip.
        BadInput: no image has boundaries beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = resolve(path)
        if self.path.is_dir():
            names = [entry.name for entry in self.path.iterdir() if entry.is_file()]
        else:
            names = [entry.filename for entry in open_zip(str(self.path)).infolist()]
        there = set(names)
        self.names = sorted(
            name for name in names if is_image_path(name) and _beside(name) in there
        )
        if not self.names:
            raise BadInput(
                f"{path} has no image with boundaries beside it.",
                f"Put NAME.npz with the array {_KEY!r} [people height width] beside NAME.jpg.",
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[ImageArray, People]]:
        """Yield images sorted by name, each with the boundaries of every annotator."""
        for name in self.names:
            image = decode_image(io.BytesIO(self._content(name)), name).image
            picture = np.asarray(image)
            people = _boundaries(self._content(_beside(name)), _beside(name))
            if people.shape[1:] != picture.shape[:2]:
                raise BadInput(
                    f"the boundaries of {name} are {people.shape[2]} x {people.shape[1]} pixels, "
                    f"and the image is {picture.shape[1]} x {picture.shape[0]}.",
                    "Draw them at the image's size.",
                )
            yield picture, people

    def _content(self, name: str) -> bytes:
        if self.path.is_dir():
            file = self.path / name
            limits.require_file_size(file, limits.IMAGE_FILE, "file")
            return file.read_bytes()
        return read_member(open_zip(str(self.path)), name, limits.IMAGE_FILE)


def _beside(name: str) -> str:
    return name.rpartition(".")[0] + ".npz"


def _boundaries(content: bytes, name: str) -> People:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = archive.getinfo(f"{_KEY}.npy").file_size
        if size > limits.ZIP_UNPACKED:
            raise LimitExceeded(
                f"{name!r} unpacks to {size:,} bytes; at most {limits.ZIP_UNPACKED:,} are read.",
                "Leave people out.",
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = arrays[_KEY]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(
            f"{name!r} contains no array {_KEY!r} ({type(error).__name__}).",
            "Write it with numpy.savez_compressed(NAME, boundaries=MAPS).",
        ) from error
    if found.ndim != 3 or len(found) == 0 or found.dtype not in (np.bool_, np.uint8):
        raise BadInput(
            f"the boundaries in {name!r} are {found.dtype} of shape {found.shape}.",
            "Give true and false (or 0 and 1) of shape [people height width].",
        )
    boundaries: np.ndarray = found.astype(np.bool_)
    return boundaries
