"""A tiny causal language model, made here, written to a folder, read as a user's would be."""

import json

import pytest

from graftwerk.errors import BadFile, BadInput, WriterFailed
from graftwerk.models.language.local import load_local_writer
from graftwerk.types import Prompt

WORDS = ["[UNK]", "<end>", "<user>", "<model>", *"abcdefghijklmnop", "é", "日"]
TEMPLATE = "{% for m in messages %}<user> {{ m.content }} {% endfor %}<model>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("writer")
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="<end>")
    fast.save_pretrained(path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=64,
            eos_token_id=1,
            bos_token_id=None,
            pad_token_id=None,
        )
        LlamaForCausalLM(config).save_pretrained(path)
    return path


def write(writer, text="a b c"):
    return list(writer.write(Prompt(text=text, question="?")))


def test_it_writes_what_greedy_generation_writes(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    writer = load_local_writer(str(folder), max_tokens=12, device="cpu")
    pieces = write(writer)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("a b c", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
        )
    assert "".join(pieces) == tokenizer.decode(expected[0, 3:], skip_special_tokens=True)
    assert len(pieces) > 1
    assert pieces == write(writer)
    assert writer.count_tokens("a b c d") == 4
    assert not writer.extractive


def test_the_chat_template_is_used_where_there_is_one(folder):
    writer = load_local_writer(str(folder), max_tokens=4, device="cpu")
    plain = write(writer)
    writer._tokenizer.chat_template = TEMPLATE
    assert writer.count_tokens("a b c") == 5
    assert writer._tokens("a b") == [WORDS.index(word) for word in ("<user>", "a", "b", "<model>")]
    assert write(writer) != plain


def test_it_stops_at_the_end_token(folder):
    writer = load_local_writer(str(folder), max_tokens=20, device="cpu")
    first = next(writer._continue(writer._tokens("a b c")))
    writer._ends = {first}
    assert write(writer) == []


def test_a_prompt_that_does_not_fit_the_context_is_refused(folder):
    writer = load_local_writer(str(folder), max_tokens=8, device="cpu")
    write(writer, "a " * 56)
    with pytest.raises(BadInput, match="57 tokens and the answer's 8 are more than the 64"):
        write(writer, "a " * 57)


def test_weights_that_are_no_numbers_are_told(folder):
    import torch

    writer = load_local_writer(str(folder), max_tokens=8, device="cpu")
    with torch.no_grad():
        writer._model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(WriterFailed, match="not numbers"):
        write(writer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "auto_map"),
        ({"model_type": "vit"}, "writes no text"),
        ({"num_hidden_layers": 3}, "lack"),
        ({"hidden_size": 32}, "do not fit"),
    ],
)
def test_a_folder_that_may_not_or_cannot_be_loaded_is_refused(folder, tmp_path, change, message):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(BadInput, match=message):
        load_local_writer(str(other), max_tokens=8, device="cpu")


def test_pickled_weights_and_missing_folders_are_refused(folder, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(BadFile, match=r"pytorch_model\.bin"):
        load_local_writer(str(other), max_tokens=8, device="cpu")
    with pytest.raises(BadFile, match="nowhere"):
        load_local_writer(str(tmp_path / "nowhere"), max_tokens=8, device="cpu")


def test_what_repeats_is_cut(folder, monkeypatch):
    """The network says one word for ever; the reader sees where it was stopped."""
    from graftwerk.models.language.local import LocalWriter

    monkeypatch.setattr(LocalWriter, "_continue", lambda self, tokens: iter([4, 5] + [6, 7] * 500))
    pieces = write(load_local_writer(str(folder), max_tokens=12, device="cpu"))
    assert pieces[-1] == "…" and len(pieces) == 45
    assert "".join(pieces[:3]).split() == ["a", "b", "c"]


def test_the_frame_is_not_copied(folder, monkeypatch):
    from graftwerk.models.language.local import LocalWriter

    monkeypatch.setattr(
        LocalWriter, "continued", lambda self, tokens: iter(["x <<abc", "def01>>", "y"])
    )
    writer = load_local_writer(str(folder), max_tokens=12, device="cpu")
    assert "".join(writer.write(Prompt(text="a", question="?", nonce="abcdef01"))) == "x y"
