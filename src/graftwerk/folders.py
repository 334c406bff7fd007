"""The one way to replace a folder, and the one way to remove one: only what graftwerk made.

A folder of ours holds a marker file, written before anything else. A name proves nothing: a folder
without the marker is the user's, unless the caller verifies its contents. A lint rule keeps every
other call that removes folders out of `src/`.
"""

import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import files, limits
from .errors import BadFile, GraftError
from .settings import settings

MARKER = ".graftwerk-owned"
TRAINING_LOCK = ".training.lock"
BOOKKEEPING = {MARKER, TRAINING_LOCK}  # names in a folder that are no result
_MADE_BY, _FORMAT = "graftwerk", 1
_STAGING, _NEW, _OLD = "staging", "new", "old"
_UNMARKED_SECONDS = 60  # after which a folder without a whole marker is no longer being made
Verify = Callable[[Path], bool]  # whether the contents of an unmarked folder prove it to be ours


def never(_: Path) -> bool:
    """Accept no folder that has no marker."""
    return False


def kind_of(folder: Path) -> str | None:
    """Return the kind in the folder's marker; None if it has no marker of ours."""
    kind = _read_marker(folder).get("kind")
    return kind if isinstance(kind, str) else None


_FILES = {  # what a folder holds, and what takes it: by a file that such a folder has
    "meta/info.json": ("episodes of a robot", "`graft fit`, `graft blocks replay`"),
    "graft.sqlite": ("an index", "`graft search`, `graft ask`, `graft index`"),
    "model_index.json": ("a diffusion pipeline", "`graft generate --model`, gw.Pipeline"),
}
_KINDS = {  # the same, by the kind in graft.json or in the marker
    **dict.fromkeys(
        ("linear", "lora", "full"), ("a fit", "`graft predict`, `graft eval fit`, gw.load")
    ),
    "policy": ("a fitted robot policy", "`graft eval policy`, gw.load, gw.Policy"),
    "forecast": ("a fitted forecaster", "`graft forecast --model`, gw.Forecaster"),
    "low-rank": ("a LoRA", "`graft generate --lora`, gw.Lora, peft, diffusers"),
    "control": (
        "a control branch",
        "`graft generate --control --branch`, gw.ControlNet, diffusers",
    ),
    "comparison": ("a comparison of fits", "`graft predict` and the name of a fit in it"),
}
_TYPES = {  # the same, by the type in config.json
    "graftwerk-branch": _KINDS["control"],
    "graftwerk-judge": ("a judge of Blocks images", "`graft guide check`, which has its own"),
    "graftwerk-noise-aware-classifier": ("a noise-aware classifier", "`graft generate --guide`"),
    "graftwerk-perception": ("a perception network of Blocks images", "`graft condition`"),
    "graftwerk-policy": ("a robot policy", "`graft eval policy`, gw.Policy"),
    "pi0": ("a PI0 robot policy of transformers", "gw.Policy, gw.load, `graft models info`"),
    "graftwerk-reader": ("a passage reader", "`graft ask`, which has its own"),
    "graftwerk-series": ("a forecaster", "`graft forecast --model`, gw.Forecaster"),
}


def contents(folder: Path) -> tuple[str, str] | None:
    """Return what a folder holds and what takes it; None if it is not known here."""
    for name, found in _FILES.items():
        if (folder / name).is_file():
            return found
    kinds = {_entry(folder / "graft.json", "kind", "base", "sha256"), kind_of(folder) or ""}
    for kind in kinds & set(_KINDS):
        return _KINDS[kind]
    model = _entry(folder / "config.json", "model_type")
    usual = f"a model of type {model!r}", "`graft models info`, `graft fit --model` or --encoder"
    return _TYPES.get(model, usual) if model else None


def hint_for(folder: Path, otherwise: str) -> str:
    """Return what takes this folder, as the hint of an error; `otherwise` if it is not known."""
    found = contents(folder)
    return otherwise if found is None else f"It holds {found[0]}, which is for {found[1]}."


def _entry(path: Path, name: str, *others: str) -> str:
    with suppress(GraftError, OSError):
        record = files.read_json(path) if path.is_file() else None
        if isinstance(record, dict) and set(others) <= record.keys():
            return str(record.get(name, ""))
    return ""


