"""The request in an image's PNG metadata, from which the image can be generated again.

Repeating an image is refused if what steered it has changed since, unless the caller names the new
one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import files, folders, limits
from ..data.images import write_image
from ..errors import BadFile, BadInput, BadValue, WrongBase
from ..requests.base import FILE_ENDINGS
from ..requests.generate import Generate
from ..types import Monitor

if TYPE_CHECKING:
    from PIL import Image


_KEY = "graftwerk"
# Fields for output paths and execution, which do not affect images. A record never contains them:
# they are not written, so that no paths are disclosed, nor read, so that no file decides them.
LOCATIONS = ("out", "previews", "from_", "device", "check", "grid", "offload")
_Number = Annotated[int, Field(ge=0, lt=limits.IMAGES * limits.BEST_OF)]


class Environment(BaseModel):
    """Environment that may change an image's last bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    threads: int
    torch: str


class Record(BaseModel):
    """Metadata of a generated image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: Generate
    fingerprint: str
    number: _Number
    together: tuple[_Number, ...] = Field(min_length=1, max_length=limits.BATCH_IMAGES)
    surroundings: Environment
    loras: tuple[str, ...] = ()
    guides: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    inits: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    weaker: tuple[str, ...] = ()


def write_png(path: Path, image: "Image.Image", record: Record) -> None:
    """Write an image with its record.

    Raises:
        NoRoom: the disk is full or the folder cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    content = record.model_dump(mode="json", exclude={"request": set(LOCATIONS)})
    metadata = PngInfo()
    metadata.add_text(_KEY, json.dumps(content, sort_keys=True))
    metadata.add_itxt("parameters", _as_webui(image, record))
    write_image(path, image, pnginfo=metadata)


# Names of samplers in Stable Diffusion web UI; most image viewers show its metadata.
_WEBUI_SAMPLERS = {
    "ddim": "DDIM",
    "euler": "Euler",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "euler_ancestral": "Euler a",
    "unipc": "UniPC",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "lcm": "LCM",
    "tcd": "TCD",
}

_WEBUI_SCHEDULES = {"karras": "Karras", "model": "Automatic", "trailing": "SGM Uniform"}


def _as_webui(image: "Image.Image", record: Record) -> str:
    """Format the settings for Stable Diffusion web UI, which reads them from `parameters`.

    The seed is the request's; that program generates other noise from it.
    """
    request = record.request
    facts = {
        "Steps": request.steps,
        "Sampler": _WEBUI_SAMPLERS.get(request.sampler, request.sampler),
        "Schedule type": _WEBUI_SCHEDULES[request.schedule],
        "CFG scale": f"{request.cfg:g}",
        "Seed": request.seed,
        "Size": f"{image.width}x{image.height}",
        "Model hash": record.fingerprint[:10],
        "Model": Path(request.model).name,
        "Version": f"graftwerk {version('graftwerk')}, image {record.number}",
    }
    negative = request.negative.strip()
    lines = [request.prompt.strip(), *([f"Negative prompt: {negative}"] if negative else [])]
    # values with separators are quoted, as that program does
    shown = (json.dumps(str(v)) if set(str(v)) & set(',:"\n') else str(v) for v in facts.values())
    pairs = (f"{key}: {value}" for key, value in zip(facts, shown, strict=True))
    return "\n".join([*lines, ", ".join(pairs)])


def require_folder(path: Path) -> None:
    """Check that a folder can be created and written; new folders are removed again.

    Raises:
        BadFile: it cannot have that name, or something else has it.
        NoRoom: it cannot be created or written.
    """
    trial = path / ".graftwerk-trial"
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        files.write_bytes(trial, b"")
        trial.unlink()
        for folder in made:
            folders.remove_empty(folder)  # another process may have written to it meanwhile
    except PermissionError as error:
        files.raise_write_error(error, path)
    except OSError as error:
        raise BadFile(
            f"{path} cannot be a folder: {error.strerror}.", "Pass another one for the images."
        ) from error


def require_place(path: Path, single: bool) -> bool:
    """Check that images can be written to a folder, or one of them to a PNG file.

    Args:
        path: a folder, or a file if it ends in `.png`.
        single: whether one image is written.

    Returns:
        Whether it is a file.

    Raises:
        BadInput: a file for several images, or of another format.
        BadFile: it exists and is not a generated image, or cannot be created.
        NoRoom: it cannot be written.
    """
    ending = path.suffix.lower()
    try:
        folder = ending not in FILE_ENDINGS or path.is_dir()
    except OSError as error:
        raise BadFile(f"--out {path}: {error.strerror}.", "Name another file.") from error
    if folder:
        require_folder(path)
        return False
    if ending != ".png":
        raise BadInput(f"--out {path} is not a .png file.", "Images are written as PNG.")
    if not single:
        raise BadInput(f"--out {path} is one file, and there are several images.", "Name a folder.")
    if path.exists() or path.is_symlink():
        try:
            read_record(path)
        except BadFile as error:
            raise BadFile(
                f"--out {path} exists and is not a generated image.", "Name another file."
            ) from error
    require_folder(path.parent)
    return True


