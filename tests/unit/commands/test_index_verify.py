"""`index verify`: every damage is named; what can be repaired is."""

import hashlib
import os
import random
import sqlite3

import pytest
from PIL import Image
from tests.support import HashEncoder, use_encoder

from graftwerk.cli.main import main
from graftwerk.commands import search
from graftwerk.commands import search as index_add
from graftwerk.commands import search as index_verify
from graftwerk.errors import BadFile, Damaged
from graftwerk.requests.search import IndexAdd, IndexRemove, IndexVerify, Search
from graftwerk.search.database import CHECKSUM, DATABASE, SNAPSHOT, remove_checksum
from graftwerk.types import Silent


@pytest.fixture
def encoder(monkeypatch):
    encoder = HashEncoder(name="builtin/minilm")
    use_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture
def docs(tmp_path, encoder):
    folder = tmp_path / "docs"
    folder.mkdir()
    words = random.Random(0)
    for n in range(12):
        sections = [
            f"# Part {s}\n\n" + " ".join(f"word{words.randrange(500)}" for _ in range(70))
            for s in range(5)
        ]
        (folder / f"f{n}.md").write_text("\n\n".join(sections))
    add(folder)
    return folder


def add(docs):
    return index_add.run_index_add(
        IndexAdd(paths=[str(docs)], index=docs.parent / "index"), Silent()
    )


def verify(docs, **options):
    return index_verify.run_index_verify(
        IndexVerify(index=docs.parent / "index", **options), Silent()
    )


