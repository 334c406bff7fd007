"""The trained reader: its network against transformers', its spans, when it is loaded."""

import dataclasses
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import graftwerk as gw
from graftwerk.errors import BadFile, Damaged
from graftwerk.models.encoders import load_encoder, model_folder
from graftwerk.models.hub import builtin_folder
from graftwerk.models.language import load_writer, reader, reading, spans
from graftwerk.models.language.reader import PassageReading, Reader, load_reader
from graftwerk.rag import citations
from graftwerk.types import Passage, Source

QUESTION = "How long is parental leave paid in full?"
TEXT = (
    "Each parent may take up to 14 months of parental leave. The first 16 weeks are paid in full "
    "by the company, whether the child was born or adopted. Tell us ten weeks before it begins."
)


@pytest.fixture(scope="module")
def trained():
    return Reader(builtin_folder("builtin/reader"), model_folder("builtin/minilm"))


@pytest.fixture
def copied(tmp_path):
    """A reader's folder that may be changed."""
    shutil.copytree(builtin_folder("builtin/reader"), tmp_path / "reader")
    return tmp_path / "reader"


def opened(folder):
    return Reader(folder, model_folder("builtin/minilm"))


def test_network_agrees_with_transformers(one_thread):
    """Also the merge: the reference adds the low-rank product beside the linear layer."""
    import torch
    from transformers import BertModel

    folder, base = builtin_folder("builtin/reader"), model_folder("builtin/minilm")
    added = {k: torch.from_numpy(v) for k, v in load_file(folder / "model.safetensors").items()}
    network = BertModel.from_pretrained(base, add_pooling_layer=False).eval()
    changed = 0
    for name in [name.removesuffix(".up") for name in added if name.endswith(".up")]:
        up, down = (
            added[f"{name}.{part}"].float() * added[f"{name}.{part}_step"][:, None]
            for part in ("up", "down")
        )

        def beside(_module, inputs, output, up=up, down=down):
            return output + inputs[0] @ down.T @ up.T

        network.encoder.layer.get_submodule(name).register_forward_hook(beside)
        changed += 1
    assert changed == 36
    network.embeddings.token_type_embeddings.weight.data = added["types"].float()
    ids = [101, 2129, 2146, 102, *range(2000, 2090), 102]
    types = [0] * 4 + [1] * (len(ids) - 4)
    with torch.no_grad():
        states = network(
            input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])
        ).last_hidden_state[0]
        expected = states @ added["spans.weight"].float().T + added["spans.bias"].float()
        relevance = states[0] @ added["relevance.weight"][0].float() + added["relevance.bias"][0]

    found, logit = reader.forward(reader.load_weights(folder, base), ids, 4)

    np.testing.assert_allclose(found, expected.numpy(), atol=2e-4)
    assert logit == pytest.approx(float(relevance), abs=2e-4)


def test_gelu_is_that_of_torch():
    import torch

    x = np.linspace(-8, 8, 4001, dtype=np.float32)[None]
    exact = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(reader._gelu(x), exact, atol=2e-6)


def test_the_span_and_whether_the_passage_answers(trained):
    other = "The band saw is never used alone in the building. Ear protection is compulsory."
    right, wrong = trained.read(QUESTION, [("Parental leave", TEXT), ("Machines", other)])
    sentence = TEXT.index("The first"), TEXT.index("Tell us")
    start, end = right.span(*sentence)[1]
    assert "16 weeks" in TEXT[start:end]
    assert len(TEXT[start:end]) < 40
    assert right.relevance > wrong.relevance


def test_a_text_beyond_the_longest_input_is_cut(trained):
    (found,) = trained.read(QUESTION, [("", TEXT + " Nothing else is here." * 200)])
    assert 150 < len(found.starts) == len(found.offsets) < 288
    assert found.span(5_000, 5_100) is None
    assert found.share(5_000, 5_100) == -np.inf