def read_record(path: Path) -> Record:
    """Read the record of an image that `graft generate` wrote.

    Raises:
        BadFile: the file does not exist, is not a PNG image or contains no request, or the request
            names output paths.
        LimitExceeded: the file is too large.
    """
    from PIL import Image, UnidentifiedImageError

    hint = "Name an image as `graft generate` wrote it; other programs may drop its metadata."
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", hint)
    limits.require_file_size(path, limits.IMAGE_FILE, "image")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            text = image.info.get(_KEY)
            if text is None:  # metadata may also follow the pixel data
                image.load()
                text = image.info.get(_KEY)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadFile(f"{path} is not a whole PNG image.", hint) from error
    if not isinstance(text, str) or len(text) > limits.RECORD_CHARACTERS:
        raise BadFile(f"{path} contains no request.", hint)
    try:
        record = Record.model_validate_json(text)
    except BadValue as error:
        message = f"the request in {path} cannot be read: {error.message.rstrip('.')}."
        raise BadFile(message, hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        raise BadFile(
            f"the request in {path} cannot be read: {location}: {first['msg']}.", hint
        ) from error
    requested = record.request
    locations = [name for name in LOCATIONS if name in requested.model_fields_set]
    if locations:
        raise BadFile(
            f"the request in {path} says {', '.join(locations)}: where things are written and how "
            "they run is not for an image to say, and `graft generate` never writes it there.",
            "It was changed by somebody. Name an image as it was generated, or give its options.",
        )
    once = len(set(record.together)) == len(record.together)
    if record.number not in record.together or not once or not _fits(record):
        raise BadFile(f"the request in {path} contradicts itself.", hint)
    if "guide_plain" in requested.model_fields_set:
        return record
    # the image was written when all gradients were plain
    request = requested.model_copy(update={"guide_plain": True})
    return record.model_copy(update={"request": request})


# What steers an image: the field of its fingerprints in a record, the option that names it, and
# how the names of all options begin that affect it.
_STEERING = (
    ("loras", "lora", ("lora",)),
    ("guides", "guide", ("guide",)),
    ("controls", "control", ("control", "branch", "estimator")),
    ("inits", "init", ("init", "inpaint")),
    ("regions", "region", ("region",)),
    ("weaker", "autoguide", ("autoguide",)),
)


def _fits(record: Record) -> bool:
    return all(
        len(getattr(record, field)) == len(_named(record.request, option))
        for field, option, _ in _STEERING
    )


def _named(request: Generate, option: str) -> list[str]:
    """Return what a request names by an option; beside the image to start from, its mask."""
    if option == "init":
        return [path for path in (request.init, request.inpaint) if path is not None]
    named: list[str] = getattr(request, option)
    return named


def stem(request: Generate, fingerprint: str) -> str:
    """Return the prefix of a request's file names: the start of the prompt, then a hash.

    Another request has other names, so it overwrites nothing.
    """
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in request.prompt.lower())
    shaping = request.model_dump(mode="json", exclude={*LOCATIONS, "model", "count"})
    content = json.dumps([shaping, fingerprint], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"{'-'.join(words.split())[:40].strip('-') or 'picture'}-{digest}"


def is_sheet(path: str) -> bool:
    """Whether a file has the name of a sheet, grid or film strip, as opposed to one image."""
    name = Path(path).name
    return re.fullmatch(r".+-([0-9a-f]{8}-(sheet|grid)|[0-9]+-film)\.png", name) is not None


def refuse_other(
    request: Generate, record: Record, steering: Mapping[str, tuple[str, ...]], monitor: Monitor
) -> None:
    """Refuse to repeat an image if something that steered it has changed.

    Args:
        request: the request to repeat it.
        record: of the image.
        steering: the current fingerprints, by field of the record.
        monitor: informed of changes that the caller asked for.

    Raises:
        WrongBase: the caller did not name the option.
    """
    for field, option, with_it in _STEERING:
        if getattr(record, field) == steering[field]:
            continue
        if any(name.startswith(with_it) for name in request.model_fields_set):
            monitor.note(f"--{option} is another than the image's: the repeat will differ")
            continue
        named = _named(record.request, option)
        pairs = zip(named, getattr(record, field), steering[field], strict=True)
        entry, was, now = next(pair for pair in pairs if pair[1] != pair[2])
        raise WrongBase(
            str(request.from_),
            made_on=f"--{option} {entry} ({was[:12]})",
            received=f"what lies there now ({now[:12]})",
            hint=f"To draw it with the present one, say --{option} {entry}",
        )
