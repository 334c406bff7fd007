"""An index on disk: opening, making, writing, refreshing."""

import os
import resource
import signal
import sqlite3
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import Corpus, HashEncoder

from graftwerk.errors import BadFile, Damaged, NoRoom, WrongBase
from graftwerk.search import index as module
from graftwerk.search.database import require_checksum
from graftwerk.search.index import create_or_open, open_index
from graftwerk.search.query import search
from graftwerk.search.rows import Entry
from graftwerk.search.vectors import read_snapshot
from graftwerk.types import Passage


@pytest.fixture
def corpus(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        yield corpus


def reopen(corpus):
    return open_index(corpus.index.folder)


@contextmanager
def file_size_limit(size):
    """The disk is full for files that grow beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_round_trip(corpus):
    passage = Passage("/a.md", "text", "Zwölf\r\n\0 Boxkämpfer", 4, 23, "A > B", 3, 9)
    corpus.put("/a.md", passage)
    with reopen(corpus) as index, index.view() as view:
        assert view.passages_of("/a.md") == [passage]
        assert list(view.passages([1, 2]).values()) == [passage]
        assert (view.count_files(), view.count_passages(), view.count_images()) == (1, 1, 0)
        assert index.encoder_name == "test/hash"
        assert (index.layer, index.dimension) == (None, 32)
        assert index.fingerprint == corpus.encoder.fingerprint
        _, vectors = view.all_vectors()
    assert np.array_equal(vectors, corpus.encoder.encode_texts(["A > B\nZwölf\r\n\0 Boxkämpfer"]))


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(alphabet=st.characters(), max_size=20))
def test_any_text_survives(tmp_path_factory, text, heading):
    corpus = Corpus.shared(tmp_path_factory)
    passage = Passage("/p.txt", "text", text, 0, len(text), heading)
    corpus.put("/p.txt", passage)
    with corpus.index.view() as view:
        (found,) = view.passages_of("/p.txt")
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert (found.text, found.end) == (expected, len(text))


@pytest.mark.parametrize(
    "name",
    ["/\udcff\udcfe.txt", "/\u202egnp.exe", "/\x1b[31m.md", "/a\nb.md", "/'\";--", "/" + "x" * 255],
)
def test_any_file_name_survives(corpus, name):
    corpus.put_text(name, "words")
    assert list(corpus.files()) == [name]
    assert corpus.allowed("kind = text")[0].path == name
    assert corpus.index.remove([name]) == 1


def test_a_changed_file_takes_the_place_of_its_former_self(corpus):
    corpus.put_text("/a.txt", "one", "two")
    corpus.put_text("/b.txt", "three")
    corpus.put_text("/a.txt", "four")
    assert corpus.texts() == ["three", "four"]
    assert len(corpus.match('"one" OR "two"')) == 0
    assert len(corpus.match('"four"')) == 1


def test_the_same_content_is_not_stored_again(corpus):
    corpus.put_text("/a.txt", "one")
    with corpus.index.view() as view:
        before = view.all_vectors()[0].tolist()
    entry = Entry("/a.txt", corpus.files()["/a.txt"], [], corpus.encoder.encode_texts([]))
    assert corpus.index.put_all([entry]) == ["unchanged"]
    with corpus.index.view() as view:
        assert view.all_vectors()[0].tolist() == before


def test_keys_are_never_used_again(corpus):
    first = corpus.put_text("/a.txt", "one")
    corpus.index.remove(["/a.txt"])
    assert corpus.put_text("/a.txt", "one") > first


def test_several_files_are_stored_together_or_not_at_all(corpus, monkeypatch):
    def fail(connection, entry, put=module.put_file):
        if entry.path == "/2":
            raise RuntimeError("power cut")
        return put(connection, entry)

    monkeypatch.setattr(module, "put_file", fail)
    vectors = corpus.encoder.encode_texts(["x"])
    entries = [Entry(p, "h", [Passage(p, "text", "x", 0, 1)], vectors) for p in ("/1", "/2")]
    with pytest.raises(RuntimeError, match="power cut"):
        corpus.index.put_all(entries)
    assert corpus.files() == {}
    assert corpus.match('"x"') == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.0])
def test_vectors_that_are_none(corpus, value):
    vectors = np.full((1, 32), value, dtype=np.float32)
    with pytest.raises(BadFile, match=r"/a.txt.*test/hash.*not finite"):
        corpus.index.put("/a.txt", "h", [Passage("/a.txt", "text", "x", 0, 1)], vectors)
    with pytest.raises(ValueError, match="vectors"):
        corpus.index.put("/a.txt", "h", [], vectors)
    assert corpus.files() == {}


def test_known_vectors_by_content(corpus):
    from graftwerk.search.rows import input_hash

    corpus.put_text("/a.txt", "one", heading="H")
    here = input_hash(Passage("/b.txt", "text", "one", 7, 10, "H"), "other")
    elsewhere = input_hash(Passage("/b.txt", "text", "one", 7, 10), "other")
    with corpus.index.view() as view:
        known = view.known_vectors([here, elsewhere])
    assert list(known) == [here]
    vectors = corpus.encoder.encode_texts(["H\none"])
    assert known[here] == vectors.tobytes()
    corpus.index.connection.execute("UPDATE passages SET vector = zeroblob(128)")
    with corpus.index.view() as view:
        assert view.known_vectors([here]) == {}  # damage does not spread


def test_refresh_and_seal(corpus):
    corpus.put_text("/a.txt", "one", "two")
    assert not corpus.index.sealed and not corpus.index.is_fresh()
    corpus.index.refresh()
    assert corpus.index.sealed and corpus.index.is_fresh()
    assert require_checksum(corpus.index.folder) == []
    with corpus.index.view() as view:
        ids, vectors = view.all_vectors()
        snapshot = read_snapshot(corpus.index.folder)
        assert snapshot.stamp == view.stamp
    assert np.array_equal(snapshot.ids, ids) and np.array_equal(snapshot.vectors, vectors)
    corpus.put_text("/b.txt", "three")
    assert not corpus.index.sealed and not corpus.index.is_fresh()
    corpus.index.close()
    with reopen(corpus) as index:
        index.refresh()
        assert index.is_fresh() and require_checksum(index.folder) == []


def test_reading_leaves_the_seal_whole(corpus):
    corpus.put_text("/a.txt", "one")
    corpus.index.refresh()
    for _ in range(3):
        with reopen(corpus) as index, index.view() as view:
            view.all_vectors()
    corpus.index.close()
    assert require_checksum(corpus.index.folder) == []


def test_a_reader_that_holds_on_leaves_the_index_unsealed(corpus, monkeypatch):
    monkeypatch.setattr(module, "_CHECKPOINT_MILLISECONDS", 50)
    corpus.put_text("/a.txt", "one")
    with reopen(corpus) as reader:
        with reader.view() as view:
            corpus.put_text("/b.txt", "two")
            corpus.index.refresh()
            assert not corpus.index.sealed
            assert view.count_files() == 1  # what it saw first
        corpus.index.refresh()
        assert corpus.index.sealed


def test_space_follows_the_database(corpus):
    corpus.put_text("/a.txt", "one", "two")
    corpus.put_text("/b.txt", "three")
    corpus.index.refresh()
    corpus.put_text("/c.txt", "four")
    corpus.index.remove(["/b.txt"])
    with reopen(corpus) as index, index.view() as view:
        space = index.space(view)
        assert space is index.space(view)
        ids, vectors = view.all_vectors()
        found, taken = space.take(ids)
        assert (len(space), space.gone.tolist()) == (3, [2])
        assert np.array_equal(found, ids) and np.array_equal(taken, vectors)


def test_without_a_snapshot(corpus):
    corpus.put_text("/a.txt", "one", "two")
    corpus.index.refresh()
    (corpus.index.folder / "vectors.safetensors").unlink()
    with reopen(corpus) as index, index.view() as view:
        assert len(index.space(view)) == 2


@pytest.mark.parametrize("dimension", [32, 48])
def test_a_snapshot_of_another_index_is_not_used(corpus, tmp_path, dimension):
    with Corpus(tmp_path / "other", HashEncoder(dimension)) as other:
        other.put_text("/a.txt", "three", "four")
        other.index.refresh()
    corpus.put_text("/a.txt", "one", "two")
    snapshot = (tmp_path / "other" / "vectors.safetensors").read_bytes()
    (corpus.index.folder / "vectors.safetensors").write_bytes(snapshot)
    with corpus.index.view() as view:
        ids, vectors = view.all_vectors()
        assert np.array_equal(corpus.index.space(view).take(ids)[1], vectors)


def test_another_encoder_is_refused_by_name(corpus):
    folder = corpus.index.folder
    other = HashEncoder(name="test/other")
    with pytest.raises(
        WrongBase, match=r"encoder test/hash \(\w{12}\), not on test/other"
    ) as caught:
        create_or_open(folder, other, "test/other", None)
    assert "graft index rebuild --encoder test/other" in caught.value.hint


def test_another_way_of_cutting_is_refused(corpus, monkeypatch):
    monkeypatch.setattr(module, "CHUNKER_VERSION", 99)
    with pytest.raises(WrongBase, match="passages of version 2, not on version 99") as caught:
        create_or_open(corpus.index.folder, corpus.encoder, "test/hash", None)
    assert "graft index rebuild" in caught.value.hint
    with reopen(corpus):
        pass  # searching is fine


def test_another_process_changed_the_encoder(corpus):
    corpus.put_text("/a.txt", "one")
    base = module.describe_base(HashEncoder(name="test/other"), "test/other", None)
    with reopen(corpus) as second:
        assert second.replace_all([], base, corpus.files())
        assert second.encoder_name == "test/other"
    with pytest.raises(WrongBase, match="test/other"), corpus.index.view():
        pass
    with pytest.raises(WrongBase, match="test/other"):
        corpus.put_text("/b.txt", "two")


def test_replace_all_sees_what_changed_meanwhile(corpus):
    corpus.put_text("/a.txt", "one")
    expected = corpus.files()
    corpus.put_text("/b.txt", "two")
    base = module.describe_base(HashEncoder(name="test/other"), "test/other", None)
    assert not corpus.index.replace_all([], base, expected)
    assert set(corpus.files()) == {"/a.txt", "/b.txt"}


def test_there_is_no_index(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadFile, match="there is no index in") as caught:
            open_index(folder)
        assert "graft index add PATH..." in caught.value.hint
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadFile, match="is a file"):
        open_index(tmp_path / "file")
    with pytest.raises(BadFile, match="is a file"):
        create_or_open(tmp_path / "file", HashEncoder(), "test/hash", None)


def test_a_folder_of_other_things(tmp_path):
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(BadFile, match=r"holds other files, for example 'thesis\.docx'"):
        create_or_open(tmp_path, HashEncoder(), "test/hash", None)
    assert os.listdir(tmp_path) == ["thesis.docx"]


def test_another_programs_database(tmp_path):
    connection = sqlite3.connect(tmp_path / "graft.sqlite")
    connection.execute("CREATE TABLE t(x)")
    connection.close()
    with pytest.raises(BadFile, match="not an index of graftwerk"):
        open_index(tmp_path)
    with pytest.raises(BadFile, match="not an index of graftwerk"):
        create_or_open(tmp_path, HashEncoder(), "test/hash", None)


def test_a_newer_format(corpus):
    corpus.index.connection.execute("PRAGMA user_version=2")
    with pytest.raises(BadFile, match="has format 2; this version of graftwerk reads format 1"):
        reopen(corpus)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_no_database(tmp_path, content):
    (tmp_path / "graft.sqlite").write_bytes(content)
    with pytest.raises(Damaged, match="is damaged") as caught:
        open_index(tmp_path)
    assert "graft index verify --repair" in caught.value.hint


def test_an_interrupted_making_is_made_again(tmp_path):
    (tmp_path / "graft.sqlite").touch()
    (tmp_path / "writer.lock").touch()
    with pytest.raises(BadFile, match=r"is empty, as after an interrupted write.*index add"):
        open_index(tmp_path)
    with Corpus(tmp_path) as corpus:
        corpus.put_text("/a.txt", "one")
    with open_index(tmp_path) as index, index.view() as view:
        assert view.count_files() == 1


def test_a_description_that_does_not_match_its_hash(corpus):
    corpus.index.connection.execute("UPDATE meta SET value = '33' WHERE key = 'dimension'")
    with pytest.raises(Damaged, match="does not match its hash"):
        reopen(corpus)


def test_a_full_disk(corpus):
    corpus.put_text("/a.txt", "one")
    corpus.index.refresh()
    size = (corpus.index.folder / "graft.sqlite").stat().st_size
    texts = ["word " * 200 + str(n) for n in range(300)]
    with file_size_limit(size), pytest.raises(NoRoom, match=r"graft\.sqlite") as caught:
        corpus.put_text("/b.txt", *texts)
    assert "What was stored before is whole" in caught.value.hint
    assert corpus.texts() == ["one"]
    corpus.put_text("/b.txt", *texts)
    corpus.index.refresh()
    assert len(corpus.texts()) == 301


def test_a_disk_too_full_to_make_an_index(tmp_path):
    with file_size_limit(10_000), pytest.raises(NoRoom):
        create_or_open(tmp_path / "deep" / "index", HashEncoder(), "test/hash", None)
    assert not (tmp_path / "deep" / "index").exists()
    Corpus(tmp_path / "deep" / "index").index.close()


def test_a_place_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadFile, match="cannot be made: Not a directory"):
        create_or_open(tmp_path / "file" / "index", HashEncoder(), "test/hash", None)


def as_nobody(work) -> str:
    """Run `work` in a child without root's rights; gives the name of the error it raised."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            work()
            os.write(writer, b"fine")
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def test_a_read_only_folder_can_be_searched_but_not_written(tmp_path):
    folder = tmp_path / "index"
    with Corpus(folder) as corpus:
        corpus.put_text("/a.txt", "one", "two")
        corpus.index.refresh()
        encoder = corpus.encoder

    def read():
        with open_index(folder) as index:
            assert len(search(index, encoder, "two").hits) == 2

    def write():
        with open_index(folder) as index:
            index.remove(["/a.txt"])

    def make():
        create_or_open(folder / "inner", encoder, "test/hash", None)

    for path in folder.parents:  # pytest's own folders
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(0o755)
    for name in os.listdir(folder):
        (folder / name).chmod(0o444)
    folder.chmod(0o555)
    try:
        assert as_nobody(read) == "fine"
        assert as_nobody(write).startswith("NoRoom: cannot write")
        assert as_nobody(make).startswith("NoRoom: cannot write")
    finally:
        folder.chmod(0o755)
    assert require_checksum(folder) == []


def test_two_open_at_once_and_write_in_turn(corpus):
    with reopen(corpus) as second:
        other = Corpus.__new__(Corpus)
        other.encoder, other.index = corpus.encoder, second
        for n in range(5):
            corpus.put_text(f"/a{n}", f"one{n}")
            other.put_text(f"/b{n}", f"two{n}")
        assert corpus.files() == other.files()
        assert len(corpus.files()) == 10
