"""BlazePose and HED: their geometry and their conversion, without the published weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from graftwerk.conditions import blazepose, estimators
from graftwerk.errors import BadFile, BadInput
from graftwerk.models.fetching import convert

DOT = (150, 40)  # x and y of the only bright spot


def photo(height=120, width=200):
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[DOT[1] - 2 : DOT[1] + 3, DOT[0] - 2 : DOT[0] + 3] = 255
    return picture


def brightest(image):
    """x and y of the middle of what is bright, as shares of the side."""
    weights = np.asarray(image)[0].sum(axis=2)
    weights = np.where(weights > weights.min() + 0.5 * np.ptp(weights), 1.0, 0.0)
    rows, columns = np.indices(weights.shape) + 0.5
    return (
        np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum() / len(weights)
    )


def detector(image):
    """Finds one person, twice over, whose hips are at the bright spot and whose top is to its left."""
    spot = brightest(image)
    boxes, scores = np.zeros((2254, 12)), np.full((2254, 1), -9.0)
    anchors = blazepose._anchors()
    for number in (700, 701):
        values = np.zeros((6, 2))
        values[1] = 0.2  # width and height, without an anchor's middle
        values[[0, 2]] = spot - anchors[number]
        values[3] = spot - (0.25, 0.1) - anchors[number]
        boxes[number], scores[number] = 224 * values.ravel(), 4.0 - number / 1000
    return boxes, scores


def landmarks(image):
    """Every key point is at the bright spot, but the top, which is above it."""
    rows = np.zeros((39, 5))
    rows[:, :2], rows[:, 3] = 256 * brightest(image), 3.0
    rows[34, :2] = rows[33, :2] - (0, 60)
    rows[7:9, 3] = -3.0  # the ears are hidden
    return rows.reshape(1, 195)[0], np.array([0.9])


@pytest.fixture
def people(monkeypatch, tmp_path):
    runs = iter([landmarks, detector])
    monkeypatch.setattr(blazepose, "_interpreter", lambda path: next(runs))
    monkeypatch.setattr(blazepose.files, "sha256_of_file", lambda path: digests[path.name])
    digests = {}
    for part in blazepose.FETCHABLE["blazepose"].parts:
        name = part.file.rpartition("/")[2]
        (tmp_path / name).write_bytes(b"")
        digests[name] = part.sha256
    (tmp_path / "config.json").write_text('{"model_type": "blazepose"}')
    return tmp_path


def test_key_points_come_back_from_turned_squares_of_letterboxed_images(people):
    [ends] = blazepose._detected(detector, photo())
    np.testing.assert_allclose(ends[0], np.array(DOT) + 0.5, atol=1)
    np.testing.assert_allclose(ends[0] - ends[1], (50, 20), atol=1)
    found = blazepose.load_blazepose(people)(photo())
    assert len(found) == 1  # the second detection is of the same person
    points, scores = found[0]
    np.testing.assert_allclose(points[:33], np.tile(DOT, (33, 1)) + 0.5, atol=1.5)
    assert (scores[:7] > 0.9).all() and (scores[7:9] < 0.1).all()


def test_the_skeleton_is_drawn_and_hidden_key_points_are_not(people):
    read = estimators.load_estimator("pose", str(people))
    [drawn] = read(photo()[None])
    assert drawn.shape == (120, 200, 3)
    rows, columns = np.nonzero(drawn.max(axis=2))
    assert abs(columns.mean() - DOT[0]) < 3 and abs(rows.mean() - DOT[1]) < 3
    points, scores = np.tile(DOT, (39, 1)).astype(float), np.full(39, 0.9)
    scores[7:9] = scores[11] = 0.1
    joints = estimators.openpose(points, scores, blazepose.FROM_BLAZE, blazepose.VISIBLE)
    assert [n for n in range(18) if not joints[n, 2]] == [1, 5, 16, 17]  # neck, shoulder, ears


def test_another_kind_and_files_of_unknown_origin_are_refused(people, monkeypatch):
    with pytest.raises(BadInput, match=r"'blazepose', which does not estimate depth.*dpt"):
        estimators.load_estimator("depth", str(people))
    with pytest.raises(BadInput, match=r"no model estimates canny.*scribble"):
        estimators.load_estimator("canny", str(people))
    monkeypatch.setattr(blazepose.files, "sha256_of_file", lambda path: "0" * 64)
    with pytest.raises(BadFile, match=r"is not the file of the published package"):
        estimators.load_estimator("pose", str(people))


@pytest.fixture(scope="module")
def hed(tmp_path_factory):
    """A random network, its weights in Keras' layout, and the folder that is converted of them."""
    h5py = pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("hed")
    torch.manual_seed(3)
    network = estimators.Hed({})
    with h5py.File(folder / "hed.h5", "w") as content:
        for name, tensor in network.state_dict().items():
            first, *rest, part = name.split(".")
            theirs = {"fuse": "fuse", "sides": f"dsn{int(rest[0]) + 1 if rest else 0}"}.get(first)
            if theirs is None:
                suffix = f"_{rest[1]}" if rest[1] != "0" else ""
                theirs = f"block{int(rest[0]) + 1}/layers/conv2d{suffix}"
            turned = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor
            content[f"{theirs}/vars/{int(part == 'bias')}"] = turned.numpy()
    return network.eval(), folder


