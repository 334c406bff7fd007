"""The measures of perception: what is exact is perfect, what is off by a known amount is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graftwerk.blocks.maps import CLASSES
from graftwerk.blocks.networks import Perceived, Views, read_views
from graftwerk.recipes import perception
from graftwerk.recipes.perception import heat_of
from graftwerk.recipes.registry import Setting
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent


def exact(row):
    joints = []
    for joint in range(18):
        people = row["joints"][:, joint]
        joints.append(tuple((float(x), float(y), 0.9) for x, y, seen in people if seen))
    normals = row["normals"].astype(np.float32)
    return Perceived(
        depth=row["depth"].astype(np.float32),
        normals=normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1),
        classes=row["classes"],
        joints=tuple(joints),
    )


def figures(monkeypatch, change=lambda seen: seen):
    class Perfect:
        def look(self, images):
            rows = open_scenes("maps", 2, 8, 64, Silent()).rows(np.arange(8))
            return [change(exact(row)) for row in rows]

    monkeypatch.setattr(perception, "load_perception", lambda *_: Perfect())
    return perception.evaluate(Path(), 8, Setting(0, "cpu", {}, Silent()))


def test_exact_maps_are_perfect(cache, monkeypatch):
    found = figures(monkeypatch)
    assert found["mean_iou"] == found["keypoints_pck"] == 1
    assert found["depth_rmse_percent"] == 0
    assert found["normals_degrees"] < 1


def test_known_errors(cache, monkeypatch):
    def worse(seen):
        return Perceived(
            depth=seen.depth + np.float32(0.02),
            normals=seen.normals[..., [1, 2, 0]],
            classes=np.full_like(seen.classes, CLASSES.index("sky")),
            joints=tuple(tuple((x + 9, y, s) for x, y, s in joint) for joint in seen.joints),
        )

    rows = open_scenes("maps", 2, 8, 64, Silent()).rows(np.arange(8))
    found = figures(monkeypatch, worse)
    requested = rows["depth"].astype(np.float32)
    assert found["depth_rmse_percent"] == pytest.approx(2 / np.ptp(requested), rel=1e-3)
    sky = np.mean(rows["classes"] == 0)
    assert found["mean_iou"] == pytest.approx(sky / len(np.unique(rows["classes"])))
    assert found["keypoints_pck"] < 0.3
    assert found["normals_degrees"] > 45


def test_joints_everywhere_are_not_joints_found(cache, monkeypatch):
    def shotgun(seen):
        grid = tuple((x + 0.5, y + 0.5, 0.4) for x in range(0, 64, 3) for y in range(0, 64, 3))
        return Perceived(seen.depth, seen.normals, seen.classes, (grid,) * 18)

    assert figures(monkeypatch, shotgun)["keypoints_pck"] < 0.1


def test_heat_and_its_reading():
    joints = torch.zeros(1, 2, 18, 3)
    joints[0, 0, 4] = torch.tensor([20.5, 30.5, 1])
    joints[0, 1, 4] = torch.tensor([40.5, 30.5, 1])
    joints[0, 1, 5] = torch.tensor([10.5, 10.5, 0])  # hidden
    heat = heat_of(joints, 64)
    assert heat[0, 4, 30, 20] == heat[0, 4, 30, 40] == 1
    assert heat[0, 4, 30, 22] == pytest.approx(np.exp(-4 / 4.5), rel=1e-5)
    assert not heat[0, 5].any()
    views = Views(
        torch.zeros(1, 64, 64),
        torch.ones(1, 3, 64, 64),
        torch.zeros(1, 10, 64, 64),
        torch.logit(heat, 1e-6),
    )
    (seen,) = read_views(views)
    assert [location[:2] for location in seen.joints[4]] == [(20.5, 30.5), (40.5, 30.5)]
    assert not seen.joints[5]
    np.testing.assert_allclose(np.linalg.norm(seen.normals, axis=-1), 1, rtol=1e-5)
