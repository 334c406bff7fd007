"""Adapters of a pipeline: LoRAs, control branches and guides.

An adapter is created without a model. Whether it fits is checked when it is added to a pipeline:
`pipe.with_(adapter)` calls `adapter.apply(pipe)`.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from ..adapters.manifest import RECORD, Socket
from ..controlnet.inputs import LoadedControl
from ..controlnet.spec import CUSTOM, ControlInput, blocks_of, read_mask, read_named
from ..data.image_inputs import ImageLike, name_of, open_and_hash
from ..diffusion.checkpoint import PipelineFolder, locate_pipeline, open_pipeline
from ..diffusion.guidance import LogProb, Term
from ..diffusion.pipeline import load_diffusion
from ..errors import BadInput, GraftError, UnknownName, finite, shown
from ..generation import spec as requested
from ..generation.guides import Settings
from ..generation.steered import LoadedGuide, LoadedLora, LoadedWeaker
from ..models.checkpoint import read_object
from ..models.hub import locate, named_by_user, require_condition
from ..requests.base import DEFAULT_GUIDE, DEFAULT_IMAGE_ENCODER, given_path
from .pipeline import Pipeline

Interval = tuple[float, float]
_AT_ZERO = "0: it does nothing."
_ALWAYS: Interval = (0.0, math.inf)


class _Adapter:
    """An adapter whose loaded parts are listed in one field of the steered model."""

    name: str
    socket: Socket
    scale: float
    _field: str

    @property
    def is_zero(self) -> bool:
        """Whether it does nothing."""
        return self.scale == 0

    def apply(self, frozen: Pipeline) -> Pipeline:
        """Return a pipeline with the adapter added.

        Raises:
            WrongBase: it belongs to another model; both are named.
            BadFile: its files hold something else.
            BadInput: it cannot be used with this model.
        """
        part, old = self._load(frozen), getattr(frozen.steered, self._field)
        changed: dict[str, Any] = {self._field: (*old, part)}
        return frozen.holding(self, part, replace(frozen.steered, **changed))

    def remove(self, steered: Pipeline) -> Pipeline:
        """Return the pipeline without the adapter."""
        return steered.dropping(self)

    def _load(self, pipe: Pipeline) -> object:
        raise NotImplementedError


class Lora(_Adapter):
    """A LoRA for the weights of a pipeline.

    Use it with `pipe.with_(Lora("style", scale=0.8))`; the changes of several LoRAs add up.

    >>> import graftwerk as gw
    >>> gw.Lora("style", scale=0.8)
    Lora('style', scale=0.8)
    """

    name, socket, _field = "lora", "weights", "loras"

    def __init__(self, folder: str | Path, scale: float = 1.0) -> None:
        """Create an adapter from a LoRA on disk, which is loaded when it is applied.

        Args:
            folder: folder written by `graft fit --task generate`, peft or diffusers, or a
                safetensors file in kohya's format.
            scale: factor of the learned weights; 0 disables them.

        Raises:
            BadInput: the scale is not finite, or above 100.
        """
        self._spec = requested.LoraSpec(given_path(folder), finite("scale", scale, _AT_ZERO))
        self.folder, self.scale = self._spec.folder, self._spec.scale

    def _load(self, pipe: Pipeline) -> LoadedLora:
        return pipe.loader.lora(self._spec)

    def __repr__(self) -> str:
        return f"Lora({str(self.folder)!r}, scale={self.scale:g})"


class ControlNet:
    """A ControlNet; call it with an image to get an adapter that follows this image.

    >>> import graftwerk as gw
    >>> gw.ControlNet("builtin/blocks-canny")
    ControlNet('builtin/blocks-canny', condition='canny')
    """

    def __init__(self, source: str | Path, condition: str | None = None) -> None:
        """Find a ControlNet; it is loaded when a control is applied.

        Args:
            source: a built-in ControlNet, a folder written by `graft control train`, a
                `ControlNetModel` folder of diffusers, or a hub id `owner/name@revision`.
            condition: the condition that it follows (`canny`, `depth`, ...), or `custom` for any
                other, whose images it reads as they are; default: as named in its files.

        Raises:
            BadFile: there is no such ControlNet.
            BadInput: neither its files nor the caller name the condition that it follows.
        """
        with named_by_user([str(source)]):
            self.folder = locate(str(source), "control branch")
        self.source = str(source)
        self.condition = condition or _condition_of(self.folder, self.source)
        require_condition(self.condition, CUSTOM)

    def __call__(
        self,
        image: ImageLike,
        *,
        weight: "float | Sequence[float] | Literal['soft']" = 1.0,
        start: float = 0.0,
        until: float = 1.0,
        mask: ImageLike | None = None,
        is_map: bool = False,
        estimator: str | None = None,
    ) -> "Control":
        """Return an adapter that makes generated images follow the condition of an image.

        Args:
            image: an image whose condition is computed, or a finished condition map.
            weight: factor of the branch's output; 0 disables it. Several: one for each connection
                to the U-Net, from the outermost skip to the middle block; `soft`: falling outwards.
            start: share of the steps before which it is inactive.
            until: share of the steps after which it is inactive.
            mask: image that is white where the control acts; default: everywhere.
            is_map: whether `image` is a finished map.
            estimator: model of the transformers library that computes the condition of the image;
                default: the built-in one.

        Raises:
            BadInput: a weight or interval that is not possible, or not an image.
        """
        if is_map and estimator is not None:
            raise BadInput("a finished map is not read by an estimator.", "Leave one of them out.")
        is_map = is_map or self.condition == CUSTOM
        masks = () if mask is None else (read_mask(mask),)
        source = read_named(image, depth=is_map and self.condition == "depth")
        factor, blocks = blocks_of(weight)
        numbers = (factor, start, until)
        control = ControlInput(self.condition, source, is_map, *numbers, masks, estimator, blocks)
        return Control(self.folder, control, () if estimator is None else (estimator,))

    def __repr__(self) -> str:
        return f"ControlNet({self.source!r}, condition={self.condition!r})"


class Control(_Adapter):
    """A ControlNet that follows one image; created by calling a `ControlNet`."""

    name, socket, _field = "control", "activations", "controls"

    def __init__(self, folder: Path, control: ControlInput, named: Sequence[str] = ()) -> None:
        self._folder, self._control, self._named = folder, control, tuple(named)

    @property
    def is_zero(self) -> bool:
        """Whether the weight is 0."""
        return self._control.is_zero

    def _load(self, pipe: Pipeline) -> LoadedControl:
        with _named_by_user(self._named):
            read = pipe.loader.reader(self._control)
        return LoadedControl(self._control, pipe.loader.branch(self._folder), read)

    def __repr__(self) -> str:
        return f"Control({self._control.kind!r}, weight={self._control.weight:g})"


def _named_by_user(names: Sequence[str]) -> AbstractContextManager[None]:
    """Allow downloads of models that the user named; for commands this is already done."""
    return named_by_user(names) if names else nullcontext()


class _Guide(_Adapter):
    name, socket, _field = "gradient", "score", "guides"


def _words(what: str, given: object) -> None:
    """Refuse anything but a text with words in it as what a guide aims at."""
    if not isinstance(given, str) or not given.strip():
        found = "empty" if isinstance(given, str) else shown(given)
        raise BadInput(f"the {what} of a guide is {found}.", "Say what the images should show.")


class _ModelGuide(_Guide):
    """A guide that evaluates a model: `class=`, `text=` or `image=` of the command line."""

    def __init__(
        self, guide: requested.Guide, settings: Settings, named: Sequence[str] = ()
    ) -> None:
        finite("scale", guide.scale, _AT_ZERO)
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
    """Classifier guidance towards a class (Dhariwal and Nichol, 2021).

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
        """Create a guide towards a class.

        Args:
            label: the class.
            scale: weight of the gradient; 0 disables the guide.
            model: a noise-aware classifier, or a joint encoder of texts and images.
            labels: classes of a joint encoder; default: kinds and colors of Blocks objects.
            interval: lowest and highest noise level at which it is active.
            plain: whether to use the plain gradient, neither softened nor limited.

        Raises:
            BadInput: a scale or interval that is not possible.
        """
        _words("class", label)
        if isinstance(labels, str):
            raise BadInput(f"labels {labels!r} is a single text.", f"Write labels=[{labels!r}].")
        settings = Settings(model, tuple(labels), "", interval, plain)
        super().__init__(requested.Guide("class", label, scale), settings, [model])


