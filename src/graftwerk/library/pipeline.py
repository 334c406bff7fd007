"""Generate images with a frozen diffusion model and adapters that steer it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..adapters.manifest import Adapter
from ..controlnet.spec import read_mask, read_named
from ..data.image_inputs import ImageLike, as_image
from ..data.images import image_html, write_image
from ..diffusion import sampling
from ..diffusion.noise_schedule import Sigma, noise_levels
from ..diffusion.pipeline import DiffusionModel, Precision, load_diffusion
from ..diffusion.sampling import stretch
from ..errors import BadInput, shown
from ..generation.job import Job, in_captions, open_job
from ..generation.results import Generation
from ..generation.spec import Options, Region, options_of, settled
from ..generation.steered import Loader, SteeredModel
from ..generation.validate import require_measure
from ..models.hub import named_by_user
from ..requests.base import DEFAULT_PIPELINE, checked, require_effect
from ..requests.generate import NEEDS, Generate
from ..text_safety import counted
from ..types import Denoiser, Monitor, Noting, Silent, Unpicklable

if TYPE_CHECKING:
    from PIL.Image import Image

Batch = Float[Tensor, "b c h w"]


PipelineAdapter: TypeAlias = "Adapter[Pipeline]"


@dataclass(frozen=True, eq=False)
class GeneratedImages:
    """Result of `Pipeline.generate`: a sequence of images, with what is known of them.

    >>> import graftwerk as gw
    >>> found = gw.Pipeline("builtin/blocks").generate("a red cube", n=1, steps=2)
    >>> len(found), found[0].size
    (1, (128, 128))

    Attributes:
        images: the generated images.
        latents: final latents of the sampler before decoding, one row per image.
        report: the report of `graft generate --json`; `path` and `sheet` are empty.
        stem: start of the names of files.
    """

    images: "list[Image]"
    latents: Batch
    report: Generation
    stem: str

    @property
    def seeds(self) -> list[int]:
        """The seed of each image's noise."""
        return [image.seed for image in self.report.pictures]

    def grid(self) -> "Image":
        """Return a contact sheet of all images."""
        return sampling.contact_sheet(self.images)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the images as PNG files and return their paths.

        They are named as those of `graft generate`: by the prompt and a hash of the whole request.

        Raises:
            NoRoom: the folder cannot be written.
        """
        numbers = [picture.number for picture in self.report.pictures]
        paths = [Path(folder) / f"{self.stem}-{number:03d}.png" for number in numbers]
        for path, image in zip(paths, self.images, strict=True):
            write_image(path, image)
        return paths

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> "Iterator[Image]":
        return iter(self.images)

    def __getitem__(self, number: int) -> "Image":
        return self.images[number]

    def __repr__(self) -> str:
        report = self.report
        return (
            f"GeneratedImages({len(self)} of {report.width} x {report.height} pixels, "
            f"{report.prompt!r}, {report.model!r}, {counted(report.steps, 'step')} of "
            f"{report.sampler})"
        )

    def _repr_html_(self) -> str:
        return image_html(self.grid(), self.report.prompt)


def _checked(adapter: Any) -> PipelineAdapter:
    """Return the adapter; refuse what is none."""
    if not callable(getattr(adapter, "apply", None)):
        raise BadInput(
            f"{adapter!r} is not an adapter of a pipeline.",
            "Pass a gw.Lora, a guide, or a gw.ControlNet called with its image: branch(image).",
        )
    return cast("PipelineAdapter", adapter)


def require_pipeline(given: object) -> None:
    """Refuse anything but a pipeline, such as the name of its model."""
    if not isinstance(given, Pipeline):
        raise BadInput(f"{shown(given)} is not a pipeline.", "Pass gw.Pipeline(MODEL).")


class Pipeline(Unpicklable):
    """A frozen diffusion model with adapters.

    >>> import graftwerk as gw
    >>> pipe = gw.Pipeline("builtin/blocks")
    >>> pipe.generate("a red cube", n=2, steps=4, seed=7)
    GeneratedImages(2 of 128 x 128 pixels, 'a red cube', 'builtin/blocks', 4 steps of dpmpp_2m)
    """

    def __init__(
        self,
        model: str | Path | DiffusionModel = DEFAULT_PIPELINE,
        *,
        device: str = "auto",
        precision: Precision = "float32",
        offload: bool = False,
        compile: bool = False,  # noqa: A002  the name of the option
    ) -> None:
        """Load a diffusion model.

        Args:
            model: `builtin/blocks`, a folder in diffusers' layout, a hub id `owner/name@revision`,
                or a model that is already loaded.
            device: `auto`, `cpu`, `cuda` or `mps`.
            precision: of weights and arithmetic: `float32`, `bfloat16` or, on a GPU, `float16`.
            offload: whether its networks are on the device only while they run.
            compile: whether to compile its U-Net or transformer (`torch.compile`).

        Raises:
            BadInput: the name, folder or device cannot be used, or the device lacks this precision.
            Damaged: a weight file is truncated.
        """
        if not isinstance(model, DiffusionModel):
            with named_by_user([str(model)]):
                model = load_diffusion(
                    str(model), device, precision=precision, offload=offload, compiled=compile
                )
        self.adapters: tuple[PipelineAdapter, ...] = ()
        self.steered = SteeredModel(model)
        self.loader = Loader(model)
        self._parts: tuple[object, ...] = ()

    @property
    def name(self) -> str:
        """Name of the model, as it was passed."""
        return self.steered.frozen.name

    @property
    def fingerprint(self) -> str:
        """Hash of the frozen weights and of everything else that affects images."""
        return self.steered.frozen.fingerprint

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels that the model was trained on."""
        return self.steered.frozen.size

    @property
    def device(self) -> str:
        """Device of the model."""
        return self.steered.frozen.device

    def with_(self, *adapters: PipelineAdapter) -> "Pipeline":
        """Return a pipeline with additional adapters, which shares the frozen weights.

        Raises:
            WrongBase: an adapter belongs to another model; both are named.
            BadInput: an adapter that is not possible.
        """
        pipe = self
        for adapter in adapters:
            pipe = _checked(adapter).apply(pipe)
        return pipe

    def without(self, *adapters: PipelineAdapter) -> "Pipeline":
        """Return a pipeline without these adapters; without arguments, the frozen model."""
        pipe = self
        for adapter in adapters or self.adapters:
            pipe = _checked(adapter).remove(pipe)
        return pipe

    def holding(self, adapter: PipelineAdapter, part: object, steered: SteeredModel) -> "Pipeline":
        """Return a pipeline with one more adapter and its loaded part; used by adapters."""
        return self._like(steered, (*self.adapters, adapter), (*self._parts, part))

    def dropping(self, adapter: PipelineAdapter) -> "Pipeline":
        """Return a pipeline without the last occurrence of an adapter; used by adapters."""
        locations = [location for location, one in enumerate(self.adapters) if one is adapter]
        if not locations:
            raise BadInput(
                f"{adapter!r} is not on this pipeline.",
                f"On it: {', '.join(map(repr, self.adapters)) or 'none'}.",
            )
        last = locations[-1]
        return self._like(
            self.steered.without(self._parts[last]),
            self.adapters[:last] + self.adapters[last + 1 :],
            self._parts[:last] + self._parts[last + 1 :],
        )

    def generate(
        self,
        prompt: str = "",
        *,
        n: int = 4,
        seed: int = 0,
        steps: int = 25,
        sampler: str | None = None,
        cfg: float | None = None,
        negative: str = "",
        width: int | None = None,
        height: int | None = None,
        init: ImageLike | None = None,
        strength: float | None = None,
        mask: ImageLike | None = None,
        monitor: Monitor | None = None,
        **options: Any,
    ) -> GeneratedImages:
        """Generate images; the same arguments give the same images as `graft generate`.

        Args:
            prompt: what to generate; empty for no prompt.
            n: number of images.
            seed: seed of the noise.
            steps: number of sampling steps.
            sampler: `ddpm`, `ddim`, `euler`, `heun`, `dpmpp_2m`, ...; default: `dpmpp_2m`, for a
                model of flow matching `euler`.
            cfg: weight of the prompt (classifier-free guidance); 1 for the prompt as it is.
                Default: 5, for a guidance-distilled model 3.5.
            negative: negative prompt.
            width: width in pixels; default: the model's own.
            height: height in pixels; default: the model's own.
            init: image to start from instead of noise (img2img).
            strength: share of the steps that `init` goes through; 0 leaves it unchanged. Default:
                0.8, or 1 with a mask.
            mask: mask of `init`: white is repainted, black is preserved (inpainting).
            monitor: informed about progress; silent by default.
            **options: further options of `graft generate`: `schedule`, `eta`, `cfg_interval`,
                `cfg_rescale`, `pag`, `pag_layers`, `reuse`, `best_of`, `check`, `paste`; and
                `regions`, which maps prompts to images that are white where they apply.

        Raises:
            UnknownName: there is no such sampler.
            BadInput: an option that is not possible.
            Failure: the model returned values that are not finite.
        """
        begin, noting = time.perf_counter(), Noting(monitor or Silent())
        requested = self._options(
            prompt, n, seed=seed, steps=steps, sampler=sampler, cfg=cfg, negative=negative,
            width=width, height=height, strength=strength, init=init, mask=mask, **options,
        )  # fmt: skip
        job = self.prepare(requested, noting)
        groups = job.groups()
        start = time.perf_counter()
        made = list(job.run(groups, noting))
        sampled = time.perf_counter() - start
        pictures = [job.image_report(one, "") for one in made]
        images = [one.image for one in made]
        report = job.report(pictures, images, noting)
        times = job.times(groups, sampled, time.perf_counter() - begin)
        report = report.model_copy(update={**times, "notes": noting.notes})
        return GeneratedImages(images, torch.stack([one.latent for one in made]), report, job.stem)

    def prepare(self, options: Options, monitor: Monitor, literal: bool = False) -> Job:
        """Prepare a request with the model and adapters of this pipeline; see `generate`."""
        request, frozen = options.request, self.steered.frozen
        distilled = frozen.guides_itself
        request = settled(request, self.name, frozen.noise.flows, distilled, frozen.weighs_prompts)
        options = replace(options, request=request)
        require_measure(request, [one.control.is_measured for one in self.steered.controls])
        if frozen.reader is None and (request.prompt or request.negative):
            raise BadInput(f"model {self.name!r} takes no prompt.", "Leave the prompt out.")
        read = options if literal else in_captions(options, self.steered, monitor)
        job = open_job(read, self.steered, monitor)
        changed = read.request.prompt != request.prompt
        return replace(job, given=request.prompt) if changed else job

    def denoiser(
        self,
        prompt: str = "",
        *,
        steps: int = 25,
        cfg: float | None = None,
        negative: str = "",
        **options: Any,
    ) -> Denoiser:
        """Return the steered model as a function `denoise(x, sigma) -> x0`.

        Use it with `graftwerk.samplers`, or compose it with other functions. For a model of flow
        matching `x` is `(1 - sigma) * x0 + sigma * noise` with `sigma` from 1 to 0; the samplers
        `euler` and `heun` read it as it is.

        Args:
            prompt: see `generate`.
            steps: number of steps that will be taken; controls act in a share of them.
            cfg: see `generate`.
            negative: see `generate`.
            **options: see `generate`.

        Raises:
            BadInput: an option that is not possible.
        """
        if {"init", "mask", "strength", "inpaint"} & options.keys():
            raise BadInput(
                "a denoiser has no image to start at.",
                "Start the sampler at pipe.encode([image]) + sigma * noise, or repaint with "
                "gw.inpainted(denoise, ...).",
            )
        request = self._options(prompt, 1, steps=steps, cfg=cfg, negative=negative, **options)
        return _PromptedDenoiser(self.prepare(request, Silent()))

    def noise(
        self, n: int = 4, *, seed: int = 0, width: int | None = None, height: int | None = None
    ) -> Batch:
        """Return `n` rows of initial noise for a sampler, at the level `sigmas(...)[0]`."""
        if n < 1:
            raise BadInput(f"n {n} is too few rows of noise.", "Take 1 or more.")
        model = self.steered.frozen
        shape = model.shape(width or model.size[0], height or model.size[1])
        level = 1.0 if model.noise.flows else self.sigmas(1)[0]
        return sampling.starting_noise(model, shape, level, sampling.row_generators(seed, range(n)))

    def sigmas(self, steps: int = 25) -> list[float]:
        """Return the noise levels of the steps, decreasing to 0.

        They are spaced as in Karras et al. (2022), for flow matching as by the model's scheduler.
        """
        if steps < 1:
            raise BadInput(f"{counted(steps, 'step is', 'steps are')} too few.", "Take 1 or more.")
        model = self.steered.frozen
        return noise_levels(model.noise_at(*model.size), steps, "karras")

    def decode(self, x: Batch) -> "list[Image]":
        """Decode the result of a sampler to images.

        Raises:
            BadInput: it is no tensor of the model's rows, [b c h w].
        """
        model = self.steered.frozen
        channels = model.shape(*model.size)[0]
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != channels:
            raise BadInput(
                f"{shown(x)} is no batch of {self.name}.",
                f"Pass a torch.Tensor of shape [b {channels} h w], as samplers return it.",
            )
        return sampling.decode(model, x)

    def encode(self, images: ImageLike | Sequence[ImageLike]) -> Batch:
        """Resize one or several images to the model's size and encode them for a sampler.

        Raises:
            BadInput: there is no image.
        """
        one = isinstance(images, ImageLike) and getattr(images, "ndim", 0) < 4
        rows = [as_image(image) for image in cast("list[ImageLike]", [images] if one else images)]
        if not rows:
            raise BadInput("there is no image to encode.", "Pass one or more.")
        model = self.steered.frozen
        return sampling.encode(model, stretch(rows, model.size))

    def _options(self, prompt: str, n: int, **options: Any) -> Options:
        """Return checked options; none may be without effect on this pipeline."""
        found = _options(self.name, prompt, n, **options)
        steered = self.steered
        acting: dict[str, object] = {"autoguide": steered.weaker, "control": steered.controls}
        acting |= {"init": found.start is not None}
        names = [name for name, value in acting.items() if value]
        require_effect(found.request, NEEDS, found.request.model_fields_set, names)
        return found

    def _like(
        self,
        steered: SteeredModel,
        adapters: tuple[PipelineAdapter, ...],
        parts: tuple[object, ...],
    ) -> "Pipeline":
        pipe = Pipeline.__new__(Pipeline)
        pipe.adapters, pipe._parts = adapters, parts
        pipe.steered, pipe.loader = steered, self.loader
        return pipe

    def __repr__(self) -> str:
        adapters = "".join(f", {adapter!r}" for adapter in self.adapters)
        return f"Pipeline({self.name!r}{adapters})"


