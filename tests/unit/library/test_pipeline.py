"""`Pipeline`, and what its images carry."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import graftwerk as gw
from graftwerk.commands.generate import run_generate
from graftwerk.errors import BadInput, UnknownName
from graftwerk.types import Silent


@pytest.fixture
def pipe(text_pipeline):
    return gw.Pipeline(text_pipeline, device="cpu")


def test_images_and_report(pipe, tmp_path):
    made = pipe.generate("a red cube", n=3, steps=2, seed=7)
    assert [image.size for image in made.images] == [(16, 16)] * 3
    assert made.latents.shape == (3, 4, 8, 8)
    report = made.report
    assert (report.prompt, report.steps, report.fingerprint) == ("a red cube", 2, pipe.fingerprint)
    assert list(made) == made.images and made[-1] is made.images[2]
    assert repr(made).startswith("GeneratedImages(3 of 16 x 16 pixels, 'a red cube'")
    assert made._repr_html_().startswith('<img alt="a red cube" src="data:image/png;base64,')
    paths = made.save(tmp_path / "out")
    assert [np.array(Image.open(path)).tolist() for path in paths] == [
        np.array(image).tolist() for image in made.images
    ]


def test_the_same_images_as_the_command(pipe, text_pipeline, tmp_path):
    made = pipe.generate("a red cube", n=2, steps=3, seed=7, negative="snow", schedule="model")
    request = gw.Generate(
        prompt="a red cube", model=str(text_pipeline), count=2, steps=3, seed=7, negative="snow",
        schedule="model", out=tmp_path, device="cpu",
    )  # fmt: skip
    report = run_generate(request, Silent())
    written = [Image.open(picture.path).tobytes() for picture in report.pictures]
    assert [image.tobytes() for image in made.images] == written
    assert made.seeds == [picture.seed for picture in report.pictures]


def test_composed_by_hand(pipe):
    made = pipe.generate("a red cube", n=2, steps=4, seed=3, cfg=2.0)
    denoise = pipe.denoiser("a red cube", steps=4, cfg=2.0)
    x = gw.samplers.dpmpp_2m(denoise, pipe.noise(2, seed=3), pipe.sigmas(4))
    assert torch.equal(x, made.latents)
    assert [i.tobytes() for i in pipe.decode(x)] == [i.tobytes() for i in made.images]


def test_guided_by_hand_is_what_a_guide_does(pipe):
    def brighter(x, sigma):
        return x.mean(dim=(1, 2, 3))

    made = pipe.with_(gw.Guide(brighter, 3.0)).generate("a cone", n=2, steps=4, seed=3)
    denoise = gw.guided(pipe.denoiser("a cone"), brighter, 3.0)
    x = gw.samplers.dpmpp_2m(denoise, pipe.noise(2, seed=3), pipe.sigmas(4))
    assert torch.equal(x, made.latents)
    assert made.report.guides[0].name == "the guide"
    plain = pipe.generate("a cone", n=2, steps=4, seed=3).latents
    assert not torch.equal(x, plain)
    never = gw.Guide(brighter, 3.0, interval=(1e6, 2e6))  # noise levels that no step has
    assert torch.equal(pipe.with_(never).generate("a cone", n=2, steps=4, seed=3).latents, plain)


def test_adapters_and_their_order_in_words(pipe):
    first, second = (gw.Guide(lambda x, sigma: x.sum(), 1.0, label=name) for name in "ab")
    steered = pipe.with_(first).with_(second)
    assert steered.adapters == (first, second) and pipe.adapters == ()
    assert repr(steered).endswith("Guide('a', scale=1), Guide('b', scale=1))")
    assert steered.without(first).adapters == (second,)
    with pytest.raises(BadInput, match="is not on this pipeline"):
        pipe.without(first)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, BadInput, "steps 0 is not"),
        ({"n": 0}, BadInput, "n 0 is not"),
        ({"sampler": "foo"}, BadInput, "sampler 'foo'"),
        ({"cfg_interval": "5:1"}, BadInput, "interval '5:1'"),
        ({"control": ["canny=x"]}, BadInput, "with_"),
        ({"foo": 1}, BadInput, "there is no such field"),
        ({"best_of": 2}, BadInput, "best_of"),
        ({"width": 17}, BadInput, "multiple"),
    ],
)
def test_what_is_refused(pipe, options, error, message):
    with pytest.raises(error, match=message):
        pipe.generate("a", **options)


def test_a_branch_without_an_image_is_not_an_adapter(pipe):
    for wrong in (gw.ControlNet("builtin/blocks-depth"), "style"):
        with pytest.raises(BadInput, match=r"is not an adapter of a pipeline.*branch\(image\)"):
            pipe.with_(wrong)


def test_images_of_every_form_control_alike(text_pipeline, tmp_path):
    from graftwerk.data.image_inputs import as_image

    rows = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(rows).save(tmp_path / "a.png")
    forms = [
        tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(rows), rows, rows / 255,
        torch.from_numpy(rows), torch.from_numpy(rows).permute(2, 0, 1) / 255,
    ]  # fmt: skip
    assert all((np.asarray(as_image(form)) == rows).all() for form in forms)
    for wrong in (rows[0, 0], rows.astype(float), np.full((2, 2), np.nan), rows.astype(int) - 300):
        with pytest.raises(BadInput):
            as_image(wrong)


def test_a_branch_that_does_not_say_what_it_follows(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    with pytest.raises(BadInput, match="condition='canny'"):
        gw.ControlNet(tmp_path)
    with pytest.raises(UnknownName, match="canny"):
        gw.ControlNet(tmp_path, condition="cany")


def test_words_of_another_type_are_refused_where_no_test_checks_types():
    code = """