def tamper(docs, *statements):
    """Change the database behind the program's back, past its triggers."""
    remove_checksum(docs.parent / "index")
    connection = sqlite3.connect(docs.parent / "index" / DATABASE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def assert_mended(docs, report):
    assert report.sound and all(damage.repaired for damage in report.damages)
    again = verify(docs)
    assert (again.sound, again.damages, again.sealed) == (True, [], True)


def test_a_sound_index(docs):
    report = verify(docs)
    assert (report.sound, report.sealed, report.damages) == (True, True, [])
    assert (report.passages, report.recall_at_10) == (60, 1.0)
    assert verify(docs, repair=True).damages == []


def test_an_index_without_a_seal_is_sound_too(docs):
    remove_checksum(docs.parent / "index")
    report = verify(docs)
    assert (report.sound, report.sealed) == (True, False)


def test_an_empty_index(docs, encoder):
    tamper(docs, "DELETE FROM passages", "DELETE FROM files")
    report = verify(docs, repair=True)
    assert (report.passages, report.recall_at_10) == (0, None)


@pytest.mark.parametrize(
    "change",
    [
        "vector = zeroblob(128)",
        "vector = zeroblob(5)",
        "vector_hash = zeroblob(32)",
        "vector = 'text'",
    ],
)
def test_a_wrong_vector_is_embedded_again(docs, encoder, change):
    tamper(docs, f"UPDATE passages SET {change} WHERE id = 7")
    report = verify(docs)
    assert not report.sound
    assert any(
        damage.where.startswith("passage 7 of ") and "vector" in damage.what
        for damage in report.damages
    )
    encoder.texts.clear()
    report = verify(docs, repair=True)
    assert_mended(docs, report)
    assert len(encoder.texts) == 1 and encoder.texts[0].startswith("Part ")
    assert report.passages == 60
    assert add(docs).unchanged == 12


@pytest.mark.parametrize(
    "change",
    [
        "text = 'forged'",
        "heading = ''",
        "start = start + 1",
        "page = 3",
        "kind = 'image'",
        "input_hash = x''",
    ],
)
def test_a_wrong_text_is_taken_out_and_read_again(docs, encoder, change):
    tamper(docs, f"UPDATE passages SET {change} WHERE id = 7")
    report = verify(docs)
    (damage,) = [d for d in report.damages if d.where.startswith("passage 7 of ")]
    assert "does not match its hash" in damage.what
    report = verify(docs, repair=True)
    assert_mended(docs, report)
    assert report.passages == 59
    assert (
        search.run_search(
            Search(query="forged", mode="text", index=docs.parent / "index"), Silent()
        ).hits
        == []
    )
    encoder.texts.clear()
    report = add(docs)
    assert (report.changed, report.unchanged, report.passages, report.embedded) == (1, 11, 60, 1)
    assert verify(docs).sound


def test_a_wrong_path_is_noticed(docs):
    tamper(docs, "UPDATE files SET path = CAST('/other' AS BLOB) WHERE id = 3")
    assert len([d for d in verify(docs).damages if "/other" in d.where]) == 5
    assert_mended(docs, verify(docs, repair=True))
    assert add(docs).added == 1
    assert verify(docs).passages == 60


def test_an_image_with_a_wrong_vector_is_read_again(docs):
    Image.new("RGB", (8, 8), "red").save(docs / "red.png")
    add(docs)
    tamper(docs, "UPDATE passages SET vector = zeroblob(128) WHERE kind = 'image'")
    report = verify(docs, repair=True)
    assert_mended(docs, report)
    assert report.passages == 60
    assert add(docs).passages == 61


def test_passages_of_no_file(docs):
    tamper(docs, "PRAGMA foreign_keys=OFF", "DELETE FROM files WHERE id = 3")
    report = verify(docs)
    assert any("5 passages belong to no file" in damage.what for damage in report.damages)
    assert_mended(docs, verify(docs, repair=True))
    assert add(docs).passages == 60


def test_full_text_that_does_not_agree(docs):
    tamper(docs, "INSERT INTO words(words, rowid, heading, text) VALUES ('delete', 7, 'x', 'y')")
    assert any("full text" in damage.what for damage in verify(docs).damages)
    assert_mended(docs, verify(docs, repair=True))


def test_a_snapshot_that_does_not_agree(docs):
    path = docs.parent / "index" / SNAPSHOT
    remove_checksum(docs.parent / "index")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    assert any(damage.where == SNAPSHOT for damage in verify(docs).damages)
    path.write_bytes(b"x")
    assert any("cannot be read" in damage.what for damage in verify(docs).damages)
    assert_mended(docs, verify(docs, repair=True))


def test_a_description_that_does_not_match(docs):
    tamper(docs, "UPDATE meta SET value = 'other' WHERE key = 'encoder'")
    assert "table meta does not match its hash" in verify(docs).damages[0].what
    with pytest.raises(Damaged) as caught:
        verify(docs, repair=True)
    assert "delete the folder and run: graft index add" in caught.value.hint


def test_a_database_that_does_not_open(docs):
    path = docs.parent / "index" / DATABASE
    path.write_bytes(b"x" * path.stat().st_size)
    report = verify(docs)
    assert not report.sound
    assert any("block 0" in damage.where for damage in report.damages)
    with pytest.raises(Damaged):
        verify(docs, repair=True)


def test_a_damaged_schema(docs):
    path = docs.parent / "index" / DATABASE
    remove_checksum(docs.parent / "index")
    path.write_bytes(path.read_bytes().replace(b"porter unicode61", b"porter unicodf61"))
    assert "tokenizer" in verify(docs).damages[0].what
    with pytest.raises(Damaged):
        verify(docs, repair=True)
    with pytest.raises(Damaged):
        search.run_search(Search(query="word1", index=docs.parent / "index"), Silent())


def test_no_index(tmp_path):
    with pytest.raises(BadFile, match="there is no index"):
        index_verify.run_index_verify(IndexVerify(index=tmp_path), Silent())


def flips(docs, count, seed):
    """Single-bit flips spread over the files of an index; each is named, and repaired or refused."""
    folder = docs.parent / "index"
    generator = random.Random(seed)
    names = [DATABASE, SNAPSHOT, CHECKSUM]
    content = {name: (folder / name).read_bytes() for name in names}
    mended = 0
    for n in range(count):
        for leftover in folder.iterdir():
            if leftover.name not in names:
                leftover.unlink()
        name = names[n % 3]
        flipped = bytearray(content[name])
        location = generator.randrange(len(flipped))
        flipped[location] ^= 1 << generator.randrange(8)
        for other in names:
            (folder / other).write_bytes(bytes(flipped) if other == name else content[other])
        report = verify(docs)
        assert not report.sound
        block = f"{name}, block {location // 65_536} " if name != CHECKSUM else CHECKSUM
        assert any(damage.where.startswith(block) for damage in report.damages), (name, location)
        try:
            mended += verify(docs, repair=True).sound
        except (Damaged, BadFile):
            assert name == DATABASE
            continue
        assert verify(docs).sound
        assert add(docs).passages == 60
    return mended


def test_single_bit_flips_are_named(docs):
    assert flips(docs, 40, seed=1) >= 30


@pytest.mark.slow
def test_many_single_bit_flips_are_named(docs):
    assert flips(docs, 500, seed=2) >= 400


def test_sources_as_they_were_stored(docs):
    assert verify(docs).sources is None
    sources = verify(docs, sources=True).sources
    assert (sources.unchanged, sources.changed, sources.missing, sources.unreadable) == (
        12,
        0,
        0,
        0,
    )
    assert sources.differences == []


def test_sources_that_differ(docs, encoder):
    (docs / "f1.md").write_text("Another text.")
    (docs / "f2.md").unlink()
    (docs / "f3.md").unlink()
    (docs / "f3.md").mkdir()
    (docs / "f4.md").unlink()
    (docs / "f4.md").symlink_to("nothing")
    with (docs / "f5.md").open("wb") as file:
        file.truncate(1 << 40)
    (docs / "f6.md").touch()  # another time, the same content
    report = verify(docs, sources=True)
    assert report.sound and report.damages == []  # the index itself is what it was
    sources = report.sources
    assert (sources.unchanged, sources.changed, sources.missing, sources.unreadable) == (7, 1, 2, 2)
    assert [(difference.path, difference.state) for difference in sources.differences] == [
        (str(docs / "f1.md"), "changed"),
        (str(docs / "f2.md"), "missing"),
        (str(docs / "f3.md"), "unreadable"),
        (str(docs / "f4.md"), "missing"),
        (str(docs / "f5.md"), "unreadable"),
    ]
    assert "is a folder" in sources.differences[2].reason
    assert "at most" in sources.differences[4].reason


def test_sources_of_a_folder_that_is_gone(docs):
    docs.rename(docs.parent / "elsewhere")
    assert verify(docs, sources=True).sources.missing == 12
    docs.write_text("a file in its place")
    assert verify(docs, sources=True).sources.missing == 12


def test_sources_after_a_repair(docs):
    """A file whose passages could not be repaired is to be read again, which --sources tells."""
    tamper(docs, "UPDATE passages SET text = 'x' WHERE id = 7")
    report = verify(docs, repair=True, sources=True)
    assert report.sound
    assert (report.sources.unchanged, report.sources.changed) == (11, 1)


def test_sources_of_an_index_that_cannot_be_opened(docs):
    (docs.parent / "index" / DATABASE).write_bytes(b"no database")
    assert verify(docs, sources=True).sources is None


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--sources"], 1)])
def test_the_exit_status_tells_of_sources_only_when_asked(docs, capsys, options, code):
    for number in range(11):
        (docs / f"f{number}.md").write_text("Another text.")
    index = str(docs.parent / "index")
    assert main(["index", "verify", "--index", index, *options]) == code
    shown = capsys.readouterr().out
    assert shown.startswith("sound: 60 passages")
    if options:
        assert "files on the disk: 1 unchanged, 11 changed\n" in shown
        assert shown.count("It is not what was stored.") == 10
        assert "and 1 more; --json names all" in shown
        assert "graft index add" in shown
        add(docs)
        assert main(["index", "verify", "--index", index, *options]) == 0
        assert "files on the disk: 12 unchanged\n" in capsys.readouterr().out


def test_documents_with_notes_are_compared_too(docs):
    """An image that is left out is noted, and hides no other text."""
    path = docs / "page.html"
    page = "<h1>Vault</h1><p>Visitors {} enter the vault.</p><img src='map.png'>"
    path.write_text(page.format("may"))
    assert any("images left out" in note for note in add(docs).notes)
    content = path.read_bytes()
    path.write_text(page.format("must never"))
    add(docs)
    path.write_bytes(content)
    digest, named = hashlib.sha256(content).hexdigest(), os.fsencode(path).hex()
    tamper(docs, f"UPDATE files SET content_hash = '{digest}' WHERE path = x'{named}'")
    [found] = verify(docs, sources=True).sources.differences
    assert found.path == str(path) and "another text" in found.reason


def test_a_text_under_the_hash_of_another_is_told(docs):
    """What an index of old holds of a file that changed while it was added, and changed back."""
    path, index = docs / "f3.md", docs.parent / "index"
    whole = verify(docs, sources=True)
    assert (whole.sources.unchanged, whole.sources.differences) == (12, [])
    content = path.read_bytes()
    path.write_text("Visitors must never enter the vault.")
    add(docs)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    named = os.fsencode(path).hex()
    tamper(docs, f"UPDATE files SET content_hash = '{digest}' WHERE path = x'{named}'")
    report = verify(docs, sources=True)
    assert report.sound and add(docs).unchanged == 12
    [found] = report.sources.differences
    assert (found.path, found.state) == (str(path), "changed")
    assert "another text" in found.reason and "graft index remove" in found.reason
    search.run_index_remove(IndexRemove(paths=[str(path)], index=index), Silent())
    assert add(docs).added == 1
    assert not verify(docs, sources=True).sources.differences


def test_a_changed_text_is_never_shown_and_its_file_is_named_for_another_add(docs, capsys):
    path = str(docs / "f3.md")
    tamper(
        docs,
        "DROP TRIGGER IF EXISTS passages_changed",
        "UPDATE passages SET text = 'word9999 ' || text WHERE file_id IN "
        "(SELECT id FROM files WHERE CAST(path AS TEXT) LIKE '%f3.md')",
    )
    word = (docs / "f3.md").read_text().split()[4]
    request = Search(query=word, index=docs.parent / "index", mode="text", k=60)
    with pytest.raises(Damaged, match=r"f3\.md is not what was stored.*verify --repair"):
        search.run_search(request, Silent())
    assert verify(docs).add_again == []
    assert verify(docs, repair=True).add_again == [path]
    assert path not in {hit.path for hit in search.run_search(request, Silent()).hits}
    index_add.run_index_add(IndexAdd(paths=[path], index=docs.parent / "index"), Silent())
    assert path in {hit.path for hit in search.run_search(request, Silent()).hits}