def test_empty_texts_and_lone_surrogates_are_read(trained):
    empty, odd = trained.read("", [("", ""), ("\ud800", "a \ud800 b")])
    assert empty.span(0, 0) is None
    assert np.isfinite(odd.relevance)


def logits(text, starts, ends):
    """A reading of words, with high logits at one start and one end."""
    words, offsets, last = text.split(), [], 0
    for word in words:
        last = text.index(word, last)
        offsets.append((last, last + len(word)))
        last += len(word)
    first, second = np.zeros((2, len(words)), np.float32)
    first[starts], second[ends] = 9, 9
    return PassageReading(0.0, 0.0, first, second, np.array(offsets))


def test_a_span_stays_in_its_cell():
    row = "Rehair a bow\t65 euros\tEmil Brandt"
    seen = logits(row, 3, 6)  # from the price to the person
    start, end = spans.find_seen("Who rehairs bows?", row, seen, (0, len(row)))
    assert "\t" not in row[start:end]
    prose = "It costs 65 euros by Emil Brandt"
    seen = logits(prose, 2, 6)
    assert spans.find_seen("Who?", prose, seen, (0, len(prose))) == (9, len(prose))


@pytest.mark.parametrize(("last", "shown"), [(4, "pneumonia"), (3, "of"), (5, "pneumonia late")])
def test_a_span_starts_without_its_preposition(last, shown):
    text = "She had died of pneumonia late"
    seen = logits(text, 3, last)
    start, end = spans.find_seen("What did she die of?", text, seen, (0, len(text)))
    assert text[start:end] == shown


class Fixed(Reader):
    """A reader that sees what it is given."""

    def read(self, *_):
        return self.seen


@pytest.mark.parametrize("null", [0.0, 99.0])
def test_the_span_is_the_readers_however_sure_it_is(null, words_encoder, monkeypatch):
    text = "It costs 65 euros by Emil Brandt on some days."
    seen = dataclasses.replace(logits(text, 2, 3), null=null)
    monkeypatch.setattr(citations, "find_span", lambda *_: (0, 2))
    given = sources(text)
    claims = citations.find_claims(f"{text} [1]")
    checked = citations.check_citations(claims, given, words_encoder)
    fixed = Fixed(Path(), Path())
    fixed.seen = [seen]
    (rated,) = citations.rate_answers("Who?", checked, given, words_encoder, fixed)
    assert text[rated.answer_start : rated.answer_end] == "65 euros"


def test_spans_are_probabilities():
    text = "one two three. four five six."
    seen = logits(text, 1, 1)
    shares = np.exp([seen.share(0, 14), seen.share(15, len(text)), seen.share(0, len(text))])
    assert 0 < shares[1] < shares[0] < shares[2] <= 1 + 1e-6
    assert seen.span(0, 14)[1] == (4, 7)


def sources(*texts):
    return [Source(n, Passage(f"/{n}.md", "text", t, 0, len(t))) for n, t in enumerate(texts, 1)]


def test_without_the_reader_the_rules_decide_alone():
    encoder = load_encoder("builtin/minilm")
    given = sources(TEXT, "Coffee is free. The kitchen closes at noon and opens at two.")
    rules = reading.read(QUESTION, given, encoder)
    assert all(one.seen is None for one in rules)
    sentences = reading.list_sentences(given)
    _, features, _ = reading.find_features(QUESTION, sentences, encoder)
    assert features.shape[1] == len(reading.WEIGHTS) == len(reading.FEATURES)
    scores = np.sort(features @ np.array(reading.WEIGHTS))[::-1]
    np.testing.assert_allclose([one.score for one in rules], scores)
    assert len(reading.READER_WEIGHTS) == len(reading.READER_FEATURES)


def test_only_the_built_in_encoder_has_a_reader(words_encoder):
    assert load_reader(words_encoder) is None
    encoder = load_encoder("builtin/minilm")
    options = {"model": None, "max_tokens": 1, "timeout": 1.0, "device": "cpu", "seed": 0}
    assert load_writer("extractive", encoder=encoder, **options).reader is not None
    assert load_writer("extractive", encoder=encoder, reader=False, **options).reader is None


