"""An image classifier as a guide and a target: its own size, its own classes, no diffusion model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.classifiers import CLASSES, write_classifier

import graftwerk
from graftwerk.errors import BadInput, UnknownName
from graftwerk.generation.guides import GuideNetworks
from graftwerk.models.encoders import load_encoder
from graftwerk.models.image_encoder import as_logits
from graftwerk.models.trainable import differentiable_head, own_size

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path):
    return write_classifier(tmp_path / "model", "resnet")


def smooth(side=40):
    across = np.linspace(0, 255, side)
    levels = np.stack([across * np.ones((side, 1)), across[:, None] * np.ones(side)], axis=-1)
    return Image.fromarray(np.concatenate([levels, levels[..., :1]], axis=-1).astype(np.uint8))


def set_processor(folder, **changes):
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (32, 32)),
        ({"size": {"shortest_edge": 48}, "do_center_crop": True,
          "crop_size": {"height": 32, "width": 32}, "image_processor_type": "BitImageProcessor"}, (48, 48)),
        ({"size": {"shortest_edge": 28}, "crop_pct": 0.875,
          "image_processor_type": "ConvNextImageProcessor"}, (32, 32)),
        ({"resample": 2}, (32, 32)),
    ],
)  # fmt: skip
def test_the_gradient_sees_what_the_classifier_sees(folder, changes, size):
    set_processor(folder, **changes)
    encoder = load_encoder(str(folder), device="cpu")
    assert own_size(encoder) == size
    look = differentiable_head(encoder, "cpu")
    for side in (20, 40, size[0]):  # the smallest is not cropped
        image = smooth(side)
        values = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
        values.requires_grad_()
        logits = look(values)
        expected = as_logits(encoder).encode_images([image])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(logits.detach().numpy(), expected, atol=0.03 * scale)
        logits[0, 1].backward()
        assert values.grad.abs().sum() > 0


def test_a_preparation_without_a_gradient_is_refused(folder):
    # this processor divides by the deviation twice
    set_processor(folder, image_processor_type="EfficientNetImageProcessor", include_top=True)
    encoder = load_encoder(str(folder), device="cpu")
    with pytest.raises(BadInput, match="no gradient here"):
        differentiable_head(encoder, "cpu")


def test_invert_moves_the_classifiers_own_pixels(folder, tmp_path, monkeypatch):
    # imported before it is patched: a module that is first imported now would keep the patch
    from graftwerk.library import inversion, pipeline  # noqa: F401

    def never(*_, **__):
        raise AssertionError("no diffusion model is needed")

    monkeypatch.setattr(pipeline, "load_diffusion", never)
    request = graftwerk.Invert(
        to="class=Chocolate Syrup", space="pixel", guide_model=folder, steps=12, rate=0.1,
        device="cpu", out=tmp_path / "out",
    )  # fmt: skip
    report = graftwerk.run(request)
    assert report.losses[-1] < 0.5 * report.losses[0] and report.verdicts == []
    image = Image.open(report.pictures[0])
    assert image.size == (32, 32)
    # the file shows it to anybody who asks the classifier
    logits = as_logits(load_encoder(str(folder), device="cpu")).encode_images([image])[0]
    assert CLASSES[logits.argmax()] == CLASSES[1]
    again = graftwerk.invert(
        label="chocolate sauce", space="pixel", guide_model=str(folder), steps=12, rate=0.1,
        device="cpu",
    )  # fmt: skip
    assert again.losses == report.losses


def test_classes_that_it_does_not_have(folder, tmp_path):
    with pytest.raises(UnknownName, match="Did you mean chocolate sauce"):
        graftwerk.run(graftwerk.Invert(to="class=chocolate sauze", guide_model=folder))
    with pytest.raises(BadInput, match="classes of its own"):
        graftwerk.run(graftwerk.Invert(to="class=crane", guide_model=folder, guide_labels=["a"]))


def test_the_gradient_of_a_class(folder):
    head = GuideNetworks("cpu").head(str(folder))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    log_prob, one = head.of_classes(["crane"], 1.0)
    expected = head.look(images).log_softmax(dim=-1)
    torch.testing.assert_close(log_prob(images), expected[:, 2])
    each, other = head.of_classes(["crane", "cat", "house cat"], 1.0)
    torch.testing.assert_close(each(images), expected[range(3), [2, 0, 0]])
    assert one != other
    assert GuideNetworks("cpu").head("builtin/blocks-clip") is None


def test_generate_by_a_classifier(folder, tmp_path):
    request = graftwerk.Generate(
        prompt="", guide=["class=crane:5"], guide_model=folder, steps=3, count=1, device="cpu",
        out=tmp_path / "out",
    )  # fmt: skip
    report = graftwerk.run(request)
    assert report.guides[0].name == "class=crane" and report.guides[0].clean


def write_real(folder, count=60):
    """Smooth images, which noise is not."""
    folder.mkdir()
    random = np.random.default_rng(2)
    for number in range(count):
        small = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )


def test_check_photographs(folder, tmp_path):
    write_real(tmp_path / "real")
    (tmp_path / "asked").mkdir()
    Image.open(tmp_path / "real" / "0.png").save(tmp_path / "asked" / "a.png")
    noise = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "asked" / "b.png")
    request = graftwerk.GuideCheck(
        images=[tmp_path / "asked"], guide_model=folder, real=tmp_path / "real", device="cpu"
    )
    report = graftwerk.run(request)
    usual, odd = report.pictures
    # a network with random weights does not tell shuffled images from real ones
    assert not report.self_test.passed and report.self_test.noise == 1
    assert (usual.verdict, odd.verdict) == ("no verdict", "strange")
    assert [check.name for check in usual.witnesses] == [
        "spectrum",
        "neighbours",
        "probe",
        "squeezing",
    ]
    assert odd.strangeness > 1.5 > usual.strangeness
    with pytest.raises(BadInput, match=r"what real images look like is not known.*`real`"):
        graftwerk.run(request.model_copy(update={"real": None}))


def test_checks_that_noise_passes_give_no_verdict(folder, tmp_path):
    (tmp_path / "real").mkdir()
    random = np.random.default_rng(4)
    for number in range(60):
        levels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / "real" / f"{number}.png")
    report = graftwerk.run(
        graftwerk.GuideCheck(
            images=[tmp_path / "real" / "0.png"],
            guide_model=folder,
            real=tmp_path / "real",
            device="cpu",
        )
    )
    assert report.self_test.noise < 0.5 and not report.self_test.passed
    assert report.pictures[0].verdict == "no verdict"


def test_a_photograph_is_cropped_as_its_classifier_does(folder, tmp_path):
    import colorsys

    set_processor(folder, size={"shortest_edge": 32}, image_processor_type="BitImageProcessor",
                  do_center_crop=True, crop_size={"height": 32, "width": 32})  # fmt: skip
    write_real(tmp_path / "real")
    colors = [colorsys.hsv_to_rgb(n / 96, 1, 1) for n in range(96)]
    wide = Image.fromarray((np.array([colors] * 32) * 255).astype(np.uint8))
    wide.save(tmp_path / "wide.png")
    report = graftwerk.run(
        graftwerk.GuideCheck(
            images=[tmp_path / "wide.png"], guide_model=folder, class_="cat",
            real=tmp_path / "real", device="cpu",
        )
    )  # fmt: skip
    logits = as_logits(load_encoder(str(folder), device="cpu")).encode_images([wide])
    expected = torch.from_numpy(logits).softmax(dim=-1)[0, 0]
    guide = next(one for one in report.pictures[0].witnesses if one.name == "guide")
    assert guide.reading == pytest.approx(float(expected), abs=1e-3)
