"""Checksums of an index's files, there only while the last write ended well."""

import hashlib
import json
from pathlib import Path

from .. import files, limits
from ..errors import BadFile, LimitExceeded
from ..reports import Damage
from .schema import DATABASE, SEAL, SNAPSHOT

BLOCK_BYTES = 64 * 1024
_SEALED = (DATABASE, SNAPSHOT)


def is_sealed(folder: Path) -> bool:
    """Whether the checksums are there."""
    return (folder / SEAL).is_file()


def remove_seal(folder: Path) -> None:
    """Take the checksums away before the first write, so that none outlives what it vouches for."""
    try:
        (folder / SEAL).unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        files.raise_write_error(error, folder / SEAL)
    files.sync_folder(folder)


def write_seal(folder: Path) -> None:
    """Write the checksums of every block; the caller holds the lock and has emptied the WAL."""
    body = {name: _hash_blocks(folder / name) for name in _SEALED}
    files.write_bytes(folder / SEAL, _serialise(body))


def check_seal(folder: Path) -> list[Damage]:
    """Compare every block with its checksum; empty when all match or there is no seal."""
    if not is_sealed(folder):
        return []
    try:
        content = files.read_json(folder / SEAL, limit=8 * limits.JSON_FILE)
        body = {name: list(content[name]) for name in _SEALED}
        whole = _serialise(body) == (folder / SEAL).read_bytes()
    except (BadFile, LimitExceeded, KeyError, TypeError, ValueError):
        whole, body = False, {}
    if not whole:
        return [_damage(SEAL, "does not match its own checksum")]
    damages = []
    for name, expected in body.items():
        found = _hash_blocks(folder / name)
        if len(found) != len(expected):
            damages.append(
                _damage(name, f"has {len(found)} blocks of 64 KiB, {len(expected)} were sealed")
            )
        for number, (now, then) in enumerate(zip(found, expected, strict=False)):
            if now != then:
                start = number * BLOCK_BYTES
                damages.append(
                    _damage(
                        f"{name}, block {number} (bytes {start:,} to {start + BLOCK_BYTES - 1:,})",
                        "does not match its checksum",
                    )
                )
    return damages


def _damage(where: str, what: str) -> Damage:
    return Damage(where=where, what=what, repaired=False)


def _hash_blocks(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [
            hashlib.sha256(block).hexdigest() for block in iter(lambda: file.read(BLOCK_BYTES), b"")
        ]


def _serialise(body: dict[str, list[str]]) -> bytes:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "digest": digest}, sort_keys=True, indent=0) + "\n").encode()
