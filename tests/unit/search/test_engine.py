"""Search: modes, fusion, filters, images, rescoring, marks; one consistent state."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.support import Corpus, HashEncoder

from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.models.language import reader
from graftwerk.search.database import SNAPSHOT
from graftwerk.search.index import open_index
from graftwerk.search.query import fuse, search
from graftwerk.types import Passage

TEXTS = [
    "the cat sat on the mat",
    "dogs are playing outside",
    "a bird sings in the morning",
    "cats and dogs play with birds",
    "nothing of the kind",
]


@pytest.fixture
def corpus(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        for n, text in enumerate(TEXTS):
            corpus.put_text(f"/{n}.txt", text, heading="Zebra" if n == 4 else "")
        corpus.index.refresh()
        yield corpus


def find(corpus, query, **options):
    return search(corpus.index, corpus.encoder, query, **options)


def texts(outcome):
    return [hit.text for hit in outcome.hits]


def keys(corpus, outcome):
    """The keys of the hits in the database."""
    with corpus.index.view() as view:
        stored = view.passages(view.all_vectors()[0].tolist())
    known = {(passage.path, passage.start): key for key, passage in stored.items()}
    return [known[hit.path, hit.start] for hit in outcome]


def scored(corpus, outcome):
    """The scores of the hits by their keys in the database."""
    scores = [hit.score for hit in outcome]
    return dict(zip(keys(corpus, outcome), scores, strict=True))


def cosine(corpus, query, text):
    a, b = corpus.encoder.encode_texts([query, text])
    return float(a @ b)


def test_by_vector(corpus):
    outcome = find(corpus, "dogs play", mode="vector", k=3)
    expected = sorted(TEXTS[:4], key=lambda text: -cosine(corpus, "dogs play", text))
    assert texts(outcome)[:2] == expected[:2]
    assert outcome.searched == 5
    for rank, hit in enumerate(outcome.hits, start=1):
        assert (hit.vector_rank, hit.text_rank, hit.marks) == (rank, None, ())
        assert hit.similarity == hit.score
    assert outcome.hits[0].similarity == pytest.approx(
        cosine(corpus, "dogs play", texts(outcome)[0]), abs=1e-6
    )


def test_by_words_needs_no_encoder(corpus):
    outcome = search(corpus.index, None, "who plays with a dog", mode="text")
    assert texts(outcome) == [TEXTS[1], TEXTS[3]]
    assert [hit.text_rank for hit in outcome.hits] == [1, 2]
    assert {hit.similarity for hit in outcome.hits} == {None}
    assert [TEXTS[1][a:b] for a, b in outcome.hits[0].marks] == ["dogs", "playing"]


def test_headings_are_found_too(corpus):
    assert texts(search(corpus.index, None, "zebras", mode="text")) == [TEXTS[4]]


def test_hybrid_is_the_fusion_of_both(corpus):
    query = "birds in the morning"
    by_vector = scored(corpus, find(corpus, query, mode="vector"))
    by_text = scored(corpus, find(corpus, query, mode="text"))
    outcome = find(corpus, query)
    assert list(scored(corpus, outcome).items()) == fuse(by_vector, by_text)
    assert outcome.hits[0].text == TEXTS[2]
    assert all(hit.similarity is not None for hit in outcome.hits)


def test_what_only_words_found_gets_its_similarity(corpus, monkeypatch):
    monkeypatch.setattr("graftwerk.search.query.DEPTH", 1)
    outcome = find(corpus, "nothing but cats", k=1)
    every = {
        h.path: h.similarity for h in find(corpus, "nothing but cats", mode="vector", k=9).hits
    }
    for hit in find(corpus, "nothing but cats", k=3).hits:
        assert hit.similarity == pytest.approx(every[hit.path], abs=1e-6)
    assert outcome.hits[0].similarity is not None


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_how_many(corpus, mode):
    assert find(corpus, "cats and dogs", mode=mode, k=0).hits == []
    assert find(corpus, "cats and dogs", mode=mode, k=0).searched == 5
    assert len(find(corpus, "cats and dogs", mode=mode, k=1).hits) == 1
    found = find(corpus, "cats and dogs", mode=mode, k=1000)
    assert len(found.hits) == {"hybrid": 5, "vector": 5, "text": 3}[mode]


def test_nothing_is_encoded_for_no_hits(corpus):
    corpus.encoder.texts.clear()
    find(corpus, "cats", k=0)
    assert corpus.encoder.texts == []


@pytest.mark.parametrize("query", ["?!", "\0", "the of", "\ud800", "  "])
def test_queries_without_words(corpus, query):
    assert len(find(corpus, query).hits) == 5
    assert len(search(corpus.index, None, query, mode="text").hits) <= 4


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_conditions(corpus, mode):
    outcome = find(corpus, "dogs cats", mode=mode, where=["name != 3.txt"])
    assert outcome.searched == 4
    assert TEXTS[3] not in texts(outcome)
    assert set(texts(outcome)) == (set(TEXTS) - {TEXTS[3]} if mode != "text" else set(TEXTS[:2]))
    assert find(corpus, "dogs", mode=mode, where=["page = 3"]).hits == []
    with pytest.raises(UnknownName):
        find(corpus, "dogs", mode=mode, where=["colour = red"])


def test_an_empty_index(tmp_path):
    with Corpus(tmp_path / "index") as corpus:
        for mode in ("hybrid", "vector", "text"):
            found = find(corpus, "x", mode=mode)
            assert (found.hits, found.searched, found.pictures) == ([], 0, 0)
        corpus.index.refresh()
        assert find(corpus, "x").hits == []


def held_out_images(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (4, 4), "red").save(path)
    with Corpus(tmp_path / "index") as corpus:
        image = Passage(str(path), "image", "", 0, 0)
        corpus.index.put(
            str(path),
            "h",
            [image],
            corpus.encoder.encode_images([Image.new("RGB", (4, 4), "red")]),
        )
        corpus.put_text("/a.txt", "red png")
        for mode in ("vector", "hybrid"):
            first = find(corpus, str(path), mode=mode).hits[0]
            assert (first.path, first.kind, first.text) == (str(path), "image", "")
            assert first.similarity == pytest.approx(1)
            assert first.text_rank is None
        with pytest.raises(BadInput, match="an image has no words"):
            find(corpus, str(path), mode="text")
        corpus.encoder.reads = frozenset({"text"})
        with pytest.raises(BadInput, match=r"is an image file.*reads only text"):
            find(corpus, str(path))
        corpus.encoder.reads = frozenset({"image"})
        with pytest.raises(BadInput, match=r"is text.*reads only image"):
            find(corpus, "red")
        corpus.encoder.reads = frozenset({"text"})
        assert find(corpus, str(tmp_path / "none.png")).hits  # no such file: words like any others


def put_images(corpus, *contents):
    """Store images whose vectors lie where these texts lie, from below: an encoder's gap."""
    for n, content in enumerate(contents):
        path = f"/{n}.png"
        vector = corpus.encoder.encode_texts([content])
        away = np.roll(vector, 1, axis=1) * 3 + vector
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        corpus.index.put(path, path, [Passage(path, "image", "", 0, 0)], away.astype(np.float32))


