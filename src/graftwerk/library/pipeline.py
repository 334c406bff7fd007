"""A diffusion model that generates images, and the adapters that steer it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ..adapters.protocol import Adapter
from ..controlnet.spec import read_named
from ..data.image_inputs import ImageLike, as_image
from ..data.images import image_html, write_image
from ..data.pixels import stretch
from ..diffusion.noise_schedule import Sigma, noise_levels
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.sampling import (
    build_denoiser,
    contact_sheet,
    decode,
    encode,
    row_generators,
    starting_noise,
)
from ..errors import BadInput
from ..generation.job import Job, open_job
from ..generation.results import Generation
from ..generation.spec import Options, options_of
from ..generation.steered import Loader, SteeredModel
from ..generation.validate import require_measure
from ..models.hub import named_by_user
from ..requests.base import DEFAULT_PIPELINE
from ..requests.generate import Generate
from ..types import Denoiser, Monitor, Silent
from .arguments import checked

if TYPE_CHECKING:
    from PIL.Image import Image

Batch = Float[Tensor, "b c h w"]


PipelineAdapter: TypeAlias = "Adapter[Pipeline]"


@dataclass(frozen=True, eq=False)
class GeneratedImages:
    """Generated images.

    >>> import graftwerk as gw
    >>> found = gw.Pipeline("builtin/blocks").generate("a red cube", n=1, steps=2)
    >>> len(found), found.images[0].size
    (1, (64, 64))

    Attributes:
        images: the images.
        latents: what the sampler ended with, one row an image, before it was decoded.
        report: what `graft generate --json` reports; `path` and `sheet` are empty.
    """

    images: "list[Image]"
    latents: Batch
    report: Generation

    @property
    def seeds(self) -> list[int]:
        """The seed of each image's noise."""
        return [image.seed for image in self.report.pictures]

    def grid(self) -> "Image":
        """All images side by side."""
        return contact_sheet(self.images)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the images as PNG files.

        Raises:
            NoRoom: the folder cannot be written.
        """
        paths = [
            Path(folder) / f"{picture.number:03d}-{self.report.fingerprint[:8]}-{picture.seed}.png"
            for picture in self.report.pictures
        ]
        for path, image in zip(paths, self.images, strict=True):
            write_image(path, image)
        return paths

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        report = self.report
        return (
            f"GeneratedImages({len(self)} of {report.width} x {report.height} pixels, "
            f"{report.prompt!r}, {report.model!r}, {report.steps} steps of {report.sampler})"
        )

    def _repr_html_(self) -> str:
        return image_html(self.grid(), self.report.prompt)


class Pipeline:
    """A frozen diffusion model, and the adapters on it.

    >>> import graftwerk as gw
    >>> pipe = gw.Pipeline("builtin/blocks")
    >>> pipe.generate("a red cube", n=2, steps=4, seed=7)
    GeneratedImages(2 of 64 x 64 pixels, 'a red cube', 'builtin/blocks', 4 steps of dpmpp_2m)
    """

    def __init__(
        self, model: str | Path | DiffusionModel = DEFAULT_PIPELINE, *, device: str = "auto"
    ) -> None:
        """Load a diffusion model.

        Args:
            model: `builtin/blocks`, a folder in the layout of diffusers, or a hub id
                `owner/name@revision`; or a model that is loaded already.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            BadInput: the name, folder or device cannot be used.
            Damaged: a weight file is cut short.
        """
        if not isinstance(model, DiffusionModel):
            with named_by_user([str(model)]):
                model = load_diffusion(str(model), device)
        self.adapters: tuple[PipelineAdapter, ...] = ()
        self.steered = SteeredModel(model)
        self.loader = Loader(model)
        self._parts: tuple[object, ...] = ()

    @property
    def name(self) -> str:
        """The model, as it was named."""
        return self.steered.frozen.name

    @property
    def fingerprint(self) -> str:
        """Hash of the frozen weights and of everything else that changes an image."""
        return self.steered.frozen.fingerprint

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels that the model was trained on."""
        return self.steered.frozen.size

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self.steered.frozen.device

    def with_(self, *adapters: PipelineAdapter) -> "Pipeline":
        """Return a pipeline with these adapters beside its own; it shares the frozen weights.

        Raises:
            WrongBase: an adapter was made on another model; both are named.
            BadInput: an adapter that is not possible.
        """
        pipe = self
        for adapter in adapters:
            pipe = adapter.apply(pipe)
        return pipe

    def without(self, *adapters: PipelineAdapter) -> "Pipeline":
        """Return a pipeline without these adapters; without arguments, the frozen model."""
        pipe = self
        for adapter in adapters or self.adapters:
            pipe = adapter.remove(pipe)
        return pipe

    def holding(self, adapter: PipelineAdapter, part: object, steered: SteeredModel) -> "Pipeline":
        """For adapters: a pipeline with one more of them, and the part of the model that it is."""
        return self._like(steered, (*self.adapters, adapter), (*self._parts, part))

    def dropping(self, adapter: PipelineAdapter) -> "Pipeline":
        """For adapters: a pipeline without the last one that is this one."""
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
        sampler: str = "dpmpp_2m",
        cfg: float = 5.0,
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
            prompt: what to generate; empty: whatever the model likes.
            n: number of images.
            seed: of the noise.
            steps: of the sampler.
            sampler: `ddpm`, `ddim`, `euler`, `heun` or `dpmpp_2m`.
            cfg: weight of the prompt (classifier-free guidance); 1: as is.
            negative: what to get away from.
            width: in pixels; default: the model's own.
            height: the same.
            init: image to start at instead of noise (img2img).
            strength: share of the steps that it goes through: 0 leaves it as it is; default: 0.8,
                with a mask 1.
            mask: of `init`: white is repainted, black is kept (inpainting).
            monitor: informed about progress; silent by default.
            **options: further options of `graft generate`: `schedule`, `eta`, `cfg_interval`,
                `reuse`, `best_of`, `check`, `paste`.

        Raises:
            UnknownName: there is no such sampler.
            BadInput: an option that is not possible.
            Failure: the model gave values that are not finite.
        """
        begin, monitor = time.perf_counter(), monitor or Silent()
        job = self.prepare(
            _options(
                self.name, prompt, n, seed=seed, steps=steps, sampler=sampler, cfg=cfg,
                negative=negative, width=width, height=height, strength=strength, init=init,
                mask=mask, **options,
            ),
            monitor,
        )  # fmt: skip
        groups = job.groups()
        start = time.perf_counter()
        made = list(job.run(groups, monitor))
        sampled = time.perf_counter() - start
        pictures = [job.image_report(one, "") for one in made]
        images = [one.image for one in made]
        report = job.report(pictures, images, monitor).model_copy(
            update=job.times(groups, sampled, time.perf_counter() - begin)
        )
        return GeneratedImages(images, torch.stack([one.latent for one in made]), report)

    def prepare(self, options: Options, monitor: Monitor) -> Job:
        """Prepare a request whose model and adapters are this pipeline's; see `generate`."""
        request = options.request
        require_measure(request, [not one.control.masks for one in self.steered.controls])
        if self.steered.frozen.reader is None and (request.prompt or request.negative):
            raise BadInput(f"model {self.name!r} takes no prompt.", "Leave the prompt out.")
        return open_job(options, self.steered, monitor)

    def denoiser(
        self,
        prompt: str = "",
        *,
        steps: int = 25,
        cfg: float = 5.0,
        negative: str = "",
        **options: Any,
    ) -> Denoiser:
        """The steered model as one function `denoise(x, sigma) -> x0`, to compose by hand.

        Args:
            prompt: see `generate`.
            steps: that will be taken; a control acts in a share of them.
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
        request = _options(self.name, prompt, 1, steps=steps, cfg=cfg, negative=negative, **options)
        return _PromptedDenoiser(self.prepare(request, Silent()))

    def noise(
        self, n: int = 4, *, seed: int = 0, width: int | None = None, height: int | None = None
    ) -> Batch:
        """Where a sampler starts: `n` rows of noise of the highest level, `sigmas(...)[0]`."""
        model = self.steered.frozen
        shape = model.shape(width or model.size[0], height or model.size[1])
        return starting_noise(model, shape, self.sigmas(1)[0], row_generators(seed, range(n)))

    def sigmas(self, steps: int = 25) -> list[float]:
        """The noise levels of so many steps, falling to 0, spaced as Karras et al. (2022) do."""
        if steps < 1:
            raise BadInput(f"{steps} steps are too few.", "Take 1 or more.")
        return noise_levels(self.steered.frozen.noise, steps, "karras")

    def decode(self, x: Batch) -> "list[Image]":
        """Turn what a sampler ended with into images."""
        return decode(self.steered.frozen, x)

    def encode(self, images: Sequence[ImageLike]) -> Batch:
        """Turn images into what the sampler works on; they are brought to its own size."""
        model = self.steered.frozen
        return encode(model, stretch([as_image(image) for image in images], model.size))

    def _like(
        self,
        steered: SteeredModel,
        adapters: tuple[PipelineAdapter, ...],
        parts: tuple[object, ...],
    ) -> "Pipeline":
        pipe = Pipeline.__new__(Pipeline)
        pipe.adapters, pipe.steered, pipe.loader, pipe._parts = (
            adapters,
            steered,
            self.loader,
            parts,
        )
        return pipe

    def __repr__(self) -> str:
        adapters = "".join(f", {adapter!r}" for adapter in self.adapters)
        return f"Pipeline({self.name!r}{adapters})"


class _PromptedDenoiser:
    """A denoiser that builds what depends on the batch when it meets a batch of that size."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._built: dict[int, Denoiser] = {}

    def __call__(self, x: Batch, sigma: Sigma) -> Batch:
        rows = len(x)
        if rows not in self._built:
            self._built[rows] = build_denoiser(self._job.model, self._job.plan, rows)
        return self._built[rows](x, sigma)


def _options(
    model: str,
    prompt: str,
    n: int,
    *,
    init: ImageLike | None = None,
    mask: ImageLike | None = None,
    **options: Any,
) -> Options:
    """The options as a request, which knows their ranges.

    Raises:
        BadInput: one is out of its range, or not known.
    """
    refused = _ADAPTERS.intersection(options)
    if refused:
        raise BadInput(
            f"{min(refused)} is not an option of an image.",
            "Put adapters on with pipe.with_(...), and write images with result.save(folder).",
        )
    values = {"model": model, "prompt": prompt, "count": n, **options}
    return options_of(
        checked(Generate, **values, names={"count": "n"}),
        None if init is None else read_named(init),
        None if mask is None else read_named(mask),
    )


# Fields of a request that a pipeline has as objects, or that say where things are written.
_ADAPTERS = frozenset(
    {
        "model",
        "count",
        "lora",
        "control",
        "branch",
        "estimator",
        "out",
        "previews",
        "from_",
        "device",
        "inpaint",
    }
    | {name for name in Generate.model_fields if name.startswith("guide")}
)