def test_weights_load_once_and_never_without_the_reader(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(reader, "_reader", cache(reader.Reader))
    real = reader.load_weights
    monkeypatch.setattr(reader, "load_weights", lambda *a: loaded.append(a) or real(*a))
    (tmp_path / "leave.md").write_text(f"# Leave\n\n{TEXT}\n")
    with gw.Index(tmp_path / "index") as index:
        index.add(tmp_path / "leave.md")
        rules = index.ask(QUESTION, reader=False, evidence=0.0)
        assert rules.citations
        assert not loaded
        read = [index.ask(QUESTION, evidence=0.0) for _ in range(2)]
        assert len(loaded) == 1
        again = index.ask(QUESTION, reader=False, evidence=0.0)
    assert again.text == rules.text
    assert again.citations == rules.citations
    assert read[0].citations == read[1].citations
    assert read[0].citations[0].answers != rules.citations[0].answers


@pytest.mark.parametrize("encoder", ["builtin/minilm", "static"])
def test_search_reranks_by_what_is_read(encoder, tmp_path):
    """Also in a static index, whose rescorer has the reader."""
    pages = {
        name: f"Our {name} is described on a page of its own." for name in ("lunch", "pension")
    }
    pages |= {"leave": TEXT, "benefits": "Parental leave, paid in full, is one of our benefits."}
    for name, text in pages.items():
        (tmp_path / f"{name}.md").write_text(f"# {name.title()}\n\n{text}\n")
    with gw.Index(tmp_path / "index", encoder=encoder) as index:
        index.add(tmp_path)
        plain = index.search(QUESTION).hits
        hits = index.search(QUESTION, rerank=True).hits
    assert [hit.heading for hit in plain[:2]] == ["Benefits", "Leave"]
    assert [hit.heading for hit in hits[:2]] == ["Leave", "Benefits"]
    assert hits[0].relevance > 0.5 > hits[1].relevance


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("a.md", ":\n\n```sh\nborg rename repo old new\n```\n"),
        ("a.rst", "::\n\n    borg rename repo old new\n"),
        ("b.rst", ":\n\n::\n\n    borg rename repo old new\n"),
    ],
)
def test_code_is_quoted_verbatim_with_the_sentence_before_it(tmp_path, name, block):
    (tmp_path / name).write_text(f"To rename an archive on the old server, run this{block}")
    with gw.Index(tmp_path / "index") as index:
        index.add(tmp_path / name)
        answer = index.ask("How do I rename an archive on the old server?")
    assert answer.text == (
        "To rename an archive on the old server, run this: borg rename repo old new [1]"
    )
    assert answer.citations[0].verdict == "verbatim" and answer.citations[0].answers > 0.5


def test_a_passage_is_read_once_for_writing_and_rating(trained, monkeypatch):
    read = []
    real = reader.forward
    monkeypatch.setattr(reader, "forward", lambda *a: read.append(a) or real(*a))
    fresh = opened(builtin_folder("builtin/reader"))
    fresh.read(QUESTION, [("", TEXT), ("", TEXT)])
    fresh.read(QUESTION, [("", TEXT)])
    assert len(read) == 1


def test_weights_of_another_network_are_refused(copied):
    path = copied / "model.safetensors"
    tensors = load_file(path)
    tensors["0.output.dense.up"] = tensors["0.output.dense.up"][:8]
    save_file(tensors, path)
    with pytest.raises(BadFile, match="does not fit builtin/minilm"):
        opened(copied).read(QUESTION, [("", TEXT)])


def test_a_file_cut_short_is_refused(copied):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Damaged, match="is damaged"):
        opened(copied).read(QUESTION, [("", TEXT)])


def test_another_model_is_refused(copied):
    (copied / "config.json").write_text(json.dumps({"model_type": "bert", "max_length": 9}))
    with pytest.raises(BadFile, match="is not a reader"):
        opened(copied).read(QUESTION, [("", TEXT)])
