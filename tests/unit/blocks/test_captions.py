import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.blocks.captions import (
    Facts,
    ObjectFacts,
    caption_of,
    conflicting,
    facts_of,
    parse,
    partial,
    say,
)
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import COLOURS, GROUNDS, KINDS, POSES, TIMES
from graftwerk.errors import BadInput


def maybe(values):
    return st.none() | st.sampled_from(values)


OBJECTS = st.builds(ObjectFacts, maybe(KINDS[:-1]), maybe(COLOURS)) | st.builds(
    ObjectFacts, st.just("person"), maybe(COLOURS), maybe(POSES)
)
# arguments of Facts, which the tests make: shape checks draw random numbers, strategies must not
FACTS = st.tuples(st.lists(OBJECTS, max_size=5).map(tuple), maybe(GROUNDS), maybe(TIMES))


@settings(max_examples=50, deadline=None)
@given(FACTS)
def test_parse_undoes_say(parts: tuple) -> None:
    facts = Facts(*parts)
    text = say(facts)
    assert parse(text) == facts
    assert parse(f"  {text.replace(' ', '   ')}\n") == facts


def test_words() -> None:
    blue = ObjectFacts("person", "blue", "waving")
    cube, orange = ObjectFacts("cube", "black"), ObjectFacts("cone", "orange")
    assert (
        say(Facts((blue, cube), "stone", "sunset"))
        == "a waving person in blue and a black cube on stone at sunset"
    )
    assert (
        say(Facts((orange, cube, blue)))
        == "an orange cone, a black cube and a waving person in blue"
    )
    assert say(Facts((ObjectFacts("person", "red", "arms out"),), "snow", "day")) == (
        "a person in red with arms out on snow by day"
    )
    assert (
        say(Facts((ObjectFacts(), ObjectFacts(None, "orange")))) == "an object and an orange object"
    )
    assert say(Facts((), "grass", "night")) == "a scene on grass at night"


def test_caption_of_a_scene() -> None:
    for number in range(40):
        scene = sample_scene(1, number)
        assert parse(caption_of(scene)) == facts_of(scene)
        assert [thing.kind for thing in facts_of(scene).objects] == [
            thing.kind for thing in scene.objects
        ]


@pytest.mark.parametrize(
    "text",
    ["", "and", "a red", "red cube", "an red cube", "a orange cube", "a red cube on lava",
     "a waving cube", "a red cube and", "a red cube at noon", "a red cube, a blue cone,", "a Red cube",
     "a red cube at night on sand", "a scene and a red cube"],
)  # fmt: skip
def test_what_is_no_caption(text: str) -> None:
    with pytest.raises(BadInput, match="is not a part of a caption"):
        parse(text)


def test_only_people_have_poses() -> None:
    with pytest.raises(ValueError, match="has no pose"):
        ObjectFacts("cube", "red", "sitting")


def attributes(facts: Facts) -> list:
    things = [value for t in facts.objects for value in (t.kind, t.colour, t.pose)]
    return [*things, facts.ground, facts.time]


@settings(max_examples=50, deadline=None)
@given(FACTS, st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_partial_says_less_and_nothing_else(parts: tuple, seed: int, keep: float) -> None:
    facts = Facts(*parts)
    less = partial(facts, np.random.default_rng(seed), keep)
    assert parse(say(less)) == less
    assert less.ground in (None, facts.ground)
    assert less.time in (None, facts.time)
    rest = iter(facts.objects)
    for thing in less.objects:  # each comes from an object, in their order
        assert any(
            thing.kind in (None, whole.kind)
            and thing.colour in (None, whole.colour)
            and thing.pose in (None, whole.pose)
            for whole in rest
        )
    assert less != facts or facts == Facts()


def test_partial_varies_and_checks_its_share() -> None:
    facts = facts_of(sample_scene(0, 3))
    predicted = {say(partial(facts, np.random.default_rng(seed))) for seed in range(40)}
    assert len(predicted) > 15
    with pytest.raises(ValueError, match="between 0 and 1"):
        partial(facts, np.random.default_rng(0), 1.5)


@settings(max_examples=50, deadline=None)
@given(FACTS, st.integers(0, 1000), st.integers(0, 6))
def test_conflicting_changes_exactly_so_many(parts: tuple, seed: int, changes: int) -> None:
    facts = Facts(*parts)
    generator = np.random.default_rng(seed)
    predicted = [v for v in attributes(facts) if v is not None and v != "person"]
    if changes > len(predicted):
        with pytest.raises(ValueError, match="changes"):
            conflicting(facts, generator, changes)
        return
    wrong = conflicting(facts, generator, changes)
    assert parse(say(wrong)) == wrong
    pairs = list(zip(attributes(facts), attributes(wrong), strict=True))
    assert sum(a != b for a, b in pairs) == changes
    assert all((a is None) == (b is None) for a, b in pairs)
