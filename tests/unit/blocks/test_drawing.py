import numpy as np
import pytest

from graftwerk.blocks.map_images import (
    PALETTE,
    condition_images,
    draw_depth,
    draw_keypoints,
    draw_normals,
    sheet_of,
)
from graftwerk.blocks.maps import CLASSES, FAR, Keypoints, maps_of
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.errors import LimitExceeded


def test_images_can_be_read_back() -> None:
    maps = maps_of(sample_scene(0, 3), 64, 64)
    images = condition_images(maps)
    depth = images["depth"].astype(np.float64)
    near = maps.depth < FAR
    np.testing.assert_allclose(65535 / depth[near], maps.depth[near], rtol=4e-4)
    assert np.all(depth[~near] == 0)
    normals = images["normals"] / 127.5 - 1
    np.testing.assert_allclose(normals, maps.normals, atol=1 / 127)
    colours = np.array([PALETTE[name] for name in CLASSES])
    distances = np.abs(images["segmentation"][..., None, :].astype(int) - colours).sum(-1)
    assert np.array_equal(distances.argmin(-1), maps.classes)
    assert np.array_equal(images["outlines"] == 255, maps.outlines)
    assert np.array_equal(images["outlines"] > 0, maps.outlines | maps.creases)


def test_palette_colours_are_apart() -> None:
    colours = np.array([PALETTE[name] for name in CLASSES], dtype=int)
    distances = np.abs(colours[:, None] - colours[None]).sum(-1)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 60


def test_depth_at_its_ends() -> None:
    drawn = draw_depth(np.array([[0.5, 1.0, 39.99, FAR]], dtype=np.float32))
    assert drawn.tolist() == [[65535, 65535, 1639, 0]]
    assert draw_normals(np.array([[[1.0, -1.0, 0.0]]], dtype=np.float32)).tolist() == [
        [[255, 0, 128]]
    ]


def test_keypoints_in_openpose_colours() -> None:
    points = np.full((18, 2), 5.0, dtype=np.float32)
    points[1], points[8] = (40, 20), (40, 60)  # neck and right hip: bone 6 is pure green
    visible = np.zeros(18, dtype=np.bool_)
    visible[[1, 8]] = True
    drawn = draw_keypoints((Keypoints(0, points, visible),), 80, 80)
    assert np.abs(drawn[20, 40].astype(int) - [255, 85, 0]).max() < 20  # the bone shows through
    assert drawn[40, 40].tolist() == [0, 153, 0]
    assert drawn[5, 5].tolist() == [0, 0, 0]
    assert not draw_keypoints((), 8, 6).any()
    visible[8] = False
    assert not draw_keypoints((Keypoints(0, points, visible),), 80, 80)[40, 40].any()


@pytest.mark.parametrize("size", [16, 200])
def test_sheet(size: int) -> None:
    scene = sample_scene(0, 3)
    sheet = np.asarray(sheet_of(scene, size))
    assert sheet.shape[1] > 4 * 190
    image = render(scene, size, size)
    side = max(size, 192 // size * size)
    tile = image.repeat(side // size, 0).repeat(side // size, 1)
    rows = [y for y in range(100) if np.array_equal(sheet[y : y + side, 10 : 10 + side], tile)]
    assert len(rows) == 1


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, 0), (-1, 4), (20_000, 4), (9000, 9000)])
def test_sizes_that_cannot_be(height: int, width: int) -> None:
    scene = sample_scene(0)
    for function in (render, maps_of):
        with pytest.raises(LimitExceeded, match="cannot be rendered"):
            function(scene, height, width)


def test_the_smallest_image() -> None:
    assert render(sample_scene(0), 1, 1).shape == (1, 1, 3)
    assert maps_of(sample_scene(0), 1, 2).outlines.shape == (1, 2)
