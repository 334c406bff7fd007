"""`--grid`: every cell is the image of its own request, on one sheet with labels."""

from pathlib import Path

import pytest
from PIL import Image

import graftwerk
from graftwerk.cli.show import show
from graftwerk.commands.generate import run_generate
from graftwerk.errors import BadInput, Cancelled, UnknownName
from graftwerk.generation.spec import parse_grid
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def ask(text_pipeline, tmp_path):
    def request(**changes):
        given = {"model": str(text_pipeline), "steps": 3, "out": tmp_path / "out", "seed": 5}
        for axis in changes.get("grid", []):
            given.pop(axis.partition("=")[0], None)
        return graftwerk.Generate(prompt="a red cube", **(given | changes))

    return request


def pixels(path):
    return Image.open(path).tobytes()


def test_cells_are_the_images_of_their_requests(ask, tmp_path, capsys):
    report = run_generate(ask(grid=["cfg=1,4", "steps=2,3,4"]), Silent())
    show(report)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "dpmpp_2m, " in last and " steps, " not in last  # which differ; steps a second stay
    assert [cell.values for cell in report.grid] == [
        {"cfg": cfg, "steps": steps} for steps in "234" for cfg in "14"
    ]
    assert len(report.pictures) == 6 and len({image.path for image in report.pictures}) == 6
    [alone] = run_generate(ask(cfg=4.0, steps=3, count=1, out=tmp_path / "b"), Silent()).pictures
    [path] = report.grid[3].pictures
    assert pixels(path) == pixels(alone.path)
    again = run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Silent())
    assert Path(again.pictures[0].path).read_bytes() == Path(path).read_bytes()
    with Image.open(report.sheet) as sheet:
        assert sheet.width > 2 * 16 and sheet.height > 3 * 16


def test_around_an_image(ask, tmp_path):
    [origin] = run_generate(ask(count=1), Silent()).pictures
    request = graftwerk.Generate(from_=origin.path, grid=["cfg=1,5"], out=tmp_path / "g")
    report = run_generate(request, Silent())
    assert pixels(report.grid[1].pictures[0]) == pixels(origin.path)  # its own cfg is 5
    assert pixels(report.grid[0].pictures[0]) != pixels(origin.path)


def test_a_grid_of_guide_scales(tmp_path):
    def drawn(scale, **more):
        request = graftwerk.Generate(
            guide=[f"class=red cube:{scale}"], count=1, steps=3, out=tmp_path / "out", **more
        )
        return [pixels(one.path) for one in run_generate(request, Silent()).pictures]

    assert drawn("0", grid=["guide-scale=0,8"]) == drawn("0") + drawn("8")


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        (["cfg"], BadInput, "cfg=1,3,5"),
        (["lora=a,b"], UnknownName, "option of a grid"),
        (["lora-scale=0,1"], BadInput, "needs exactly one `lora`; there are 0"),
        (["cfg=1,2", "cfg=3"], BadInput, "given twice"),
        (["steps=1,x"], BadInput, "steps 'x'"),
        (["steps=" + ",".join(map(str, range(1, 102)))], BadInput, "101 cells"),
    ],
)
def test_what_is_refused(ask, tmp_path, grid, error, message):
    with pytest.raises(error, match=message):
        run_generate(ask(grid=grid), Silent())
    assert not (tmp_path / "out").exists()


def test_options_are_written_as_on_the_command_line():
    grid = parse_grid(["guide-interval=0:1,0:3"])
    assert grid.columns.labels == ["guide-interval 0:1", "guide-interval 0:3"]


def test_what_is_varied_is_not_given_too(ask):
    with pytest.raises(BadInput, match="`grid` varies steps, which is also given"):
        run_generate(ask(grid=["steps=2,3"], steps=5), Silent())


class Stopping(Silent):
    """Stops after a number of images."""

    def __init__(self, after):
        self.left, self.notes = after, []

    def advance(self, count=1):
        self.left -= count
        if self.left < 0:
            raise Cancelled("stopped.", "")

    def note(self, text):
        self.notes.append(text)


def test_finished_images_of_all_cells_are_counted(ask, tmp_path):
    monitor = Stopping(8)
    with pytest.raises(Cancelled):
        run_generate(ask(grid=["cfg=1,2,3,4,5,6"]), monitor)
    there = len(list((tmp_path / "out").glob("*.png")))
    assert there > 1
    assert monitor.notes == [f"{there} finished images are in {tmp_path / 'out'}"]