def entries(folder: Path) -> list[str]:
    """Return the names in a folder, except its marker and the locks left by killed runs."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not _is_bookkeeping(path))


def require_free(folder: Path, what: str, kind: str | None = None, verify: Verify = never) -> None:
    """Refuse a folder that cannot be made or filled without touching the user's files.

    Args:
        folder: may be missing, empty, or hold nothing but our locks.
        what: is expected there, for the message.
        kind: of the marker that is accepted.
        verify: accepts an unmarked folder by its contents.

    Raises:
        BadFile: it is a file, or holds something else, which is named.
    """
    hint = "Name a new folder with --out."
    if folder.is_symlink() and not folder.exists():
        raise BadFile(f"--out {folder} is a link to nothing.", hint)
    if folder.exists() and not folder.is_dir():
        raise BadFile(f"--out {folder} is not a folder.", hint)
    settle(folder)
    there = entries(folder)
    if not there or (kind is not None and kind_of(folder) == kind) or verify(folder):
        return
    found = contents(folder)
    here = f"contains no {what}" if found is None else f"holds {found[0]}, not to be replaced"
    raise BadFile(f"folder {folder} is not empty and {here}: {there[0]!r} is there.", hint)


def require_replaceable(folder: Path, what: str, verify: Verify = never) -> None:
    """Refuse a folder whose place another one cannot take; see `require_free`.

    Raises:
        BadFile: it holds something else, is a mount point, or the current folder, whose shell
            would stay in the one that was replaced.
    """
    require_free(folder, what, verify=verify)
    current = folder.is_dir() and folder.samefile(".")
    if current or os.path.ismount(folder):
        named = "the current folder" if current else "a mount point"
        raise BadFile(
            f"--out {folder} is {named}, which cannot be replaced.", "Name a folder in it."
        )


def note_replaced(folder: Path, note: Callable[[str], object]) -> None:
    """Say that the result in a folder will be replaced, if there is one."""
    if (folder / "graft.json").is_file():
        note(f"the earlier result in {folder} is replaced once this one is finished")


def claim(folder: Path, kind: str, what: str = "", verify: Verify = never) -> Path:
    """Make a folder ours: its marker is the first thing in it.

    Args:
        folder: is made where it is missing.
        kind: of the marker; a folder that has it is taken up again.
        what: for the message of a refusal; default: the kind.
        verify: accepts an unmarked folder by its contents.

    Raises:
        BadFile: see `require_free`.
        NoRoom: the folder cannot be written.
    """
    require_free(folder, what or kind, kind, verify)
    if kind_of(folder) != kind:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            files.raise_write_error(error, folder)
        files.write_json(folder / MARKER, _marker(kind))
    return folder


def beside(out: Path, kind: str, verify: Verify = never) -> Path:
    """A hidden place next to `out` that is free or ours; whatever else has the name is passed by.

    Raises:
        BadFile: very many such names are taken.
    """
    for number in range(1, 100):
        location = out.with_name(f".{out.name}.{kind}" + (f"-{number}" if number > 1 else ""))
        with suppress(BadFile):
            require_free(location, kind, kind, verify)
            return location
    raise BadFile(f"{location} and all names like it are taken.", "Name another output folder.")


_MODEL_FILES = ("config.json", "modules.json", "model_index.json")


def require_outside(inputs: Iterable[str | Path | None], *replaced: Path) -> None:
    """Refuse input that lies in an output folder, and an output folder that lies in a model.

    Args:
        inputs: data and models; what does not exist is no path.
        replaced: the folders.

    Raises:
        BadFile: it lies there, or in a folder that a link leads to; or the folder lies in that of a
            model, which its files identify, or among the fetched ones.
    """
    fetched = files.real_path(settings().cache / "models")
    for folder in replaced:
        if files.real_path(folder).is_relative_to(fetched):
            raise BadFile(
                f"{folder} lies among the fetched models, which are known by their files.",
                "Name another output folder.",
            )
    for path in inputs:
        if not path:
            continue
        with suppress(OSError, ValueError, RuntimeError):
            real = files.real_path(Path(path).expanduser(), strict=True)
            inside = [folder for folder in replaced if real.is_relative_to(files.real_path(folder))]
            if inside:
                raise BadFile(
                    f"{path} lies in {inside[0]}, which is going to be replaced.",
                    "Move it, or name another output folder.",
                )
            within = [folder for folder in replaced if files.real_path(folder).is_relative_to(real)]
            if within and any((real / name).is_file() for name in _MODEL_FILES):
                raise BadFile(
                    f"{within[0]} would lie in the model {path}, and change it.",
                    "Name another output folder.",
                )


def remove(folder: Path, owner: Path | None = None) -> None:
    """Remove a folder of ours with all that is in it; links are removed, never followed.

    Args:
        folder: has our marker; where it is missing nothing is done.
        owner: a folder with our marker that `folder` lies in, which then needs none.

    Raises:
        BadFile: it is not ours.
        NoRoom: something in it cannot be removed.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if owner is not None and folder != owner and folder.is_relative_to(owner):
        real = files.real_path(owner) / folder.relative_to(owner)
        ours = kind_of(owner) is not None and files.real_path(real.parent) == real.parent
    else:
        ours = kind_of(folder) is not None and not folder.is_symlink()
    if not ours:
        raise BadFile(
            f"{folder} was not made by graftwerk, so it is not removed.", "Move it away by hand."
        )
    try:
        _remove_tree(folder)
    except OSError as error:
        files.raise_write_error(error, folder)


