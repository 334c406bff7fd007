"""Image and joint encoders of every type in the table, tiny and random."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.classifiers import CONFIGS

import graftwerk as gw
from graftwerk.errors import BadFile, BadInput
from graftwerk.models.encoders import load_encoder
from graftwerk.models.image_encoder import IMAGE_MODELS, unit

KINDS = ["clip", "siglip", "dinov2", "vit", "resnet"]
JOINT = ["clip", "siglip"]


def pictures(count=3, size=(24, 20)):
    random = np.random.default_rng(5)
    return [
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)
    ]


def test_every_type_is_tested():
    elsewhere = {"siglip2", "timm_wrapper"}
    assert set(KINDS) | elsewhere | set(CONFIGS) == set(IMAGE_MODELS)


@pytest.mark.parametrize("kind", KINDS)
def held_out_images(write_vision, kind):
    encoder = load_encoder(str(write_vision(kind)), device="cpu")
    images = [*pictures(), pictures(1)[0].convert("L"), pictures(1)[0].convert("RGBA")]
    done = []
    vectors = encoder.encode_images(images, done.append)
    assert vectors.shape == (5, encoder.dimension) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    assert sum(done) == 5
    alone = encoder.encode_images(images[1:2])
    np.testing.assert_allclose(alone[0], vectors[1], atol=1e-5)
    assert encoder.encode_images([]).shape == (0, encoder.dimension)
    assert encoder.reads == ({"text", "image"} if kind in JOINT else {"image"})


@pytest.mark.parametrize("kind", JOINT)
def test_texts_share_the_space(write_vision, kind):
    folder = write_vision(kind)
    encoder = load_encoder(str(folder), device="cpu")
    texts = ["the cat sits", "", "a red cube " * 20, "dog"]
    vectors = encoder.encode_texts(texts)
    assert vectors.shape == (4, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["dog"])[0], vectors[3], atol=1e-5)
    assert encoder.count_tokens("the cat sits") == 3

    import transformers

    network = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = {"padding": "max_length", "max_length": 10} if kind == "siglip" else {}
    inputs = tokenizer(["the cat sits"], return_tensors="pt", **padding)
    inputs = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    if kind == "siglip":
        del inputs["attention_mask"]
    expected = network.get_text_features(**inputs).pooler_output[0].detach().numpy()
    np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_networks_own(write_vision, kind):
    import transformers

    folder = write_vision(kind)
    found = load_encoder(str(folder), device="cpu").encode_images(pictures(1))[0]
    network = getattr(transformers, IMAGE_MODELS[kind].network).from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=pictures(1), return_tensors="pt")
    with torch.inference_mode():
        if kind in JOINT:
            expected = network.get_image_features(**inputs).pooler_output[0]
        elif kind == "vit":
            expected = network(**inputs).last_hidden_state[0, 0]
        else:  # the pooled output of DINOv2 is its class token, that of ResNet the mean
            expected = network(**inputs).pooler_output.flatten()
    expected = expected.numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize("kind", ["dinov2", "vit", "resnet"])
def test_image_models_read_no_texts(write_vision, kind):
    encoder = load_encoder(str(write_vision(kind)), device="cpu")
    with pytest.raises(BadInput, match=r"does not read texts\. It reads images"):
        encoder.encode_texts(["x"])
    with pytest.raises(BadInput, match="does not read texts"):
        encoder.count_tokens("x")


def test_layers_of_images(write_vision):
    folder = str(write_vision("vit"))
    last, first = (
        load_encoder(folder, layer=layer, device="cpu").encode_images(pictures(1))
        for layer in (-1, 1)
    )
    assert np.abs(last - first).max() > 1e-3
    for layer in (3, -4):
        with pytest.raises(BadInput, match="out of range"):
            load_encoder(folder, layer=layer)
    resnet = str(write_vision("resnet"))
    assert load_encoder(resnet, layer=1, device="cpu").dimension == 8
    stages = [
        load_encoder(resnet, layer=layer, device="cpu").encode_images(pictures(2))
        for layer in (1, 2, "all")
    ]
    joined = np.concatenate(stages[:2], axis=1) / 2**0.5
    np.testing.assert_allclose(stages[2], joined, atol=1e-5)
    with pytest.raises(BadInput, match="to 2, or -3"):
        load_encoder(resnet, layer=3)


def test_a_joint_model_has_no_other_layer(write_vision):
    with pytest.raises(BadInput, match="only the last one is joint"):
        load_encoder(str(write_vision("clip")), layer=1)


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_follows_weights_and_processor(write_vision, kind):
    folder = write_vision(kind)
    seen = {load_encoder(str(folder), device="cpu").fingerprint}
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "image_mean": [0.1, 0.2, 0.3]}))
    seen.add(load_encoder(str(folder), device="cpu").fingerprint)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    seen.add(load_encoder(str(folder), device="cpu").fingerprint)
    assert len(seen) == 3


def test_a_missing_processor_is_named(write_vision):
    folder = write_vision("vit")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BadFile, match=r"no preprocessor_config\.json"):
        load_encoder(str(folder), device="cpu")


def test_a_processor_that_is_not_known(write_vision):
    folder = write_vision("vit")
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "Evil"}')
    with pytest.raises(BadFile, match=r"preprocessor_config\.json cannot be used"):
        load_encoder(str(folder), device="cpu")


def test_nothing_static_from_images(write_vision):
    with pytest.raises(BadInput, match="of type vit; a static encoder is distilled"):
        load_encoder(f"static:{write_vision('vit')}")


@pytest.mark.parametrize("kind", ["efficientnet", "resnet", "vit"])
def test_all_layers_are_every_state_and_the_pooled_one(tmp_path, kind):
    """A linear fit reads them by default; a sweep counts them, whatever the configuration says."""
    from tests.classifiers import write_classifier

    import graftwerk
    from graftwerk.models.checkpoint import open_folder
    from graftwerk.models.image_encoder import last_layer

    folder = write_classifier(tmp_path, kind)
    joined = load_encoder(str(folder), layer="all", device="cpu")
    last = last_layer(open_folder(folder))
    parts = [load_encoder(str(folder), layer=n, device="cpu") for n in range(1, last + 1)]
    if IMAGE_MODELS[kind].takes == "pooled":
        parts.append(load_encoder(str(folder), device="cpu"))
    with pytest.raises(BadInput, match="out of range"):
        load_encoder(str(folder), layer=last + 1, device="cpu")
    images = pictures(6)
    found = np.concatenate([part.encode_images(images) for part in parts], axis=1)
    np.testing.assert_allclose(joined.encode_images(images), found / len(parts) ** 0.5, atol=1e-5)
    classifier = graftwerk.Classifier(str(folder), method="linear", device="cpu")
    classifier.fit(images, ["a", "b"] * 3)
    assert classifier.features(images).shape == (6, joined.dimension)


@pytest.mark.parametrize("kind", [name for name, kind in IMAGE_MODELS.items() if kind.any_size])
def test_two_sizes_are_all_layers_of_an_image_and_of_its_half(tmp_path, kind):
    from tests.classifiers import write_classifier

    folder = write_classifier(tmp_path, kind, side=64)
    both = load_encoder(str(folder), layer="multiscale", device="cpu").encode_images(pictures(2))
    full = load_encoder(str(folder), layer="all", device="cpu")
    inputs = full.prepare(pictures(2))["pixel_values"]
    n, c, h, w = inputs.shape
    half = inputs.reshape(n, c, h // 2, 2, w // 2, 2).mean(dim=(3, 5))
    parts = [unit(full.look({"pixel_values": one}).vectors) for one in (inputs, half)]
    np.testing.assert_allclose(both, np.concatenate(parts, axis=1) / 2**0.5, atol=1e-5)
    classifier = gw.Classifier(str(folder), method="linear", device="cpu")
    classifier.fit(pictures(6), ["a", "b"] * 3)
    assert classifier.features(pictures(2)).shape == both.shape


@pytest.mark.parametrize("kind", ["vit", "dinov2", "resnet"])
def test_transformers_and_networks_of_small_images_read_one_size(write_vision, kind):
    with pytest.raises(BadInput, match="'multiscale' is for convolutional networks"):
        load_encoder(str(write_vision(kind)), layer="multiscale", device="cpu")