import graftwerk as gw
for call in (
    lambda: gw.Pipeline(precision="float8"),
    lambda: gw.Pipeline().generate(regions=["a cube"]),
    lambda: gw.Policy().success(1, camera="top"),
):
    try:
        call()
    except gw.GraftError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    precision, regions, camera = said.stdout.splitlines()
    assert "precision 'float8'" in precision and "Allowed: float32, bfloat16" in precision
    assert "does not map prompts to images" in regions
    assert "camera 'top'" in camera and "Allowed: front, left, high" in camera


def test_saved_images_are_named_by_their_request(pipe, tmp_path):
    options = {"n": 2, "steps": 1, "seed": 7}
    red, blue = (pipe.generate(f"a {hue} cube", **options) for hue in ("red", "blue"))
    paths = [*red.save(tmp_path), *blue.save(tmp_path), *red.save(tmp_path)]
    assert len(set(paths)) == len(list(tmp_path.iterdir())) == 4
    assert [path.name[:10] for path in paths[:3:2]] == ["a-red-cube", "a-blue-cub"]


def test_what_was_said_is_in_the_report(pipe):
    image, black = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
    made = pipe.generate("a red cube", n=1, steps=2, init=image, mask=black)
    assert made.report.notes == [
        "the mask in memory is nowhere brighter than half of white: nothing is repainted"
    ]


def test_masks_of_every_form(pipe):
    image, half = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), bool)
    half[:8] = True
    forms = [half, half * 1, half * np.uint8(255), half * 1.0, torch.from_numpy(half * 1)]
    for mask in [*forms, Image.fromarray(half)]:
        made = pipe.generate("a red cube", n=1, steps=1, init=image, mask=mask)
        assert made.report.start.repainted == 0.5
    painted = Image.new("RGBA", (16, 16), (255, 255, 255, 255))
    painted.paste((0, 0, 0, 0), (0, 8, 16, 16))
    with pytest.raises(BadInput, match="parts of it are transparent"):
        pipe.generate("a red cube", n=1, init=image, mask=painted)
    with pytest.raises(BadInput, match="The number of images is n"):
        pipe.generate("a red cube", count=1)


def test_counts_of_a_pipeline_that_are_refused(pipe):
    with pytest.raises(BadInput, match="n 0 is too few"):
        pipe.noise(0)
    with pytest.raises(BadInput, match="no image to encode"):
        pipe.encode([])


def test_encode_and_decode_are_of_one_size(pipe):
    made = pipe.generate("a cone", n=2, steps=2)
    assert pipe.encode(made.images).shape == made.latents.shape
