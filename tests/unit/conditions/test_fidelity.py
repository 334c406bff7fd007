import numpy as np
import pytest

from graftwerk.conditions.fidelity import (
    chamfer,
    depth_error,
    edge_f1,
    mean_iou,
    normal_error,
    white_on_black,
)
from graftwerk.conditions.kinds.pose import draw_people, found_joints

SIDE = 40


def lines(*rows):
    drawn = np.zeros((SIDE, SIDE), dtype=bool)
    drawn[list(rows)] = True
    return white_on_black(drawn[None])[0]


def test_edges_within_tolerance_count_and_others_do_not() -> None:
    assert edge_f1(lines(10), lines(10)) == (1, 1)
    assert edge_f1(lines(10), lines(11)) == (1, 1)
    assert edge_f1(lines(10), lines(12)) == (0, 0)
    both, _ = edge_f1(lines(10, 30), lines(10))
    assert both == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert edge_f1(lines(10), lines()) == (0, 0)
    assert np.isnan(edge_f1(lines(), lines(10))).all()


def test_the_tolerance_grows_with_the_image() -> None:
    drawn = np.zeros((400, 400), dtype=bool)
    drawn[100] = True
    requested, moved = white_on_black(np.stack([drawn, np.roll(drawn, 4, axis=0)]))
    assert edge_f1(requested, moved) == (1, 1)  # 4 pixels of 566
    assert edge_f1(requested, white_on_black(np.roll(drawn, 5, axis=0)[None])[0]) == (0, 0)


def test_chamfer_is_the_mean_distance_both_ways() -> None:
    diagonal = SIDE * 2**0.5
    percent, score = chamfer(lines(10), lines(14))
    assert percent == pytest.approx(100 * 4 / diagonal)
    assert score == pytest.approx(1 - (4 / diagonal) / 0.1)
    percent, _ = chamfer(lines(10, 20), lines(10))  # 0 and 10 one way, 0 the other
    assert percent == pytest.approx(100 * 2.5 / diagonal)
    assert chamfer(lines(0), lines(39))[1] == 0
    assert chamfer(lines(3), lines()) == (100, 0)


def test_iou_is_a_mean_over_wanted_colours() -> None:
    requested, seen = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    requested[:2], seen[:1] = 200, 200
    # 200: 4 of 8; 0: 8 of 12
    assert mean_iou(requested, seen)[0] == pytest.approx((4 / 8 + 8 / 12) / 2)
    assert mean_iou(requested, requested) == (1, 1)


def grey(values):
    return np.repeat(np.asarray(values, dtype=np.uint8)[..., None], 3, axis=-1)


def test_depth_is_compared_up_to_scale_and_shift() -> None:
    ramp = np.arange(64).reshape(8, 8)
    assert depth_error(grey(ramp), grey(100 + 2 * ramp)) == pytest.approx((0, 1), abs=1e-9)
    flat, score = depth_error(grey(ramp), grey(np.full((8, 8), 9)))
    assert score == 4 / 64 and flat == pytest.approx(100 * ramp.std() / 63)
    assert depth_error(grey(ramp), grey(ramp[::-1, ::-1]))[1] == 4 / 64  # near for far is no better
    assert np.isnan(depth_error(grey(np.full((8, 8), 9)), grey(ramp))).all()


def test_normals_are_compared_by_angle_where_there_is_a_surface() -> None:
    up = np.array([128, 255, 128], dtype=np.uint8)
    towards = np.array([128, 128, 255], dtype=np.uint8)
    requested = np.full((4, 4, 3), 128, dtype=np.uint8)
    requested[:2] = up
    seen = requested.copy()
    assert normal_error(requested, seen) == pytest.approx((0, 1), abs=0.1)
    seen[0] = towards
    assert normal_error(requested, seen) == pytest.approx((45, 0.5), abs=0.3)
    seen[2:] = towards  # where nothing is requested
    assert normal_error(requested, seen) == pytest.approx((45, 0.5), abs=0.3)


def test_joints_within_a_tenth_of_the_person_are_found() -> None:
    person = np.zeros((18, 3), dtype=np.float32)
    person[:, 0] = 60
    person[:, 1] = np.linspace(10, 110, 18)
    person[:, 2] = 1
    requested = draw_people([person], 128, 128)
    assert found_joints(requested, requested) == (1, 1)
    assert found_joints(requested, draw_people([person + np.float32([8, 0, 0])], 128, 128)) == (
        1,
        1,
    )
    assert found_joints(requested, draw_people([person + np.float32([14, 0, 0])], 128, 128)) == (
        0,
        0,
    )
    half = person.copy()
    half[9:, 2] = 0
    assert found_joints(requested, draw_people([half], 128, 128))[0] == pytest.approx(0.5, abs=0.06)
    assert found_joints(requested, np.zeros_like(requested)) == (0, 0)