def test_passages_and_images_are_ranked_apart(corpus):
    put_images(corpus, *TEXTS)
    outcome = find(corpus, "dogs play", k=10)
    assert (outcome.searched, outcome.pictures) == (10, 5)
    by_kind = {
        kind: [hit for hit in outcome.hits if hit.kind == kind] for kind in ("text", "image")
    }
    for hits in by_kind.values():
        assert sorted(hit.vector_rank for hit in hits) == [1, 2, 3, 4, 5]
        nearest = max(hits, key=lambda hit: hit.similarity)
        assert nearest.vector_rank == 1
    first = next(hit for hit in by_kind["image"] if hit.vector_rank == 1)
    assert first.path in {"/1.png", "/3.png"}
    assert outcome.hits.index(first) < 5
    scores = [hit.score for hit in outcome.hits]
    assert scores == sorted(scores, reverse=True)
    texts_alone = find(corpus, "dogs play", where=["kind = text"])
    assert keys(corpus, by_kind["text"]) == keys(corpus, texts_alone)
    assert texts_alone.pictures == 0
    alone = find(corpus, "dogs play", where=["kind = image"])
    assert (alone.searched, alone.pictures) == (5, 5)
    by_rank = sorted(by_kind["image"], key=lambda hit: hit.vector_rank)
    assert keys(corpus, alone) == keys(corpus, by_rank)


def test_by_vector_alone_the_cosine_counts(corpus):
    put_images(corpus, *TEXTS)
    outcome = find(corpus, "dogs play", mode="vector", k=10)
    cosines = [hit.similarity for hit in outcome.hits]
    assert cosines == sorted(cosines, reverse=True)
    assert [hit.vector_rank for hit in outcome.hits] == list(range(1, 11))


def test_an_image_finds_images_before_texts(corpus, tmp_path):
    path = tmp_path / "query.png"
    Image.new("RGB", (4, 4), "red").save(path)
    put_images(corpus, *TEXTS)
    outcome = find(corpus, str(path), k=10)
    assert [hit.kind for hit in outcome.hits] == ["image", "text"] * 5
    assert outcome.familiarity is None, "the encoder does not tell what is familiar"


def test_a_mistyped_image_is_named(corpus):
    for mode in ("hybrid", "vector"):
        with pytest.raises(BadFile, match=r"image 'none\.png' does not exist"):
            find(corpus, "none.png", mode=mode)
    assert find(corpus, "no such none.png").hits
    assert find(corpus, "none.png", mode="text").hits == []


