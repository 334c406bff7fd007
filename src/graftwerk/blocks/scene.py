"""A scene as plain data.

World axes: x to the right, y up, z towards the camera. The ground is the plane y = 0. Lengths are
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
SIDE = 64  # pixels of the images that the built-in networks read
MOST_OBJECTS = 4

Coordinate = Annotated[float, Field(ge=-100, le=100)]
Point = tuple[Coordinate, Coordinate, Coordinate]
_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Camera:
    """An upright pinhole camera.

    Attributes:
        position: above the ground.
        target: the point at the center of the image.
        field_of_view: angle across the shorter side of the image, in degrees.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    position: Point
    target: Point
    field_of_view: Annotated[float, Field(ge=5, le=120)]


@dataclass(frozen=True, slots=True)
class Sun:
    """Direction of the light: the sun by day, a lamp in the same direction at night.

    Attributes:
        azimuth: degrees from the camera's side (z) towards the right (x).
        elevation: degrees above the horizon.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    azimuth: Annotated[float, Field(ge=-360, le=360)]
    elevation: Annotated[float, Field(ge=5, le=90)]


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An object that stands on the ground.

    Attributes:
        kind: shape.
        colour: of the surface, or of a person's clothes.
        x: position of the center on the ground.
        z: position of the center, towards the camera.
        size: height; for a person, the standing height.
        yaw: rotation around the vertical axis in degrees; at 0 a person faces the z axis.
        pose: of a person; None otherwise.
        skin: of a person; None otherwise.
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
    """A whole scene, with objects from left to right in the image."""

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    camera: Camera
    sun: Sun
    ground: Ground
    time: Time
    objects: Annotated[tuple[SceneObject, ...], Field(max_length=MOST_OBJECTS)]


_ADAPTER = TypeAdapter(Scene)


def scene_to_data(scene: Scene) -> dict[str, Any]:
    """Convert a scene to what `json.dumps` accepts; floats are preserved exactly."""
    data: dict[str, Any] = _ADAPTER.dump_python(scene, mode="json")
    return data


def scene_from_json(text: str | bytes) -> Scene:
    """Parse a scene from JSON.

    Raises:
        BadFile: the text is not JSON, or not a scene; the message says what is wrong and where.
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
