"""Each condition: from a scene, from stored rows, from an image, from a finished map."""

import numpy as np
import pytest

from graftwerk.blocks.maps import maps_of
from graftwerk.blocks.sampling import sample_scene
from graftwerk.conditions.fidelity import edge_f1
from graftwerk.conditions.kinds import CONDITIONS, condition_named
from graftwerk.conditions.kinds.pose import key_points_of
from graftwerk.errors import BadInput, UnknownName
from graftwerk.recipes.scenes import Chunk, render_chunk

COUNT, WORLD = 24, 5
NAMES = ["canny", "hough", "scribble", "pose", "segmentation", "normals", "depth", "lineart"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    render_chunk(Chunk(str(path), "maps", WORLD, 0, COUNT, 64, None))
    return np.load(path)


def with_people(rows):
    return [number for number, row in enumerate(rows) if row["joints"][..., 2].any()]


def test_there_are_eight() -> None:
    assert list(CONDITIONS) == NAMES
    with pytest.raises(UnknownName, match="Did you mean canny"):
        condition_named("cany")


@pytest.mark.parametrize("name", NAMES)
def test_three_channels_of_the_same_size_from_every_way(name, rows) -> None:
    condition = CONDITIONS[name]
    scene = sample_scene(WORLD, 3)
    exact = condition.from_scene(scene, 64)
    stored = condition.from_rows(rows)
    read = condition.from_image(rows["picture"][3])
    assert exact.shape == read.shape == (64, 64, 3)
    assert stored.shape == (COUNT, 64, 64, condition.channels)
    assert exact.dtype == stored.dtype == read.dtype == np.uint8
    assert condition.from_image(np.zeros((50, 70, 3), dtype=np.uint8)).shape == (50, 70, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_and_its_stored_row_agree(name, rows) -> None:
    """Maps are stored in fewer bits, and lines are found again in them."""
    condition = CONDITIONS[name]
    stored = condition.from_rows(rows)
    scores = []
    for number in range(COUNT):
        exact = condition.from_scene(sample_scene(WORLD, number), 64)
        if name in {"canny", "pose", "segmentation"}:
            assert np.array_equal(exact, stored[number])
        elif name in {"depth", "normals"}:
            assert np.abs(exact.astype(int) - stored[number]).max() <= 2
        else:
            scores.append(edge_f1(exact, stored[number])[0])
    if scores:
        assert len(scores) == COUNT
        assert np.mean(scores) > 0.93


@pytest.mark.parametrize("name", NAMES)
def test_a_true_image_scores_far_better_than_another(name, rows) -> None:
    condition = CONDITIONS[name]
    some = with_people(rows) if name == "pose" else list(range(COUNT))
    requested, images = condition.from_rows(rows[some]), rows["picture"][some]
    true = condition.fidelity(requested, images)
    other = condition.fidelity(np.roll(requested, 1, axis=0), images)
    assert true.values.shape == true.scores.shape == (len(some),)
    assert (true.value > other.value) is condition.higher_is_better
    assert true.score > other.score + (0.05 if name == "depth" else 0.1)
    assert np.nanmin(other.scores) >= 0 and np.nanmax(true.scores) <= 1
    assert true.name == condition.measure


@pytest.mark.parametrize("name", NAMES)
def test_a_map_is_accepted_and_an_image_is_not(name, rows) -> None:
    condition = CONDITIONS[name]
    for number in with_people(rows)[:4]:
        condition.check_map(condition.from_rows(rows[number : number + 1])[0], "a map")
    with pytest.raises(BadInput, match=rf"is not a {name} map.*graft condition {name} IMAGE"):
        condition.check_map(
            np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), "a map"
        )
    if name != "normals":
        with pytest.raises(BadInput, match=r"empty|all of it is 0"):
            condition.check_map(np.zeros((32, 32, 3), dtype=np.uint8), "a map")


def test_a_drawing_is_no_depth_map(rows) -> None:
    drawing = CONDITIONS["canny"].from_rows(rows[:1])[0]
    with pytest.raises(BadInput, match="black and white, as a drawing is, and depth has grays"):
        CONDITIONS["depth"].check_map(drawing, "a map")


def test_a_drawing_the_wrong_way_round_is_told() -> None:
    drawing = np.full((32, 32, 3), 255, dtype=np.uint8)
    drawing[10] = 0
    with pytest.raises(BadInput, match="97% of it is bright, and lines are white on black"):
        CONDITIONS["canny"].check_map(drawing, "a map")


def test_maps_of_another_size_or_number_are_refused(rows) -> None:
    condition = CONDITIONS["depth"]
    requested = condition.from_rows(rows[:2])
    with pytest.raises(BadInput, match=r"2 depth maps of 64 x 64 .* 3 images of 64 x 64"):
        condition.fidelity(requested, rows["picture"][:3])
    with pytest.raises(BadInput, match=r"of 64 x 64 pixels .* 2 images of 32 x 64"):
        condition.fidelity(requested, rows["picture"][:2, :, :32])


def test_nothing_wanted_is_no_number(rows) -> None:
    condition = CONDITIONS["pose"]
    empty = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    found = condition.fidelity(empty, rows["picture"][:2])
    assert np.isnan(found.values).all() and np.isnan(found.score)


def test_joints_are_read_out_of_a_skeleton_where_it_is_large_enough() -> None:
    found = shown = 0
    distances = []
    for number in range(40):
        scene = sample_scene(WORLD, number)
        drawn = CONDITIONS["pose"].from_scene(scene, 256)
        people = maps_of(scene, 256, 256).people
        locations = key_points_of(drawn)
        for person in people:
            for joint, (point, visible) in enumerate(
                zip(person.points, person.visible, strict=True)
            ):
                if visible:
                    shown += 1
                    nearest = [
                        float(np.hypot(*(location - point))) for location in locations[joint]
                    ]
                    if nearest and min(nearest) < 3:
                        found += 1
                        distances.append(min(nearest))
    assert shown > 200
    assert found / shown > 0.9
    assert np.median(distances) < 1


def test_a_fidelity_can_be_read_in_another_way(rows) -> None:
    condition = CONDITIONS["lineart"]
    requested = condition.read(rows["picture"])
    own = condition.fidelity(requested, rows["picture"], condition.read)
    assert own.value == 0 and own.score == 1
    assert condition.fidelity(requested, rows["picture"]).score < 1
