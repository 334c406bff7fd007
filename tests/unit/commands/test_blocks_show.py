from pathlib import Path

import pytest
from PIL import Image

from graftwerk.blocks.captions import caption_of
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import scene_to_data
from graftwerk.commands import blocks
from graftwerk.errors import BadFile
from graftwerk.requests.models import BlocksShow
from graftwerk.types import Silent


def test_sheet_and_report(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "scene.png"
    report = blocks.run_blocks_show(BlocksShow(scene=4, seed=2, size=32, out=out), Silent())
    scene = sample_scene(2, 4)
    assert report.caption == caption_of(scene)
    assert report.scene == scene_to_data(scene)
    assert Path(report.out) == out
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > sheet.height
    first = out.read_bytes()
    blocks.run_blocks_show(BlocksShow(scene=4, seed=2, size=32, out=out), Silent())
    assert out.read_bytes() == first


@pytest.mark.parametrize("name", ["scene.jpg", "scene", "folder.png"])
def test_files_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadFile, match="cannot be a PNG file"):
        blocks.run_blocks_show(BlocksShow(size=16, out=tmp_path / name), Silent())
