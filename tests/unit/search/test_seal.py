"""Checksums of blocks, and of the seal itself."""

import random

import pytest

from graftwerk.search.database import (
    CHECKSUM,
    DATABASE,
    SNAPSHOT,
    is_sealed,
    remove_checksum,
    require_checksum,
    write_checksum,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / DATABASE).write_bytes(random.Random(0).randbytes(200_000))
    (tmp_path / SNAPSHOT).write_bytes(random.Random(1).randbytes(65_536))
    write_checksum(tmp_path)
    return tmp_path


def flip(path, location):
    content = bytearray(path.read_bytes())
    content[location] ^= 16
    path.write_bytes(bytes(content))


def test_whole(folder):
    assert is_sealed(folder)
    assert require_checksum(folder) == []
    remove_checksum(folder)
    remove_checksum(folder)
    assert not is_sealed(folder)
    assert require_checksum(folder) == []


@pytest.mark.parametrize(
    ("name", "place", "where"),
    [
        (DATABASE, 0, "graft.sqlite, block 0 (bytes 0 to 65,535)"),
        (DATABASE, 65_536, "graft.sqlite, block 1"),
        (DATABASE, 199_999, "graft.sqlite, block 3"),
        (SNAPSHOT, 65_535, "vectors.safetensors, block 0"),
    ],
)
def test_a_flip_is_named(folder, name, place, where):
    flip(folder / name, place)
    (damage,) = require_checksum(folder)
    assert damage.where.startswith(where)
    assert not damage.repaired


def test_every_flip_in_the_seal_is_named(folder):
    content = (folder / CHECKSUM).read_bytes()
    for location in range(len(content)):
        flip(folder / CHECKSUM, location)
        (damage,) = require_checksum(folder)
        assert damage.where == CHECKSUM
        (folder / CHECKSUM).write_bytes(content)
    assert require_checksum(folder) == []


def test_other_lengths(folder):
    (folder / SNAPSHOT).write_bytes(b"")
    assert [d.where for d in require_checksum(folder)] == [SNAPSHOT]
    (folder / SNAPSHOT).unlink()
    (folder / DATABASE).write_bytes((folder / DATABASE).read_bytes() + b"x")
    assert len(require_checksum(folder)) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"3", b'{"graft.sqlite": 3}', b"[" * 100_000]
)
def test_nonsense(folder, content):
    (folder / CHECKSUM).write_bytes(content)
    assert [d.where for d in require_checksum(folder)] == [CHECKSUM]
