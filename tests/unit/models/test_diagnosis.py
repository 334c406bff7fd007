"""A model of a type that is not known here gets one diagnosis, whatever command meets it."""

import json

import pytest
from tests.classifiers import write_classifier

import graftwerk
from graftwerk.errors import BadInput


@pytest.fixture
def folder(tmp_path):
    """Pictures in, segments out: a type that no table here has."""
    import transformers

    from graftwerk.models.image_encoder import IMAGE_MODELS

    assert "segformer" not in IMAGE_MODELS
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1]
    )
    transformers.SegformerModel(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path):
    from PIL import Image

    for label, hue in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            colour = tuple(level + number for level in hue)
            Image.new("RGB", (9, 9), colour).save(tmp_path / "data" / label / f"{number}.png")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "make",
    [
        lambda model, data, out: graftwerk.ModelsInfo(name=model),
        lambda model, data, out: graftwerk.Embed(inputs=[str(data / "red" / "0.png")], encoder=model, out=out / "v.npy"),
        lambda model, data, out: graftwerk.Classify(pictures=[data], encoder=model, labels=["a,b"]),
        lambda model, data, out: graftwerk.IndexAdd(paths=[data], encoder=model, index=out / "index"),
        lambda model, data, out: graftwerk.Fit(data=data, model=model, out=out / "fit"),
        lambda model, data, out: graftwerk.EvalAlignment(data=data, encoder=model),
    ],
)  # fmt: skip
def test_one_diagnosis(folder, data, tmp_path, make):
    with pytest.raises(BadInput, match=r"of type 'segformer' is not a known encoder: it takes pixel_values.*efficientnet"):  # fmt: skip
        graftwerk.run(make(str(folder), data, tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("policy", r"a robot policy, .*It is for `graft eval policy`"),
        ("series", r"a forecaster, .*It is for `graft forecast --model`"),
        ("reader", r"a passage reader, .*It is for `graft ask`"),
        ("blocks-canny", r"a control branch, .*It is for `graft generate --control"),
        ("blocks-judge", r"a judge of Blocks images, .*It is for `graft guide check`"),
        ("blocks-perception", r"a perception network of Blocks images, .*`graft condition`"),
        ("blocks-noisy-classifier", r"a noise-aware classifier, .*`graft generate --guide"),
        ("blocks", r"a diffusion pipeline.*`graft generate --model`"),
    ],
)
def test_a_built_in_model_that_is_no_encoder_says_what_it_is_for(data, tmp_path, name, said):
    with pytest.raises(BadInput, match=said):
        graftwerk.run(graftwerk.Fit(data=data, model=f"builtin/{name}", out=tmp_path / "fit"))


@pytest.mark.parametrize("kind", ["convnext", "swin"])
def test_commands_that_take_an_image_model(data, tmp_path, kind):
    """One classifier through everything that takes an encoder of images."""
    model = str(write_classifier(tmp_path / kind, kind))
    card = graftwerk.run(graftwerk.ModelsInfo(name=model, device="cpu"))
    assert card.kind == "image classifier and encoder" and "house cat" in card.details["classes"]
    index = graftwerk.Index(tmp_path / "index", encoder=model, device="cpu")
    assert index.add(data).added == 24
    [hit, *_] = index.search(str(data / "red" / "3.png"), k=3)
    assert "red" in hit.path
    made = graftwerk.run(
        graftwerk.Fit(data=data, model=model, how="linear", out=tmp_path / "fit", device="cpu")
    )
    assert json.loads(made.model_dump_json())
    for how in ("lora", "full"):
        request = graftwerk.Fit(
            data=data, model=model, how=how, out=tmp_path / how, epochs=1, device="cpu"
        )
        graftwerk.run(request)
        assert (tmp_path / how).is_dir()
