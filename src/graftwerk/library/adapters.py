"""The adapters of a pipeline: LoRAs, control branches and guides.

Each is made without a model, and finds out whether it fits when it is put on one:
`pipe.with_(adapter)`, which calls `adapter.apply(pipe)`.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..adapters.manifest import RECORD
from ..adapters.protocol import Socket
from ..controlnet.inputs import LoadedControl
from ..controlnet.spec import ControlInput, read_named
from ..data.image_inputs import ImageLike, name_of, open_and_hash
from ..diffusion.guidance import LogProb, Term
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..errors import BadInput, GraftError
from ..generation import guide_spec
from ..generation.guides import Settings
from ..generation.spec import GenerationSpec, LoraSpec
from ..generation.steered import LoadedGuide
from ..models.checkpoint import read_object
from ..models.hub import locate, named_by_user, require_condition
from ..requests.base import DEFAULT_GUIDE, DEFAULT_IMAGE_ENCODER
from .pipeline import Pipeline

if TYPE_CHECKING:
    from torch import Tensor

Interval = tuple[float, float]
_ALWAYS: Interval = (0.0, math.inf)


class Lora:
    """A LoRA on a pipeline's weights.

    `pipe.with_(Lora("style", scale=0.8))`; the changes of several add up.

    >>> import graftwerk as gw
    >>> gw.Lora("style", scale=0.8)
    Lora('style', scale=0.8)
    """

    name = "lora"
    socket: Socket = "weights"

    def __init__(self, folder: str | Path, scale: float = 1.0) -> None:
        """Name a LoRA.

        Args:
            folder: as `graft fit --task generate`, peft or diffusers writes it, or a safetensors
                file of kohya's form.
            scale: factor of what was learned; 0: none of it.

        Raises:
            BadInput: the scale is not finite.
        """
        _require_finite("a LoRA", scale)
        self.folder, self.scale = Path(folder), scale

    @property
    def is_zero(self) -> bool:
        """True at scale 0."""
        return self.scale == 0

    def apply(self, frozen: Pipeline) -> Pipeline:
        """Return a pipeline with it.

        Raises:
            WrongBase: it was made on another model; both are named.
            BadFile: it is not a LoRA.
        """
        part = frozen.loader.lora(LoraSpec(self.folder, self.scale))
        steered = replace(frozen.steered, loras=(*frozen.steered.loras, part))
        return frozen.holding(self, part, steered)

    def remove(self, steered: Pipeline) -> Pipeline:
        """Return the pipeline without it."""
        return steered.dropping(self)

    def __repr__(self) -> str:
        return f"Lora({str(self.folder)!r}, scale={self.scale:g})"


class ControlNet:
    """A control branch; called with an image it gives an adapter that follows the image.

    >>> import graftwerk as gw
    >>> gw.ControlNet("builtin/blocks-canny")
    ControlNet('builtin/blocks-canny', condition='canny')
    """

    def __init__(self, source: str | Path, condition: str | None = None) -> None:
        """Name a branch.

        Args:
            source: a built-in branch, a folder that `graft control train` wrote, a
                `ControlNetModel` folder of diffusers, or a hub id `owner/name@revision`.
            condition: what it follows (`canny`, `depth`, ...); default: what its files say.

        Raises:
            BadFile: there is no such branch.
            BadInput: its files do not say what it follows, and neither does the caller.
        """
        with named_by_user([str(source)]):
            self.folder = locate(str(source))
        self.source = str(source)
        self.condition = condition or _condition_of(self.folder, self.source)
        require_condition(self.condition)

    def __call__(
        self,
        image: ImageLike,
        *,
        weight: float = 1.0,
        start: float = 0.0,
        until: float = 1.0,
        mask: ImageLike | None = None,
        is_map: bool = False,
        estimator: str | None = None,
    ) -> "Control":
        """Return an adapter that makes images follow this one.

        Args:
            image: its condition is computed; or a finished map.
            weight: factor of the branch's output; 0: none of it.
            start: share of the steps before which it does not act.
            until: share after which it does not.
            mask: white where it acts; default: everywhere.
            is_map: whether `image` is a finished map.
            estimator: model of the transformers library that reads the condition of the image;
                default: what comes with the package.

        Raises:
            BadInput: a weight or interval that is not possible, or not an image.
        """
        if is_map and estimator is not None:
            raise BadInput("a finished map is not read by an estimator.", "Leave one of them out.")
        masks = () if mask is None else (read_named(mask),)
        source = read_named(image, depth=is_map and self.condition == "depth")
        numbers = (weight, start, until)
        control = ControlInput(self.condition, source, is_map, *numbers, masks, estimator)
        return Control(self.folder, control, () if estimator is None else (estimator,))

    def __repr__(self) -> str:
        return f"ControlNet({self.source!r}, condition={self.condition!r})"


class Control:
    """A control branch that follows one image; made by calling a `ControlNet`."""

    name = "control"
    socket: Socket = "activations"

    def __init__(self, folder: Path, control: ControlInput, named: Sequence[str] = ()) -> None:
        self._folder, self._control, self._named = folder, control, tuple(named)

    @property
    def is_zero(self) -> bool:
        """True at weight 0."""
        return self._control.weight == 0

    def apply(self, frozen: Pipeline) -> Pipeline:
        """Return a pipeline with it.

        Raises:
            WrongBase: the branch was made on another model; both are named.
            BadFile: it is not a branch.
        """
        with _named_by_user(self._named):
            read = frozen.loader.reader(self._control)
        part = LoadedControl(self._control, frozen.loader.branch(self._folder), read)
        steered = replace(frozen.steered, controls=(*frozen.steered.controls, part))
        return frozen.holding(self, part, steered)

    def remove(self, steered: Pipeline) -> Pipeline:
        """Return the pipeline without it."""
        return steered.dropping(self)

    def __repr__(self) -> str:
        return f"Control({self._control.kind!r}, weight={self._control.weight:g})"


def _named_by_user(names: Sequence[str]) -> AbstractContextManager[None]:
    """Of a command all models were named before; what is named here may be fetched too."""
    return named_by_user(names) if names else nullcontext()


class _Guide:
    """What all guides share."""

    name = "gradient"
    socket: Socket = "score"
    scale: float

    @property
    def is_zero(self) -> bool:
        """True at scale 0."""
        return self.scale == 0

    def apply(self, frozen: Pipeline) -> Pipeline:
        """Return a pipeline with it.

        Raises:
            UnknownName: a class that its classifier does not have.
            WrongBase: its classifier reads another latent space.
        """
        part = self._load(frozen)
        steered = replace(frozen.steered, guides=(*frozen.steered.guides, part))
        return frozen.holding(self, part, steered)

    def remove(self, steered: Pipeline) -> Pipeline:
        """Return the pipeline without it."""
        return steered.dropping(self)

    def _load(self, pipe: Pipeline) -> LoadedGuide:
        raise NotImplementedError


class _ModelGuide(_Guide):
    """A guide that asks a model: `class=`, `text=` or `image=` of the command line."""

    def __init__(
        self, guide: guide_spec.Guide, settings: Settings, named: Sequence[str] = ()
    ) -> None:
        _require_finite(f"the guide {guide.name}", guide.scale)
        lowest, highest = settings.interval
        if not 0 <= lowest < highest:
            raise BadInput(
                f"the interval {settings.interval} is not possible.",
                "Give two noise levels, the lower one first, for example (0.3, 3).",
            )
        self.scale = guide.scale
        self._guide, self._settings, self._named = guide, settings, tuple(named)

    def _load(self, pipe: Pipeline) -> LoadedGuide:
        with _named_by_user(self._named):
            return pipe.loader.guide(self._guide, self._settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__.strip('_')}({self._guide.what!r}, scale={self.scale:g})"


class ClassGuide(_ModelGuide):
    """Guides images to a class of a classifier (Dhariwal and Nichol, 2021).

    >>> import graftwerk as gw
    >>> gw.ClassGuide("red cube", scale=10.0)
    ClassGuide('red cube', scale=10)
    """

    def __init__(
        self,
        label: str,
        scale: float,
        *,
        model: str = DEFAULT_GUIDE,
        labels: Sequence[str] = (),
        interval: Interval = _ALWAYS,
        plain: bool = False,
    ) -> None:
        """Name a class.

        Args:
            label: the class.
            scale: weight of its gradient; 0: none.
            model: a noise-aware classifier, or a joint encoder of texts and images.
            labels: classes of a joint encoder; default: kinds and colours of Blocks objects.
            interval: lowest and highest noise level at which it acts.
            plain: whether the bare gradient is taken, neither softened nor limited.

        Raises:
            BadInput: a scale or interval that is not possible.
        """
        settings = Settings(model, tuple(labels), "", interval, plain)
        super().__init__(guide_spec.Guide("class", label, scale), settings, [model])


class TextGuide(_ModelGuide):
    """Guides images to a sentence, by a joint encoder of texts and images.

    >>> import graftwerk as gw
    >>> gw.TextGuide("a red cube", scale=5.0)
    TextGuide('a red cube', scale=5)
    """

    def __init__(
        self,
        text: str,
        scale: float,
        *,
        encoder: str = DEFAULT_IMAGE_ENCODER,
        interval: Interval = _ALWAYS,
        plain: bool = False,
    ) -> None:
        """Name a sentence.

        Args:
            text: the sentence.
            scale: weight of its gradient; 0: none.
            encoder: a joint encoder.
            interval: lowest and highest noise level at which it acts.
            plain: whether the bare gradient is taken.

        Raises:
            BadInput: a scale or interval that is not possible.
        """
        settings = Settings("", (), encoder, interval, plain)
        super().__init__(guide_spec.Guide("text", text, scale), settings, [encoder])


class ImageGuide(_ModelGuide):
    """Guides images to one that looks alike to a joint encoder.

    >>> import numpy as np
    >>> import graftwerk as gw
    >>> gw.ImageGuide(np.zeros((64, 64, 3), dtype=np.uint8), scale=5.0)
    ImageGuide('the image', scale=5)
    """

    def __init__(
        self,
        image: ImageLike,
        scale: float,
        *,
        encoder: str = DEFAULT_IMAGE_ENCODER,
        interval: Interval = _ALWAYS,
        plain: bool = False,
    ) -> None:
        """Name an image.

        Args:
            image: the image.
            scale: weight of its gradient; 0: none.
            encoder: a joint encoder.
            interval: lowest and highest noise level at which it acts.
            plain: whether the bare gradient is taken.

        Raises:
            BadFile: the image cannot be read.
            BadInput: a scale or interval that is not possible, or not an image.
        """
        found = open_and_hash(image)
        settings = Settings("", (), encoder, interval, plain)
        guide = guide_spec.Guide("image", name_of(image), scale, found)
        super().__init__(guide, settings, [encoder])


class Guide(_Guide):
    """Guides images by any function that PyTorch can differentiate.

    >>> import graftwerk as gw
    >>> gw.Guide(lambda x, sigma: -x.square().mean(dim=(1, 2, 3)), scale=3.0, label="small")
    Guide('small', scale=3)
    """

    def __init__(
        self,
        log_prob: "Callable[..., Tensor]",
        scale: float,
        *,
        reads: Literal["noisy", "latents", "images"] = "noisy",
        interval: Interval = _ALWAYS,
        limit: float = math.inf,
        label: str = "the guide",
    ) -> None:
        """Guide by a function.

        Args:
            log_prob: one number for each row, higher is better. It is called with `(x, sigma)`,
                or with images alone.
            scale: weight of its gradient; 0: none.
            reads: the noisy rows, the clean latents that each step expects, or these as images
                [b 3 h w] of values 0 to 1.
            interval: lowest and highest noise level at which it acts.
            limit: of the root mean square by which it moves the expected latents in a step.
            label: what reports and messages call it.

        Raises:
            BadInput: a scale that is not possible.
        """
        _require_finite(label, scale)
        self.scale, self.label = scale, label
        self._log_prob, self._reads = log_prob, reads
        self._interval, self._limit = interval, limit

    def _load(self, pipe: Pipeline) -> LoadedGuide:
        model, ask = pipe.steered.frozen, self._log_prob
        log_prob: LogProb = ask
        if self._reads == "images":

            def log_prob(x: "Tensor", sigma: "float | Tensor") -> "Tensor":  # noqa: ARG001
                return ask(model.decode(x))

        term = Term(
            self.label,
            log_prob,
            self.scale,
            self._reads != "noisy",
            *self._interval,
            limit=self._limit,
        )
        return LoadedGuide(term, "")

    def __repr__(self) -> str:
        return f"Guide({self.label!r}, scale={self.scale:g})"


def open_spec(spec: GenerationSpec) -> Pipeline:
    """Return the pipeline of a request, with its adapters.

    Raises:
        WrongBase: an adapter was made on another model; both are named.
        BadInput: an adapter that is not possible.
        Damaged: a file is damaged.
    """
    model: DiffusionModel = load_diffusion(spec.request.model, spec.request.device, spec.folder)
    settings = spec.guide_settings
    return Pipeline(model).with_(
        *(Lora(lora.folder, lora.scale) for lora in spec.loras),
        *(Control(spec.branches[control.kind], control) for control in spec.controls),
        *(_ModelGuide(guide, settings) for guide in spec.guides),
    )


def _condition_of(folder: Path, source: str) -> str:
    """The condition that a branch's files name.

    Raises:
        BadInput: they name none.
    """
    for name, keys in (("config.json", ("condition",)), (RECORD, ("content", "condition"))):
        try:
            found: object = read_object(folder / name)
        except GraftError:
            continue
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    raise BadInput(
        f"the files of {source} do not say which condition it follows.",
        "Name it, for example ControlNet(..., condition='canny').",
    )


def _require_finite(what: str, scale: float) -> None:
    if not math.isfinite(scale):
        raise BadInput(
            f"{what} has the scale {scale}.", "Give a finite number; 0: it does nothing."
        )