def test_hed_is_converted_value_by_value(hed, monkeypatch, tmp_path):
    network, folder = hed
    monkeypatch.setattr(convert, "_shut", lambda: None)
    convert.hed(tmp_path, [folder / "hed.h5"])
    soft = estimators.load_hed(tmp_path, "cpu")
    picture = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    values = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        expected = network(values)[0, 0].numpy()
    np.testing.assert_allclose(soft(picture), expected, atol=1e-6)
    read = estimators.load_estimator("lineart", str(tmp_path), "cpu")
    np.testing.assert_array_equal(read(picture[None])[0, ..., 0], np.rint(255 * expected))
    monkeypatch.setattr(estimators, "_LONGEST", 40)
    assert soft(picture).shape == (37, 51)


def test_a_weight_file_that_is_not_heds(monkeypatch, tmp_path):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(convert, "_shut", lambda: None)
    with h5py.File(tmp_path / "x.h5", "w") as content:
        content["fuse/vars/0"] = np.zeros((3, 3), dtype=np.float32)
    with pytest.raises(BadFile, match="no weight for fuse"):
        convert.hed(tmp_path, [tmp_path / "x.h5"])


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
def test_soft_edges_are_thinned_to_lines(angle):
    x, y = np.meshgrid(np.arange(-30.0, 31), np.arange(-30.0, 31))
    turn = np.radians(angle)
    across = x * np.cos(turn) + y * np.sin(turn)
    thin = estimators.thinned(np.exp(-((across / 4) ** 2)))
    inside = np.hypot(x, y) < 25
    assert (np.abs(across)[inside & (thin > 0.01)] < 1.01).all()
    assert (
        45 <= (thin[inside] > 0.01).sum() <= 75
    )  # the line is 50 pixels long, 71 where it is steep


def test_edges_of_a_model_are_evaluated(hed, tmp_path, monkeypatch):
    import graftwerk

    _, folder = hed
    monkeypatch.setattr(convert, "_shut", lambda: None)
    (tmp_path / "model").mkdir()
    convert.hed(tmp_path / "model", [folder / "hed.h5"])
    data = tmp_path / "data"
    data.mkdir()
    Image.fromarray(photo(60, 80)).save(data / "a.png")
    np.savez_compressed(data / "a.npz", boundaries=np.ones((1, 60, 80), dtype=np.bool_))
    request = {"data": data, "estimator": str(tmp_path / "model"), "device": "cpu"}
    report = graftwerk.run(graftwerk.EvalEdges(**request))
    assert report.method == str(tmp_path / "model") and 0 <= report.ods <= 1
    with pytest.raises(BadInput, match="`plain` is for Canny"):
        graftwerk.run(graftwerk.EvalEdges(**request, plain=True))
