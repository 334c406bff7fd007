from pathlib import Path

import pytest

from graftwerk import limits
from graftwerk.blocks import map_images
from graftwerk.commands import blocks
from graftwerk.errors import BadFile, BadInput, Cancelled, NoRoom
from graftwerk.requests.models import BlocksRender
from graftwerk.types import Silent


class Counting(Silent):
    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def start(self, task: str, total: int | None = None) -> None:
        self.total = total

    def advance(self, count: int = 1) -> None:
        self.done += count


class Stopping(Silent):
    def advance(self, count: int = 1) -> None:
        raise Cancelled("stopped by Ctrl-C.")


def test_report_and_progress(tmp_path: Path) -> None:
    monitor = Counting()
    out = tmp_path / "new" / "blocks"
    report = blocks.run_blocks_render(BlocksRender(count=3, size=16, seed=4, out=out), monitor)
    assert (report.scenes, report.size, report.seed) == (3, 16, 4)
    assert monitor.total == monitor.done == 3
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    assert report.bytes == sum(sizes)
    assert len(sizes) == 3 * 7 + 2
    assert [path.name for path in out.parent.iterdir()] == ["blocks"]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    blocks.run_blocks_render(BlocksRender(count=1, size=16, out=tmp_path / "empty"), Silent())
    assert (tmp_path / "empty/train/000000.png").is_file()


def test_what_is_there_stays(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    for out in ("full", "full/notes.txt", "link", "."):
        with pytest.raises(BadFile) as caught:
            blocks.run_blocks_render(BlocksRender(count=1, size=16, out=out), Silent())
        assert "--out" in caught.value.hint
    assert (tmp_path / "full/notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "link"]


@pytest.mark.parametrize("existed", [False, True])
def test_a_stop_leaves_nothing_half(tmp_path: Path, existed: bool) -> None:
    out = tmp_path / "blocks"
    if existed:
        out.mkdir()
    with pytest.raises(Cancelled, match=r"stopped.* was not written"):
        blocks.run_blocks_render(BlocksRender(count=70, size=16, out=out), Stopping())
    assert list(tmp_path.iterdir()) == ([out] if existed else [])
    assert not existed or not list(out.iterdir())


def test_a_full_disk(tmp_path: Path, monkeypatch) -> None:

    def fail(path: Path, image: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(map_images, "_write_image", fail)
    with pytest.raises(NoRoom, match="blocks"):
        blocks.run_blocks_render(BlocksRender(count=3, size=16, out=tmp_path / "blocks"), Silent())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("count", (1, limits.SCENES), (0, -1, limits.SCENES + 1)),
        ("size", (16, limits.SCENE_SIDE), (15, 0, limits.SCENE_SIDE + 1)),
        ("seed", (0, 2**63 - 1), (-1, 2**63)),
    ],
)
def test_limits(field: str, good: tuple, bad: tuple) -> None:
    for value in good:
        assert getattr(BlocksRender(out="x", **{field: value}), field) == value
    for value in bad:
        with pytest.raises(BadInput):
            BlocksRender(out="x", **{field: value})
