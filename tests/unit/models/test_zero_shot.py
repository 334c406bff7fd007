"""Labels as classifiers: beside the model's own logits, and from templates."""

import json

import numpy as np
import pytest
import torch
from tests.unit.models.test_images import pictures

from graftwerk import limits
from graftwerk.errors import BadFile, BadInput, LimitExceeded
from graftwerk.models.encoders import load_encoder
from graftwerk.models.zero_shot import (
    DEFAULT_TEMPLATES,
    FILE_NAME,
    check_templates,
    cut_labels,
    label_vectors,
    require_joint,
    save_templates,
    templates_of,
)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_logits_are_the_models_own(write_vision, kind):
    """Cosine times scale is what the model's own forward gives (SigLIP adds one bias to all)."""
    import transformers

    folder = write_vision(kind)
    encoder = require_joint(load_encoder(str(folder), device="cpu"))
    labels = ["the cat", "red cube", "dog runs"]
    heads = label_vectors(encoder, labels, ["{}"])
    logits = encoder.encode_images(pictures(2)) @ heads.T * encoder.logit_scale

    network = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    padding = {"padding": "max_length", "max_length": 10} if kind == "siglip" else {"padding": True}
    inputs = tokenizer(labels, return_tensors="pt", **padding)
    inputs.pop("token_type_ids", None)
    if kind == "siglip":
        inputs.pop("attention_mask")
    with torch.inference_mode():
        pixels = processor(images=pictures(2), return_tensors="pt")
        expected = network(**inputs, **pixels).logits_per_image.softmax(dim=1).numpy()
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), expected, atol=1e-5)


def test_a_label_is_the_mean_of_its_prompts(write_vision):
    encoder = require_joint(load_encoder(str(write_vision("clip")), device="cpu"))
    templates = ["{}", "the {} sits", "a red {} on the {}"]
    done = []
    heads = label_vectors(encoder, ["cat", "{braces}"], templates, done.append)
    assert sum(done) == 6
    own = encoder.encode_texts(["cat", "the cat sits", "a red cat on the cat"]).mean(axis=0)
    np.testing.assert_allclose(heads[0], own / np.linalg.norm(own), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(heads, axis=1), 1, atol=1e-6)


def test_many_labels_come_out_like_few(write_vision, monkeypatch):
    encoder = require_joint(load_encoder(str(write_vision("clip")), device="cpu"))
    labels = [f"cat {n}" for n in range(7)]
    whole = label_vectors(encoder, labels, ["{}", "the {}"])
    monkeypatch.setattr("graftwerk.models.zero_shot._CHUNK", 3)
    np.testing.assert_allclose(label_vectors(encoder, labels, ["{}", "the {}"]), whole, atol=1e-6)


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_one_kind_is_not_enough(write_vision, write_bert, kind):
    folder = write_vision("vit") if kind == "vit" else write_bert()
    only = "images" if kind == "vit" else "texts"
    with pytest.raises(BadInput, match=rf"reads only {only}.*reads both.*Choose a joint"):
        require_joint(load_encoder(str(folder), device="cpu"))


def test_labels_that_are_cut(write_vision):
    encoder = require_joint(load_encoder(str(write_vision("clip")), device="cpu"))
    labels = ["cat", "cat " * 20, "dog"]
    cut, room = cut_labels(encoder, labels, ["{}"])
    assert cut == [labels[1]] and room == 8
    assert cut_labels(encoder, ["cat " * 7], ["{}"])[0] == []
    assert cut_labels(encoder, ["cat " * 7], ["{}", "the {} on a mat"])[0] == ["cat " * 7]


def test_templates_of_a_folder(tmp_path):
    assert templates_of(tmp_path) == DEFAULT_TEMPLATES
    save_templates(tmp_path, ["{}", "{} at night", "{}"])
    assert templates_of(tmp_path) == ("{}", "{} at night")
    for content in ({}, {"templates": []}, {"templates": "x"}, {"templates": [1]}):
        (tmp_path / FILE_NAME).write_text(json.dumps(content))
        with pytest.raises(BadInput, match="no list of templates"):
            templates_of(tmp_path)
    (tmp_path / FILE_NAME).write_text('{"templates": ["night"]}')
    with pytest.raises(BadInput, match=r"'night' has no \{\}"):
        templates_of(tmp_path)
    (tmp_path / FILE_NAME).write_text("[1]")
    with pytest.raises(BadFile, match=r"no.* JSON object"):
        templates_of(tmp_path)


def test_the_limit_of_templates():
    many = [f"{{}} {n}" for n in range(limits.TEMPLATES)]
    assert len(check_templates(many)) == limits.TEMPLATES
    with pytest.raises(LimitExceeded, match="101 templates"):
        check_templates([*many, "{} more"])


def test_templates_leave_the_fingerprint(write_vision):
    folder = write_vision("clip")
    before = load_encoder(str(folder), device="cpu").fingerprint
    save_templates(folder, ["{} at night"])
    assert load_encoder(str(folder), device="cpu").fingerprint == before
