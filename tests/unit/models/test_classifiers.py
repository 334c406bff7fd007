"""Image classifiers of every type: features, hidden layers, and classes of their own."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.classifiers import CLASSES, CONFIGS, write_classifier

import graftwerk
from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.models.checkpoint import class_number, own_classes
from graftwerk.models.encoders import load_encoder
from graftwerk.models.image_encoder import IMAGE_MODELS, as_logits
from graftwerk.models.trainable import load_trainable

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(count=3):
    random = np.random.default_rng(5)
    return [
        Image.fromarray(random.integers(0, 256, (24, 20, 3), dtype=np.uint8)) for _ in range(count)
    ]


@pytest.mark.parametrize("kind", CONFIGS)
def test_features_are_what_the_head_reads(tmp_path, kind):
    """The vector, not yet of unit length, through the head's own last layer, gives its logits."""
    folder = write_classifier(tmp_path / kind, kind)
    encoder = load_encoder(str(folder), device="cpu")
    assert encoder.classes == CLASSES and encoder.reads == {"image"}
    import transformers

    network = getattr(transformers, IMAGE_MODELS[kind].classifier).from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = network(**encoder.prepare(pictures())).logits.numpy()
    np.testing.assert_allclose(as_logits(encoder).encode_images(pictures()), expected, atol=1e-5)
    vectors = encoder.encode_images(pictures())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


@pytest.mark.parametrize("kind", CONFIGS)
def test_layers_and_gradients(tmp_path, kind):
    """A bare backbone too; what is trained starts as what is frozen."""
    folder = write_classifier(tmp_path / kind, kind, head=False)
    encoder = load_encoder(str(folder), device="cpu")
    assert encoder.classes == ()
    first = load_encoder(str(folder), layer=1, device="cpu").encode_images(pictures())
    last = load_encoder(str(folder), layer=-1, device="cpu").encode_images(pictures())
    assert first.shape != last.shape or np.abs(first - last).max() > 1e-4
    with pytest.raises(BadInput, match="out of range"):
        load_encoder(str(folder), layer=200, device="cpu")
    for layer, frozen in ((None, encoder.encode_images(pictures())), (1, first)):
        trained = load_trainable(folder, "image", layer, "cpu")
        vectors = trained.encode(trained.prepare(pictures()))
        np.testing.assert_allclose(vectors.detach().numpy(), frozen, atol=1e-5)


@pytest.mark.parametrize("kind", ["beit", "convnext", "swin"])
def test_a_lacking_weight_of_the_pooling_is_no_random_one(tmp_path, kind):
    from safetensors.torch import load_file, save_file

    folder = write_classifier(tmp_path / kind, kind)
    weights = load_file(folder / "model.safetensors")
    pooling = [n for n in weights if "pooler" in n or n.endswith(f"{kind}.layernorm.weight")]
    save_file({n: t for n, t in weights.items() if n not in pooling}, folder / "model.safetensors")
    with pytest.raises(BadFile, match=r"lack [12] tensors"):
        load_encoder(str(folder), device="cpu")


def test_classify_by_own_classes(tmp_path):
    folder = write_classifier(tmp_path / "model", "convnext")
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pictures()):
        image.save(tmp_path / "images" / f"{number}.png")
    request = graftwerk.Classify(pictures=[tmp_path / "images"], encoder=folder, device="cpu", k=5)
    report = graftwerk.run(request)
    assert report.labels == 3 and report.templates == []
    encoder = load_encoder(str(folder), device="cpu")
    logits = as_logits(encoder).encode_images(pictures()).astype(np.float64)
    for image, row in zip(report.pictures, logits, strict=True):
        chances = np.exp(row) / np.exp(row).sum()
        assert image.label == CLASSES[row.argmax()]
        assert [one.label for one in image.labels] == [CLASSES[n] for n in np.argsort(-row)]
        assert image.probability == pytest.approx(chances.max(), rel=1e-5)
        assert all(one.cosine is None for one in image.labels)
    # some of its classes, by any of their names
    some = graftwerk.run(request.model_copy(update={"labels": ["crane,Chocolate Syrup"]}))
    for image, row in zip(some.pictures, logits[:, [2, 1]], strict=True):
        assert image.label == ["crane", "Chocolate Syrup"][row.argmax()]
    for labels, error, message in (
        (["crane,tench"], UnknownName, "class 'tench' is not known"),
        (["cat,house cat"], BadInput, "another label names too"),
    ):
        with pytest.raises(error, match=message):
            graftwerk.run(request.model_copy(update={"labels": labels}))
    with pytest.raises(BadInput, match="put into no template"):
        graftwerk.run(request.model_copy(update={"templates": ["a {}"]}))


def test_the_temperature_of_a_head(tmp_path):
    folder = write_classifier(tmp_path / "model", "resnet")
    random = np.random.default_rng(0)
    for label in ("cat", "chocolate_syrup", "crane"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(9):
            levels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(levels).save(tmp_path / "data" / label / f"{number}.png")
    report = graftwerk.run(
        graftwerk.Classify(encoder=folder, calibrate=tmp_path / "data", device="cpu")
    )
    assert report.fit is not None and report.fit.pictures == 27 and report.fit.templates == []
    assert report.temperature == report.fit.temperature > 0


def test_which_class_a_name_means():
    classes = ("tench, Tinca tinca", "crane, wader", "crane", "CRANE, machine", "maillot")
    assert class_number(classes, "  Tinca   TINCA") == 0
    assert class_number(classes, "crane") == 2  # a whole name goes first
    with pytest.raises(UnknownName, match="Allowed: crane, wader, CRANE, machine"):
        class_number((classes[1], classes[3]), "crane")
    with pytest.raises(UnknownName, match="Did you mean tench"):
        class_number(classes, "tensh")
    with pytest.raises(UnknownName, match="and 940 more"):
        class_number([f"class {n}" for n in range(1000)], "x")


@pytest.mark.parametrize("names", [{"0": "a", "2": "b"}, {"x": "a"}, ["a", "b"], {}, "ab"])
def test_classes_that_are_not_counted(tmp_path, names):
    folder = write_classifier(tmp_path / "model", "resnet")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": names}))
    with pytest.raises(BadFile, match="does not name its classes"):
        own_classes(folder)


def test_names_that_the_library_makes_up(tmp_path):
    folder = write_classifier(tmp_path / "model", "resnet")
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (folder / "config.json").write_text(json.dumps(config | {"num_labels": 3}))
    assert own_classes(folder) == ("LABEL_0", "LABEL_1", "LABEL_2")