class TextGuide(_ModelGuide):
    """Guidance towards a sentence by a joint encoder of texts and images.

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
        """Create a guide towards a sentence.

        Args:
            text: the sentence.
            scale: weight of the gradient; 0 disables the guide.
            encoder: a joint encoder of texts and images.
            interval: lowest and highest noise level at which it is active.
            plain: whether to use the plain gradient, neither softened nor limited.

        Raises:
            BadInput: a scale or interval that is not possible.
        """
        _words("sentence", text)
        settings = Settings("", (), encoder, interval, plain)
        super().__init__(requested.Guide("text", text, scale), settings, [encoder])


class ImageGuide(_ModelGuide):
    """Guidance towards images that are similar to a given one for a joint encoder.

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
        """Create a guide towards an image.

        Args:
            image: the image.
            scale: weight of the gradient; 0 disables the guide.
            encoder: a joint encoder of texts and images.
            interval: lowest and highest noise level at which it is active.
            plain: whether to use the plain gradient, neither softened nor limited.

        Raises:
            BadFile: the image cannot be read.
            BadInput: a scale or interval that is not possible, or not an image.
        """
        found = open_and_hash(image)
        settings = Settings("", (), encoder, interval, plain)
        guide = requested.Guide("image", name_of(image), scale, found)
        super().__init__(guide, settings, [encoder])


