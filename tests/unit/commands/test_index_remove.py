"""`index remove`."""

import pytest
from tests.support import HashEncoder, use_encoder

from graftwerk.commands import search as index
from graftwerk.errors import BadFile
from graftwerk.requests.search import IndexAdd, IndexRemove
from graftwerk.search.database import require_checksum
from graftwerk.types import Silent


@pytest.fixture
def docs(tmp_path, monkeypatch):
    use_encoder(monkeypatch, HashEncoder(name="builtin/minilm"))
    for name in ("a.txt", "sub/b.txt", "sub/c.txt", "sub2/d.txt"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    index.run_index_add(
        IndexAdd(paths=[str(tmp_path / "docs")], index=tmp_path / "index"), Silent()
    )
    return tmp_path / "docs"


def remove(docs, *paths):
    request = IndexRemove(paths=[str(path) for path in paths], index=docs.parent / "index")
    return index.run_index_remove(request, Silent())


def test_a_file_and_a_folder(docs):
    report = remove(docs, docs / "a.txt", docs / "sub")
    assert (report.removed, report.unchanged, report.passages) == (3, 1, 1)
    assert (docs / "a.txt").exists()
    assert require_checksum(docs.parent / "index") == []


def test_relative_paths_and_files_that_are_gone(docs, monkeypatch):
    monkeypatch.chdir(docs)
    (docs / "a.txt").unlink()
    assert remove(docs, "a.txt", "./sub/../sub/b.txt").removed == 2


def test_everything(docs):
    assert remove(docs, docs).passages == 0


def test_what_is_not_there(docs):
    report = remove(docs, docs / "a.txt", docs / "sub2/none")
    assert report.removed == 1
    assert report.skipped[0].path == str(docs / "sub2/none")
    with pytest.raises(BadFile, match="not in the index"):
        remove(docs, docs / "su")
