"""`graftwerk.conditions`: arrays, Pillow images and files in, Pillow images and arrays out."""

import inspect

import numpy as np
import pytest
from PIL import Image

import graftwerk as gw
from graftwerk.blocks.renderer import render
from graftwerk.blocks.sampling import sample_scene
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.conditions.kinds.canny import CannySettings, canny
from graftwerk.errors import BadFile, BadInput, UnknownName

SCENE = render(sample_scene(5, 2), 48, 64)


def test_the_table_is_the_one_of_the_kinds() -> None:
    assert tuple(CONDITIONS) == gw.conditions.KINDS
    for name in gw.conditions.__all__:
        assert inspect.getdoc(getattr(gw.conditions, name)), name


@pytest.mark.parametrize("kind", gw.conditions.KINDS)
def test_one_function_a_kind(kind, tmp_path) -> None:
    function = getattr(gw.conditions, kind)
    expected = CONDITIONS[kind].from_image(SCENE)
    Image.fromarray(SCENE).save(tmp_path / "scene.png")
    for given in (SCENE, Image.fromarray(SCENE), tmp_path / "scene.png"):
        found = function(given)
        assert isinstance(found, Image.Image) and found.mode == "RGB"
        assert np.array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("kind", gw.conditions.KINDS)
def test_exact_conditions_are_kept_entirely(kind) -> None:
    exact = gw.conditions.of_scene(kind, 4, seed=3, size=48)
    assert np.array_equal(np.asarray(exact), CONDITIONS[kind].from_scene(sample_scene(3, 4), 48))
    if np.asarray(exact).any():
        assert gw.conditions.require_map(kind, exact).size == (48, 48)


def test_the_stages_of_canny() -> None:
    stages = gw.conditions.canny(SCENE, low=0.05, high=0.4, stages=True)
    expected = canny(SCENE[None], CannySettings(low=0.05, high=0.4))
    assert stages.grey.shape == stages.edges.shape == (48, 64)
    for name in ("grey", "blurred", "slope", "direction", "thinned", "levels", "edges"):
        assert np.array_equal(getattr(stages, name), getattr(expected, name)[0])
    assert float(stages.low) == expected.low[0]
    assert np.array_equal(np.asarray(stages.image)[..., 0] > 0, stages.edges)
    assert stages.sheet().width > 4 * 64
    assert repr(stages).startswith("CannyStages(64 x 48 pixels, ")
    assert stages._repr_html_().startswith("<img")
    plain = gw.conditions.canny(SCENE, low=0.05, high=0.4)
    assert plain.tobytes() == stages.image.tobytes()


def test_thresholds_above_1_are_slopes() -> None:
    assert float(gw.conditions.canny(SCENE, 20.0, 60.0, stages=True).high) == 60
    automatic = gw.conditions.canny(SCENE, auto=True, stages=True)
    assert float(automatic.low) == pytest.approx(0.4 * float(automatic.high))


def test_fidelity() -> None:
    edges = gw.conditions.canny(SCENE)
    found = gw.conditions.measure("canny", edges, [SCENE, np.zeros_like(SCENE)])
    assert found.scores.tolist() == [1.0, 0.0]
    with pytest.raises(BadInput, match="of its size"):
        gw.conditions.measure("canny", edges, [SCENE[:-1]])
    with pytest.raises(BadInput, match="same size"):
        gw.conditions.measure("canny", edges, [SCENE, SCENE[:-1]])
    with pytest.raises(BadInput, match="the condition is not a canny map"):
        gw.conditions.measure("canny", gw.conditions.of_scene("depth", 3, size=64), [SCENE])
    with pytest.raises(BadInput, match="no image"):
        gw.conditions.measure("canny", edges, [])


def test_what_is_refused(tmp_path) -> None:
    with pytest.raises(UnknownName, match="cany"):
        gw.conditions.of_image("cany", SCENE)
    with pytest.raises(BadFile):
        gw.conditions.canny(tmp_path / "missing.png")
    with pytest.raises(BadInput, match="shape"):
        gw.conditions.canny(np.zeros((2, 3, 4, 5)))
    with pytest.raises(BadInput, match="low <= high"):
        gw.conditions.canny(SCENE, low=0.5, high=0.1)
    with pytest.raises(BadInput, match="not a canny map"):
        gw.conditions.require_map("canny", SCENE)
    with pytest.raises(BadInput, match="classical method"):
        gw.conditions.of_image("canny", SCENE, estimator="anything")
