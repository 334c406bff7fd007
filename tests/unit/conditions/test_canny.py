import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.conditions.kinds import canny as module
from graftwerk.conditions.kinds.canny import CannySettings, canny, edge_map, otsu
from graftwerk.errors import BadInput


def picture():
    return render(sample_scene(5, 1), 64, 64)


def test_a_batch_is_its_images() -> None:
    images = np.stack([render(sample_scene(5, number), 48, 48) for number in range(3)])
    together = canny(images, CannySettings(unit="auto"))
    for number, one in enumerate(images):
        alone = canny(one[None], CannySettings(unit="auto"))
        assert np.array_equal(together.edges[number], alone.edges[0])
        assert together.high[number] == alone.high[0]


def test_grey_colour_whole_numbers_and_floats_agree() -> None:
    colour = np.repeat(picture()[..., :1], 3, axis=-1)
    expected = canny(colour[None]).edges
    assert np.array_equal(canny(colour[None, ..., 0]).edges, expected)
    assert np.array_equal(canny(colour[None] / 255).edges, expected)
    assert np.array_equal(canny((colour[None, ..., 0] / 255).astype(np.float64)).edges, expected)


def test_weak_pixels_need_a_strong_one() -> None:
    ramp = np.full((20, 40), 100.0)
    ramp[:, 20:] = np.linspace(102, 240, 20)[:, None]  # an edge that fades upwards
    ramp[7:12, 4:9] = 130  # and a faint spot alone
    stages = canny(ramp[None].astype(np.uint8), CannySettings(low=0.1, high=0.5))
    levels, edges = stages.levels[0], stages.edges[0]
    assert (levels[:, :14] == 1).any() and not edges[:, :14].any()
    assert (levels[:10, 18:22] == 1).any() and edges[3:, 18:22].any(axis=1).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (3, 200)])
@pytest.mark.parametrize("unit", ["fraction", "auto"])
def test_any_size_and_an_image_without_edges(shape, unit) -> None:
    flat = np.full((1, *shape, 3), 77, dtype=np.uint8)
    stages = canny(flat, CannySettings(sigma=0.3, kernel=31, unit=unit, low=0.0, high=0.0))
    assert stages.edges.shape == (1, *shape)
    assert not stages.edges.any()


def test_absolute_thresholds_are_slopes() -> None:
    stages = canny(picture()[None], CannySettings(unit="absolute", low=40.0, high=90.0))
    assert stages.low[0] == 40 and stages.high[0] == 90
    assert (stages.thinned[0][stages.levels[0] == 2] >= 90).all()
    assert (stages.levels == 2).any()


def test_otsu_splits_two_groups() -> None:
    assert 2 < otsu(np.array([1.0, 1.1, 1.2, 1.1, 9.0, 9.1])) <= 9
    assert otsu(np.array([])) == 0
    assert otsu(np.array([4.0, 4.0])) == 4


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sigma": 0.0}, "sigma 0.0 blurs nothing"),
        ({"sigma": float("nan")}, "sigma nan"),
        ({"kernel": 4}, "4 pixels wide has no middle"),
        ({"kernel": -1}, "-1 pixels wide"),
        ({"low": 0.4}, "0.4 and 0.3 are not"),
        ({"low": 1.0, "high": 2.0}, "<= 1"),
        ({"unit": "absolute", "low": -1.0}, "-1 and 0.3"),
    ],
    ids=str,
)
def test_settings_without_meaning_are_refused(values, said) -> None:
    with pytest.raises(BadInput, match=said.replace("(", "\\(")):
        CannySettings(**values)


def test_floats_out_of_range_are_refused() -> None:
    for wrong in (np.full((1, 4, 4), 1.5), np.full((1, 4, 4), np.nan), np.full((1, 4, 4), -0.1)):
        with pytest.raises(BadInput, match="outside 0 to 1"):
            canny(wrong)


@pytest.mark.parametrize("band", [1, 100, 1000, 4096])
@pytest.mark.parametrize(
    "settings",
    [CannySettings(), CannySettings(unit="auto"), CannySettings(sigma=2.0, kernel=9, high=0.2)],
)
def test_bands_find_the_same_edges(monkeypatch, band, settings) -> None:
    images = np.stack([render(sample_scene(5, number), 48, 48) for number in range(2)])
    expected = canny(images, settings).edges
    monkeypatch.setattr(module, "_BAND_PIXELS", band)
    assert expected.any()
    assert np.array_equal(edge_map(images, settings), expected)
    assert np.array_equal(edge_map(images / 255.0, settings), canny(images / 255.0, settings).edges)


def test_the_largest_image_fits_into_memory() -> None:
    import tracemalloc

    image = np.zeros((1, 4000, 3000, 3), dtype=np.uint8)
    image[:, ::7] = 200
    tracemalloc.start()
    edge_map(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # for the 49 million pixels of 16384 x 3000 that is 1 GB
    assert peak / (4000 * 3000) < 1e9 / (16384 * 3000)


@pytest.mark.parametrize("height", [90, 5])
def test_bands_give_the_directions_of_the_whole(monkeypatch, height) -> None:
    image = render(sample_scene(5, 2), 90, 90)[:height]
    monkeypatch.setattr(module, "_BAND_PIXELS", 7 * 90)
    stages = canny(image[None]).single()
    found = module.find_directions(image, stages.edges, CannySettings())
    assert np.array_equal(found, stages.direction[stages.edges])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), [("canny", 1.0), ("hough", 1.1)])
def test_the_largest_image_takes_a_gigabyte(kind, most, tmp_path) -> None:
    """In a process that measures itself; all steps of Canny's method take four."""
    image = Image.new("RGB", (16384, 3000))
    brush = ImageDraw.Draw(image)
    for n in range(200):
        brush.rectangle((n * 80, n * 14, n * 80 + 300, n * 14 + 90), fill=(n, 255 - n, 9))
    image.save(tmp_path / "large.png")
    program = (
        "import resource, sys; from graftwerk.cli import main; "
        f"assert main(['condition', '{kind}', 'large.png', '--out', 'out.png']) == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert int(done.stdout.split()[-1]) < most * 1024**2  # of 1,024 bytes
