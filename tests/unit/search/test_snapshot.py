"""The snapshot: readable by safetensors itself, refused when it is not whole."""

import numpy as np
import pytest
from safetensors import safe_open

from graftwerk.search.database import SNAPSHOT
from graftwerk.search.vectors import pack_bits, read_snapshot, write_snapshot


def make(folder, n=100, dimension=40, stamp="a:1"):
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(10 * n + 1, size=n, replace=False)).astype(np.int64)
    vectors = rng.standard_normal((n, dimension)).astype(np.float32)
    write_snapshot(folder, stamp, ids, vectors)
    return ids, vectors


@pytest.mark.parametrize("n", [0, 1, 100])
@pytest.mark.parametrize("dimension", [1, 40, 64, 384])
def test_round_trip(tmp_path, n, dimension):
    ids, vectors = make(tmp_path, n, dimension)
    snapshot = read_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.stamp == "a:1"
    assert np.array_equal(snapshot.ids, ids)
    assert np.array_equal(snapshot.vectors, vectors)
    assert np.array_equal(snapshot.bits, pack_bits(vectors))


def test_bits_are_the_signs():
    vectors = np.array([[1, -1, 0, 2] * 20, [-1, 1, 3, -2] * 20], dtype=np.float32)
    bits = pack_bits(vectors)
    assert bits.shape == (2, 2)  # 80 dimensions take two words of 64
    signs = np.unpackbits(np.ascontiguousarray(bits.T).view(np.uint8), axis=1)[:, :80]
    assert np.array_equal(signs, vectors > 0)


def test_other_tools_read_it(tmp_path):
    ids, vectors = make(tmp_path)
    with safe_open(tmp_path / SNAPSHOT, framework="np") as file:
        assert file.metadata() == {"stamp": "a:1"}
        assert np.array_equal(file.get_tensor("ids"), ids)
        assert np.array_equal(file.get_tensor("vectors"), vectors)


def test_an_open_map_outlives_its_file(tmp_path):
    _, vectors = make(tmp_path)
    snapshot = read_snapshot(tmp_path)
    make(tmp_path, 7, stamp="a:2")
    assert np.array_equal(snapshot.vectors, vectors)
    assert len(read_snapshot(tmp_path).ids) == 7


def test_missing(tmp_path):
    assert read_snapshot(tmp_path) is None


def test_every_truncation_is_noticed(tmp_path):
    make(tmp_path, 20)
    path = tmp_path / SNAPSHOT
    content = path.read_bytes()
    for length in [*range(0, 400, 7), len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        assert read_snapshot(tmp_path) is None, length


def test_a_damaged_header_never_breaks_a_search(tmp_path):
    make(tmp_path, 20)
    path = tmp_path / SNAPSHOT
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little") + 8
    rng = np.random.default_rng(0)
    for location in rng.integers(header, size=300):
        flipped = bytearray(content)
        flipped[location] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(flipped))
        snapshot = read_snapshot(tmp_path)
        if snapshot is not None:
            assert len(snapshot.vectors) == len(snapshot.ids) == snapshot.bits.shape[1]


@pytest.mark.parametrize(
    "header", [b"{}", b"[1]", b"null", b'{"ids": 3}', b"\xff" * 9, b"[" * 5000]
)
def test_nonsense_headers(tmp_path, header):
    (tmp_path / SNAPSHOT).write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_snapshot(tmp_path) is None
