"""`index add`: only what changed is read and embedded; one bad file never stops it."""

import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.support import HashEncoder, Recorder, use_encoder

from graftwerk import limits
from graftwerk.commands import search as index_add
from graftwerk.data import raw
from graftwerk.errors import BadFile, BadInput, Cancelled, WrongBase
from graftwerk.library.index import Index
from graftwerk.requests.search import IndexAdd
from graftwerk.search import ingest
from graftwerk.search.database import require_checksum
from graftwerk.search.index import open_index
from graftwerk.types import Silent


@pytest.fixture
def encoder(monkeypatch):
    encoder = HashEncoder(name="builtin/minilm", reads=frozenset({"text"}))
    use_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Alpha\n\nThe first text.\n\n# Beta\n\nThe second text.\n")
    (folder / "b.txt").write_text("Something else.")
    return folder


def add(docs, *paths, monitor=None, **options):
    request = IndexAdd(
        paths=[str(p) for p in paths or [docs]], index=docs.parent / "index", **options
    )
    return index_add.run_index_add(request, monitor or Silent())


def state(docs):
    """Everything that matters in an index, keys left aside."""
    with open_index(docs.parent / "index") as index, index.view() as view:
        ids, vectors = view.all_vectors()
        passages = view.passages(ids.tolist())
        return view.files(), sorted(
            (repr(passages[key]), hashlib.sha256(vector.tobytes()).hexdigest())
            for key, vector in zip(ids.tolist(), vectors, strict=True)
        )


def test_a_new_index(docs, encoder):
    report = add(docs)
    assert (report.added, report.changed, report.unchanged, report.removed) == (2, 0, 0, 0)
    assert (report.passages, report.embedded, report.reused) == (3, 3, 0)
    assert (report.skipped, report.encoder) == ([], "builtin/minilm")
    assert encoder.texts == ["Alpha\nThe first text.", "Beta\nThe second text.", "Something else."]
    files, passages = state(docs)
    assert files == {
        str(docs / name): hashlib.sha256((docs / name).read_bytes()).hexdigest()
        for name in ("a.md", "b.txt")
    }
    assert len(passages) == 3
    assert require_checksum(docs.parent / "index") == []


def test_texts_that_usually_have_no_ending_are_read(tmp_path, encoder):
    for name in ("README", "license", "Makefile", "reader"):
        (tmp_path / name).write_text(f"The text of {name}.")
    with Index(tmp_path / "index") as index:
        change = index.add(tmp_path)
        paths = {Path(hit.path).name for hit in index.search("The text", mode="text").hits}
    assert paths == {"README", "license"} and change.added == 2
    assert {Path(one.path).name for one in change.skipped} == {"Makefile", "reader"}


def test_twice_changes_nothing(docs, encoder, monkeypatch):
    add(docs)
    folder = docs.parent / "index"
    content = {p.name: p.read_bytes() for p in folder.iterdir()}
    use_encoder(monkeypatch)  # the encoder is not even loaded
    report = add(docs)
    assert (report.added, report.unchanged, report.embedded, report.passages) == (0, 2, 0, 3)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == content


def test_only_what_changed_is_embedded(docs, encoder):
    add(docs)
    encoder.texts.clear()
    (docs / "a.md").write_text("# Alpha\n\nThe first text.\n\n# Gamma\n\nThe third text.\n")
    (docs / "c.txt").write_text("Something else.")
    report = add(docs)
    assert (report.added, report.changed, report.unchanged) == (1, 1, 1)
    assert encoder.texts == ["Gamma\nThe third text."]
    assert (report.embedded, report.reused, report.passages) == (1, 2, 4)


def test_the_same_text_in_one_batch_is_embedded_once(docs, encoder):
    for n in range(5):
        (docs / f"copy{n}.txt").write_text("Something else.")
    report = add(docs)
    assert encoder.texts.count("Something else.") == 1
    assert (report.embedded, report.reused) == (3, 5)


def test_what_vanished_is_removed(docs, encoder):
    add(docs)
    (docs / "b.txt").unlink()
    other = docs.parent / "docs2"
    other.mkdir()
    (other / "x.txt").write_text("x")
    assert add(docs, docs, other).removed == 1
    shutil.rmtree(other)
    assert add(docs).removed == 0  # not below what was named
    (docs / "a.md").rename(docs / "z.md")
    report = add(docs)
    assert (report.added, report.removed, report.embedded) == (1, 1, 0)


