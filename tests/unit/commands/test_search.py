"""`search`, and opening an index with the encoder that made it."""

import pytest
from tests.support import HashEncoder, use_encoder

from graftwerk.commands import search
from graftwerk.commands import search as index_add
from graftwerk.errors import BadFile, WrongBase
from graftwerk.requests.search import IndexAdd, Search
from graftwerk.search.writing import lasting_name
from graftwerk.types import Silent


@pytest.fixture
def encoder(monkeypatch):
    encoder = HashEncoder(name="builtin/minilm")
    use_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture
def folder(tmp_path, encoder):
    (tmp_path / "a.md").write_text("# Leave\n\nParents may take sixteen weeks.\n")
    (tmp_path / "b.txt").write_text("Dogs are welcome in the office.")
    index_add.run_index_add(IndexAdd(paths=[str(tmp_path)], index=tmp_path / ".index"), Silent())
    return tmp_path / ".index"


def test_a_hit_tells_everything(folder):
    report = search.run_search(Search(query="weeks for a parent", index=folder, k=1), Silent())
    (hit,) = report.hits
    assert hit.path == str(folder.parent / "a.md")
    assert (hit.kind, hit.heading, hit.line, hit.page) == ("text", "Leave", 3, None)
    assert (hit.text, hit.start, hit.end) == ("Parents may take sixteen weeks.", 9, 40)
    assert (hit.vector_rank, hit.text_rank) == (1, 1)
    assert [hit.text[a:b] for a, b in hit.marks] == ["Parents", "weeks"]
    assert (report.query, report.mode, report.searched) == ("weeks for a parent", "hybrid", 2)


def test_options_reach_the_search(folder):
    request = Search(query="dogs", index=folder, mode="text", where=["name = a.md"])
    report = search.run_search(request, Silent())
    assert (report.hits, report.searched) == ([], 1)
    exact = search.run_search(
        Search(query="dogs", index=folder, mode="vector", exact=True), Silent()
    )
    assert len(exact.hits) == 2


def test_text_mode_needs_no_encoder(folder, monkeypatch):
    use_encoder(monkeypatch)
    assert search.run_search(Search(query="dogs", index=folder, mode="text"), Silent()).hits
    with pytest.raises(BadFile, match=r"encoder of the index .* cannot be loaded") as caught:
        search.run_search(Search(query="dogs", index=folder), Silent())
    assert "graft index rebuild --encoder NAME" in caught.value.hint


def test_other_weights_of_the_same_name(folder, encoder):
    encoder.fingerprint = "0" * 64
    with pytest.raises(WrongBase, match=r"builtin/minilm with fingerprint .* not on .*000000"):
        search.run_search(Search(query="dogs", index=folder), Silent())


def test_a_stand_in_comes_with_its_rescorer(folder, encoder, monkeypatch):
    full = HashEncoder(name="test/full")
    encoder.rescorer = "test/full"
    use_encoder(monkeypatch, encoder, full)
    search.run_search(Search(query="dogs", index=folder), Silent())
    assert "dogs" in full.texts


def test_no_index(tmp_path):
    with pytest.raises(BadFile, match="there is no index"):
        search.run_search(Search(query="dogs", index=tmp_path), Silent())


def test_names_that_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert lasting_name("builtin/minilm") == "builtin/minilm"
    assert lasting_name("owner/name@main") == "owner/name@main"
    assert lasting_name("model") == str(tmp_path / "model")
    assert lasting_name("static:model") == f"static:{tmp_path / 'model'}"
