"""A scene as plain data.

World axes: x to the right, y up, z towards the camera; the ground is the plane y = 0. Lengths are
in scene units (a person is about 1.7 tall), angles in degrees.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import BadFile

Kind = Literal["sphere", "cube", "cylinder", "cone", "person"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
Ground = Literal["grass", "sand", "snow", "stone"]
Time = Literal["day", "sunset", "night"]
Pose = Literal["standing", "waving", "arms out", "sitting"]
Skin = Literal["light", "tan", "brown", "dark"]

KINDS: tuple[Kind, ...] = ("sphere", "cube", "cylinder", "cone", "person")
COLOURS: tuple[Colour, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "white",
    "black",
)
GROUNDS: tuple[Ground, ...] = ("grass", "sand", "snow", "stone")
TIMES: tuple[Time, ...] = ("day", "sunset", "night")
POSES: tuple[Pose, ...] = ("standing", "waving", "arms out", "sitting")
SKINS: tuple[Skin, ...] = ("light", "tan", "brown", "dark")
MOST_OBJECTS = 4

Coordinate = Annotated[float, Field(ge=-100, le=100)]
Point = tuple[Coordinate, Coordinate, Coordinate]
_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that stands upright.

    Attributes:
        position: where it stands, above the ground.
        target: what is in the middle of the image.
        field_of_view: angle across the shorter side of the image, in degrees.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    position: Point
    target: Point
    field_of_view: Annotated[float, Field(ge=5, le=120)]


@dataclass(frozen=True, slots=True)
class Sun:
    """Where the light comes from: the sun by day, a lamp in the same direction at night.

    Attributes:
        azimuth: degrees from the camera's side (z) towards the right (x).
        elevation: degrees above the horizon.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    azimuth: Annotated[float, Field(ge=-360, le=360)]
    elevation: Annotated[float, Field(ge=5, le=90)]


@dataclass(frozen=True, slots=True)
class SceneObject:
    """Something that stands on the ground.

    Attributes:
        kind: its form.
        colour: of its surface, or of a person's clothes.
        x: place of its middle on the ground.
        z: the same, towards the camera.
        size: height; of a person, the height when standing.
        yaw: turn about the vertical in degrees; at 0 a person faces the z axis.
        pose: of a person; None for everything else.
        skin: of a person; None for everything else.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    kind: Kind
    colour: Colour
    x: Coordinate
    z: Coordinate
    size: Annotated[float, Field(ge=0.05, le=20)]
    yaw: Annotated[float, Field(ge=-360, le=360)]
    pose: Pose | None = None
    skin: Skin | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole scene; its objects are in their order from left to right in the image."""

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    camera: Camera
    sun: Sun
    ground: Ground
    time: Time
    objects: Annotated[tuple[SceneObject, ...], Field(max_length=MOST_OBJECTS)]


_ADAPTER = TypeAdapter(Scene)


def scene_to_data(scene: Scene) -> dict[str, Any]:
    """The scene as what `json.dumps` takes; floats survive exactly."""
    data: dict[str, Any] = _ADAPTER.dump_python(scene, mode="json")
    return data


def scene_from_json(text: str | bytes) -> Scene:
    """Read a scene from JSON.

    Raises:
        BadFile: the text is no JSON, or not a scene: what is wrong and where is in the message.
    """
    try:
        scene = _ADAPTER.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"]) or "the text"
        raise BadFile(
            f"not a scene: {location}: {first['msg']}.",
            "Compare it with a file that `graft blocks render` writes into scenes/.",
        ) from error
    _require_whole_people(scene)
    _require_room_for_the_camera(scene.camera)
    return scene


def _require_whole_people(scene: Scene) -> None:
    for number, thing in enumerate(scene.objects):
        is_person = thing.kind == "person"
        if (thing.pose is not None) is not is_person or (thing.skin is not None) is not is_person:
            raise BadFile(
                f"not a scene: objects.{number}: a {thing.kind} with pose {thing.pose!r} and "
                f"skin {thing.skin!r}.",
                "A person has both, everything else has neither.",
            )


def _require_room_for_the_camera(camera: Camera) -> None:
    (x, y, z), (to_x, _, to_z) = camera.position, camera.target
    if y <= 0 or (x == to_x and z == to_z):
        raise BadFile(
            f"not a scene: camera at {camera.position} looking at {camera.target}.",
            "It stands above the ground and does not look straight down or up.",
        )
