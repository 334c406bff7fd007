"""What a model folder must not hold, and what it lacks, by name."""

import json

import pytest

from graftwerk.errors import BadFile, Damaged, GraftError
from graftwerk.models.checkpoint import count_parameters, open_folder
from graftwerk.models.encoders import load_encoder
from graftwerk.models.text_encoder import read_recipe


def change(path, **entries):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **entries}))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil--modeling.Evil"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "modeling.Evil"}}}),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}),
        ("config.json", {"_attn_implementation": "evil/kernel"}),
        ("config.json", {"attn_implementation": "evil/kernel:f"}),
        ("config.json", {"attn_implementation": {"text_config": "evil/kernel"}}),
        ("config.json", {"custom_pipelines": {"x": {"impl": "evil.Pipe"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "evil/tokenizer"}),
    ],
)
def test_code_of_its_own_is_refused(write_bert, name, entry):
    folder = write_bert(pooling="mean")
    change(folder / name, **entry)
    with pytest.raises(BadFile, match=name):
        load_encoder(str(folder))


def test_a_module_of_its_own_is_refused(write_bert):
    folder = write_bert(pooling="mean")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Evil"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadFile, match="step 'Evil' that is not known"):
        load_encoder(str(folder))
    modules[0] = {"type": "sentence_transformers.models.Transformer", "path": "../.."}
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadFile, match="points outside"):
        load_encoder(str(folder))


@pytest.mark.parametrize("content", ['{"a": 1}', "[3]", '[{"type": "x"}]', "nonsense", ""])
def test_malformed_modules(write_bert, content):
    folder = write_bert(pooling="mean")
    (folder / "modules.json").write_text(content)
    with pytest.raises(BadFile, match=r"modules\.json"):
        read_recipe(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "m.pth"])
def test_pickled_weights_are_refused(write_bert, name):
    folder = write_bert()
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(BadFile, match=rf"only as {name}.*save_pretrained"):
        load_encoder(str(folder))


def test_pickled_weights_beside_safe_ones_are_not_read(write_bert):
    folder = write_bert()
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle")
    assert open_folder(folder).weights == (folder / "model.safetensors",)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_weight_file_is_named(write_bert, kept):
    folder = write_bert()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Damaged, match=r"model\.safetensors is damaged"):
        load_encoder(str(folder))


def test_missing_parts_are_named(write_bert, tmp_path):
    with pytest.raises(BadFile, match=r"has no config\.json"):
        load_encoder(str(tmp_path))
    folder = write_bert()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(BadFile, match="no tokenizer"):
        load_encoder(str(folder), layer=1)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadFile, match=r"no \.safetensors file"):
        load_encoder(str(folder))


def test_a_missing_shard_is_named(write_bert):
    folder = write_bert()
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadFile, match=r"lacks model-2\.safetensors"):
        load_encoder(str(folder))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_type": 3}', "\xff", "[" * 100_000])
def test_a_malformed_config(write_bert, content):
    folder = write_bert()
    (folder / "config.json").write_text(content, "latin-1")
    with pytest.raises(BadFile, match=r"config\.json"):
        load_encoder(str(folder))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"model_type": "nonsense"}, "type 'nonsense'.*does not know"),
        ({"hidden_size": 20}, "do not fit"),
        ({"hidden_size": "wide"}, r"config\.json: hidden_size is 'wide'; allowed is a number"),
        ({"num_hidden_layers": 3}, "lack 16 tensors"),
    ],
)
def test_a_config_that_does_not_fit(write_bert, entry, message):
    folder = write_bert()
    change(folder / "config.json", **entry)
    with pytest.raises(BadFile, match=message):
        load_encoder(str(folder), layer=1)


def test_an_adapter_is_refused(write_bert):
    folder = write_bert()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
    with pytest.raises(BadFile, match="holds an adapter"):
        load_encoder(str(folder))


def test_a_damaged_tokenizer_is_named(write_bert):
    folder = write_bert()
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(GraftError, match="tokenizer"):
        load_encoder(str(folder), layer=1)


def test_count_parameters(write_bert):
    from safetensors.numpy import load_file

    path = write_bert() / "model.safetensors"
    assert count_parameters([path]) == sum(value.size for value in load_file(path).values())
