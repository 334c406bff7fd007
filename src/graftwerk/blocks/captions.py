"""Captions in a small grammar: generate them from facts, and parse them back.

    caption = things [" on " ground] [" " time]
    things  = thing {", " thing} " and " thing | thing | "a scene"
    thing   = article [colour] (kind | "object")
            | article [("standing" | "waving" | "sitting")] "person" ["in" colour]
              ["with arms out"]

Objects are listed from left to right. An unspecified part is None in the facts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np

from ..errors import BadInput
from .scene import (
    COLOURS,
    GROUNDS,
    KINDS,
    MOST_OBJECTS,
    POSES,
    TIMES,
    Colour,
    Ground,
    Kind,
    Pose,
    Scene,
    Time,
)

_TIME_WORDS: dict[Time, str] = {"day": "by day", "sunset": "at sunset", "night": "at night"}
_ARMS_OUT = " with arms out"
_NO_OBJECTS = "a scene"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a caption states about one object.

    Attributes:
        kind: None for "an object", which has no pose either.
        colour: None if unspecified.
        pose: of a person; None if unspecified.
    """

    kind: Kind | None = None
    colour: Colour | None = None
    pose: Pose | None = None

    def __post_init__(self) -> None:
        if self.pose is not None and self.kind != "person":
            raise ValueError(f"a {self.kind} has no pose, got {self.pose!r}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a caption states: objects from left to right, ground and time."""

    objects: tuple[ObjectFacts, ...] = ()
    ground: Ground | None = None
    time: Time | None = None


def facts_of(scene: Scene) -> Facts:
    """Return everything that a caption can state about a scene."""
    things = (ObjectFacts(thing.kind, thing.colour, thing.pose) for thing in scene.objects)
    return Facts(tuple(things), scene.ground, scene.time)


def caption_of(scene: Scene) -> str:
    """Return the full caption of a scene."""
    return say(facts_of(scene))


def say(facts: Facts) -> str:
    """Turn facts into a caption.

    >>> say(Facts((ObjectFacts("person", "blue", "waving"), ObjectFacts("cube", "black")), "stone"))
    'a waving person in blue and a black cube on stone'
    """
    phrases = [_say_object(thing) for thing in facts.objects] or [_NO_OBJECTS]
    text = " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
    if facts.ground is not None:
        text += f" on {facts.ground}"
    if facts.time is not None:
        text += f" {_TIME_WORDS[facts.time]}"
    return text


def _say_object(thing: ObjectFacts) -> str:
    words: str = thing.kind or "object"
    if thing.kind == "person":
        if thing.pose is not None and thing.pose != "arms out":
            words = f"{thing.pose} {words}"
        if thing.colour is not None:
            words += f" in {thing.colour}"
        if thing.pose == "arms out":
            words += _ARMS_OUT
    elif thing.colour is not None:
        words = f"{thing.colour} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def object_phrases() -> dict[str, str]:
    """Map each color and kind ("red cube") to its phrase in a caption ("a red cube")."""
    return {
        f"{colour} {kind}": say(Facts((ObjectFacts(kind, colour),)))
        for colour in COLOURS
        for kind in KINDS
    }


def parse(text: str) -> Facts:
    """Parse a caption: `parse(say(facts)) == facts`.

    Raises:
        BadInput: the text does not follow the grammar; the message names the part that was not
            understood.
    """
    rest = " ".join(text.split())
    rest, time = _cut_end(rest, {f" {words}": time for time, words in _TIME_WORDS.items()})
    rest, ground = _cut_end(rest, {f" on {ground}": ground for ground in GROUNDS})
    if rest == _NO_OBJECTS:
        return Facts((), ground, time)
    phrases = rest.replace(" and ", ", ").split(", ")
    return Facts(tuple(_parse_object(phrase) for phrase in phrases), ground, time)


def _cut_end(text: str, endings: dict[str, T]) -> tuple[str, T | None]:
    for ending, value in endings.items():
        if text.endswith(ending):
            return text.removesuffix(ending), value
    return text, None


def _parse_object(phrase: str) -> ObjectFacts:
    for thing in _all_objects():
        if _say_object(thing) == phrase:
            return thing
    raise BadInput(
        f"{phrase!r} is not a part of a caption.",
        "Captions look like: a waving person in blue and a black cube on stone at sunset.",
    )


def _all_objects() -> list[ObjectFacts]:
    colours = (None, *COLOURS)
    things = [ObjectFacts(kind, colour) for kind in (None, *KINDS) for colour in colours]
    return things + [ObjectFacts("person", colour, pose) for colour in colours for pose in POSES]


def not_understood(prompt: str) -> list[str]:
    """Words of a prompt that no caption has, in their order.

    >>> not_understood("Two red cubes and a bicycle on grass.")
    ['two', 'cubes', 'bicycle', '.']
    """
    words = re.findall(r"\w+|[^\w\s,]", prompt.lower())
    return [word for word in dict.fromkeys(words) if word not in _words()]


@cache
def _words() -> frozenset[str]:
    phrases = [_NO_OBJECTS, _ARMS_OUT, "and on", *GROUNDS, *_TIME_WORDS.values()]
    return frozenset(" ".join([*phrases, *map(_say_object, _all_objects())]).split())


def remark_on(prompt: str) -> str | None:
    """What a model that learned captions cannot know of a prompt; None where it is one."""
    like = "the model learned captions such as 'a waving person in blue and a black cube on stone'"
    unknown = not_understood(prompt)
    if unknown:
        return f"{like}; not understood: {', '.join(unknown)}"
    try:
        parse(prompt.lower())
    except BadInput:
        return f"{like}; this prompt is worded otherwise: {' '.join(prompt.split())[:60]!r}"
    return None


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt in the grammar of captions, and its words that are not in there."""

    caption: str
    unread: tuple[str, ...]


# words of prompts by what they mean; a number counts the object that follows
_MEANINGS = {
    word: line.split(": ")[0]
    for line in (
        "sphere: sphere spheres ball balls globe globes orb orbs",
        "cube: cube cubes box boxes block blocks crate crates",
        "cylinder: cylinder cylinders can cans tube tubes barrel barrels pillar pillars",
        "cone: cone cones",
        "person: person persons people man men woman women boy boys girl girls human somebody",
        "object: object objects thing things something",
        "purple: purple violet lilac",
        "standing: standing stands",
        "waving: waving waves",
        "sitting: sitting sits seated",
        "arms out: arms-out",
        "grass: grass lawn meadow grassy",
        "sand: sand beach desert sandy",
        "snow: snow snowy",
        "stone: stone stones pavement cobblestones",
        "day: day daytime daylight noon",
        "sunset: sunset dusk sundown",
        "night: night nighttime midnight",
        "1: one single",
        "2: two both pair couple",
        "3: three",
        "4: four",
        "pause: and , . ; on at by beside next near plus while",
        "mute: a an the of in to is are there with that which who his her side scene some wearing "
        "dressed colored coloured ! arms please draw show me image picture",
        "no: no not without",
    )
    for word in line.split(": ")[1].split()
} | {colour: colour for colour in COLOURS if colour != "purple"}
_PLURAL = frozenset({"people", "men", "women"})
_PHRASES = {
    r"\b(with )?(outstretched|spread) arms\b|\barms (wide )?(outstretched|out)\b": "arms-out",
    r"\b(to |on )?the (left|right)\b": r"\2",
    r"\b(left|right) (side )?of\b": r"\1-of",
}


def as_caption(prompt: str) -> Reading | None:
    """Say a prompt in the grammar of captions; None where it names nothing that they can say.

    A prompt that follows the grammar stays as it is, to the letter.

    >>> as_caption("Two red balls on the lawn, a big box.")
    Reading(caption='a red sphere, a red sphere and a cube on grass', unread=('big',))
    """
    if remark_on(prompt) is None:
        return Reading(prompt, ())
    text = prompt.lower()
    for phrase, replacement in _PHRASES.items():
        text = re.sub(phrase, replacement, text)
    reader = _PromptReader()
    for word in re.findall(r"[\w-]+|[^\w\s]", text):
        reader.read(word)
    return reader.finish()


class _PromptReader:
    """Reads words in turn; color and pose wait for the object that follows, or join the last."""

    def __init__(self) -> None:
        self._things: list[tuple[int, ObjectFacts]] = []  # with -1 for left, 1 for right
        self._unread: list[str] = []
        self._waiting: dict[str, tuple[str, str]] = {}  # color, pose, number: meaning and word
        self._found: dict[str, str] = {}  # ground and time
        self._group: range = range(0)  # of the last objects
        self._side, self._before, self._denied, self._on = 0, -1, False, False

    def read(self, word: str) -> None:
        meaning = _MEANINGS.get(word, "")
        if meaning == "pause":
            self._pause()
            self._on = word == "on"
        elif self._denied or meaning == "no":
            self._denied = True
            self._unread.append(word)
        elif meaning in (*KINDS, "object"):
            self._add(word, meaning)
        elif meaning in (*GROUNDS, *TIMES):
            self._pause()
            if (
                self._found.setdefault("ground" if meaning in GROUNDS else "time", meaning)
                != meaning
            ):
                self._unread.append(word)
        elif word in ("left", "right", "left-of", "right-of"):
            self._place(word)
        elif meaning and meaning != "mute":
            sort = "number" if meaning.isdigit() else "colour" if meaning in COLOURS else "pose"
            if sort in self._waiting:
                self._join()
            self._waiting[sort] = (meaning, word)
        elif not meaning:
            self._unread.append(word)

    def _add(self, word: str, meaning: str) -> None:
        waiting = {sort: self._waiting.pop(sort, ("", ""))[0] for sort in ("colour", "number")}
        pose = self._waiting.pop("pose", ("", ""))[0] if meaning == "person" else ""
        kind = None if meaning == "object" else meaning
        thing = ObjectFacts(kind, waiting["colour"] or None, pose or None)  # type: ignore[arg-type]
        several = word in _PLURAL or (word.endswith("s") and word != "something")
        count = int(waiting["number"] or 1 + several)
        where = len(self._things) if self._before < 0 else self._before
        self._things[where:where] = [(self._side, thing)] * count
        self._group = range(where, where + count)
        self._unread += ["on"] * self._on  # one object on another
        self._side, self._before, self._on = 0, -1, False

    def _place(self, word: str) -> None:
        self._join()
        if word == "right-of" and self._group:
            self._before = self._group.start
        elif not word.endswith("-of"):
            self._side = -1 if word == "left" else 1
            for number in self._group:
                self._things[number] = (self._side, self._things[number][1])
            self._side = 0 if self._group else self._side

    def _join(self) -> None:
        """Give what waits to the last objects of the phrase."""
        for sort, (meaning, word) in self._waiting.items():
            things = [self._things[number][1] for number in self._group]
            fits = [one for one in things if sort == "colour" or one.kind == "person"]
            if not fits or sort == "number" or getattr(fits[0], sort) is not None:
                self._unread.append(word)
                continue
            said: dict[str, Any] = {sort: meaning}
            for number in self._group:
                side, thing = self._things[number]
                self._things[number] = (side, replace(thing, **said))
        self._waiting.clear()

    def _pause(self) -> None:
        self._join()
        self._group, self._denied = range(0), False

    def finish(self) -> Reading | None:
        self._pause()
        things = [thing for _, thing in sorted(self._things, key=lambda placed: placed[0])]
        if not things and not self._found:
            return None
        unread = [*self._unread, *(str(thing.kind) for thing in things[MOST_OBJECTS:])]
        facts = Facts(tuple(things[:MOST_OBJECTS]), **self._found)  # type: ignore[arg-type]
        words = [word.replace("-", " ") for word in unread if any(map(str.isalnum, word))]
        return Reading(say(facts), tuple(dict.fromkeys(words)))


def partial(facts: Facts, generator: np.random.Generator, keep: float = 0.6) -> Facts:
    """Drop parts of the facts, for underspecified prompts.

    Each object is retained with probability `keep`, and so is each attribute of a retained object.
    At least one part is dropped if there is any. The order of the objects does not change.

    Raises:
        ValueError: `keep` is not between 0 and 1.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep {keep} is not between 0 and 1")

    def stays() -> bool:
        return bool(generator.random() < keep)

    things = []
    for thing in facts.objects:
        if not stays():
            continue
        kind = thing.kind if stays() else None
        colour = thing.colour if stays() else None
        pose = thing.pose if stays() and kind is not None else None
        things.append(ObjectFacts(kind, colour, pose))
    ground = facts.ground if stays() else None
    left = Facts(tuple(things), ground, facts.time if stays() else None)
    if left != facts:
        return left
    if facts.ground is None and facts.time is None:
        return replace(facts, objects=facts.objects[1:])
    return replace(facts, ground=None, time=None)


def conflicting(facts: Facts, generator: np.random.Generator, changes: int = 1) -> Facts:
    """Change exactly `changes` attributes, for prompts that contradict a condition.

    An attribute is a kind, color or pose of an object, the ground, or the time. Kinds only change
    among solids, so people stay people.

    Raises:
        ValueError: there are fewer attributes than `changes`.
    """
    locations = _changeable(facts)
    if not 0 <= changes <= len(locations):
        raise ValueError(f"changes {changes} is not between 0 and {len(locations)}")
    for location in generator.permutation(len(locations))[:changes]:
        facts = locations[location](facts, generator)
    return facts


Change = Callable[[Facts, np.random.Generator], Facts]


def _changeable(facts: Facts) -> list[Change]:
    solids = tuple(kind for kind in KINDS if kind != "person")
    locations: list[Change] = []
    for index, thing in enumerate(facts.objects):
        if thing.kind is not None and thing.kind != "person":
            locations.append(_object_change(index, "kind", solids))
        if thing.colour is not None:
            locations.append(_object_change(index, "colour", COLOURS))
        if thing.pose is not None:
            locations.append(_object_change(index, "pose", POSES))
    if facts.ground is not None:
        locations.append(lambda f, g: replace(f, ground=_other(f.ground, GROUNDS, g)))
    if facts.time is not None:
        locations.append(lambda f, g: replace(f, time=_other(f.time, TIMES, g)))
    return locations


def _object_change(index: int, field: str, values: Sequence[str]) -> Change:
    def change(facts: Facts, generator: np.random.Generator) -> Facts:
        things = list(facts.objects)
        value = _other(getattr(things[index], field), values, generator)
        things[index] = replace(things[index], **{field: value})
        return replace(facts, objects=tuple(things))

    return change


def _other(value: T | None, values: Sequence[T], generator: np.random.Generator) -> T:
    choices = [other for other in values if other != value]
    return choices[generator.integers(len(choices))]
