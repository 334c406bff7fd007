"""Syntax of `--control KIND=FILE...` and `--branch KIND=FOLDER`, and their decoded images."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import BadFile, BadInput
from ..models.checkpoint import PICKLES
from ..models.hub import BUILTIN, builtin_folder, require_condition
from ..requests.base import DEFAULT_PIPELINE
from ..requests.generate import Generate

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..data.image_inputs import ImageLike

CUSTOM = "custom"  # the condition of any other branch: an image that it reads as it is
_LARGEST = 10.0  # weight
# Weight of each connection of a branch, from the outermost skip to the middle block; "soft":
# falling outwards, as the control modes have it for all controls.
Blocks = tuple[float, ...] | Literal["soft"]
_ENTRY = re.compile(
    r"(?P<kind>[a-z]+)(?P<finished>-map)?=(?P<file>.+?)"
    r"(:(?P<weight>[-+0-9.eE]+(,[-+0-9.eE]+)*|[-+]?[A-Za-z]+))?(@(?P<first>[0-9.]+)-(?P<last>[0-9.]+))?(#(?P<mask>.+))?"
)
_HINT = (
    "Write KIND=FILE or KIND-map=FILE, then as needed :WEIGHT (a number, soft, or W1,W2,...), "
    "@FROM-TO (shares of the steps) and #MASK, for example depth=photo.jpg:0.6@0-0.7#mask.png."
)


@dataclass(frozen=True, slots=True)
class ControlSpec:
    """A parsed `--control`.

    Attributes:
        kind: of condition, or `custom`.
        file: an image, or a finished map.
        finished: whether it is a map.
        first: fraction of the steps before which it is inactive.
        last: fraction after which it is inactive.
        masks: images that are white where it acts; none for everywhere.
        blocks: weights of single connections; empty for none.
    """

    kind: str
    file: Path
    finished: bool
    weight: float = 1.0
    first: float = 0.0
    last: float = 1.0
    masks: tuple[Path, ...] = ()
    blocks: Blocks = ()


@dataclass(frozen=True, slots=True, eq=False)
class NamedImage:
    """A decoded image, its name for error messages, and its conversions."""

    name: str
    image: "Image"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ControlInput:
    """A control with its images decoded; see `ControlSpec`.

    Attributes:
        estimator: model that reads the condition; None: what comes with the package.
    """

    kind: str
    source: NamedImage
    finished: bool = False
    weight: float = 1.0
    first: float = 0.0
    last: float = 1.0
    masks: tuple[NamedImage, ...] = ()
    estimator: str | None = None
    blocks: Blocks = ()

    @property
    def is_measured(self) -> bool:
        """Whether it applies to whole images and has a measure."""
        return self.kind != CUSTOM and not self.masks

    @property
    def is_zero(self) -> bool:
        """Whether it changes nothing."""
        return self.weight == 0 or (bool(self.blocks) and not any(self.blocks))

    def __post_init__(self) -> None:
        """Refuse an invalid weight or interval."""
        for weight in (self.weight, *(self.blocks if self.blocks != "soft" else ())):
            require_weight(f"the {self.kind} control", weight)
        if not 0 <= self.first < self.last <= 1:
            raise BadInput(
                f"the {self.kind} control acts from {self.first:g} to {self.last:g}.",
                "Give shares of the steps, 0 <= start < until <= 1.",
            )


def require_weight(what: str, weight: float) -> None:
    """Refuse an invalid weight.

    Raises:
        BadInput: it is invalid.
    """
    if not 0 <= weight <= _LARGEST:
        raise BadInput(
            f"{what} has the weight {weight:g}.",
            f"Weights are 0 to {_LARGEST:g}: 1 is what was learned, 0 none.",
        )


def read_control(spec: ControlSpec, estimator: str | None = None) -> ControlInput:
    """Decode the images of a control.

    Raises:
        BadFile: one cannot be read.
    """
    source = read_named(spec.file, depth=spec.finished and spec.kind == "depth")
    masks = [read_mask(path) for path in spec.masks]
    numbers = (spec.weight, spec.first, spec.last)
    return ControlInput(
        spec.kind, source, spec.finished, *numbers, tuple(masks), estimator, spec.blocks
    )


def read_named(given: "ImageLike", *, depth: bool = False) -> NamedImage:
    """Decode a file, or convert an image in memory; see `data.image_inputs.opened`."""
    from ..data.image_inputs import name_of, opened

    found = opened(given, depth=depth)
    return NamedImage(name_of(given), found.image, found.notes)


def read_mask(given: "ImageLike") -> NamedImage:
    """Decode an image that is white where something applies; see `opened_mask`."""
    from ..data.image_inputs import opened_mask

    found = opened_mask(given)
    name = str(given) if isinstance(given, str | Path) else "in memory"
    return NamedImage(name, found.image, found.notes)


def parse_control(entry: str) -> ControlSpec:
    """Parse one `--control`.

    Raises:
        BadInput: the syntax or a number is invalid.
    """
    kind, equals, rest = entry.partition("=")
    if equals and Path(rest).is_file():
        finished = kind.endswith("-map") or kind == CUSTOM
        kind = kind.removesuffix("-map")
        require_condition(kind, CUSTOM)
        return ControlSpec(kind, Path(rest), finished)
    match = _ENTRY.fullmatch(entry)
    if match is None or match["file"][0] in ":@#":
        what = "cannot be read" if match is None else "names no image"
        raise BadInput(f"--control {entry!r} {what}.", _HINT)
    require_condition(match["kind"], CUSTOM)
    text = match["weight"] or "1"
    try:
        weights = [1.0] if text == "soft" else [float(part) for part in text.split(",")]
        first, last = float(match["first"] or 0), float(match["last"] or 1)
    except ValueError:
        raise BadInput(f"--control {entry!r} has something that is not a number.", _HINT) from None
    for weight in weights:
        require_weight(f"--control {entry!r}", weight)
    if not 0 <= first < last <= 1:
        raise BadInput(f"--control {entry!r} acts from {first:g} to {last:g}.", _HINT)
    masks = _masks(match["mask"])
    weight, blocks = blocks_of(text if text == "soft" else weights)
    kind, file = match["kind"], Path(match["file"])
    finished = bool(match["finished"]) or kind == CUSTOM
    return ControlSpec(kind, file, finished, weight, first, last, masks, blocks)


def with_weight(entry: str, weight: str) -> str:
    """Return a `--control` with another weight.

    Raises:
        BadInput: the weight is invalid, or the name of the file looks like options.
    """
    spec, match = parse_control(entry), _ENTRY.fullmatch(entry)
    options = match is not None and not Path(entry.partition("=")[2]).is_file()
    steps = f"@{match['first']}-{match['last']}" if match and options and match["first"] else ""
    mask = f"#{match['mask']}" if match and options and match["mask"] else ""
    kind = spec.kind if spec.kind == CUSTOM or not spec.finished else f"{spec.kind}-map"
    changed = f"{kind}={spec.file}:{weight}{steps}{mask}"
    if parse_control(changed).file != spec.file:
        raise BadInput(f"--control {entry!r} cannot be given a weight.", "Rename the image.")
    return changed


def blocks_of(weight: float | Sequence[float] | str) -> tuple[float, Blocks]:
    """Split a weight, one for each connection, or `soft`, into a factor and those of connections.

    Raises:
        BadInput: another word.
    """
    if isinstance(weight, str):
        if weight != "soft":
            raise BadInput(f"a control's weight is {weight!r}.", "Give a number, several, or soft.")
        return 1.0, "soft"
    if isinstance(weight, int | float):
        return float(weight), ()
    return (float(weight[0]), ()) if len(weight) == 1 else (1.0, tuple(map(float, weight)))


def _masks(text: str | None) -> tuple[Path, ...]:
    if text is None:
        return ()
    return (Path(text),) if Path(text).exists() else tuple(map(Path, text.split("#")))


def estimators_named(request: Generate, specs: Sequence[ControlSpec]) -> dict[str, str]:
    """Model that reads the condition of each kind that `--estimator` names.

    Raises:
        BadInput: an entry cannot be read, or there is no image of its kind to read.
    """
    named = {}
    for entry in request.estimator:
        kind, equals, model = entry.partition("=")
        if not equals or not model:
            raise BadInput(f"--estimator {entry!r} cannot be read.", "Write KIND=MODEL.")
        require_condition(kind)
        if not any(spec.kind == kind and not spec.finished for spec in specs):
            raise BadInput(
                f"--estimator {entry} has no image to read.",
                f"Give --control {kind}=FILE, or leave it out.",
            )
        named[kind] = model
    return named


def branch_folders(request: Generate, kinds: Collection[str]) -> dict[str, Path]:
    """Return the branch folder for each kind of condition in `--control`.

    Raises:
        BadInput: an entry is invalid, or there is no branch for a kind.
    """
    named = {}
    for entry in request.branch:
        kind, equals, folder = entry.partition("=")
        if not equals:
            raise BadInput(f"--branch {entry!r} cannot be read.", "Write KIND=FOLDER.")
        require_condition(kind, CUSTOM)
        named[kind] = builtin_folder(folder) if folder in BUILTIN else Path(folder)
    for kind, location in named.items():
        if kind not in kinds:
            raise BadInput(
                f"--branch {kind}={location} has no control to follow.",
                f"Give --control {kind}=FILE, or leave it out.",
            )
        require_branch_folder(location)
    return {kind: _folder_of(kind, named, request.model) for kind in kinds}


def require_branch_folder(folder: Path) -> None:
    """Refuse what holds no branch, or one that could run code when it is read.

    Raises:
        BadFile: there is no such folder, it is a file, or it has a pickle only.
    """
    file = repr(str(folder))
    hint = (
        f"Convert it where you trust it: diffusers.ControlNetModel.from_single_file({file})"
        ".save_pretrained(FOLDER), and name FOLDER."
    )
    if folder.is_file() and folder.suffix in {".safetensors", *PICKLES}:
        raise BadFile(f"{folder} is a file, not a folder with safetensors.", hint)
    if not folder.is_dir():
        raise BadFile(
            f"there is no control branch {str(folder)!r}.",
            "Name a folder of `graft control train`, or a ControlNetModel folder of diffusers.",
        )
    pickled = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
    if pickled and not any(folder.glob("*.safetensors")):
        if pickled[0].endswith(".bin"):
            hint = (
                "Convert it where you trust it: diffusers.ControlNetModel.from_pretrained"
                f"({file}, use_safetensors=False).save_pretrained({file})."
            )
        raise BadFile(
            f"{folder} holds {pickled[0]}, a pickle, which can run any code when it is read.", hint
        )


def _folder_of(kind: str, folders: dict[str, Path], model: str) -> Path:
    if kind in folders:
        return folders[kind]
    name = f"{DEFAULT_PIPELINE}-{kind}"
    if model == DEFAULT_PIPELINE and name in BUILTIN:
        return builtin_folder(name)
    raise BadInput(
        f"no {kind} branch for model {model!r} is named.",
        f"Name its folder: --branch {kind}=FOLDER, a ControlNetModel of diffusers or what "
        "`graft control train` wrote.",
    )