class _PromptedDenoiser:
    """A denoiser that builds the batch-dependent parts once for each batch size."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._built: dict[int, Denoiser] = {}

    def __call__(self, x: Batch, sigma: Sigma) -> Batch:
        rows = len(x)
        if rows not in self._built:
            self._built[rows] = sampling.build_denoiser(self._job.model, self._job.plan, rows)
        return self._built[rows](x, sigma)


def _options(
    model: str,
    prompt: str,
    n: int,
    *,
    init: ImageLike | None = None,
    mask: ImageLike | None = None,
    regions: Mapping[str, ImageLike] | None = None,
    **options: Any,
) -> Options:
    """Return the validated options of a request."""
    refused = _ADAPTERS.intersection(options)
    if "count" in refused:
        raise BadInput("count is not an option here.", "The number of images is n.")
    if refused:
        raise BadInput(
            f"{min(refused)} is not an option of an image.",
            "Put adapters on with pipe.with_(...), and write images with result.save(folder).",
        )
    if not isinstance(regions, Mapping | None):
        raise BadInput(
            f"regions {regions!r} does not map prompts to images.",
            'Write regions={"a red cube": mask}.',
        )
    chosen = {name: value for name, value in options.items() if value is not None}
    if isinstance(interval := chosen.get("cfg_interval"), tuple | list):
        chosen["cfg_interval"] = ":".join(map(str, interval))
    values = {"model": model, "prompt": prompt, "count": n, **chosen}
    return options_of(
        checked(Generate, **values, names={"count": "n"}),
        None if init is None else read_named(init),
        None if mask is None else read_mask(mask),
        tuple(Region(text, read_mask(image)) for text, image in (regions or {}).items()),
    )


# Fields of a request that a pipeline represents by objects, or that are output paths.
_ADAPTERS = frozenset(
    {
        "model", "count", "lora", "control", "branch", "estimator", "out", "previews", "from_",
        "device", "inpaint", "autoguide", "precision", "offload", "compile", "region",
        *(name for name in Generate.model_fields if name.startswith("guide")),
    }
)  # fmt: skip
