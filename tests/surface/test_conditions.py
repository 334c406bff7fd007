"""A person who makes conditions: of a photograph, of a scene, of a drawing; and measures edges."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from graftwerk.conditions.kinds import CONDITIONS


@pytest.fixture
def photograph(tmp_path):
    image = Image.new("RGB", (120, 90), (200, 220, 240))
    ImageDraw.Draw(image).rectangle((30, 20, 90, 70), fill=(120, 30, 30))
    image.save(tmp_path / "photo.jpg", quality=95)
    return "photo.jpg"


def test_list(graft) -> None:
    done = graft("condition", "list")
    assert done.code == 0, done.err
    for name in CONDITIONS:
        assert f"\n{name}: " in "\n" + done.out
    assert len(graft("condition", "list", "--json").json["kinds"]) == 8


def test_canny_with_its_steps(graft, photograph, tmp_path) -> None:
    done = graft(
        "condition", "canny", photograph, "--stages", "--thresholds", "auto", "-o", "a.png"
    )
    assert done.code == 0, done.err
    assert "canny: 120 x 90 pixels" in done.out and "-> a.png" in done.out
    assert "thresholds by auto, low " in done.out  # the choice is told
    report = graft("condition", "canny", photograph, "--json", "--quiet", "--out", "b.png").json
    assert report["thresholds"][0] == pytest.approx(report["thresholds"][1] / 3)
    with Image.open(tmp_path / "b.png") as edges:
        assert set(np.unique(np.asarray(edges))) == {0, 255}


def test_a_photograph_that_the_built_in_model_does_not_know(graft, photograph) -> None:
    done = graft("condition", "depth", photograph)
    assert done.code == 0, done.err
    assert "--estimator" in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dept", "photo.jpg"], "condition 'dept' is not known. Did you mean depth?"),
        (["zzz", "photo.jpg"], "condition 'zzz' is not known. Allowed: all, canny"),
        (["depth"], "neither an image nor a scene was given"),
        (["depth", "nowhere.png"], "nowhere.png"),
        (["depth", "photo.jpg", "--finished"], "photo.jpg is not a depth map: it is in color"),
        (["canny", "photo.jpg", "--thresholds", "3"], "--thresholds '3' cannot be read"),
        (["canny", "photo.jpg", "--sigma", "0"], "above 0"),
        (["canny", "photo.jpg", "--kernel", "6"], "6 pixels wide has no middle pixel"),
        (["canny", "photo.jpg", "--estimator", "x"], "no model estimates canny"),
        (["depth", "photo.jpg", "--estimator", "nowhere"], "'nowhere' is neither a"),
        (["depth", "photo.jpg", "-o", "a.jpg"], "a.jpg cannot be a PNG file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(arguments, expected, graft, photograph) -> None:
    done = graft("condition", *arguments, "--quiet")
    assert done.code == 2 and done.out == ""
    assert expected in done.err
    assert done.err.count("\n") == 1


def test_edges_against_people(graft, photograph, tmp_path) -> None:
    sampled = np.zeros((1, 90, 120), dtype=bool)
    sampled[0, 20:71, (29, 90)] = True
    sampled[0, (19, 70), 30:91] = True
    buffer = io.BytesIO()
    np.savez_compressed(buffer, boundaries=sampled)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(tmp_path / photograph, "photo.jpg")
        archive.writestr("photo.npz", buffer.getvalue())
    done = graft("eval", "edges", "data.zip")
    assert done.code == 0, done.err
    assert done.out.startswith("ODS") and "1 image, 1 people's boundaries" in done.out
    assert graft("eval", "edges", "data.zip", "--json").json["ods"] > 0.9
    missing = graft("eval", "edges", "photo.jpg")
    assert missing.code == 2 and "not a zip" in missing.err
