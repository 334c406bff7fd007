"""`graft readout` on rendered scenes and tiny models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.networks import make
from tests.pipelines import tiny_vae

import graftwerk
from graftwerk.blocks.map_images import write_dataset
from graftwerk.cli.finetune import readout_lines
from graftwerk.commands.evaluate import run_readout
from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.probing.locations import open_encoder_location, open_location
from graftwerk.probing.targets import read_known
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    list(write_dataset(folder, 5, 160, 16))
    return folder


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    tiny_vae().save_pretrained(folder)
    return folder


@pytest.fixture
def ask(scenes, autoencoder, tmp_path):
    def request(**changes):
        given = {"data": scenes, "model": str(autoencoder), "out": tmp_path / "out", "moved": 4}
        return graftwerk.Readout(**(given | changes))

    return request


def test_latents_tell_where_the_object_is(ask):
    report = run_readout(ask(), Silent())
    assert [one.name for one in report.read] == ["horizontal", "vertical"]
    assert report.dimension == 4 * 8 * 8
    assert report.train + report.test + report.left_out == 160
    across = report.read[0]
    # sixteen pixels a side, random weights, some 40 images: it is found all the same
    assert across.model.r2 > 0.3
    assert across.model.low <= across.model.r2 <= across.model.high
    assert across.shuffled.low <= 0 <= across.shuffled.high
    assert across.random.r2 != across.model.r2
    for moved in report.moved:
        assert set(moved.shifts) <= {"horizontal", "vertical", "area", "brightness"}
        with Image.open(moved.picture) as image:
            assert image.width * 4 == image.height * 5
    lines = "\n".join(readout_lines(report))
    assert "random weights" in lines
    assert "color against the row's median" in lines


@pytest.mark.parametrize("at", ["middle", "encoder"])
def test_inside_the_unet(ask, text_pipeline, at):
    report = run_readout(ask(model=str(text_pipeline), at=at, sigma=0.3), Silent())
    assert report.dimension == 32 * (4 * 4)
    assert report.sigma == 0.3
    assert np.isfinite([one.model.r2 for one in report.read]).all()


@pytest.mark.parametrize("at", ["latent", "middle", "encoder"])
def test_no_change_draws_what_the_model_draws_and_a_change_does_not(text_pipeline, at):
    location = open_location(str(text_pipeline), at, 0.3, "cpu")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    values = location.read(images)
    nothing = torch.zeros(values.shape[1])
    latents = location.space.encode(images)
    with torch.no_grad():
        plain = latents if at == "latent" else location._denoise(latents)
        assert torch.equal(location.draw(images, nothing), location.space.decode(plain))
        moved = location.draw(images, nothing + 1)
    assert not torch.allclose(moved, location.space.decode(plain), atol=1e-3)
    assert torch.equal(location.read(images), values)  # the hooks are gone


def test_random_weights_are_of_the_seed_and_leave_the_model_alone(text_pipeline):
    location = open_location(str(text_pipeline), "middle", 0.3, "cpu")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    before = location.read(images)
    first, second, other = (location.randomised(seed).read(images) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(location.read(images), before)


def write_vit(folder):
    from transformers import ViTImageProcessor

    make("vit").save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def test_a_hidden_layer_of_an_encoder_which_draws_nothing(ask, tmp_path):
    from graftwerk.models.encoders import load_encoder

    folder = write_vit(tmp_path / "vit")
    report = run_readout(ask(model=str(folder), at="encoder", layer=1), Silent())
    assert (report.dimension, report.sigma, report.moved) == (16, None, [])
    assert report.read[0].random.r2 != report.read[0].model.r2
    location = open_encoder_location(str(folder), 1, "cpu")
    image = Image.new("RGB", (16, 16), (200, 30, 90))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    requested = load_encoder(str(folder), layer=1, device="cpu").encode_images([image])
    np.testing.assert_allclose(location.read(pixels).numpy(), requested, atol=1e-6)
    with pytest.raises(BadInput, match="`layer` is for encoders"):
        run_readout(ask(layer=1), Silent())


def test_all_targets_of_a_scene(scenes):
    targets = ["place", "distance", "height", "kind", "colour", "ground", "time"]
    known = read_known(scenes, targets, 2)
    assert known.values.shape == (len(known.paths), 2 + 1 + 1 + 5 + 8 + 4 + 3)
    values = dict(zip(known.names, known.values.T, strict=True))
    assert ((values["horizontal"] > 0) & (values["horizontal"] < 1)).all()
    assert (values["height"] > 0).all()
    for name in ("kind", "colour", "ground", "time"):
        columns = [column for key, column in values.items() if key.startswith(f"{name}=")]
        assert (np.sum(columns, axis=0) == 1).all()


def test_the_place_is_where_the_object_is_seen(scenes):
    """Against the exact map of objects."""
    from graftwerk.blocks.maps import FIRST_OBJECT_ID, maps_of
    from graftwerk.blocks.scene import scene_from_json

    known = read_known(scenes, ["place"], 1)
    errors = []
    for path, (x, y) in zip(known.paths, known.values, strict=True):
        scene = scene_from_json((scenes / "scenes" / f"{path.stem}.json").read_bytes())
        rows, columns = np.nonzero(maps_of(scene, 64, 64).objects == FIRST_OBJECT_ID)
        errors.append((x - (columns.mean() + 0.5) / 64, y - (rows.mean() + 0.5) / 64))
    assert np.abs(errors).mean(axis=0).max() < 0.03
    assert np.abs(errors).max() < 0.15  # people who sit are not symmetric


def test_key_points_are_of_a_person_alone(scenes):
    known = read_known(scenes, ["keypoints"], 1)
    assert known.values.shape[1] == 36
    assert len(known.paths) < len(read_known(scenes, ["place"], 1).paths)


def test_words_are_moved_too_and_a_judge_says_whether_they_came(ask):
    report = run_readout(ask(target=["time"]), Silent())
    assert {one.name for one in report.moved} <= {"time=day", "time=sunset", "time=night"}
    assert report.moved
    assert "words by builtin/blocks-judge" in report.measure
    for moved in report.moved:
        assert moved.name in moved.shifts
        assert moved.shifts[moved.name].count > 0


def test_a_judge_names_words_of_the_first_object_and_of_the_whole(tmp_path):
    from graftwerk.probing.probe import ByColour, WithWords

    list(write_dataset(tmp_path, 5, 12, 64))
    known = read_known(tmp_path, ["time", "colour"], 1)
    images = np.stack([np.asarray(Image.open(path)) for path in known.paths])
    predicted = WithWords(ByColour(), known.names, "cpu")(images)
    for name, values in zip(known.names, known.values.T, strict=True):
        assert (predicted[name] == values).all()
    nothing = WithWords(ByColour(), known.names, "cpu")(np.full_like(images[:1], 128))
    assert np.isnan(nothing["colour=red"]).all()
    assert np.isfinite(nothing["time=day"]).all()


def test_columns_of_numbers(ask, tmp_path):
    data = tmp_path / "table"
    data.mkdir()
    rows = []
    for number in range(48):
        Image.new("RGB", (16, 16), (5 * number, 0, 0)).save(data / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "red": 5 * number, "word": "x"})
    table = data / "metadata.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in rows))
    report = run_readout(ask(data=data, target=["red"]), Silent())
    assert report.read[0].model.r2 > 0.9
    assert report.moved == []
    with pytest.raises(UnknownName, match="word"):
        run_readout(ask(data=data, target=["word"]), Silent())
    rows[7]["red"] = float("nan")
    table.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(BadInput, match=r"line 8 of .*metadata\.jsonl has red = nan"):
        run_readout(ask(data=data, target=["red"]), Silent())
    rows[7] = {"file_name": "../../secret.png", "red": 1}
    table.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(BadFile, match=r"line 8 of .* lies outside of"):
        run_readout(ask(data=data, target=["red"]), Silent())


def test_what_cannot_be_read(ask, scenes, pixel_pipeline, autoencoder, tmp_path):
    with pytest.raises(UnknownName, match="weather"):
        run_readout(ask(target=["weather"]), Silent())
    with pytest.raises(BadInput, match="draws pixels and has no latents"):
        run_readout(ask(model=str(pixel_pipeline)), Silent())
    with pytest.raises(BadInput, match="'AutoencoderKL', which has no place 'middle'"):
        run_readout(ask(at="middle"), Silent())
    with pytest.raises(BadInput, match="are too few"):
        run_readout(ask(target=["keypoints"]), Silent())
    with pytest.raises(BadFile, match="has no table of images"):
        run_readout(ask(data=tmp_path), Silent())


def test_nothing_is_written_where_nothing_is_moved(ask, tmp_path):
    report = run_readout(ask(moved=0), Silent())
    assert report.moved == []
    assert not Path(tmp_path / "out").exists()


def test_too_few_scenes_are_refused_before_a_model_is_looked_at(tmp_path):
    list(write_dataset(tmp_path / "few", 5, 24, 16))
    requested = graftwerk.Readout(data=tmp_path / "few", model="nowhere", out=tmp_path / "out")
    count = len(read_known(tmp_path / "few", ["place"], 1).paths)
    assert 0 < count < 24
    words = (
        f"{count} images are too few for a linear probe, which needs 40: {24 - count} of 24 were "
        r"left out because they hold several objects\. .*blocks render --objects 1 .* `objects`\."
    )
    with pytest.raises(BadInput, match=words):
        run_readout(requested, Silent())