Reads = Literal["noisy", "latents", "images"]


class Guide(_Guide):
    """Guidance by any function that PyTorch can differentiate.

    >>> import graftwerk as gw
    >>> gw.Guide(lambda x, sigma: -x.square().mean(dim=(1, 2, 3)), scale=3.0, label="small")
    Guide('small', scale=3)
    """

    def __init__(
        self,
        log_prob: Callable[..., Tensor],
        scale: float,
        *,
        reads: Reads = "noisy",
        interval: Interval = _ALWAYS,
        limit: float = math.inf,
        label: str = "the guide",
    ) -> None:
        """Create a guide from a function.

        Args:
            log_prob: function that returns one number per row, higher is better. It is called with
                `(x, sigma)`, or with images alone.
            scale: weight of the gradient; 0 disables the guide.
            reads: what `log_prob` reads: the noisy rows, the clean latents predicted at each step,
                or these decoded to images [b 3 h w] with values 0 to 1.
            interval: lowest and highest noise level at which it is active.
            limit: maximum root mean square of the shift of the predicted latents in a step.
            label: name in reports and messages.

        Raises:
            BadInput: a scale that is not possible, or no function.
            UnknownName: `reads` is another word.
        """
        finite("scale", scale, _AT_ZERO)
        if reads not in get_args(Reads):
            raise UnknownName("reads", str(reads), get_args(Reads))
        if not callable(log_prob):
            raise BadInput(f"{shown(log_prob)} is not a function.", "Pass log_prob(x, sigma).")
        self.scale, self.label = scale, label
        self._log_prob, self._reads = log_prob, reads
        self._interval, self._limit = interval, limit

    def _load(self, pipe: Pipeline) -> LoadedGuide:
        model, ask = pipe.steered.frozen, self._log_prob
        log_prob: LogProb = ask
        if self._reads == "images":

            def log_prob(x: Tensor, sigma: float | Tensor) -> Tensor:  # noqa: ARG001
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


class Autoguide(_Adapter):
    """Autoguidance: away from what a weaker model predicts (Karras et al., 2024).

    >>> import graftwerk as gw
    >>> gw.Autoguide("builtin/blocks", scale=1.5)
    Autoguide('builtin/blocks', scale=1.5)
    """

    name, socket, _field = "gradient", "score", "weaker"

    def __init__(
        self, model: str | Path, scale: float = 1.0, *, folder: PipelineFolder | None = None
    ) -> None:
        """Create a guide from a smaller or less trained model of the same latent space.

        Args:
            model: its folder or hub id; it is loaded when the guide is applied.
            scale: weight of what the better model predicts otherwise; 0 disables the guide.
            folder: of that name, if it is already open.

        Raises:
            BadInput: the scale is not finite, or there is no such model.
        """
        finite("scale", scale, _AT_ZERO)
        if folder is None:
            with named_by_user([str(model)]):
                folder = open_pipeline(locate_pipeline(str(model)))
        self.model, self.scale, self._folder = str(model), scale, folder

    def _load(self, pipe: Pipeline) -> LoadedWeaker:
        return pipe.loader.weaker(self.model, self.scale, self._folder)

    def __repr__(self) -> str:
        return f"Autoguide({self.model!r}, scale={self.scale:g})"


def open_spec(spec: requested.GenerationSpec) -> Pipeline:
    """Return the pipeline of a parsed request, with its adapters.

    Raises:
        WrongBase: an adapter belongs to another model; both are named.
        BadInput: an adapter that is not possible.
        Damaged: a file is damaged.
    """
    request = spec.request
    model = load_diffusion(
        request.model, request.device, spec.folder, request.precision,
        offload=request.offload, compiled=request.compile,
    )  # fmt: skip
    return Pipeline(model).with_(*adapters_of(spec))


def adapters_of(spec: requested.GenerationSpec) -> list[Any]:
    """Return the adapters of a parsed request."""
    settings = spec.guide_settings
    return [
        *(Lora(lora.folder, lora.scale) for lora in spec.loras),
        *(Control(spec.branches[control.kind], control) for control in spec.controls),
        *(_ModelGuide(guide, settings) for guide in spec.guides),
        *(Autoguide(one.folder, one.scale, folder=folder) for one, folder in spec.weaker),
    ]


def _condition_of(folder: Path, source: str) -> str:
    """Return the condition that is named in the files of a ControlNet."""
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
        f"Name it, for example ControlNet(..., condition='canny'); {CUSTOM!r} for none of these.",
    )
