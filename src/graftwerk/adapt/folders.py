"""Folders of class folders, and zips of one: the folder's name is the label."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from .. import limits
from ..errors import BadInput, LimitExceeded
from ..search.readers import is_image_path, opening
from .examples import Examples, Item, Kind, Picture, Refused, key_of, open_zip

TEXTS = (".txt", ".md")
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
Entry = tuple[PurePosixPath, Picture]  # path below the root, place of the file


def read_class_folders(root: Path) -> Examples:
    """Read every picture or text below each class folder of `root`.

    Raises:
        BadInput: there are no class folders, or they look like parts of a split.
        BadFile: it is a zip that cannot be read.
    """
    entries = [entry for entry in _entries(root) if _kind_of(entry[0]) is not None]
    entries = [entry for entry in _without_common_folder(entries) if len(entry[0].parts) > 1]
    if not entries:
        raise BadInput(
            f"{root} holds no class folders with pictures or texts in them.",
            "Lay it out as CLASS/picture.png, or name a table: .csv, .jsonl, .parquet.",
        )
    names = {path.parts[0] for path, _ in entries}
    if {name.lower() for name in names} <= _PARTS:
        raise BadInput(
            f"the folders of {root} look like parts of a split, not like classes: "
            f"{', '.join(sorted(names))}.",
            f"Name one of them, for example {root / min(names)}, and another with --test.",
        )
    kinds = [_kind_of(path) for path, _ in entries]
    kind: Kind = "image" if kinds.count("image") >= kinds.count("text") else "text"
    return _read(root, kind, [entry for entry in entries if _kind_of(entry[0]) == kind])


def look_at(picture: Picture) -> str | Refused:
    """The key of a picture that can be decoded, or why it cannot."""
    try:
        picture.open()
        return key_of(picture)
    except BadInput as error:
        return Refused(picture.name, error.message)


def _entries(root: Path) -> Iterator[Entry]:
    """Every file, in a fixed order; hidden ones are left out."""
    if root.is_file():
        members = sorted(e.filename for e in open_zip(str(root)).infolist() if not e.is_dir())
        found = [(PurePosixPath(name), Picture(str(root), name)) for name in members]
    else:
        found = []
        for folder, inner, names in os.walk(root):
            inner.sort()
            if len(Path(folder).relative_to(root).parts) > limits.FOLDER_DEPTH:
                raise LimitExceeded(f"{folder} lies too deep.", "Move it up.")
            for name in sorted(names):
                path = Path(folder) / name
                relative = PurePosixPath(path.relative_to(root).as_posix())
                found.append((relative, Picture(str(path))))
    for relative, place in found:
        if not any(part.startswith((".", "__MACOSX")) for part in relative.parts):
            yield relative, place


def _without_common_folder(entries: list[Entry]) -> list[Entry]:
    """Leave out outer folders that hold everything, as zips of a folder have them."""
    while entries and all(len(path.parts) > 2 for path, _ in entries):
        if len({path.parts[0] for path, _ in entries}) > 1:
            break
        entries = [(PurePosixPath(*path.parts[1:]), place) for path, place in entries]
    return entries


def _kind_of(path: PurePosixPath) -> Kind | None:
    if is_image_path(path.name):
        return "image"
    return "text" if path.suffix.lower() in TEXTS else None


def _read(root: Path, kind: Kind, entries: Sequence[Entry]) -> Examples:
    items: list[Item] = []
    keys, labels, names, refused = [], [], [], []
    for path, place in entries:
        item: Item | Refused = place if kind == "image" else read_text(place)
        found = look_at(place) if isinstance(item, Picture) else item
        if isinstance(item, Refused) or isinstance(found, Refused):
            refused.append(found if isinstance(found, Refused) else Refused(str(path), ""))
            continue
        items.append(item)
        keys.append(str(found) if isinstance(item, Picture) else key_of(item))
        labels.append(path.parts[0])
        names.append(str(path))
    return Examples(str(root), kind, items, keys, labels, names, tuple(refused))


def read_text(place: Picture) -> str | Refused:
    """The text of a file, or why it cannot be used."""
    try:
        content = place.content()
        if len(content) > limits.DATA_TEXT:
            return Refused(place.name, f"it has more than {limits.DATA_TEXT:,} bytes.")
        text = opening.decode(content, place.name).strip()
    except BadInput as error:
        return Refused(place.name, error.message)
    return text or Refused(place.name, "it is empty.")
