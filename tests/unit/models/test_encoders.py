"""Text encoders: the same vectors by graph and by PyTorch, every pooling, prompts, layers."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftwerk.errors import BadFile, BadInput, Damaged
from graftwerk.models import encoders
from graftwerk.models.encoders import (
    encoder_fingerprint,
    load_encoder,
    load_reference,
    suited_encoder,
)
from graftwerk.models.text_encoder import read_recipe
from graftwerk.requests.models import EvalAlignment
from graftwerk.requests.search import IndexAdd

TEXTS = ["the cat sits on a mat", "", "dog", "a red cube the blue cone " * 9, "naïve 東京", "dog"]


def reference(folder, **options):
    recipe = read_recipe(folder)
    identity = encoder_fingerprint(folder, recipe, options.get("layer"))
    chosen = {"layer": None, "device": "cpu", **options}
    return load_reference("tiny", recipe, identity, chosen["layer"], chosen["device"])


@pytest.fixture(scope="module")
def minilm():
    return load_encoder("builtin/minilm")


def test_builtin(minilm):
    vectors = minilm.encode_texts(TEXTS)
    assert vectors.shape == (6, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert minilm.backend == "onnxruntime"
    assert minilm.reads == {"text"} and minilm.rescorer is None
    near, far = vectors[0] @ minilm.encode_texts(["A kitten is sitting on a rug.", "Taxes"]).T
    assert near > 0.5 > far + 0.2


def test_graph_equals_pytorch(minilm):
    from graftwerk.models.hub import locate

    slow = reference(locate("builtin/minilm"))
    assert slow.fingerprint == minilm.fingerprint
    texts = [*TEXTS, "word " * 500, "Émile, 🙂\x00\x1b[2J"]
    np.testing.assert_allclose(minilm.encode_texts(texts), slow.encode_texts(texts), atol=1e-5)


def test_order_and_company_do_not_matter(minilm):
    texts = [f"{'very ' * (number % 7)}long sentence number {number}" for number in range(60)]
    together = minilm.encode_texts(texts)
    shuffled = np.random.default_rng(1).permutation(len(texts))
    again = minilm.encode_texts([texts[location] for location in shuffled])
    assert (together[shuffled] * again).sum(axis=1).min() > 1 - 1e-6
    alone = np.concatenate([minilm.encode_texts([text]) for text in texts[:7]])
    assert (together[:7] * alone).sum(axis=1).min() > 1 - 1e-6


@given(st.lists(st.text(st.characters(codec=None), max_size=40), max_size=5))
@hypothesis_settings(max_examples=25, deadline=None)
def test_any_text_has_a_unit_vector(texts):
    encoder = load_encoder_once()
    vectors = encoder.encode_texts(texts, "query")
    assert vectors.shape == (len(texts), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert all(encoder.count_tokens(text) >= 0 for text in texts)


def load_encoder_once(found=[]):  # noqa: B006
    if not found:
        found.append(load_encoder("builtin/minilm"))
    return found[0]


def test_lone_surrogates_are_encoded(minilm):
    assert np.isfinite(minilm.encode_texts(["caf\udce9"])).all()


def test_count_tokens_counts_the_whole_text(minilm):
    assert minilm.count_tokens("hello world") == 2
    assert minilm.count_tokens("word " * 1000) == 1000
    assert minilm.count_tokens("") == 0


def test_equal_texts_are_computed_once(minilm, monkeypatch):
    rows = []
    forward = minilm.forward
    monkeypatch.setattr(
        minilm, "forward", lambda *inputs: (rows.append(len(inputs[0])), forward(*inputs))[1]
    )
    done = []
    vectors = minilm.encode_texts(["same", "other", "same", "same"], advance=done.append)
    assert sum(rows) == 2 and sum(done) == 4
    assert (vectors[0] == vectors[2]).all() and (vectors[0] == vectors[3]).all()


def test_advance_may_stop_the_work(minilm):
    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minilm.encode_texts([f"text {number}" for number in range(500)], advance=stop)


POOLINGS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.mark.parametrize("pooling", [*POOLINGS, ["max", "mean_sqrt_len_tokens"]], ids=str)
def test_every_pooling_equals_its_definition(write_bert, pooling):
    folder = write_bert(pooling=pooling)
    encoder = reference(folder)
    found = encoder.encode_texts(TEXTS)
    from transformers import BertModel

    network = BertModel.from_pretrained(folder)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = encoder.tokens.read([text])[0]
        assert len(ids) <= 12
        states = network(torch.tensor([ids])).last_hidden_state[0].detach().numpy()
        weights = np.arange(1, len(ids) + 1)[:, None]
        known = {
            "mean": states.mean(0),
            "cls": states[0],
            "max": states.max(0),
            "mean_sqrt_len_tokens": states.sum(0) / np.sqrt(len(ids)),
            "lasttoken": states[-1],
            "weightedmean": (states * weights).sum(0) / weights.sum(),
        }
        modes = [pooling] if isinstance(pooling, str) else pooling
        expected = np.concatenate([known[mode] for mode in modes])
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_former_keys_of_pooling(write_bert):
    folder = write_bert(pooling="mean")
    path = folder / "1_Pooling" / "config.json"
    path.write_text('{"pooling_mode_max_tokens": true, "pooling_mode_cls_token": true}')
    assert read_recipe(folder).pooling == ("cls", "max")
    path.write_text('{"pooling_mode": "median"}')
    with pytest.raises(BadFile, match="pooling 'median'"):
        read_recipe(folder)


def test_the_graph_holds_every_pooling_and_the_dense_layer(write_bert, own_cache):
    folder = write_bert(pooling=POOLINGS, dense=True)
    encoder = load_encoder(str(folder))
    assert encoder.dimension == 8 and encoder.backend == "onnxruntime"
    np.testing.assert_allclose(
        encoder.encode_texts(TEXTS), reference(folder).encode_texts(TEXTS), atol=1e-5
    )


def test_a_plain_folder_is_pooled_by_the_mean(write_bert):
    plain, stated = reference(write_bert("plain")), reference(write_bert("stated", pooling="mean"))
    short = ["the cat", "dog"]
    np.testing.assert_allclose(plain.encode_texts(short), stated.encode_texts(short), atol=1e-6)
    assert plain.tokens.max_length == 20 and stated.tokens.max_length == 12


def test_prompts_go_by_role(write_bert):
    prompts = {"query": "red cube ", "passage": "blue "}
    encoder = reference(write_bert(pooling="mean", prompts=prompts))
    bare = reference(write_bert("bare", pooling="mean"))
    query = encoder.encode_texts(["dog"], "query")
    np.testing.assert_allclose(query, bare.encode_texts(["red cube dog"]), atol=1e-6)
    document = encoder.encode_texts(["dog"], "document")
    np.testing.assert_allclose(document, bare.encode_texts(["blue dog"]), atol=1e-6)


def test_a_prompt_may_be_left_out_of_the_pooling(write_bert):
    folder = write_bert(pooling="mean", prompts={"query": "red cube "}, include_prompt=False)
    encoder = reference(folder)
    from transformers import BertModel

    ids = encoder.tokens.read(["red cube dog"])[0]
    states = BertModel.from_pretrained(folder)(torch.tensor([ids])).last_hidden_state[0]
    expected = states[3:].mean(0).detach().numpy()  # [CLS] red cube | dog [SEP]
    found = encoder.encode_texts(["dog"], "query")[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_layers(write_bert):
    folder = write_bert(pooling="mean", dense=True)
    from transformers import BertModel

    network = BertModel.from_pretrained(folder)
    vectors = {}
    for layer in (0, 1, 2, -1, -3):
        encoder = load_encoder(str(folder), layer=layer)
        assert encoder.backend == "pytorch" and encoder.dimension == 16
        vectors[layer] = encoder.encode_texts(["the cat sits"])[0]
        ids = torch.tensor([encoder.tokens.read(["the cat sits"])[0]])
        states = network(ids, output_hidden_states=True).hidden_states[layer][0].mean(0)
        expected = states.detach().numpy()
        np.testing.assert_allclose(vectors[layer], expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_array_equal(vectors[-1], vectors[2])
    every = load_encoder(str(folder), layer="all")
    joined = np.concatenate([vectors[1], vectors[2]]) / 2**0.5
    np.testing.assert_allclose(every.encode_texts(["the cat sits"])[0], joined, atol=1e-5)
    assert every.fingerprint != encoder.fingerprint
    for layer in (3, -4):
        with pytest.raises(BadInput, match=r"layer .* out of range.*-3 to -1"):
            load_encoder(str(folder), layer=layer)


def test_fingerprint_tells_encoders_apart(write_bert):
    folder = write_bert(pooling="mean")
    seen = {reference(folder).fingerprint, reference(folder, layer=1).fingerprint}
    for name in ("1_Pooling/config.json", "sentence_bert_config.json", "tokenizer.json"):
        path = folder / name
        path.write_text(path.read_text().replace("mean", "max").replace("12", "11") + " ")
        seen.add(encoder_fingerprint(folder, read_recipe(folder), None))
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    seen.add(encoder_fingerprint(folder, read_recipe(folder), None))
    assert len(seen) == 6
    (folder / "README.md").write_text("nothing that changes a vector")
    assert encoder_fingerprint(folder, read_recipe(folder), None) in seen


def test_not_a_number_is_named(write_bert):
    from safetensors.numpy import load_file, save_file

    folder = write_bert()
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][3] = np.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(Damaged, match=r"'tiny'.*not finite"):
        reference(folder).encode_texts(["dog"])


def test_missing_weights_are_named(write_bert):
    from safetensors.numpy import load_file, save_file

    folder = write_bert()
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadFile, match=r"lack 1 tensors.*encoder.layer.1.output.dense.weight"):
        reference(folder)


def test_no_images(minilm):
    with pytest.raises(BadInput, match=r"does not read images.*reads texts"):
        minilm.encode_images([])


def test_a_device_that_is_not_there(write_bert):
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(BadInput, match="'cuda' is not available"):
        load_encoder(str(write_bert()), device="cuda")


OFFLINE = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import graftwerk
report = graftwerk.run(graftwerk.Embed(inputs=["hello"], role="query"))
assert report.count == 1
loaded = {"torch", "transformers", "onnx", "huggingface_hub", "scipy"} & set(sys.modules)
assert not loaded, loaded
card = graftwerk.run(graftwerk.ModelsInfo(name="builtin/minilm"))
assert card.parameters == 22_713_216
"""


