import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import scene_from_json, scene_to_data
from graftwerk.errors import BadFile

GOOD = scene_to_data(sample_scene(0, 5))  # a cylinder or a person and others


def changed(*path, value):
    data = json.loads(json.dumps(GOOD))
    location = data
    for key in path[:-1]:
        location = location[key]
    location[path[-1]] = value
    return json.dumps(data)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9))
def test_json_round_trip(seed: int, number: int) -> None:
    scene = sample_scene(seed, number)
    assert scene_from_json(json.dumps(scene_to_data(scene))) == scene


def test_floats_survive_exactly() -> None:
    text = changed("camera", "field_of_view", value=0.1 + 39.2)
    assert scene_from_json(text).camera.field_of_view == 0.1 + 39.2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the text"),
        ("[1]", "the text"),
        ("null", "the text"),
        (json.dumps(GOOD)[:-3], "the text"),
        (changed("ground", value="lava"), "ground"),
        (changed("extra", value=1), "extra"),
        (changed("camera", "field_of_view", value="wide"), "camera.field_of_view"),
        (changed("camera", "field_of_view", value=float("nan")), "field_of_view"),
        (changed("camera", "field_of_view", value=179), "camera.field_of_view"),
        (changed("camera", "position", value=[0, 1]), "camera.position"),
        (changed("camera", "position", value=[0.0, -1.0, 5.0]), "camera at"),
        (changed("camera", "position", value=[0.0, 4.0, 0.0]), "camera at"),
        (changed("objects", value=[GOOD["objects"][0]] * 5), "objects"),
        (changed("objects", 0, "size", value=0), "objects.0.size"),
        (changed("objects", 0, "colour", value="pink"), "objects.0.colour"),
        (changed("objects", 0, "pose", value="flying"), "objects.0.pose"),
        (
            changed("objects", 0, "kind", value="cone" if GOOD["objects"][0]["pose"] else "person"),
            "objects.0",
        ),
        ("[" * 100_000, "the text"),
    ],
    ids=lambda value: str(value)[-24:],
)
def test_what_is_no_scene(text: str, expected: str) -> None:
    with pytest.raises(BadFile, match="not a scene") as caught:
        scene_from_json(text)
    assert expected in caught.value.message
    assert caught.value.hint
