"""The tour's page from few pictures and short trainings; `tests/surface` has the whole one."""

import pytest

from graftwerk import requests, tour
from graftwerk.errors import BadInput
from graftwerk.tour import compare, control, guide, images, probe, style
from graftwerk.types import Silent

SMALL = {
    compare: {"_TEXTS": 48, "_EPOCHS": 1},
    control: {"PROMPTS": ("a cube",), "AMBIGUOUS": ("a blue sphere",), "_STEPS": 2, "_HELD_OUT": 2}
    | {"DRAWING_STEPS": 2, "SCENES": 16, "STEPS": 2, "BATCH": 4, "MEASURED": 2},
    guide: {"CLASSES": ("red cube",), "COUNT": 2, "SWEPT": 12, "SCALES": "0,3"}
    | {"DRAWING_STEPS": 2, "DESCENT": 4},
    probe: {"SCENES": 40, "MOVED": 1},
    images: {"PROMPTS": images.PROMPTS[:1], "SEARCHED": ("a cone",), "RENDERED": 8},
    style: {"PROMPTS": style.PROMPTS[:1], "PICTURES": 8, "STEPS": 2, "SCALES": ("0", "1")}
    | {"DRAWING_STEPS": 2, "COUNT": 2},
}


def test_the_page(tmp_path, monkeypatch):
    for module, sizes in SMALL.items():
        for name, value in sizes.items():
            monkeypatch.setattr(module, name, value)
    out = tmp_path / "tour"
    out.mkdir()
    (out / "index.html").write_text("<title>Graftwerk: the tour</title> of an earlier one")
    report = tour.run(requests.Tour(out=out), Silent())
    page = (out / "index.html").read_text()
    for title in report.chapters:
        assert f"{title}</h2>" in page
    assert page.count('class="question"') == 5 + 1 + 2 + 1  # asked, shown, searched for, guided to
    assert page.count("Not in these documents.") == 1
    assert "<script" not in page and "http://" not in page
    for named in page.split('src="')[1:]:
        assert (out / named.partition('"')[0]).is_file(), named


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(BadInput, match=r"holds no tour: 'mine\.txt' is there"):
        tour.run(requests.Tour(out=tmp_path), Silent())
    with pytest.raises(BadInput, match="is not a folder"):
        tour.run(requests.Tour(out=tmp_path / "mine.txt"), Silent())
    assert (tmp_path / "mine.txt").read_text() == "keep me"
