"""Atomic, hashed checkpoints; the last two good ones are always kept.

A checkpoint is a folder `step-NNNNNNNN` with one safetensors file for each part of the state and
a `manifest.json`, written last, that contains the SHA-256 of each file and of itself.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import files, folders
from ..errors import BadFile, BadInput, Damaged
from .state import Parts

KIND = "checkpoints"
_MANIFEST = "manifest.json"
_VERSION = 1
_NAME = re.compile(r"step-\d{8,}|\.step-\d{8,}\.\d+\.(tmp|old)")
_SUFFIXES = {".safetensors", ".tmp"}
_RETAINED = 2  # of the newest, beside the best


@dataclass(frozen=True, slots=True)
class Facts:
    """Contents of a checkpoint besides its tensors.

    Attributes:
        step: steps done.
        configuration: of the training.
        loss: mean since the previous checkpoint; the lowest is the best.
        counters: other numbers of the state.
    """

    step: int
    configuration: Mapping[str, Any]
    loss: float
    counters: Mapping[str, float]


def save(folder: Path, parts: Parts, facts: Facts) -> None:
    """Write a checkpoint, verify it by reading it back, then remove those no longer needed.

    Raises:
        NoRoom: the disk is full; earlier checkpoints are intact.
        Damaged: the disk did not store what was written.
    """
    from safetensors.torch import save as to_bytes

    claim(folder)
    target = folder / f"step-{facts.step:08d}"
    with folders.working_folder(target) as working:
        hashes = {}
        for name, tensors in parts.items():
            content = to_bytes({key: value.contiguous() for key, value in tensors.items()})
            hashes[name] = hashlib.sha256(content).hexdigest()
            files.write_plain(working / f"{name}.safetensors", content)
        manifest = {
            "version": _VERSION,
            "step": facts.step,
            "configuration": dict(facts.configuration),
            "loss": facts.loss,
            "counters": dict(facts.counters),
            "sha256": hashes,
        }
        files.write_json(working / _MANIFEST, manifest | {"seal": _checksum(manifest)})
    for name, digest in hashes.items():
        if files.sha256_of_file(target / f"{name}.safetensors") != digest:
            raise Damaged(
                f"{target / name}.safetensors is not what was written.", "Check the disk."
            )
    _remove_unneeded(folder)


def load_newest(folder: Path, note: Callable[[str], None]) -> tuple[Parts, Facts] | None:
    """Load the newest intact checkpoint; None if there are no checkpoints.

    Damaged ones are reported to `note` and removed once an older intact one has been read.

    Raises:
        Damaged: there are checkpoints, but none is intact.
    """
    damaged: list[tuple[Path, str]] = []
    for path in _newest_first(folder):
        try:
            loaded = _load(path)
        except Damaged as error:
            damaged.append((path, error.message))
            continue
        for bad, message in damaged:
            note(f"{message} Going on from {path.name}.")
            _remove(bad)
        return loaded
    if damaged:
        raise Damaged(
            f"no checkpoint in {folder} is whole: {damaged[0][1]}",
            "Take that folder away to begin again.",
        )
    return None


def require_same(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Refuse to resume a training with another configuration.

    Raises:
        BadInput: names the differences.
    """
    for path in _newest_first(folder):
        try:
            former = _read_manifest(path)["configuration"]
        except Damaged:
            continue
        refuse_other(folder.parent, former, configuration)
        return


def _differing(former: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for key in sorted(former.keys() | requested.keys()):
        there, now = former.get(key), requested.get(key)
        if isinstance(there, Mapping) and isinstance(now, Mapping):
            words += _differing(there, now)
        elif there != now:
            words.append(f"{key.replace('_', ' ')} {there!r}, not {now!r}")
    return words


def refuse_other(folder: Path, former: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
    """Refuse a configuration that differs from the one in the training's folder.

    Raises:
        BadInput: names the differences.
    """
    differing = _differing(former, files.parse_json(json.dumps(configuration)))
    if differing:
        raise BadInput(
            f"{folder} holds a training with {'; '.join(differing)}.",
            "Pass another --out folder, or run it as it was begun.",
        )


def claim(folder: Path) -> None:
    """Mark a folder as ours, for checkpoints; it must be empty or contain only checkpoints.

    Raises:
        BadFile: it contains something else, which is left untouched.
        NoRoom: it cannot be written.
    """
    folders.claim(folder, KIND, verify=_holds_nothing_else)


def holds_sealed(folder: Path) -> bool:
    """Whether there is a checkpoint whose manifest matches its hash."""
    for path in _newest_first(folder):
        with suppress(Damaged, BadFile):
            _read_manifest(path)
            return True
    return False


def tidy(folder: Path) -> None:
    """Remove what a killed process left half written or half removed, but only folders of ours."""
    if folders.kind_of(folder) != KIND:
        return
    for path in folder.iterdir():
        if path.is_dir() and (path.name.startswith(".step-") or not (path / _MANIFEST).is_file()):
            folders.remove(path, owner=folder)


def _holds_nothing_else(folder: Path) -> bool:
    """Whether a folder without a marker contains only checkpoints, complete or not."""
    return all(
        _NAME.fullmatch(path.name) is not None
        and path.is_dir()
        and all(file.name == _MANIFEST or file.suffix in _SUFFIXES for file in path.iterdir())
        for path in folder.iterdir()
        if path.name not in folders.BOOKKEEPING
    )


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)


def _checksum(manifest: Mapping[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = files.read_json(path / _MANIFEST)
    except (BadFile, OSError) as error:
        raise Damaged(f"checkpoint {path.name} has no readable manifest.") from error
    if not isinstance(manifest, dict) or manifest.get("seal") != _checksum(manifest):
        raise Damaged(f"the manifest of checkpoint {path.name} does not match its hash.")
    if manifest["version"] != _VERSION:
        raise BadFile(
            f"checkpoint {path} has the format {manifest['version']}, not {_VERSION}.",
            "Go on with the version of graftwerk that wrote it.",
        )
    return manifest


def _load(path: Path) -> tuple[Parts, Facts]:
    from safetensors.torch import load as from_bytes

    manifest = _read_manifest(path)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, digest in manifest["sha256"].items():
        file = path / f"{name}.safetensors"
        try:
            content = file.read_bytes()
        except OSError as error:
            raise Damaged(f"checkpoint {path.name} lacks {file.name}.") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{file.name} of checkpoint {path.name} does not match its hash.")
        parts[name] = from_bytes(content)
    facts = Facts(
        step=manifest["step"],
        configuration=manifest["configuration"],
        loss=manifest["loss"],
        counters=manifest["counters"],
    )
    return parts, facts


def _remove_unneeded(folder: Path) -> None:
    newest, *older = _newest_first(folder)
    losses = {}
    for path in (newest, *older):
        try:
            losses[path] = _read_manifest(path)["loss"]
        except Damaged:
            _remove(path)
    best = min(losses, key=lambda path: losses[path])
    for path in list(losses)[_RETAINED:]:
        if path != best:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint, its manifest first, so that a half-removed one is never loaded."""
    claim(path.parent)
    (path / _MANIFEST).unlink(missing_ok=True)
    folders.remove(path, owner=path.parent)
