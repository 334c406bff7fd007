"""The cached graph: checked, hashed, made again, or done without."""

import logging

import numpy as np
import pytest

from graftwerk import cache
from graftwerk.cache import cached_folder
from graftwerk.errors import NoRoom
from graftwerk.models import fast_text
from graftwerk.models.encoders import load_encoder


def fake_export(monkeypatch, error=None):
    """An export that writes a stub at once, or fails."""

    def write(network, tokens, path):
        if error is not None:
            raise error
        path.write_bytes(b"stub")

    monkeypatch.setattr(fast_text, "_write_graph", write)


def test_what_cannot_be_exported_runs_by_pytorch(write_bert, own_cache, monkeypatch, caplog):
    fake_export(monkeypatch, RuntimeError("no such operator"))
    folder = str(write_bert())
    with caplog.at_level(logging.WARNING):
        assert load_encoder(folder).backend == "pytorch"
    assert "PyTorch is used" in caplog.text and "RuntimeError" in caplog.text
    monkeypatch.setattr(fast_text, "_write_graph", lambda *arguments: pytest.fail("tried again"))
    assert load_encoder(folder).backend == "pytorch"


def test_a_graph_that_differs_is_not_used(write_bert, own_cache, monkeypatch, caplog):
    fake_export(monkeypatch)

    def wrong(path):
        return lambda ids, mask, pooled: np.full((len(ids), 16), 0.25, dtype=np.float32)

    monkeypatch.setattr(fast_text, "_open_session", wrong)
    encoder = load_encoder(str(write_bert()))
    assert encoder.backend == "pytorch"
    assert "differs from PyTorch by" in caplog.text
    assert not list(own_cache.rglob("model.onnx"))


def test_a_cache_that_cannot_be_written(write_bert, own_cache, monkeypatch, caplog):
    own_cache.write_text("a file where the folder should be")
    assert load_encoder(str(write_bert())).backend == "pytorch"
    assert "no graph can be kept" in caplog.text


def test_an_interrupted_export_leaves_nothing(write_bert, own_cache, monkeypatch):
    fake_export(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        load_encoder(str(write_bert()))
    left = [path for path in own_cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


@pytest.fixture
def build():
    calls = []

    def build(folder):
        calls.append(folder)
        (folder / "data").write_bytes(b"12345678")
        return {"number": len(calls)}

    build.calls = calls
    return build


def test_built_once(tmp_path, build):
    location = tmp_path / "deep" / "thing"
    assert cached_folder(location, build) == {"number": 1}
    assert cached_folder(location, build) == {"number": 1}
    assert (location / "data").read_bytes() == b"12345678"
    assert len(build.calls) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest", "no facts", "list"])
def test_built_again_when_damaged(tmp_path, build, damage, caplog):
    location = tmp_path / "thing"
    cached_folder(location, build)
    manifest = location / cache._MANIFEST
    match damage:
        case "flip":
            (location / "data").write_bytes(b"12345679")
        case "cut":
            (location / "data").write_bytes(b"1234")
        case "gone":
            (location / "data").unlink()
        case "manifest":
            manifest.write_text("{")
        case "no facts":
            manifest.write_text('{"sha256": {}}')
        case "list":
            manifest.write_text("[]")
    assert cached_folder(location, build) == {"number": 2}
    assert (location / "data").read_bytes() == b"12345678"


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "data").write_bytes(b"1")
        raise ValueError

    with pytest.raises(ValueError):
        cached_folder(tmp_path / "thing", fail)
    assert not (tmp_path / "thing").exists()


def test_no_room_is_named(tmp_path, build):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NoRoom, match="GRAFTWERK_CACHE"):
        cached_folder(tmp_path / "file" / "thing", build)