def remove_empty(folder: Path) -> None:
    """Remove a folder that is empty; one that is not stays."""
    with suppress(OSError):
        folder.rmdir()


def settle(target: Path) -> None:
    """Fix what a killed process left of an exchange: bring back `target`, tidy its leftovers.

    A leftover whose process still lives is locked, whatever number the process has.
    """
    prefix, suffix = f".{target.name}.", ".tmp"
    with suppress(OSError):
        for path in list(target.parent.iterdir()):
            if not (path.name.startswith(prefix) and path.name.endswith(suffix)):
                continue
            marker = _read_marker(path)
            if not marker and time.time() - path.stat().st_mtime > _UNMARKED_SECONDS:
                _remove_unmarked(path)
            if marker.get("kind") != _STAGING or marker.get("target") != target.name:
                continue
            with suppress(OSError, GraftError), files.locked(path / MARKER) as alone:
                if not alone or path.is_symlink():
                    continue
                old = path / _OLD
                if not target.exists() and not target.is_symlink() and old.exists():
                    old.rename(target)
                    files.sync_folder(target.parent)
                remove(path)


@contextmanager
def working_folder(target: Path, verify: Verify = never) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target`, in one step, when the block ends.

    Args:
        target: is missing, empty, in a folder with our marker, or accepted by `verify`.
        verify: accepts a folder that is to be replaced.

    Raises:
        BadFile: what is there is not ours.
        NoRoom: the disk is full or the parent cannot be written; `target` is as it was.
    """

    def accepted(folder: Path) -> bool:
        return kind_of(folder.parent) is not None or verify(folder)

    require_replaceable(target, "result", verify=accepted)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        staging.mkdir(parents=True)
        with files.created_and_locked(staging / MARKER, _marker(_STAGING, target=target.name)):
            new = staging / _NEW
            new.mkdir()
            with files.disk_errors():
                yield new
            mode = stat.S_IMODE((staging / MARKER).stat().st_mode)  # what the umask gives
            for path in sorted(new.rglob("*")):
                if path.is_file():
                    if not path.is_symlink():
                        path.chmod(mode)
                    with path.open("rb+") as file:
                        os.fsync(file.fileno())
            inner = [path for path in new.rglob("*") if path.is_dir() and not path.is_symlink()]
            for folder in (*sorted(inner, reverse=True), new):  # the names of those files too
                files.sync_folder(folder)
            require_free(target, "result", verify=accepted)  # somebody may have put something there
            _put(staging, target)
    except OSError as error:
        files.raise_write_error(error, target)
    finally:
        with suppress(OSError, GraftError):
            remove(staging)
        _remove_unmarked(staging)


def _remove_unmarked(staging: Path) -> None:
    """Remove a staging folder whose marker was never completely written; it contains no more."""
    with suppress(OSError):
        if {path.name for path in staging.iterdir()} <= {MARKER} and not staging.is_symlink():
            (staging / MARKER).unlink(missing_ok=True)
            staging.rmdir()


def _put(staging: Path, target: Path) -> None:
    """Exchange the new folder and what is there; a kill in between is repaired by `settle`."""
    new, old = staging / _NEW, staging / _OLD
    if not target.exists() and not target.is_symlink():
        new.rename(target)
    elif not files.exchange(new, target):
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    files.sync_folder(target.parent)


def _remove_tree(folder: Path) -> None:
    """Everything in the folder, its marker last: cut short it is still known to be ours."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    (folder / MARKER).unlink(missing_ok=True)
    folder.rmdir()


def _marker(kind: str, **more: str) -> dict[str, Any]:
    return {"made_by": _MADE_BY, "kind": kind, "format": _FORMAT, **more}


def _read_marker(folder: Path) -> dict[str, Any]:
    path = folder / MARKER
    if path.is_symlink() or not path.is_file():
        return {}
    with suppress(BadFile, OSError, GraftError):
        marker = files.read_json(path, limit=limits.MIB)
        if isinstance(marker, dict) and marker.get("made_by") == _MADE_BY:
            return marker if marker.get("format") == _FORMAT else {}
    return {}


def _is_bookkeeping(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if path.name == MARKER or path.name.startswith(f".{MARKER}."):
        return True
    return path.name == TRAINING_LOCK and path.stat().st_size == 0
