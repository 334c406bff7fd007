"""What reading changes of images reaches the reports of the commands that read them."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support import HashEncoder, Recorder, use_encoder

import graftwerk
from graftwerk.cli import show
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.checkpoint import write_controlnet
from graftwerk.controlnet.inputs import map_of, mask_of
from graftwerk.controlnet.spec import ControlSpec, read_control
from graftwerk.data.columns import ColumnChoice
from graftwerk.data.load import read_examples
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadInput
from graftwerk.requests.generate import Generate
from graftwerk.requests.search import IndexAdd, IndexRebuild

CLEAR, BITS = "transparent, on white", "16 bits scaled to 8"


def drawing(path):
    """A black drawing on a transparent ground, whose hidden color is black too."""
    alpha = Image.new("L", (64, 64))
    alpha.paste(255, (16, 16, 48, 20))
    alpha.paste(255, (30, 20, 34, 52))
    image = Image.new("RGB", (64, 64))
    image.putalpha(alpha)
    image.save(path)
    return path


def gradient(path):
    """A 16-bit image over nearly its whole range."""
    levels = np.linspace(8000, 60000, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    for name in ("one", "two"):
        (data / name).mkdir(parents=True)
        drawing(data / name / "clear.png")
        gradient(data / name / "deep.png")
        Image.new("RGB", (8, 8), (1, 2, 3)).save(data / name / "plain.png")
    return data


def test_index_add_and_rebuild(folder, tmp_path, monkeypatch):
    use_encoder(monkeypatch, HashEncoder(), HashEncoder(name="test/other"))
    index = tmp_path / "index"
    report = graftwerk.run(IndexAdd(paths=[str(folder)], index=index, encoder="test/hash"))
    assert report.converted == {CLEAR: 2, BITS: 2}
    line = f"images converted in reading: 2 {BITS}; 2 {CLEAR}"
    assert line in show._lines(report)
    again = graftwerk.run(IndexAdd(paths=[str(folder)], index=index, encoder="test/hash"))
    assert again.converted == {}
    assert not any("converted" in one for one in show._lines(again))
    rebuilt = graftwerk.run(IndexRebuild(index=index, encoder="test/other"))
    assert rebuilt.converted == {CLEAR: 2, BITS: 2}


def test_labelled_folders_and_tables(folder):
    requested = ColumnChoice(reads=frozenset({"image"}))
    assert read_examples(folder, requested).converted == {CLEAR: 2, BITS: 2}
    table = folder / "table.csv"
    table.write_text("image,label\none/clear.png,a\ntwo/deep.png,b\ntwo/plain.png,b\n")
    assert read_examples(table, requested).converted == {CLEAR: 1, BITS: 1}


def test_condition(tmp_path):
    path, monitor = drawing(tmp_path / "drawing.png"), Recorder()
    request = graftwerk.MakeCondition(kind="canny", image=str(path), out=tmp_path / "out.png")
    report = graftwerk.run(request, monitor)
    assert report.converted == [CLEAR]
    assert monitor.notes == [f"{path} was read as: {CLEAR}"]
    assert report.drawn > 0.02  # where transparency is dropped all is black, and the map empty


def test_finished_depth_maps_of_16_bits_and_of_millimeters(tmp_path):
    path = gradient(tmp_path / "depth.png")
    finished = ControlSpec("depth", path, finished=True)
    levels = map_of(read_control(finished), (64, 64))[..., 0]
    assert (levels.min(), levels.max()) == (31, 233)
    millimeters = np.linspace(500, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    millimeters[0, :3] = 0
    Image.fromarray(millimeters).save(path)
    control = read_control(finished)
    levels = map_of(control, (64, 64))[..., 0]
    assert levels[0, 3] == 255 and levels[-1, -1] == levels[0, 0] == 0
    assert control.source.notes == ("millimeters to nearness, 0 as far",)
    assert map_of(control, (32, 32)).shape == (32, 32, 3)  # resized to what is generated


def test_masks(tmp_path):
    image = gradient(tmp_path / "image.png")
    path = drawing(tmp_path / "mask.png")
    spec = ControlSpec("canny", image, finished=False, masks=(path,))
    with pytest.raises(BadInput, match="parts of it are transparent"):
        read_control(spec)
    Image.open(path).getchannel("A").save(path)
    masks = read_control(spec).masks
    mask = mask_of(masks, (64, 64), "cpu")
    assert mask[0, 0, 0, 0] == 0 and mask[0, 0, 18, 30] == 1


def test_generate_with_a_control(tmp_path, text_pipeline):
    branch = tmp_path / "branch"
    model = load_diffusion(str(text_pipeline), "cpu")
    made = make_branch(model.unet, Shape(model.factor), torch.Generator().manual_seed(0))
    branch.mkdir()
    write_controlnet(branch, made, model.unet)
    monitor = Recorder()
    request = Generate(
        model=str(text_pipeline),
        control=[f"canny={drawing(tmp_path / 'drawing.png')}"],
        branch=[f"canny={branch}"],
        steps=1,
        out=tmp_path / "out",
        device="cpu",
    )
    report = graftwerk.run(request, monitor)
    assert report.converted == {CLEAR: 1}
    assert f"images converted in reading: 1 {CLEAR}" in monitor.notes
