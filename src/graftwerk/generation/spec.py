"""Parsed requests for images, their guides and grids; `validate.validate` creates them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .. import limits
from ..controlnet.spec import ControlInput, NamedImage, parse_control, with_weight
from ..data.images import OpenedImage, open_image
from ..diffusion.checkpoint import PipelineFolder
from ..errors import BadInput, UnknownName
from ..models.hub import BUILTIN
from ..requests.generate import Generate, parse_interval, require_sampler
from ..types import Monitor, Silent

if TYPE_CHECKING:
    from .guides import Settings

Aim = Literal["class", "text", "image"]
AIMS: tuple[Aim, ...] = ("class", "text", "image")
_EXAMPLE = 'Write class=cone:8, "class=red cube:10" or image=ref.png:30.'


@dataclass(frozen=True, slots=True)
class Guide:
    """One `--guide`, as written.

    Attributes:
        what: class, sentence or path of an image.
        image: decoded image of `image=`; None until it is read.
    """

    aim: Aim
    what: str
    scale: float
    image: OpenedImage | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.aim}={self.what}"


def parse_guide(entry: str) -> Guide:
    """Parse one `KIND=WHAT:SCALE`.

    Raises:
        BadInput: it has another form, or the scale is not a finite number.
    """
    aim, equals, rest = entry.partition("=")
    what, colon, number = rest.rpartition(":")
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not equals or not colon or not what.strip() or not math.isfinite(scale):
        raise BadInput(f"--guide {entry!r} is not KIND=WHAT:SCALE with a finite scale.", _EXAMPLE)
    for known in AIMS:
        if aim.strip() == known:
            return Guide(known, what.strip(), scale)
    raise UnknownName("kind of guide", aim, AIMS)


def read_guide(guide: Guide) -> Guide:
    """Decode the image of an `image=` guide; return other guides as they are.

    Raises:
        BadFile: it cannot be read.
    """
    if guide.aim != "image" or guide.image is not None:
        return guide
    return replace(guide, image=open_image(guide.what))


Interval = tuple[float, float]
_SCALE = "Give a number after the colon: 1 is what was learned, 0 none."
_STRENGTH = 0.8  # default of img2img, as in diffusers; inpainting takes all steps


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """One `--lora` or `--autoguide`: the folder of a LoRA or a model, and its scale.

    Raises:
        BadInput: the scale is not finite, or too large.
    """

    folder: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an invalid scale."""
        if not abs(self.scale) <= limits.LORA_SCALE:
            raise BadInput(
                f"{str(self.folder)!r} has the scale {self.scale:g}.",
                f"Give a number from {-limits.LORA_SCALE:g} to {limits.LORA_SCALE:g}: 1 is what "
                "was learned, 0 none.",
            )


def parse_lora(entry: str, option: str = "--lora") -> LoraSpec:
    """Parse one `DIR[:SCALE]`; the default scale is 1.

    Raises:
        BadInput: the scale is not a number, not finite, or too large.
    """
    name, colon, tail = entry.rpartition(":")
    if not colon or not name or Path(entry).exists():
        return LoraSpec(Path(entry))
    try:
        scale = float(tail)
    except ValueError:
        if name not in BUILTIN and not Path(name).exists():
            return LoraSpec(Path(entry))  # a colon in a name that is not there
        raise BadInput(f"{option} {entry!r} has the scale {tail!r}.", _SCALE) from None
    return LoraSpec(Path(name), scale)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The image that sampling starts from.

    Attributes:
        strength: share of the steps that are taken; 0 leaves the image unchanged.
        mask: white where the image is repainted; None for everywhere.
        paste: whether original pixels are restored where the image is not repainted.
    """

    image: NamedImage
    strength: float
    mask: NamedImage | None
    paste: bool


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A prompt, and an image that is white where it applies."""

    prompt: str
    mask: NamedImage


