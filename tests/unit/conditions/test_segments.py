import numpy as np
import pytest
from PIL import Image, ImageDraw

from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.conditions.kinds.hough import find_segments


def drawn(*lines, side=100):
    image = Image.new("1", (side, side))
    for line in lines:
        ImageDraw.Draw(image).line(line, fill=1)
    return np.asarray(image)


@pytest.mark.parametrize(
    "line",
    [(10, 50, 90, 50), (50, 5, 50, 70), (10, 10, 80, 80), (10, 80, 60, 20), (5, 30, 95, 41)],
    ids=str,
)
def test_one_line_is_one_segment_from_end_to_end(line) -> None:
    found = find_segments(drawn(line))
    assert len(found) == 1
    ends = sorted([tuple(found[0, :2]), tuple(found[0, 2:])])
    requested = sorted([(line[0] + 0.5, line[1] + 0.5), (line[2] + 0.5, line[3] + 0.5)])
    assert np.abs(np.array(ends) - requested).max() <= 2


def test_every_side_of_a_square_is_found() -> None:
    # a corner belongs to the side that is found first
    corners = [(20, 20), (80, 20), (80, 80), (20, 80), (20, 20)]
    found = find_segments(drawn(corners))
    assert len(found) == 4
    lengths = np.hypot(found[:, 2] - found[:, 0], found[:, 3] - found[:, 1])
    assert (np.abs(lengths - 60) <= 4).all()


def test_a_gap_ends_a_segment_and_a_small_one_does_not() -> None:
    assert len(find_segments(drawn((10, 50, 40, 50), (60, 50, 90, 50)))) == 2
    assert len(find_segments(drawn((10, 50, 49, 50), (52, 50, 90, 50)))) == 1


def test_nothing_straight_gives_nothing() -> None:
    assert len(find_segments(np.zeros((30, 40), dtype=bool))) == 0
    assert len(find_segments(drawn((50, 50, 54, 50)))) == 0
    scattered = np.zeros((64, 64), dtype=bool)
    scattered[::9, ::9] = True
    assert len(find_segments(scattered)) == 0


def test_pixels_whose_edges_run_otherwise_make_no_line() -> None:
    edges = drawn((10, 50, 90, 50))
    down = np.full(edges.shape, np.pi / 2)  # slopes downwards: edges run to the right
    assert len(find_segments(edges, down[edges])) == 1
    assert len(find_segments(edges, -down[edges])) == 1
    assert len(find_segments(edges, np.zeros(edges.sum()))) == 0


def test_noise_makes_few_lines_beside_a_wall() -> None:
    """Grass is not a line; the edge of a wall in front of it is."""
    generator = np.random.default_rng(0)
    image = generator.integers(60, 140, (128, 128, 3)).astype(np.uint8)
    image[:, 60:] = 255
    lines = CONDITIONS["hough"].from_image(image)[..., 0] > 0
    assert lines[:, 57:62].any(axis=1).mean() > 0.9
    assert lines[:, :55].sum() < 20
