"""`index rebuild`: another encoder, another way of cutting, or the same contents afresh."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.support import HashEncoder, Recorder, use_encoder

from graftwerk.commands import search as index_add
from graftwerk.commands import search as index_rebuild
from graftwerk.commands import search as index_verify
from graftwerk.errors import BadFile, BadInput, Busy, Cancelled, WrongBase
from graftwerk.requests.search import IndexAdd, IndexRebuild, IndexVerify
from graftwerk.search import index as index_module
from graftwerk.search import writing
from graftwerk.search.index import Index, open_index
from graftwerk.types import Silent

FIRST = HashEncoder(name="builtin/minilm")
OTHER = HashEncoder(name="test/other", dimension=48, reads=frozenset({"text"}))


@pytest.fixture
def docs(tmp_path, monkeypatch):
    use_encoder(monkeypatch, FIRST, OTHER)
    FIRST.texts.clear()
    OTHER.texts.clear()
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(4):
        (folder / f"{n}.txt").write_text(f"This is number {n}.")
    shutil.copy(folder / "0.txt", folder / "copy.txt")
    add(folder)
    return folder


def add(docs):
    return index_add.run_index_add(
        IndexAdd(paths=[str(docs)], index=docs.parent / "index"), Silent()
    )


def rebuild(docs, monitor=None, **options):
    request = IndexRebuild(index=docs.parent / "index", **options)
    return index_rebuild.run_index_rebuild(request, monitor or Silent())


def vectors(docs):
    with open_index(docs.parent / "index") as index, index.view() as view:
        ids, vectors = view.all_vectors()
        found = view.passages(ids.tolist())
        return {found[k].path: v for k, v in zip(ids.tolist(), vectors, strict=True)}


def assert_sound(docs):
    report = index_verify.run_index_verify(IndexVerify(index=docs.parent / "index"), Silent())
    assert (report.sound, report.sealed, report.recall_at_10) == (True, True, 1.0)


def test_the_same_afresh(docs):
    before = vectors(docs)
    FIRST.texts.clear()
    (docs.parent / "index" / "vectors.safetensors").unlink()
    report = rebuild(docs)
    assert (report.unchanged, report.embedded, report.passages) == (5, 0, 5)
    assert FIRST.texts == []
    assert all(np.array_equal(before[path], vector) for path, vector in vectors(docs).items())
    assert_sound(docs)


def test_another_encoder(docs):
    for path in docs.iterdir():
        path.unlink()  # the stored texts are enough
    report = rebuild(docs, encoder="test/other")
    assert (report.encoder, report.unchanged, report.embedded, report.reused) == (
        "test/other",
        5,
        4,
        1,
    )
    assert len(OTHER.texts) == 4
    found = vectors(docs)
    assert np.array_equal(found[str(docs / "1.txt")], OTHER.encode_texts(["This is number 1."])[0])
    assert_sound(docs)
    with open_index(docs.parent / "index") as index:
        assert (index.encoder_name, index.dimension, index.reads) == ("test/other", 48, {"text"})


def test_an_add_with_the_new_encoder_goes_on(docs):
    rebuild(docs, encoder="test/other")
    assert add(docs).unchanged == 5
    index_add.run_index_add(
        IndexAdd(paths=[str(docs)], index=docs.parent / "index", encoder="test/other"), Silent()
    )
    with pytest.raises(WrongBase):
        index_add.run_index_add(
            IndexAdd(paths=[str(docs)], index=docs.parent / "index", encoder="builtin/minilm"),
            Silent(),
        )


def test_images_are_read_again_or_taken_out(docs, monkeypatch):
    both = HashEncoder(name="test/both", dimension=16)
    use_encoder(monkeypatch, FIRST, OTHER, both)
    Image.new("RGB", (8, 8), "red").save(docs / "red.png")
    Image.new("RGB", (8, 8), "blue").save(docs / "blue.png")
    Image.new("RGB", (8, 8), "green").save(docs / "green.png")
    add(docs)
    (docs / "blue.png").unlink()
    Image.new("RGB", (8, 8), "black").save(docs / "green.png")
    report = rebuild(docs, encoder="test/both")
    assert both.images == 1
    assert (report.unchanged, report.removed, report.passages) == (6, 2, 6)
    reasons = {skip.path.rsplit("/", 1)[1]: skip.reason for skip in report.skipped}
    assert reasons["blue.png"].startswith("taken out: it cannot be read")
    assert "it has changed" in reasons["green.png"]
    report = rebuild(docs, encoder="test/other")
    assert "reads only text" in report.skipped[0].reason
    assert_sound(docs)


def test_cut_another_way(docs, monkeypatch):
    cut = writing.cut
    monkeypatch.setattr(writing, "cut", lambda document: cut(document) * 2)
    for module in (index_module, writing):
        monkeypatch.setattr(module, "CHUNKER_VERSION", 4)
    FIRST.texts.clear()
    with pytest.raises(WrongBase, match="passages of version 2"):
        (docs / "new.txt").write_text("new")
        add(docs)
    (docs / "3.txt").unlink()
    report = rebuild(docs)
    assert (report.unchanged, report.removed, report.passages, report.embedded) == (4, 1, 8, 0)
    assert FIRST.texts == []
    assert add(docs).added == 1
    assert_sound(docs)


def test_an_encoder_that_reads_none_of_it(docs, monkeypatch):
    use_encoder(monkeypatch, FIRST, HashEncoder(name="eye", reads=frozenset({"image"})))
    before = vectors(docs)
    with pytest.raises(BadInput, match=r"no file of the index .* could be made again"):
        rebuild(docs, encoder="eye")
    assert vectors(docs).keys() == before.keys()
    with pytest.raises(BadFile):
        rebuild(docs, encoder="unknown")


def test_stopped_halfway_it_is_as_it_was(docs):
    before = vectors(docs)
    with pytest.raises(Cancelled):
        rebuild(docs, encoder="test/other", monitor=Recorder(stop_after=3))
    after = vectors(docs)
    assert all(np.array_equal(before[path], after[path]) for path in before)
    assert_sound(docs)


def test_what_others_add_meanwhile_is_not_lost(docs, monkeypatch):
    plain = Index.replace_all
    calls = []

    def interrupted(index, entries, base, expected):
        if not calls:
            (docs / "late.txt").write_text("This came late.")
            add(docs)
        calls.append(len(entries))
        return plain(index, entries, base, expected)

    monkeypatch.setattr(Index, "replace_all", interrupted)
    OTHER.texts.clear()
    report = rebuild(docs, encoder="test/other")
    assert calls == [5, 6]
    assert (report.passages, report.unchanged) == (6, 6)
    assert len(OTHER.texts) == 5  # nothing is embedded twice
    assert_sound(docs)


def test_others_never_stop(docs, monkeypatch):
    monkeypatch.setattr(Index, "replace_all", lambda *_: False)
    with pytest.raises(Busy):
        rebuild(docs, encoder="test/other")
