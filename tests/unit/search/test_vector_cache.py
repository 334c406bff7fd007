"""Vectors that a search of a static index computes with the full encoder are kept beside it."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support import Corpus, HashEncoder, Recorder, use_encoder

from graftwerk import Index
from graftwerk.errors import BadInput, Cancelled
from graftwerk.search.index import CACHE, VectorCache
from graftwerk.search.query import RESCORED, search

TEXT = frozenset({"text"})
STATIC = HashEncoder(name="static", reads=TEXT, rescorer="builtin/minilm")
FULL = HashEncoder(name="builtin/minilm", dimension=48, reads=TEXT)
COUNT = RESCORED + 10


@pytest.fixture
def index(tmp_path, monkeypatch):
    use_encoder(monkeypatch, STATIC, FULL)
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(COUNT):
        (docs / f"{n}.txt").write_text(f"dog number {n}")
    with Index(tmp_path / "index", encoder="static") as index:
        index.add(docs)
        FULL.texts.clear()
        yield index


def cached(index):
    return index.folder / CACHE


def found(index, **options):
    return [(hit.path, hit.score, hit.similarity) for hit in index.search("dog", **options)]


def test_a_later_search_embeds_no_passage_again(index):
    first = found(index)
    assert len(FULL.texts) == RESCORED + 1  # and the question
    FULL.texts.clear()
    with Index(index.folder) as another:
        assert found(another) == first
        assert another.status().rescored == RESCORED
    assert FULL.texts == ["dog"]


def test_where_nothing_can_be_written_a_search_goes_on(index, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "no", str(self))

    expected = found(index)
    cached(index).unlink()
    monkeypatch.setattr(Path, "touch", refuse)
    for _ in range(2):
        FULL.texts.clear()
        assert found(index) == expected and len(FULL.texts) == RESCORED + 1
    assert index.status().rescored == 0 and not cached(index).exists()


@pytest.mark.parametrize("damage", [b"no database", None])
def test_damage_is_found_and_computed_again(index, damage):
    first = found(index)
    if damage is not None:
        cached(index).write_bytes(damage * 1000)
    else:
        with sqlite3.connect(cached(index)) as connection:
            connection.execute("UPDATE vectors SET vector = zeroblob(length(vector))")
        connection.close()
    assert found(index) == first
    found(index)
    FULL.texts.clear()
    assert found(index) == first and FULL.texts == ["dog"]


KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size=1")
connection.execute("DELETE FROM vectors")
connection.execute("CREATE TABLE x AS SELECT randomblob(100000)")
os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_leaves_what_was_committed(index):
    first = found(index)
    subprocess.run([sys.executable, "-c", KILLED, cached(index)], check=False)
    assert cached(index).with_name(f"{CACHE}-journal").exists()
    FULL.texts.clear()
    assert found(index) == first and FULL.texts == ["dog"]


def test_every_hit_follows_those_that_were_rescored(index):
    scores = [score for _, score, _ in found(index, k=COUNT, mode="vector")]
    assert len(scores) == COUNT and scores == sorted(scores, reverse=True)
    assert found(index, k=5) == found(index, k=COUNT)[:5]


def test_an_upgrade_uses_what_is_kept_and_makes_a_full_index(index, tmp_path):
    found(index)
    FULL.texts.clear()
    change = index.rebuild(upgrade=True)
    assert (change.encoder, change.embedded, change.reused) == ("builtin/minilm", 10, RESCORED)
    assert len(FULL.texts) == 10 and not cached(index).exists()
    with Index(tmp_path / "fresh") as fresh:
        fresh.add(tmp_path / "docs")
        assert found(fresh) == found(index)
    assert index.rebuild(upgrade=True).encoder == "builtin/minilm"  # nothing is left to do


def test_an_interrupted_upgrade_goes_on(index):
    with pytest.raises(Cancelled):
        index.rebuild(upgrade=True, monitor=Recorder(stop_after=30))
    assert index.status().encoder == "static" and index.status().rescored >= 10
    done = index.status().rescored
    assert index.rebuild(upgrade=True).embedded == COUNT - done


def test_an_upgrade_names_the_encoder_itself(index):
    with pytest.raises(BadInput, match="names the encoder itself"):
        index.rebuild(upgrade=True, encoder="static")


def test_equal_vectors_come_out_of_the_cache(tmp_path):
    with Corpus(tmp_path / "index", HashEncoder(reads=TEXT)) as corpus:
        corpus.put_text("/a.txt", "a dog", "a cat", heading="Zoo")
        passages = corpus.allowed("kind = text")
        kept = VectorCache(corpus.index.folder, FULL.fingerprint)
        expected = FULL.encode_texts(["Zoo\na dog", "Zoo\na cat"])
        for _ in range(2):
            assert np.array_equal(kept.encode(FULL, passages), expected)
        other = HashEncoder(name="other", dimension=8)  # another encoder has its own vectors
        own = VectorCache(corpus.index.folder, other.fingerprint)
        assert np.array_equal(
            own.encode(other, passages), other.encode_texts(["Zoo\na dog", "Zoo\na cat"])
        )
        assert search(corpus.index, corpus.encoder, "dog", rescorer=FULL).hits[0].text == "a dog"