def parse_region(entry: str) -> tuple[str, str]:
    """Parse one `PROMPT#MASK`.

    Raises:
        BadInput: it has another form.
    """
    prompt, _, mask = entry.rpartition("#")
    first, _, rest = entry.partition("#")
    if Path(rest).is_file():  # whose name may hold a # too
        prompt, mask = first, rest
    if not prompt.strip() or not mask:
        raise BadInput(f"--region {entry!r} is not PROMPT#MASK.", 'Write "a red cube#left.png".')
    return prompt.strip(), mask


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Sampling options, independent of adapters.

    Attributes:
        request: prompt, sampler, sizes and so on; its lists of adapters are not read.
        cfg_interval: noise levels at which classifier-free guidance is active.
    """

    request: Generate
    cfg_interval: Interval
    start: Start | None = None
    regions: tuple[Region, ...] = ()


def options_of(
    request: Generate,
    init: NamedImage | None = None,
    mask: NamedImage | None = None,
    regions: tuple[Region, ...] = (),
) -> Options:
    """Check and parse the options that do not depend on the model.

    Raises:
        UnknownName: there is no such sampler.
        BadInput: an interval that is not possible, an option that the sampler does not accept, or
            an option of an image to start from without such an image.
    """
    request = _edit(request, init, regions)
    require_sampler(request.sampler, request.eta)
    interval = parse_interval(request.cfg_interval)
    return Options(request, interval, _start(request, init, mask), regions)


_PIPELINE_CFG = 3.5  # of guidance-distilled models, as in diffusers' FluxPipeline


def settled(
    request: Generate, name: str, flows: bool, distilled: bool = False, weighs: bool = True
) -> Generate:
    """Set what the request leaves to the model, and refuse what a model of flow matching cannot do.

    Args:
        request: the request for images.
        name: of the model.
        flows: whether it was trained by flow matching.
        distilled: whether its network reads the guidance scale itself.
        weighs: whether guidance is usual: not for a model of few steps, such as FLUX.1-schnell.

    Raises:
        BadInput: an option that does not go with the model.
    """
    if not flows:
        return request
    said = request.model_fields_set
    if "schedule" in said and request.schedule != "model":
        raise BadInput(
            f"{name} was trained by flow matching, whose noise levels its own scheduler spaces, "
            f"not --schedule {request.schedule}.",
            "Leave --schedule out, or say --schedule model.",
        )
    if request.guide and request.guide_interval is not None:
        raise BadInput(
            f"--guide-interval counts noise levels that {name} (flow matching) does not have.",
            "Leave it out.",
        )
    if distilled and request.negative.strip():
        raise BadInput(
            f"{name} reads --cfg in its network and has no second half of the guidance, so it "
            "takes no --negative.",
            "Leave it out.",
        )
    chosen: dict[str, object] = {"schedule": "model"}
    if "sampler" not in said:
        chosen["sampler"] = "euler"
    if "cfg" not in said and (distilled or not weighs):
        chosen["cfg"] = _PIPELINE_CFG if distilled else 1.0
    return request.model_copy(update=chosen)


def _edit(request: Generate, init: NamedImage | None, regions: tuple[Region, ...]) -> Generate:
    """Check a request with `source`, whose result is one image that DDIM leads to."""
    if request.source is None:
        return request
    if init is None or not request.source.strip():
        missing = "an image: --init IMAGE" if init is None else "words: what --init shows"
        raise BadInput("--source describes the image that is edited.", f"Give it {missing}.")
    given = request.model_fields_set
    request = request.model_copy(
        update={name: one for name, one in (("sampler", "ddim"), ("count", 1)) if name not in given}
    )
    found = {
        "--region": bool(regions),
        f"--sampler {request.sampler} (ddim and euler can)": request.sampler
        not in {"ddim", "euler"},
        f"--count {request.count}: all images of an edit are the same": request.count > 1,
        f"--eta {request.eta:g}": request.eta > 0,
        "--strength 0": request.strength == 0,
        "--best-of": request.best_of > 1,
        "--pag": request.pag > 0,
        "--cfg-rescale": request.cfg_rescale > 0,
        "--cfg-interval": request.cfg_interval is not None,
        "--negative": bool(request.negative.strip()),
        **{f"--{name}": bool(getattr(request, name)) for name in ("control", "guide", "autoguide")},
    }
    for what, is_given in found.items():
        if is_given:
            raise BadInput(f"an edit from --source takes no {what}.", "Leave one of them out.")
    return request


def _start(request: Generate, init: NamedImage | None, mask: NamedImage | None) -> Start | None:
    strength = request.strength
    if init is None:
        if mask is not None or strength is not None:
            option = "--inpaint" if mask is not None else f"--strength {strength:g}"
            raise BadInput(f"{option} needs an image to start from.", "Add --init IMAGE.")
        return None
    if strength is None:
        strength = _STRENGTH if mask is None and request.source is None else 1.0
    if strength > 0 and int(request.steps * strength) == 0:
        raise BadInput(
            f"strength {strength:g} of {request.steps} steps is less than one step.",
            f"Take at least {1 / request.steps:.3g}, or more steps; 0 leaves the image as it is.",
        )
    return Start(init, strength, mask, request.paste)


@dataclass(frozen=True, slots=True, eq=False)
class GenerationSpec:
    """A complete request, with each part parsed, opened or decoded once."""

    options: Options
    folder: PipelineFolder
    loras: tuple[LoraSpec, ...]
    controls: tuple[ControlInput, ...]
    branches: dict[str, Path]
    guides: tuple[Guide, ...]
    guide_interval: Interval
    weaker: tuple[tuple[LoraSpec, PipelineFolder], ...] = ()

    @property
    def request(self) -> Generate:
        """The original request."""
        return self.options.request

    def with_scales_of(self, request: Generate) -> "GenerationSpec":
        """Return the adapters with the scales of another request for the same ones."""
        specs = [parse_control(entry) for entry in request.control]
        return replace(
            self,
            loras=tuple(map(parse_lora, request.lora)),
            controls=tuple(
                replace(control, weight=spec.weight, blocks=spec.blocks)
                for control, spec in zip(self.controls, specs, strict=True)
            ),
            guides=tuple(
                replace(guide, scale=parse_guide(entry).scale)
                for guide, entry in zip(self.guides, request.guide, strict=True)
            ),
        )

    @property
    def guide_settings(self) -> "Settings":
        """Settings shared by its guides."""
        from .guides import Settings

        request = self.request
        return Settings(
            classifier=request.guide_model,
            labels=tuple(request.guide_labels),
            encoder=request.guide_encoder,
            interval=self.guide_interval,
            plain=request.guide_plain,
        )


# Options with a single value that affect an image; of lists, the scale of a single entry.
VARIED = (
    "cfg", "cfg_interval", "cfg_rescale", "eta", "guide_interval", "hold", "negative", "pag",
    "prompt", "reuse", "sampler", "schedule", "seed", "steps", "strength",
)  # fmt: skip
SCALED = {"lora_scale": "lora", "control_weight": "control", "guide_scale": "guide"}


def _with_scale(request: Generate, name: str, value: str) -> list[str]:
    """Return the one entry of a `--lora`, `--control` or `--guide` with another scale."""
    option = SCALED[name]
    entries: list[str] = list(map(str, getattr(request, option)))
    if len(entries) != 1:
        axis, count = name.replace("_", "-"), len(entries)
        raise BadInput(
            f"--grid {axis} needs exactly one --{option}; there are {count}.",
            f"Give one --{option}.",
        )
    if option == "lora":
        parse_lora(changed := f"{parse_lora(entries[0]).folder}:{value}")
    elif option == "guide":
        parse_guide(changed := f"{entries[0].rpartition(':')[0]}:{value}")
    else:
        changed = with_weight(entries[0], value)
    return [changed]


@dataclass(frozen=True, slots=True)
class Axis:
    """One `--grid`: an option and its values, as written."""

    name: str
    values: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """Labels of the rows or columns."""
        return [f"{self.name.replace('_', '-')} {value}" for value in self.values]


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns and rows of a grid; a single option gives one row."""

    columns: Axis
    rows: Axis | None = None

    @property
    def axes(self) -> list[Axis]:
        """Its one or two options."""
        return [self.columns] if self.rows is None else [self.columns, self.rows]

    def cells(self, request: Generate) -> list[tuple[dict[str, str], Generate]]:
        """Return the request of each cell, row by row.

        A cell has one image unless `count` was given.

        Raises:
            BadValue: the option does not accept a value.
            BadInput: a scale is varied of several LoRAs, controls or guides, or of none.
        """
        rows = [{}] if self.rows is None else [{self.rows.name: v} for v in self.rows.values]
        given = request.model_dump(include=request.model_fields_set - {"grid"})
        found = []
        for row, value in product(rows, self.columns.values):
            changes = {self.columns.name: value, **row}
            options = {
                SCALED.get(name, name): _with_scale(request, name, value)
                if name in SCALED
                else value
                for name, value in changes.items()
            }
            found.append((changes, Generate.model_validate({"count": 1, **given, **options})))
        return found


