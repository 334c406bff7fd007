"""Recorded results of longer runs, shipped with the tour, with command, date and machine.

`recorded/NAME.json` contains what the template of a chapter shows, with its images beside it.
`python -m bench.tour NAME` records an entry again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .. import files
from ..data.images import read_image, write_image
from ..errors import BadFile

FOLDER = Path(__file__).parent / "recorded"
LOCATION = "recorded"  # folder of a tour that gets the images, so that its page can be moved
_IMAGE = "recorded:"  # begins a string that names an image of the entry
_SUFFIX = ".png"


def load(name: str, tour: Path) -> dict[str, Any]:
    """Read an entry and copy its images into the tour's folder.

    Args:
        name: of the entry.
        tour: folder of the page.

    Returns:
        `source` (command, date, machine, time) and `content`, as plain JSON values in which
        images are paths relative to `tour`.
    """
    entry = files.read_json(FOLDER / f"{name}.json")
    if not isinstance(entry, dict) or {"source", "content"} - set(entry):
        raise BadFile(f"{FOLDER / name}.json is not a recorded result.", "Install graftwerk again.")

    def place(text: str) -> str:
        if not text.startswith(_IMAGE):
            return text
        inner = text.removeprefix(_IMAGE)
        target = tour / LOCATION / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(target, (FOLDER / inner).read_bytes())
        return str(target)

    return {"source": entry["source"], "content": _map_strings(entry["content"], place)}


def save(name: str, content: Mapping[str, Any], source: Mapping[str, Any], folder: Path) -> None:
    """Write an entry.

    Args:
        name: of the entry.
        content: what a chapter's template shows; reports become plain values, images are copied.
        source: command, made (a date), machine, cpu_seconds (or seconds of wall time on a GPU).
        folder: for the JSON file, and a folder of this name with the images.
    """

    def take(text: str) -> str:
        path = Path(text)
        if path.suffix != _SUFFIX or not path.is_file():
            return path.name if path.is_absolute() else text
        inner = f"{name}/{path.parent.name}-{path.name}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        # written again, for the metadata of a generated image name paths of the machine
        write_image(folder / inner, read_image(str(path)))
        return f"{_IMAGE}{inner}"

    entry = {"source": dict(source), "content": _map_strings(plain(content), take)}
    files.write_json(folder / f"{name}.json", entry)


def plain(value: Any) -> Any:
    """Convert reports, paths, tuples and mappings to JSON values; functions are omitted."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items() if not callable(one)}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_strings(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_map_strings(one, change) for one in value]
    return value
