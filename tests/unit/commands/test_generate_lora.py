"""`graft generate --lora`: saved low-rank steers on a pipeline."""

import logging
import shutil
from logging.handlers import BufferingHandler
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.pipelines import write_pixel_pipeline

import graftwerk
from graftwerk import folders
from graftwerk.adapters.lora import Rank, install
from graftwerk.commands.generate import run_generate
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.checkpoint import write_own
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, BadInput, WrongBase
from graftwerk.generation.provenance import read_record
from graftwerk.generation.spec import LoraSpec, parse_lora
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


def write_lora(folder, pipeline, seed):
    model = load_diffusion(str(pipeline), "cpu")
    generator = torch.Generator().manual_seed(seed)
    steer = install(model.unet, Rank(2), generator, model.fingerprint)
    with torch.no_grad():
        for parameter in steer.parameters().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    steer.save(folder, str(pipeline), {}, "unet")
    return folder


@pytest.fixture
def loras(text_pipeline, tmp_path):
    return [write_lora(tmp_path / f"lora{n}", text_pipeline, n) for n in (1, 2)]


@pytest.fixture
def draw(text_pipeline, tmp_path):
    def request(*entries, **changes):
        given = {"model": str(text_pipeline), "steps": 3, "out": tmp_path / "out", "count": 2}
        requested = {"prompt": "a red cube", "lora": [str(entry) for entry in entries]}
        report = run_generate(graftwerk.Generate(**(given | requested | changes)), Silent())
        return [image.path for image in report.pictures]

    return request


def pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


def test_it_changes_the_images_and_at_scale_0_it_does_not(draw, loras):
    frozen = pixels(draw()[0])
    warned = BufferingHandler(100)
    logging.getLogger("diffusers").addHandler(warned)
    assert pixels(draw(loras[0])[0]) != frozen
    logging.getLogger("diffusers").removeHandler(warned)
    assert warned.buffer == []
    assert pixels(draw(f"{loras[0]}:0.5")[0]) != pixels(draw(loras[0])[0])
    assert pixels(draw(f"{loras[0]}:0")[0]) == frozen


def test_several_act_at_once(draw, loras):
    both = pixels(draw(*loras)[0])
    assert both not in [pixels(draw(lora)[0]) for lora in loras]
    assert pixels(draw(loras[0], f"{loras[1]}:0")[0]) == pixels(draw(loras[0])[0])


def test_a_branch_copies_the_frozen_encoder_and_not_its_loras(draw, loras, text_pipeline, tmp_path):
    """A branch in graftwerk's own form, which takes from the U-Net what it has not learned."""
    model = load_diffusion(str(text_pipeline), "cpu")
    shape = Shape(model.factor, learned="convolutions", start="gaussian")
    branch = make_branch(model.unet, shape, torch.Generator().manual_seed(3))
    base = {"name": model.name, "fingerprint": model.fingerprint}
    with folders.working_folder(tmp_path / "branch") as folder:
        write_own(folder, branch, base, "depth")
    Image.linear_gradient("L").resize(model.size).convert("RGB").save(tmp_path / "map.png")
    control = {
        "control": [f"depth-map={tmp_path / 'map.png'}"],
        "branch": [f"depth={tmp_path / 'branch'}"],
    }
    both = pixels(draw(loras[0], **control)[0])
    assert both != pixels(draw(loras[0])[0])
    assert both != pixels(draw(**control)[0])
    assert pixels(draw(f"{loras[0]}:0", **control)[0]) == pixels(draw(**control)[0])


def test_the_image_remembers_them_and_is_repeated_bit_for_bit(draw, loras, tmp_path):
    path = draw(loras[0], f"{loras[1]}:-0.5")[1]
    record = read_record(
        path if not isinstance(path, str) else tmp_path / "out" / path.rsplit("/")[-1]
    )
    assert record.request.lora == [str(loras[0]), f"{loras[1]}:-0.5"]
    assert len(record.loras) == 2
    again = run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Silent())
    assert pixels(again.pictures[0].path) == pixels(path)


def test_a_grid_of_scales(draw, loras):
    free, whole, half = draw(loras[0], count=1, grid=["lora-scale=0,1,.5"])
    assert pixels(free) == pixels(draw(count=1)[0])
    assert pixels(whole) == pixels(draw(loras[0], count=1)[0])
    assert pixels(half) == pixels(draw(f"{loras[0]}:0.5", count=1)[0])
    assert read_record(Path(half)).request.lora == [f"{loras[0]}:.5"]
    with pytest.raises(BadInput, match="needs exactly one `lora`; there are 2"):
        draw(*loras, grid=["lora-scale=0,1"])
    with pytest.raises(BadInput, match="has the scale 'x'"):
        draw(loras[0], grid=["lora-scale=0,x"])


def test_a_repeat_with_a_changed_lora_is_refused(draw, loras, text_pipeline, tmp_path):
    path = draw(loras[0])[0]
    shutil.rmtree(loras[0])
    with pytest.raises(BadFile, match="there is no LoRA"):
        run_generate(graftwerk.Generate(from_=path), Silent())
    write_lora(loras[0], text_pipeline, 3)
    with pytest.raises(WrongBase, match="not on what lies there now"):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Silent())
    given = [str(loras[0])]
    report = run_generate(
        graftwerk.Generate(from_=path, lora=given, out=tmp_path / "again"), Silent()
    )
    assert pixels(report.pictures[0].path) != pixels(path)


def test_another_base_is_refused_by_name(draw, loras, tmp_path):
    other = write_pixel_pipeline(tmp_path / "pixels")
    with pytest.raises(WrongBase) as caught:
        draw(loras[0], model=str(other), prompt="")
    for name in (str(other), load_diffusion(str(other), "cpu").fingerprint[:12]):
        assert name in str(caught.value)


def test_entries(tmp_path):
    assert parse_lora("a/b") == LoraSpec(Path("a/b"), 1.0)
    assert parse_lora("a/b:-0.25") == LoraSpec(Path("a/b"), -0.25)
    assert parse_lora("a:b") == LoraSpec(Path("a:b"), 1.0)
    (tmp_path / "a:2").mkdir()
    assert parse_lora(str(tmp_path / "a:2")) == LoraSpec(tmp_path / "a:2", 1.0)
    with pytest.raises(BadInput, match="from -100 to 100"):
        parse_lora("a/b:inf")
    with pytest.raises(BadInput, match=r"'a/b' has the scale 1e\+09"):
        parse_lora("a/b:1e9")
