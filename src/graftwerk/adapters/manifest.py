"""The contract of all adapters, and saved ones.

An adapter is a small object that adapts a frozen model to a new use. At zero, the adapted model
equals the frozen one exactly; removing it leaves the frozen model as it was; it never changes a
frozen weight; and it refuses another base model by name. `tests/laws/` verifies this for the
public objects.

A saved adapter is a folder with the adapter's files and `graft.json`, which names the base model.

The two sides of the interface:

    with folders.working_folder(out) as folder:
        ...write the adapter's files into `folder`...
        write_bundle(folder, "head", encoder.name, encoder.fingerprint, {"labels": [...]})

    bundle = read_bundle(out, "head")
    require_base(bundle, encoder.name, encoder.fingerprint)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from .. import files, folders
from ..errors import BadFile, BadInput, Damaged, GraftError, WrongBase

RECORD = "graft.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """A saved adapter whose files match their checksums.

    Attributes:
        folder: its path.
        kind: of adapter, for example `head` or `low-rank`.
        base_name: name of the frozen model when the adapter was made.
        base_fingerprint: hash of that model.
        content: further entries of this kind: labels, split, metrics, the request.
    """

    folder: Path
    kind: str
    base_name: str
    base_fingerprint: str
    content: Mapping[str, Any]


def write_bundle(
    folder: Path, kind: str, base_name: str, base_fingerprint: str, content: Mapping[str, Any]
) -> None:
    """Write `graft.json` next to the adapter's files, as the last step in a `working_folder`.

    Args:
        folder: contains the adapter's files and nothing else.
        kind: of adapter.
        base_name: the frozen model's name.
        base_fingerprint: its hash.
        content: further entries to store, as JSON.

    Raises:
        NoRoom: it cannot be written.
    """
    hashes = {
        path.relative_to(folder).as_posix(): files.sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    record = {
        "kind": kind,
        "format": _FORMAT,
        "base": {"name": base_name, "fingerprint": base_fingerprint},
        "content": dict(content),
        "sha256": hashes,
        "graftwerk": version("graftwerk"),
    }
    files.write_sealed_json(folder / RECORD, record)


_NAMES = {
    "low-rank": "LoRA of a generator of images or texts",
    "lora": "classifier or regressor by LoRA",
    "linear": "linear head",
    "full": "fully fine-tuned classifier or regressor",
    "policy": "LoRA of a robot policy",
    "forecast": "LoRA of a forecaster",
    "control": "control branch",
}


def read_bundle(folder: Path, *kinds: str) -> Bundle:
    """Read a saved adapter of one of these kinds and verify the checksum of every file.

    Raises:
        BadFile: there is none, or its record is malformed or of another format.
        BadInput: it is of another kind.
        Damaged: a file is missing or does not match its checksum, or the record was modified.
    """
    if not (folder / RECORD).is_file():
        known, named = folders.contents(folder), " or ".join(kinds)
        raise BadFile(
            f"{folder} contains no {RECORD}, so it is not a folder that graftwerk saved"
            + (f" as {named}." if known else "." if folder.is_dir() else ": there is no folder."),
            folders.hint_for(folder, "Name the folder that was given to --out."),
        )
    record = files.read_sealed_json(folder / RECORD)
    try:
        kind, form, base = str(record["kind"]), record["format"], record["base"]
        bundle = Bundle(
            folder=folder,
            kind=kind,
            base_name=str(base["name"]),
            base_fingerprint=str(base["fingerprint"]),
            content=dict(record["content"]),
        )
        hashes = {str(name): str(digest) for name, digest in record["sha256"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFile(
            f"{folder / RECORD} is not the record of a saved adapter.", "Copy the folder again."
        ) from error
    if form != _FORMAT:
        raise BadFile(
            f"{folder} has the format {form}, not {_FORMAT}.",
            "Read it with the version of graftwerk that wrote it.",
        )
    if kind not in kinds:
        what = _NAMES.get(kind, "fit of another kind")
        raise BadInput(
            f"{folder} holds a {kind!r}, not {' or '.join(repr(name) for name in kinds)}.",
            folders.hint_for(folder, f"It is a {what}, made on {bundle.base_name}."),
        )
    _require_listed(folder, hashes)
    _require_whole(folder, hashes)
    return bundle


def holds(name: str, kind: str) -> bool:
    """Whether a name is that of a folder with a saved adapter of this kind."""
    path = Path(name).expanduser() / RECORD
    if not path.is_file():
        return False
    record = files.read_json(path)
    return isinstance(record, dict) and record.get("kind") == kind


def is_replaceable(folder: Path, *kinds: str) -> bool:
    """Whether a folder contains a saved adapter of one of these kinds, which may be replaced.

    Raises:
        BadFile: it does, but also a file that is not the adapter's and would be lost.
    """
    names = files_of(folder, *kinds)
    if names is None:
        return False
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        there = not path.is_dir() or path.is_symlink()
        if there and name not in names and name not in folders.BOOKKEEPING:
            raise BadFile(
                f"{folder} holds {name!r}, which is not of the fit and would be lost.",
                "Move it away, or name another output folder.",
            )
    return True


def files_of(folder: Path, *kinds: str) -> set[str] | None:
    """Return the file names of a saved adapter of one of these kinds; None if it is not one."""
    try:
        record = files.read_json(folder / RECORD)
        whole = record["format"] == _FORMAT and "fingerprint" in record["base"]
        kind, hashes = record["kind"], dict(record["sha256"])
    except (GraftError, OSError, KeyError, TypeError, ValueError):
        return None
    return {RECORD, *map(str, hashes)} if whole and kind in kinds else None


def require_base(bundle: Bundle, name: str, *fingerprints: str) -> None:
    """Refuse a frozen model other than the one the adapter was made on.

    Args:
        bundle: the adapter.
        name: of the model.
        fingerprints: of the model, and of others with which the adapter is the same.

    Raises:
        WrongBase: names both.
    """
    if bundle.base_fingerprint not in fingerprints:
        raise WrongBase(
            f"the {_NAMES.get(bundle.kind, bundle.kind)} in {bundle.folder}",
            f"{bundle.base_name} with fingerprint {bundle.base_fingerprint[:12]}",
            f"{name} with fingerprint {fingerprints[0][:12]}",
            "Name the model that it was made on, or make it again on this one.",
        )


def _require_listed(folder: Path, hashes: Mapping[str, str]) -> None:
    for path in sorted(folder.rglob("*.safetensors")):
        name = path.relative_to(folder).as_posix()
        if name not in hashes:
            raise Damaged(
                f"{folder / RECORD} has no hash of {name}, so the file did not come with it.",
                "Copy the whole folder again, or make it again.",
            )


def _require_whole(folder: Path, hashes: Mapping[str, str]) -> None:
    for name, digest in hashes.items():
        path = files.real_path(folder / name)
        if not path.is_relative_to(files.real_path(folder)):
            raise BadFile(f"{folder / RECORD} points outside of its folder: {name!r}.", "Fix it.")
        if not path.is_file():
            raise Damaged(f"{folder} lacks {name}.", "Copy the whole folder again.")
        if files.sha256_of_file(path) != digest:
            raise Damaged(f"{path} does not match its hash.", "Copy it again, or make it again.")


Socket = Literal["output", "weights", "input", "score", "activations"]
Frozen = TypeVar("Frozen")


@runtime_checkable
class Adapter(Protocol[Frozen]):
    """Adapts a frozen object: `pipe.with_(adapter)` calls `adapter.apply(pipe)`.

    Attributes:
        name: one word, for example `lora`.
        socket: where in the network it acts.
    """

    @property
    def name(self) -> str:
        """See the attributes."""
        ...

    @property
    def socket(self) -> Socket:
        """See the attributes."""
        ...

    @property
    def is_zero(self) -> bool:
        """Whether `apply` changes nothing."""
        ...

    def apply(self, frozen: Frozen) -> Frozen:
        """Return the adapted object; at zero it equals `frozen` exactly."""
        ...

    def remove(self, steered: Frozen) -> Frozen:
        """Undo `apply`: return the object that was passed to it."""
        ...