def test_an_interrupted_add_goes_on(docs, encoder, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH_PASSAGES", 2)
    for n in range(9):
        (docs / f"n{n}.txt").write_text(f"Number {n}.")
    add(docs, index_reference := docs)
    whole = state(docs)
    shutil.rmtree(docs.parent / "index")
    monitor = Recorder(stop_after=20)
    with pytest.raises(Cancelled):
        add(docs, index_reference, monitor=monitor)
    retained = state(docs)[0]
    assert 0 < len(retained) < 11
    assert require_checksum(docs.parent / "index") == []
    encoder.texts.clear()
    report = add(docs)
    assert (report.added, report.unchanged) == (11 - len(retained), len(retained))
    assert len(encoder.texts) == report.embedded
    assert state(docs) == whole


def test_progress_counts_every_byte(docs, encoder, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH_PASSAGES", 4)
    (docs / "bad.txt").write_bytes(b"\x00\x01\xff\xfe\x80" * 4000)
    (docs / "long.txt").write_text("\n\n".join(f"Number {n} " * 100 for n in range(20)))
    (docs / "copy.txt").write_text("Something else.")
    add(docs, monitor=(monitor := Recorder()))
    (comparing, compared), (adding_, added) = list(
        zip(monitor.stages, monitor.counts, strict=True)
    )[:2]
    assert (comparing, compared) == (("comparing files", 5), 5)
    size = sum(path.stat().st_size for path in docs.iterdir())
    assert adding_ == ("adding, in kB", -(-size // 1024))
    assert added == adding_[1]


def test_no_place_for_an_index(docs, encoder):
    (docs.parent / "index").write_text("a file")
    with pytest.raises(BadFile, match="is a file"):
        add(docs)
    assert encoder.texts == []


def test_a_bad_file_is_skipped_with_its_reason(docs, encoder):
    (docs / "bad.txt").write_bytes(b"\x00\x01\xff\xfe\x80" * 400)
    (docs / "picture.png").write_bytes(b"no picture")
    report = add(docs)
    assert report.added == 2
    reasons = {Path(skip.path).name: skip.reason for skip in report.skipped}
    assert set(reasons) == {"bad.txt", "picture.png"}
    assert "is an image, and the encoder reads only text" in reasons["picture.png"]
    assert reasons["bad.txt"]


def test_a_stored_file_that_cannot_be_read_now_keeps_its_passages(docs, encoder):
    add(docs)
    (docs / "b.txt").write_bytes(b"\x00\x01\xff\xfe\x80" * 400)
    report = add(docs)
    (skip,) = report.skipped
    assert skip.path == str(docs / "b.txt")
    assert "What was stored of it before stays." in skip.reason
    assert report.passages == 3
    (docs / "b.txt").write_text("Readable again.")
    assert add(docs).changed == 1


def test_nothing_to_index_leaves_nothing_behind(docs, encoder):
    empty = docs.parent / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match=r"there is no file to read in .*empty"):
        add(docs, empty)
    (empty / "bad.txt").write_bytes(b"\x00\x01\xff\xfe\x80" * 400)
    with pytest.raises(BadInput, match=r"no file in .*empty can be stored: .*bad\.txt"):
        add(docs, empty)
    assert sorted(os.listdir(docs.parent)) == ["docs", "empty"]
    with pytest.raises(BadFile):
        add(docs, docs / "none.txt")


def test_an_empty_folder_added_to_an_index(docs, encoder):
    add(docs)
    empty = docs.parent / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match="there is no file to read"):
        add(docs, empty)
    assert len(state(docs)[0]) == 2


def held_out_images(docs, monkeypatch):
    encoder = HashEncoder(name="builtin/minilm")
    use_encoder(monkeypatch, encoder)
    monkeypatch.setattr(ingest, "BATCH_PIXELS", 100)
    for n in range(4):
        Image.new("RGB", (8, 8), (n * 60, 0, 0)).save(docs / f"p{n}.png")
    shutil.copy(docs / "p3.png", docs / "p4.png")
    report = add(docs)
    assert (report.added, report.embedded, report.reused, encoder.images) == (7, 7, 1, 4)
    with open_index(docs.parent / "index") as index, index.view() as view:
        assert view.count_images() == 5
        assert index.reads == {"text", "image"}


def test_an_encoder_of_images_skips_text(docs, monkeypatch):
    use_encoder(monkeypatch, HashEncoder(name="builtin/minilm", reads=frozenset({"image"})))
    Image.new("RGB", (8, 8)).save(docs / "p.png")
    report = add(docs)
    assert report.added == 1
    assert {Path(skip.path).name for skip in report.skipped} == {"a.md", "b.txt"}
    assert "is text, and the encoder reads only image" in report.skipped[0].reason


def test_vectors_that_are_no_numbers(docs, encoder, monkeypatch):
    def encode(texts, role="document", advance=None, plain=encoder.encode_texts):
        vectors = plain(texts, role, advance)
        vectors[[text == "Something else." for text in texts]] = np.nan
        return vectors

    monkeypatch.setattr(encoder, "encode_texts", encode)
    report = add(docs)
    assert report.added == 1
    assert "not finite" in report.skipped[0].reason


def test_another_encoder_is_refused(docs, encoder, monkeypatch):
    add(docs)
    use_encoder(monkeypatch, encoder, HashEncoder(name="test/other"))
    with pytest.raises(WrongBase, match=r"builtin/minilm .*test/other"):
        add(docs, encoder="test/other")
    same = HashEncoder(name="builtin/minilm", reads=frozenset({"text"}))
    same.name = "alias"
    use_encoder(monkeypatch, same)
    monkeypatch.setattr("graftwerk.library.index.load_encoder", lambda name, **_: same)
    assert add(docs, encoder="alias").unchanged == 2  # another name of the same weights


def test_weights_that_changed_under_their_name(docs, encoder):
    add(docs)
    encoder.fingerprint = "f" * 64
    (docs / "new.txt").write_text("new")
    with pytest.raises(WrongBase, match="builtin/minilm"):
        add(docs)
    assert len(state(docs)[0]) == 2


def test_an_index_inside_the_folder_is_left_out(docs, encoder):
    request = IndexAdd(paths=[str(docs)], index=docs / "index")
    assert index_add.run_index_add(request, Silent()).added == 2
    (docs / "index" / "notes.txt").write_text("inside")
    request = IndexAdd(paths=[str(docs), str(docs / "index" / "notes.txt")], index=docs / "index")
    assert index_add.run_index_add(request, Silent()).unchanged == 2


def test_the_file_changes_between_comparing_and_reading(docs, encoder, monkeypatch):
    """What was read is stored, under its own hash; nothing is left to do for the next add."""
    (docs / "b.txt").write_text("Visitors may enter the vault.")

    def read(reader, path, plain=ingest.Reader.read):
        (docs / "b.txt").write_text("Changed before it was read.")
        return plain(reader, path)

    with monkeypatch.context() as patch:
        patch.setattr(ingest.Reader, "read", read)
        add(docs)
    assert "Changed before it was read." in encoder.texts
    assert_index_equals_files(docs)
    assert add(docs).unchanged == 2


def assert_index_equals_files(docs):
    """The stored hash is the file's, and the stored text is that of the stored hash."""
    stored, passages = state(docs)
    for path, digest in stored.items():
        content = Path(path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        if path.endswith(".txt"):
            assert any(content.decode() in shown for shown, _ in passages)


@pytest.mark.parametrize("ending", [".txt", ".html", ".csv", ".png"])
def test_a_file_that_is_another_one_only_while_it_is_read(docs, monkeypatch, ending):
    """A, then B, then A again: what was read of B must not count as A."""
    use_encoder(monkeypatch, HashEncoder(name="builtin/minilm"))
    path = docs / f"c{ending}"
    if ending == ".png":
        Image.new("RGB", (4, 4), "red").save(path)
        first = path.read_bytes()
        Image.new("RGB", (4, 4), "blue").save(path)
        second = path.read_bytes()
    else:
        first, second = b"rule\nVisitors may enter.", b"rule\nVisitors must never enter."
    path.write_bytes(first)

    def read(reader, name, plain=ingest.Reader.read_with_image):
        if name != str(path):
            return plain(reader, name)
        path.write_bytes(second)
        try:
            return plain(reader, name)
        finally:
            path.write_bytes(first)

    with monkeypatch.context() as patch:
        patch.setattr(ingest.Reader, "read_with_image", read)
        assert add(docs).added == 3
    stored, _ = state(docs)
    assert stored[str(path)] == hashlib.sha256(second).hexdigest()
    report = add(docs)
    assert (report.changed, report.unchanged) == (1, 2)
    stored, passages = state(docs)
    assert stored[str(path)] == hashlib.sha256(first).hexdigest()
    assert not any("never" in shown for shown, _ in passages)
    assert add(docs).unchanged == 3


def test_a_file_over_the_limit_is_not_hashed(docs, encoder, monkeypatch):
    """Else a sparse file of a tebibyte takes an hour, at each add."""
    monkeypatch.setattr(limits, "TEXT_FILE", 100)
    (docs / "big.txt").write_bytes(b"x" * 101)
    hashed = []

    def count(content=b""):
        hashed.append(hashlib.sha256(content))
        return hashed[-1]

    monkeypatch.setattr(raw, "hashlib", SimpleNamespace(sha256=count))
    for number in (4, 2):  # of the two others, when they are compared and when they are read
        hashed.clear()
        report = add(docs)
        (skip,) = report.skipped
        assert skip.path == str(docs / "big.txt")
        assert "'big.txt' has 101 bytes; at most 100 are read." in skip.reason
        assert len(hashed) == number
    assert report.unchanged == 2


def test_one_entry_that_may_not_be_followed_does_not_stop_the_rest(docs, encoder, monkeypatch):
    """As in /proc, where reading the links of another's process is refused."""
    (docs / "cwd").symlink_to("b.txt")

    def readlink(path, *rest, plain=os.readlink, **options):
        if os.path.basename(path) == "cwd":  # noqa: PTH119
            raise PermissionError(13, "Permission denied")
        return plain(path, *rest, **options)

    monkeypatch.setattr(os, "readlink", readlink)
    report = add(docs)
    assert report.added == 2
    (skip,) = report.skipped
    assert skip.path == str(docs / "cwd")
    assert skip.reason == "It is a link that cannot be followed: Permission denied."
    with pytest.raises(BadInput, match=r"no file in .*cwd can be stored"):
        add(docs.parent / "other", docs / "cwd")


def test_what_is_no_file_is_skipped(docs, encoder):
    os.mkfifo(docs / "fifo.txt")
    (docs / "zero.txt").symlink_to("/dev/zero")
    report = add(docs)
    assert report.added == 2
    assert {Path(skip.path).name for skip in report.skipped} == {"fifo.txt", "zero.txt"}


def test_every_file_of_an_index_follows_the_umask(docs, encoder):
    for mask, mode in ((0o022, 0o644), (0o007, 0o660), (0o077, 0o600)):
        former = os.umask(mask)
        try:
            add(docs)
        finally:
            os.umask(former)
        folder = docs.parent / "index"
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert set(modes.values()) == {mode}, modes
        assert "vectors.safetensors" in modes
        shutil.rmtree(folder)


def test_the_table_of_images_is_no_document(docs, monkeypatch):
    use_encoder(monkeypatch, HashEncoder(name="builtin/minilm"))
    shown = docs / "shown"
    shown.mkdir()
    Image.new("RGB", (4, 4), "red").save(shown / "a.png")
    table = shown / "metadata.jsonl"
    table.write_text('{"file_name": "a.png", "caption": "red"}\n')
    (docs / "metadata.jsonl").write_text('{"text": "no image is beside it"}\n')
    report = add(docs)
    assert [(skip.path, "beside it" in skip.reason) for skip in report.skipped] == [
        (str(table), True)
    ]
    assert report.added == 4
    assert add(docs, table).added == 1


def test_texts_without_their_images_keep_the_table(docs, encoder):
    shown = docs / "shown"
    shown.mkdir()
    Image.new("RGB", (4, 4), "red").save(shown / "a.png")
    (shown / "metadata.jsonl").write_text('{"file_name": "a.png", "caption": "red"}\n')
    assert [skip.path for skip in add(docs).skipped] == [str(shown / "a.png")]


def test_images_alone_name_an_encoder_of_photographs(docs, encoder):
    Image.new("RGB", (8, 8)).save(docs.parent / "photo.jpg")
    with pytest.raises(BadInput, match="for photographs `encoder` imagenet"):
        add(docs.parent / "photo.jpg")


def test_photographs_alone_in_a_new_index(photographs, docs, monkeypatch, listener):
    report = add(docs, photographs, device="cpu", monitor=listener)
    assert (report.encoder, report.added) == ("imagenet", 24)
    assert sum(note.startswith("no model was named: imagenet") for note in listener.notes) == 1
    with Index(docs.parent / "index", device="cpu") as index:
        assert index.search(photographs / "warm" / "0.png", k=1).hits[0].path.endswith("0.png")
        with pytest.raises(BadInput, match=r"is text.*imagenet reads only images.*index rebuild"):
            index.search("a red cube")
        with pytest.raises(BadInput, match="answers are made of texts"):
            index.ask("What is red?")
    again = add(docs, photographs, docs, device="cpu", monitor=listener)
    assert (again.encoder, again.added, again.unchanged) == ("imagenet", 0, 24)
    assert len(listener.notes) == 1


@pytest.mark.parametrize("first", [False, True])
def test_photographs_beside_texts_do_not_change_the_encoder(photographs, docs, encoder, first):
    if first:
        add(docs)
    report = add(docs, photographs, *([] if first else [docs]))
    assert report.encoder == "builtin/minilm"
    assert sum("reads only text" in skip.reason for skip in report.skipped) == 24
