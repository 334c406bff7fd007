"""Strips of a training are dense where the branch begins to follow its condition."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from graftwerk.controlnet import control
from graftwerk.controlnet.control import Grid
from graftwerk.controlnet.convergence import Verdict
from graftwerk.controlnet.train import Watcher

SIDE = 8


def grid_in(folder, monkeypatch):
    folder.mkdir()
    level = iter(range(10, 250, 10))
    monkeypatch.setattr(
        control,
        "sample_controlled",
        lambda *_: np.full((2, SIDE, SIDE, 3), next(level), dtype=np.uint8),
    )
    monkeypatch.setattr(control, "cut", lambda batch, _: batch)
    batch = SimpleNamespace(maps=np.zeros((2, SIDE, SIDE, 3), dtype=np.uint8))
    grid = Grid.__new__(Grid)
    grid._model = grid._branch = grid._condition = None
    grid._batch, grid._folder, grid._between = batch, folder, set()
    return grid


def levels(folder):
    """The gray level of each row below the target, by which the tests know its step."""
    with Image.open(folder / "strips.png") as image:
        column = np.asarray(image.convert("RGB"))[:, -6, 0]
    inner = [int(v) for v in column if v < 250]
    return [v for v, before in zip(inner, [None, *inner], strict=False) if v != before][1:]


def test_rows_between_are_those_closest_to_the_convergence(tmp_path, monkeypatch) -> None:
    grid = grid_in(tmp_path / "a", monkeypatch)
    grid.draw(0)  # level 10
    for step in range(1, 12):  # 20, 30, ...
        grid.glimpse(step)
    grid.draw(12)
    grid.write_strips(near=6)
    assert levels(tmp_path / "a") == [10, *range(40, 110, 10), 130]
    grid.write_strips()
    assert levels(tmp_path / "a") == [10, *range(20, 90, 10), 130]


class Drawn(Grid):
    """A grid that notes what it is asked for."""

    def glimpse(self, step):
        self.steps.append(step)

    def write_strips(self, near=None):
        self.near = near


def test_a_row_is_drawn_at_each_measurement_from_the_first_sign_to_soon_after() -> None:
    watcher, grid = Watcher.__new__(Watcher), Drawn.__new__(Drawn)
    grid.steps, grid.near = [], None
    watcher._job = SimpleNamespace(every=10)
    course = {0: "not yet", 10: "not yet", 20: "converging", 30: "converging", 40: "converged"}
    for step in range(0, 110, 10):
        state = course.get(step, "converged")
        at = {"not yet": None, "converging": 20, "converged": 30}[state]
        watcher.verdict = Verdict(state, at, "")
        watcher._show_jump(grid, step, sampled=step in {0, 50, 100})
    assert grid.steps == [20, 30, 40, 60]  # 50 is there anyway, and 60 is three after 30
    assert grid.near == 30
