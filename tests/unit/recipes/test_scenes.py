import numpy as np
import pytest

from graftwerk.blocks.captions import facts_of
from graftwerk.blocks.maps import maps_of
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.errors import Cancelled, Damaged, Failure, NoRoom
from graftwerk.recipes import scenes
from graftwerk.recipes import scenes as rendering
from graftwerk.recipes.scenes import as_tensors, chances, facts_of_row, open_scenes
from graftwerk.training.state import in_order
from graftwerk.types import Silent


class Counting(Silent):
    def __init__(self):
        self.total, self.done = 0, 0

    def start(self, task, total=None):
        self.total += total

    def advance(self, count=1):
        self.done += count


def test_rows_are_the_scenes(cache):
    rows = open_scenes("maps", 5, 6, 32, Silent()).rows(np.arange(6))
    for number, row in enumerate(rows):
        scene = sample_scene(5, number)
        maps = maps_of(scene, 32, 32)
        assert np.array_equal(row["picture"], render(scene, 32, 32))
        assert facts_of_row(row) == facts_of(scene)
        assert np.array_equal(row["classes"], maps.classes)
        np.testing.assert_allclose(row["depth"], 1 / maps.depth, rtol=1e-3)
        np.testing.assert_allclose(row["normals"] / 127, maps.normals, atol=0.005)
        assert np.count_nonzero(row["joints"][..., 2]) == sum(p.visible.sum() for p in maps.people)
        across = row["place"][: len(scene.objects), 0]
        assert list(across) == sorted(across)


def test_rendered_once(cache, monkeypatch):
    monitor = Counting()
    first = open_scenes("pictures", 5, 6, 16, monitor).rows(np.arange(6))
    assert monitor.done == monitor.total == 6
    monkeypatch.setattr(scenes, "render_all", lambda *_: pytest.fail("rendered again"))
    assert (
        open_scenes("pictures", 5, 6, 16, Silent()).rows(np.arange(6)).tobytes() == first.tobytes()
    )


def test_several_processes_write_the_same(cache, monkeypatch):
    monkeypatch.setattr(scenes, "CHUNK", 3)
    monitor = Counting()
    shared = open_scenes("pictures", 5, 8, 16, monitor)
    assert monitor.done == 8 == len(shared)
    monkeypatch.setattr(scenes, "CHUNK", 100)
    numbers = np.array([7, 0, 3, 3])
    alone = open_scenes("pictures", 5, 8, 16, Silent()).rows(numbers)
    monkeypatch.setattr(scenes, "CHUNK", 3)
    assert shared.rows(numbers).tobytes() == alone.tobytes()


def test_a_process_that_fails_is_named(cache, monkeypatch):
    monkeypatch.setattr(scenes, "CHUNK", 3)
    monkeypatch.setattr(rendering.sys, "executable", "/bin/false")
    with pytest.raises(Failure, match=r"-3\.npy failed \(exit status 1\)"):
        open_scenes("pictures", 5, 6, 16, Silent())


def test_a_stop_keeps_whole_files(cache, monkeypatch):
    class Stopping(Silent):
        def advance(self, count=1):
            raise Cancelled("stopped by Ctrl-C.")

    monkeypatch.setattr(scenes, "CHUNK", 3)
    with pytest.raises(Cancelled):
        open_scenes("pictures", 5, 9, 16, Stopping())
    monitor = Counting()
    open_scenes("pictures", 5, 9, 16, monitor)
    assert monitor.done < 9


def test_a_number_of_objects(cache):
    rows = open_scenes("pictures", 5, 4, 16, Silent(), objects=1).rows(np.arange(4))
    assert all(len(facts_of_row(row).objects) == 1 for row in rows)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: b"no numpy", lambda c: b""])
def test_damaged_files_are_named(cache, change):
    open_scenes("pictures", 5, 4, 16, Silent())
    (file,) = cache.rglob("*.npy")
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(Damaged, match="00000000-4"):
        open_scenes("pictures", 5, 4, 16, Silent())


def test_no_room(cache, monkeypatch):
    def fail(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(rendering.files, "write_plain", fail)
    with pytest.raises(NoRoom, match="scenes"):
        open_scenes("pictures", 5, 4, 16, Silent())


def test_each_epoch_has_every_scene_once():
    numbers = in_order(10, 0, 30, seed=3)
    epochs = numbers.reshape(3, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert np.array_equal(in_order(10, 7, 6, seed=3), numbers[7:13])
    assert not np.array_equal(in_order(10, 0, 30, seed=4), numbers)


def test_columns_have_their_own_memory(cache):
    rows = open_scenes("pictures", 5, 4, 16, Silent()).rows(np.array([2, 1]))
    columns = as_tensors(rows)
    assert set(columns) == set(rows.dtype.names)
    rows["picture"][:] = 0
    assert columns["picture"].any()
    assert columns["picture"].shape == (2, 16, 16, 3)


def test_chances_are_an_item_s_own():
    whole = chances(10, 0, 35, seed=2)
    assert whole.shape == (35,) and ((whole >= 0) & (whole < 1)).all()
    assert len(set(whole.tolist())) == 35  # each epoch has its own
    assert np.array_equal(np.concatenate([chances(10, 0, 7, 2), chances(10, 7, 28, 2)]), whole)
    assert not np.array_equal(chances(10, 0, 35, seed=3), whole)
