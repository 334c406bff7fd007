"""Reading `--control`, and what cannot be followed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graftwerk.contracts import Silent
from graftwerk.errors import BadInput, UnknownName
from graftwerk.requests import Generate
from graftwerk.verbs import generate
from graftwerk.verbs.controls import Asked, levels_of, parse_control


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("canny=a.jpg", Asked("canny", Path("a.jpg"), False)),
        ("canny-map=a.jpg:0.5", Asked("canny", Path("a.jpg"), True, 0.5)),
        (
            "depth=d.png:0.6@0-0.7#mask.png",
            Asked("depth", Path("d.png"), False, 0.6, 0.0, 0.7, Path("mask.png")),
        ),
        ("pose=a:b.png@0.2-1", Asked("pose", Path("a:b.png"), False, 1.0, 0.2, 1.0)),
    ],
)
def test_entries(entry, asked):
    assert parse_control(entry) == asked


def test_a_file_whose_name_looks_like_options(tmp_path):
    path = tmp_path / "x:0.5#y.png"
    path.write_bytes(b"")
    assert parse_control(f"canny={path}").file == path


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a.jpg", "cannot be read"),
        ("canny=a.jpg:99", "weight 99"),
        ("canny=a.jpg:-1", "weight -1"),
        ("canny=a.jpg@0.8-0.2", "acts from 0.8 to 0.2"),
    ],
)
def test_entries_that_make_no_sense(entry, message):
    with pytest.raises(BadInput, match=message):
        parse_control(entry)


def test_an_unknown_kind_is_told_its_neighbours():
    with pytest.raises(UnknownName, match="canny"):
        parse_control("cany=a.jpg")


def test_steps_within_an_interval():
    sigmas = [10.0, 5.0, 2.0, 1.0, 0.0]
    assert levels_of(0.0, 1.0, sigmas) == (1.0, 10.0)
    assert levels_of(0.0, 0.5, sigmas) == (5.0, 10.0)
    assert levels_of(0.25, 0.8, sigmas) == (2.0, 5.0)
    with pytest.raises(BadInput, match="no whole step"):
        levels_of(0.3, 0.4, sigmas)


def test_a_control_without_a_branch_says_how_to_name_one(tmp_path, text_pipeline):
    picture = tmp_path / "p.png"
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(picture)
    with pytest.raises(BadInput, match="--branch depth=FOLDER"):
        request = Generate(
            model=str(text_pipeline), control=[f"depth={picture}"], out=tmp_path / "o", device="cpu"
        )
        generate.run(request, Silent())
    with pytest.raises(BadInput, match="--best-of"):
        request = Generate(
            model=str(text_pipeline), best_of=2, steps=1, out=tmp_path / "o", device="cpu"
        )
        generate.run(request, Silent())