def parse_grid(entries: Sequence[str]) -> Grid:
    """Parse one or two `--grid`: the first defines the columns, the second the rows.

    Raises:
        BadInput: an entry cannot be parsed, or there are too many cells.
        UnknownName: an option that cannot be varied.
    """
    axes = []
    for entry in entries:
        name, equals, rest = entry.partition("=")
        name = name.strip().replace("-", "_")
        mark = "|" if "|" in rest else ","
        values = tuple(part.strip() for part in rest.split(mark) if part.strip())
        if not equals or not values:
            raise BadInput(f"--grid {entry!r} cannot be read.", "Write for example cfg=1,3,5.")
        if name not in (known := (*VARIED, *SCALED)):
            raise UnknownName("option of a grid", name, [one.replace("_", "-") for one in known])
        axes.append(Axis(name, values))
    if len({axis.name for axis in axes}) < len(axes):
        raise BadInput(f"--grid {axes[0].name} is given twice.", "Give all its values at once.")
    count = len(axes[0].values) * (len(axes[1].values) if len(axes) > 1 else 1)
    if count > limits.GRID_CELLS:
        raise BadInput(
            f"a grid of {count} cells; at most {limits.GRID_CELLS} are generated.", "Take fewer."
        )
    return Grid(axes[0], axes[1] if len(axes) > 1 else None)


@dataclass
class Once(Silent):
    """A monitor that forwards each note only once, since the cells of a grid repeat them."""

    monitor: Monitor
    noted: set[str] = field(default_factory=set)

    def start(self, task: str, total: int | None = None) -> None:
        """Forward the call."""
        self.monitor.start(task, total)

    def advance(self, count: int = 1) -> None:
        """Forward the call."""
        self.monitor.advance(count)

    def note(self, text: str) -> None:
        """Forward a note the first time."""
        if text not in self.noted:
            self.noted.add(text)
            self.monitor.note(text)