class Backwards(HashEncoder):
    """Finds the opposite of what the first encoder finds best."""

    def encode_texts(self, texts, role="document", advance=None):
        vectors = super().encode_texts(texts, role)
        return -vectors if role == "query" else vectors


def test_a_rescorer_has_the_last_word(corpus):
    rescorer = Backwards(name="test/hash")
    plain = find(corpus, "dogs play", mode="vector")
    outcome = find(corpus, "dogs play", mode="vector", rescorer=rescorer)
    assert texts(outcome) == texts(plain)[::-1]
    for before, after in zip(plain.hits[::-1], outcome.hits, strict=True):
        assert after.similarity == pytest.approx(-before.similarity, abs=1e-6)
    by_words = scored(corpus, find(corpus, "dogs play", mode="text"))
    reordered = scored(corpus, outcome)
    hybrid = find(corpus, "dogs play", rescorer=rescorer)
    assert keys(corpus, hybrid) == [key for key, _ in fuse(reordered, by_words)]
    assert "Zebra\n" + TEXTS[4] in rescorer.texts


def test_a_reader_orders_the_first_hits_again(corpus, monkeypatch):
    """Their scores change by what is read; hits that were not read stay last, in their order."""
    for n in range(30):
        corpus.put_text(f"/more-{n}.txt", f"dogs {'and cats ' * n}")
    corpus.index.refresh()
    plain = find(corpus, "dogs play", k=30)
    logits = {
        hit.text: rank - 8.0 if rank < 4 else 5 + rank / 9 for rank, hit in enumerate(plain.hits)
    }
    clipped = {text: float(np.clip(logit, -6, 6)) for text, logit in logits.items()}
    given = []

    class Stub:
        def read(self, query, passages):
            given.append((query, [text for _, text in passages]))
            return [SimpleNamespace(relevance=logits[text]) for _, text in passages]

    monkeypatch.setattr(reader, "load_reader", lambda _encoder: Stub())
    outcome = find(corpus, "dogs play", k=30, rerank=True)
    assert given == [("dogs play", texts(plain)[:20])]
    assert [hit.relevance is None for hit in outcome.hits] == [False] * 20 + [True] * 10
    before = {hit.text: hit.score for hit in plain.hits}
    for hit in outcome.hits[:20]:
        assert hit.relevance == pytest.approx(1 / (1 + np.exp(-clipped[hit.text])))
        assert hit.score == pytest.approx(before[hit.text] + 0.3 * clipped[hit.text])
    assert texts(outcome)[20:] == texts(plain)[20:]
    scores = [hit.score for hit in outcome.hits]
    assert scores == sorted(scores, reverse=True) and texts(outcome) != texts(plain)
    few = find(corpus, "dogs play", k=3, rerank=True)
    assert texts(few) == texts(outcome)[:3] != texts(plain)[:3]
    assert not find(corpus, "dogs play", k=0, rerank=True).hits


def test_what_no_reader_can_order_is_refused(corpus, tmp_path):
    for mode in ("text", "vector"):
        with pytest.raises(BadInput, match=f"mode {mode} is not reranked"):
            find(corpus, "dogs", mode=mode, rerank=True)
    with pytest.raises(BadInput, match=r"is made with test/hash, .* fits builtin/minilm"):
        find(corpus, "dogs", rerank=True)
    with pytest.raises(BadInput, match="'a picture' is an image"):
        find(corpus, "a picture", image=Image.new("RGB", (8, 8)), rerank=True)


def test_a_damaged_snapshot_is_no_error(corpus):
    expected = find(corpus, "cats")
    path = corpus.index.folder / SNAPSHOT
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        flipped = bytearray(content)
        flipped[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(flipped[: rng.integers(len(content) // 2, len(content) * 2)]))
        with open_index(corpus.index.folder) as index:
            assert len(search(index, corpus.encoder, "cats").hits) >= 4
    path.unlink()
    with open_index(corpus.index.folder) as index:
        assert search(index, corpus.encoder, "cats").hits == expected.hits


def test_writers_do_not_disturb(corpus):
    with open_index(corpus.index.folder) as reader:
        before = search(reader, corpus.encoder, "cats")
        corpus.put_text("/new.txt", "cats cats")
        corpus.index.remove(["/0.txt"])
        outcome = search(reader, corpus.encoder, "cats")
        assert outcome.hits[0].text == "cats cats"
        assert TEXTS[0] not in texts(outcome) and TEXTS[0] in texts(before)
        corpus.index.refresh()
        assert search(reader, corpus.encoder, "cats").hits == outcome.hits


def test_an_encoder_is_needed(corpus):
    with pytest.raises(ValueError, match="needs the index's encoder"):
        search(corpus.index, None, "cats", mode="vector")
