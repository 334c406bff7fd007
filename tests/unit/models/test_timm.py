"""Folders of the library timm: what is refused, and what an image is prepared by."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from graftwerk.errors import BadFile, BadInput
from graftwerk.models import timm
from graftwerk.models.checkpoint import open_folder, own_classes
from graftwerk.models.encoders import load_encoder
from graftwerk.models.image_encoder import load_processor

RAW = {
    "input_size": [3, 48, 48],
    "interpolation": "bicubic",
    "crop_pct": 0.75,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}
CONFIG = {
    "architecture": "resnet10t",
    "num_classes": 3,
    "label_names": ["a  cat", "b", "c"],
    "pretrained_cfg": RAW,
}


@pytest.fixture
def folder(tmp_path):
    """A folder as timm writes it: no `model_type`, no image processor."""
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_its_own_configuration_is_read(folder):
    assert open_folder(folder).model_type == "timm_wrapper"
    assert own_classes(folder) == ("a cat", "b", "c")


def test_images_are_resized_and_cropped_as_timm_says(folder):
    processor, config = load_processor(open_folder(folder))
    assert (config["size"], config["crop_size"]["height"]) == ({"shortest_edge": 64}, 48)
    grey = Image.fromarray(np.full((128, 64, 3), 255, dtype=np.uint8))
    values = processor(images=[grey], return_tensors="pt")["pixel_values"]
    assert values.shape == (1, 3, 48, 48)
    assert torch.allclose(values, torch.full_like(values, 2.0), atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:evil/x"},
        {"architecture": "../x"},
        {"architecture": 7},
        {"model_args": {"pretrained": True}},
        {"model_args": {"checkpoint_path": "weights.pth"}},
        {"model_args": {"act_layer": "/etc/passwd"}},
        {"model_args": {"cfg": {"a": 1}}},
        {"model_args": [1]},
        {"model_type": "timm_wrapper", "pretrained_cfg": None, "architecture": "hf-hub:evil/x"},
    ],
)
def test_what_would_fetch_or_read_something_else_is_refused(folder, change):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(BadFile, match=r"architecture|model_args"):
        open_folder(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": 1},
        {"mean": [0.5]},
        {"std": [0, 1, 1]},
        {"std": [float("nan"), 1, 1]},
        {"input_size": [3, 32, 64]},
        {"input_size": [3]},
        {"input_size": [3, float("inf"), 9]},
        {"input_size": [3, 100_000, 100_000]},
        {"crop_pct": 1e-6},
        {"crop_mode": "border"},
        {"interpolation": "x"},
    ],
)
def test_other_preparations_are_refused(folder, change):
    config = CONFIG | {"pretrained_cfg": RAW | change}
    with pytest.raises(BadFile, match="pretrained_cfg"):
        timm.processor_config(folder, config)


@pytest.mark.parametrize(
    "change", [{"num_classes": 0}, {"architectures": ["TimmWrapperModel"], "label_names": None}]
)
def test_a_network_without_a_head_has_no_classes(folder, change):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    assert own_classes(folder) == ()


def test_an_address_without_preparation_is_refused_too(folder):
    """The type alone leads to timm, whatever else the file says."""
    config = {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/x"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadFile, match="architecture"):
        open_folder(folder)


def test_without_the_library(folder, monkeypatch):
    monkeypatch.setattr(timm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"timm, which is not installed.*pip install timm"):
        load_encoder(str(folder))


def test_logits_are_those_of_the_library(tmp_path):
    pytest.importorskip("timm")
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    network = TimmWrapperForImageClassification(TimmWrapperConfig.from_dict(CONFIG)).eval()
    network.save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path), device="cpu")
    image = Image.new("RGB", (64, 80), "red")
    inputs = encoder.prepare([image])
    with torch.inference_mode():
        assert np.allclose(encoder.classify(inputs), network(**inputs).logits.numpy(), atol=1e-5)
    assert encoder.encode_images([image]).shape == (1, 512)