def test_no_network_and_no_pytorch_on_the_query_path(minilm):
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


OFFLINE_FOLDER = (
    OFFLINE.split("import graftwerk\n", maxsplit=1)[0]
    + """
import os
from graftwerk.models.encoders import load_encoder
assert load_encoder(sys.argv[1]).backend == "onnxruntime"
assert load_encoder(sys.argv[1], layer=1).backend == "pytorch"
assert load_encoder("static:" + sys.argv[1]).encode_texts(["dog"]).shape == (1, 16)
"""
)


def test_export_and_distillation_ask_no_network_and_are_quiet(write_bert, tmp_path):
    environment = {"GRAFTWERK_CACHE": str(tmp_path / "cache"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_FOLDER, str(write_bert())],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


def images_in(folder):
    return sorted(map(str, folder.rglob("*.png")))


def test_photographs_suit_the_fetched_model(photographs, scenes, listener):
    photos, blocks = images_in(photographs), images_in(scenes)
    request = EvalAlignment(data=photographs, device="cpu")
    assert suited_encoder(request, photos, listener) == "imagenet"
    assert [note.startswith("no model was named: imagenet") for note in listener.notes] == [True]
    given = IndexAdd(paths=photos, device="cpu")
    assert suited_encoder(given, [*photos[:3], *blocks[:2]], listener) == "imagenet"
    assert suited_encoder(given, [*photos[:2], *blocks[:2]], listener) == "builtin/minilm"
    assert suited_encoder(request, blocks, listener) == "builtin/blocks-clip"
    assert suited_encoder(request, [], listener) == "builtin/blocks-clip"
    assert suited_encoder(given, [*photos, "a.txt"], listener) == "builtin/minilm"
    named = EvalAlignment(data=photographs, encoder="builtin/blocks-clip")
    assert suited_encoder(named, photos, listener) == "builtin/blocks-clip"
    broken = photographs / "broken.png"
    broken.write_bytes(b"x")
    assert suited_encoder(request, [str(broken)], listener) == "builtin/blocks-clip"
    assert suited_encoder(request, [str(broken), *photos[:2]], listener) == "imagenet"
    assert len(listener.notes) == 3


def test_a_model_that_was_not_fetched_is_not_taken(photographs, listener):
    (photographs.parent / "fetched" / "models" / "imagenet" / "graft.json").write_text("{}")
    request = EvalAlignment(data=photographs, device="cpu")
    assert suited_encoder(request, images_in(photographs), listener) == "builtin/blocks-clip"
    assert not listener.notes


def test_of_many_images_a_sample_is_looked_at(photographs, listener, monkeypatch):
    seen = []
    real = encoders.encode_and_compare
    monkeypatch.setattr(
        encoders, "encode_and_compare", lambda *given: seen.append(given[1]) or real(*given)
    )
    request = EvalAlignment(data=photographs, device="cpu")
    assert suited_encoder(request, images_in(photographs) * 50, listener) == "imagenet"
    assert len(seen) == 32 and all(len(images) == 1 for images in seen)
