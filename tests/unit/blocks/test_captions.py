import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.blocks.captions import (
    _MEANINGS,
    Facts,
    ObjectFacts,
    Reading,
    as_caption,
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


SAID_OTHERWISE = {
    "red cube": ("a red cube", ()),
    "A red cube on the grass.": ("a red cube on grass", ()),
    "two red balls on snow": ("a red sphere and a red sphere on snow", ()),
    "a big red box": ("a red cube", ("big",)),
    "a blue ball left of a yellow box": ("a blue sphere and a yellow cube", ()),
    "a yellow ball to the right of a red can": ("a red cylinder and a yellow sphere", ()),
    "on the right a red cube, on the left a cone": ("a cone and a red cube", ()),
    "a cube that is red and a ball that is green": ("a red cube and a green sphere", ()),
    "A man in blue is waving, at midnight": ("a waving person in blue at night", ()),
    "people sitting at dusk": ("a sitting person and a sitting person at sunset", ()),
    "a woman in red with outstretched arms": ("a person in red with arms out", ()),
    "a green cube behind a red ball": ("a green cube and a red sphere", ("behind",)),
    "a red cube on a blue cube": ("a red cube and a blue cube", ("on",)),
    "a red cube without people, on snow": ("a red cube on snow", ("without", "people")),
    "five red cubes": ("a red cube and a red cube", ("five",)),
    "four cubes and a red ball": ("a cube, a cube, a cube and a cube", ("sphere",)),
    "a red bicycle and a cube": ("a cube", ("bicycle", "red")),
    "a cube on snow, on sand": ("a cube on snow", ("sand",)),
    "a waving cube": ("a cube", ("waving",)),
}


@pytest.mark.parametrize("prompt", SAID_OTHERWISE)
def test_a_prompt_in_other_words_is_read_as_a_caption(prompt: str) -> None:
    caption, unread = SAID_OTHERWISE[prompt]
    assert as_caption(prompt) == Reading(caption, unread)
    assert as_caption(caption) == Reading(caption, ())


@pytest.mark.parametrize("prompt", ["", "a dog riding a bicycle in Paris", "no cube", "red"])
def test_a_prompt_of_other_things_is_not_read(prompt: str) -> None:
    assert as_caption(prompt) is None


@settings(max_examples=100, deadline=None)
@given(FACTS)
def test_a_caption_is_read_as_itself_however_it_is_worded(parts: tuple) -> None:
    parts = (parts[0][:4], *parts[1:])
    caption = say(Facts(*parts))
    assert as_caption(caption) == Reading(caption, ())
    reading = as_caption(f"Please draw {caption}!".upper())
    assert reading == (None if Facts(*parts) == Facts() else Reading(caption, ()))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*_MEANINGS, "left", "right-of", "left-of", "moon"]), max_size=30))
def test_whatever_is_read_is_a_caption(words: list[str]) -> None:
    reading = as_caption(" ".join(words))
    if reading is not None:
        assert say(parse(reading.caption.lower())) == reading.caption.lower()
