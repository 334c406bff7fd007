"""A branch whose control images are smaller than the images, as the built-in ones' are."""

import numpy as np
import pytest
import torch
from PIL import Image

from graftwerk.blocks.networks import load_judge
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.controlnet.checkpoint import open_branch, write_controlnet
from graftwerk.controlnet.inputs import load_branch, map_for, map_of
from graftwerk.controlnet.spec import ControlInput, NamedImage
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.diffusion.sampling import to_values
from graftwerk.errors import BadInput
from graftwerk.models.hub import builtin_folder

LARGE, SMALL = (128, 128), (64, 64)


def control(kind, image, finished=True):
    return ControlInput(kind, NamedImage("it.png", image), finished)


@pytest.fixture(scope="module")
def scene():
    return render(sample_scene(2, 0), 128, 128)


def test_the_built_in_branches_read_maps_of_half_the_side():
    model = load_diffusion("builtin/blocks", "cpu")
    branch = load_branch(builtin_folder("builtin/blocks-canny"), model).branch
    assert model.size == LARGE
    assert branch.size_of_maps(LARGE, model.factor) == SMALL
    assert branch.size_of_maps((192, 128), model.factor) == (96, 64)
    assert branch.size_of_maps(SMALL, branch.shape.factor) == SMALL


def test_lines_do_not_fade_in_a_smaller_map():
    rows = np.zeros((128, 128, 3), np.uint8)
    rows[31], rows[:, 64] = 255, 255
    found = map_for(control("canny", Image.fromarray(rows)), LARGE, SMALL)
    expected = np.zeros((64, 64, 3), np.uint8)
    expected[15], expected[:, 32] = 255, 255
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", ["segmentation", "pose"])
def test_colors_that_mean_something_are_not_mixed(kind, scene):
    pixels = CONDITIONS[kind].read_scenes(scene[None])[0]
    found = map_for(control(kind, Image.fromarray(pixels)), LARGE, SMALL)
    known = {tuple(color) for color in pixels.reshape(-1, 3)}
    assert {tuple(color) for color in found.reshape(-1, 3)} <= known


def test_a_map_of_the_branchs_size_is_read_as_it_is(scene):
    small = np.asarray(Image.fromarray(scene).resize(SMALL))
    edges = CONDITIONS["canny"].read(small[None])[0]
    assert np.array_equal(map_for(control("canny", Image.fromarray(edges)), LARGE, SMALL), edges)
    photo = control("canny", Image.fromarray(scene), finished=False)
    assert np.array_equal(map_for(photo, LARGE, SMALL), map_of(photo, SMALL))
    assert np.array_equal(map_for(photo, LARGE, LARGE), map_of(photo, LARGE))


def test_fidelity_is_read_out_of_larger_images_at_the_maps_size(scene):
    canny = CONDITIONS["canny"]
    halves = scene.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    small = np.rint(halves).astype(np.uint8)
    maps = canny.read(small[None])
    assert canny.fidelity(maps, scene[None]).score == canny.fidelity(maps, small[None]).score == 1
    with pytest.raises(BadInput, match="Give one map for each image"):
        canny.fidelity(maps, scene[None, :96])


def test_the_judge_reads_larger_images_at_its_own_size(scene):
    judge = load_judge(builtin_folder("builtin/blocks-judge"), "cpu")
    small = np.rint(scene.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))).astype(np.uint8)
    large, own = judge.judge(scene[None])[0], judge.judge(small[None])[0]
    assert [(one.kind, one.colour) for one in large.objects] == [
        (one.kind, one.colour) for one in own.objects
    ]
    assert (large.ground, large.time) == (own.ground, own.time)
    for one, other in zip(large.objects, own.objects, strict=True):
        assert (one.x, one.y) == pytest.approx((other.x, other.y), abs=0.01)


def test_an_exported_branch_still_reads_smaller_maps(tmp_path, scene):
    model = load_diffusion("builtin/blocks", "cpu")
    branch = load_branch(builtin_folder("builtin/blocks-canny"), model).branch
    write_controlnet(tmp_path, branch, model.unet)
    again = open_branch(tmp_path, model)
    assert again.size_of_maps(LARGE, model.factor) == SMALL
    maps = to_values(scene[None, ::2, ::2])
    assert torch.equal(again.read(maps), branch.read(maps))
