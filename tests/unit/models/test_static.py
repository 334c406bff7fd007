"""Static encoders: distilled once, loaded by numpy alone, near their base."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from graftwerk.errors import BadFile, BadInput
from graftwerk.models import encoders, fast_text
from graftwerk.models.encoders import load_encoder, model_folder
from graftwerk.models.fast_text import token_weights, whiten
from graftwerk.models.text_encoder import TokenReader

CLOSE = [("A man plays the guitar.", "Someone is playing an instrument."),
         ("How do I book parental leave?", "Rules for leave of new mothers and fathers")]  # fmt: skip


@pytest.fixture(scope="module")
def shipped():
    return load_encoder("static")


def test_the_shipped_one(shipped):
    assert shipped.rescorer == "builtin/minilm" and shipped.name == "static"
    assert shipped.dimension == 384 and shipped.reads == {"text"}
    assert load_encoder("static:builtin/minilm").fingerprint == shipped.fingerprint
    firsts = shipped.encode_texts([first for first, _ in CLOSE])
    seconds = shipped.encode_texts([second for _, second in CLOSE])
    near = firsts @ seconds.T
    assert near[0, 0] > near[0, 1] + 0.1 and near[1, 1] > near[1, 0] + 0.1


def test_unit_length_whatever_the_text(shipped):
    done = []
    texts = ["", " ", "the", "\x00", "caf\udce9", "guitar", "word " * 5000, "東京"]
    vectors = shipped.encode_texts(texts, "query", done.append)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert sum(done) == len(texts)
    assert shipped.encode_texts([]).shape == (0, 384)
    # a text without tokens is near nothing
    assert np.abs(vectors[0] @ vectors[5]) < 0.05


def test_the_whole_text_counts(shipped):
    start = "guitar " * 300
    vectors = shipped.encode_texts([start, start + "tax " * 300])
    assert vectors[0] @ vectors[1] < 0.95


def test_equal_to_the_model2vec_library(shipped):
    from model2vec import StaticModel

    peer = StaticModel.from_pretrained(str(model_folder("static")))
    texts = [text for pair in CLOSE for text in pair] + ["red", "Größe 🙂 [MASK]"]
    expected = peer.encode(texts)
    np.testing.assert_allclose(shipped.encode_texts(texts), expected, atol=1e-5)


def test_a_folder_of_the_model2vec_library(shipped):
    again = load_encoder(str(model_folder("static")))
    assert again.rescorer is None and again.fingerprint != shipped.fingerprint
    texts = [text for pair in CLOSE for text in pair]
    np.testing.assert_array_equal(again.encode_texts(texts), shipped.encode_texts(texts))
    with pytest.raises(BadInput, match="of type model2vec"):
        load_encoder(f"static:{model_folder('static')}")


def test_distilled_once(write_bert, own_cache, monkeypatch):
    folder = write_bert()
    monkeypatch.setattr(encoders, "load_graph", lambda *arguments: None)
    name = f"static:{folder}"
    first = load_encoder(name)
    assert first.rescorer == str(folder) and first.dimension == 16
    monkeypatch.setattr(
        fast_text, "token_vectors", lambda *arguments: pytest.fail("distilled again")
    )
    again = load_encoder(name)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.table, first.table)


def test_a_damaged_table_is_made_again(write_bert, own_cache, monkeypatch):
    folder = write_bert()
    monkeypatch.setattr(encoders, "load_graph", lambda *arguments: None)
    first = load_encoder(f"static:{folder}")
    path = model_folder(f"static:{folder}") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 64
    path.write_bytes(content)
    np.testing.assert_array_equal(load_encoder(f"static:{folder}").table, first.table)


def test_another_base_has_another_fingerprint(write_bert):
    path = write_bert() / "tokenizer.json"
    one = fast_text.static_fingerprint(
        encoders.encoder_fingerprint(path.parent, encoders.read_recipe(path.parent), None)
    )
    path.write_text(path.read_text() + " ")
    two = fast_text.static_fingerprint(
        encoders.encoder_fingerprint(path.parent, encoders.read_recipe(path.parent), None)
    )
    assert one != two


def test_whitening_of_known_data():
    random = np.random.default_rng(2)
    scales = np.array([9.0, 4.0, 1.0])
    axes, _ = np.linalg.qr(random.standard_normal((3, 3)))
    vectors = (random.standard_normal((4000, 3)) * scales) @ axes.T + 5
    found = whiten(vectors.astype(np.float32))
    assert np.abs(found.mean(axis=0)).max() < 1e-3
    deviation = found.std(axis=0)
    # power -1/2 of the singular values: the root of the ratio is left
    np.testing.assert_allclose(deviation / deviation[0], np.sqrt(scales / 9), rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(found.T), np.eye(3), atol=1e-3)


def test_weights_rise_as_tokens_get_rare(shipped):
    tokens: TokenReader = shipped.tokens
    weights = token_weights(tokens)
    numbers = [tokens.vocabulary.index(word) for word in ("the", "people", "guitar", "zeppelin")]
    assert (np.diff(weights[numbers]) > 0).all()
    assert weights[tokens.vocabulary.index("[CLS]")] == 0
    assert weights[tokens.vocabulary.index("[unused7]")] == 0
    assert (
        weights[tokens.vocabulary.index(",")] < 0.02 < 0.9 < weights[tokens.vocabulary.index("京")]
    )


def test_no_layers_and_no_images(shipped):
    with pytest.raises(BadInput, match="static and has no hidden layers"):
        load_encoder("static", layer=1)
    with pytest.raises(BadInput, match="does not read images"):
        shipped.encode_images([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {"table": tensors["embeddings"]}, "holds table"),
        (lambda tensors: {"embeddings": tensors["embeddings"][0]}, "holds embeddings"),
        (lambda tensors: {"embeddings": tensors["embeddings"][:9]}, "has 9 vectors for"),
    ],
)
def test_a_malformed_folder(write_bert, own_cache, monkeypatch, change, message):
    folder = write_bert()
    monkeypatch.setattr(encoders, "load_graph", lambda *arguments: None)
    load_encoder(f"static:{folder}")
    made = model_folder(f"static:{folder}")
    tensors = load_file(made / "model.safetensors")
    save_file(change(tensors), made / "model.safetensors")
    with pytest.raises(BadFile, match=message):
        load_encoder(str(made))
