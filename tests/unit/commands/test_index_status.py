"""`index status`."""

import pytest
from tests.support import HashEncoder, use_encoder

from graftwerk.commands import search as index
from graftwerk.errors import BadFile
from graftwerk.requests.search import IndexAdd, IndexStatus
from graftwerk.search.database import remove_checksum
from graftwerk.types import Silent


def test_status(tmp_path, monkeypatch):
    encoder = HashEncoder(name="builtin/minilm")
    use_encoder(monkeypatch, encoder)
    (tmp_path / "a.txt").write_text("Some text.")
    folder = tmp_path / "index"
    index.run_index_add(IndexAdd(paths=[str(tmp_path / "a.txt")], index=folder), Silent())
    state = index.run_index_status(IndexStatus(index=folder), Silent())
    assert (state.files, state.passages, state.pictures) == (1, 1, 0)
    assert (state.encoder, state.fingerprint) == ("builtin/minilm", encoder.fingerprint)
    assert (state.dimension, state.format_version, state.sealed) == (32, 1, True)
    assert state.bytes >= (folder / "graft.sqlite").stat().st_size
    assert state.calibrated.startswith("none for builtin/minilm")
    remove_checksum(folder)
    use_encoder(monkeypatch)
    state = index.run_index_status(IndexStatus(index=folder), Silent())
    assert not state.sealed
    assert state.calibrated.startswith("unknown: the encoder of the index")


def test_no_index(tmp_path):
    with pytest.raises(BadFile, match="there is no index"):
        index.run_index_status(IndexStatus(index=tmp_path), Silent())
