"""Sample a request for images: the job with its loaded models, and its batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..blocks.captions import as_caption, remark_on
from ..conditions.base import PERCEPTION
from ..conditions.estimators import ESTIMATOR_ADVICE
from ..conditions.kinds import condition_named
from ..controlnet.inputs import (
    ControlFidelity,
    OpenControls,
    measure_controls,
    note_finished_maps,
    note_other_conditions,
    open_controls,
)
from ..data.images import write_image
from ..diffusion.guidance import GradientGuide, Guidance, Overflowed
from ..diffusion.img2img import last_steps
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.placement import is_compiled
from ..diffusion.prompts import TextReader, TextStates
from ..diffusion.samplers import Step
from ..diffusion.sampling import ImageArray, Plan, batches, decode, image_seed, sample_batch
from ..models.encoders import note_unlike_blocks
from ..requests.generate import Generate
from ..types import Monitor
from .authenticity import draws_blocks
from .guidance_report import GradientTraces, explain_overflow, verdicts_on
from .provenance import Environment, stem
from .results import ControlReport, Generation, ImageReport, ImageVerdict, SelfTest
from .spec import Options, parse_region
from .start import OpenStart, open_edit, open_regions, open_start
from .steered import SteeredModel


@dataclass(frozen=True, slots=True)
class Group:
    """Image numbers that are sampled in one batch, and which of them are selected."""

    numbers: Sequence[int]
    kept: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class MadeImage:
    """A generated image.

    Attributes:
        latent: the sampler's result.
        group: the batch in which it was sampled.
    """

    number: int
    image: ImageArray
    latent: Float[Tensor, "c h w"]
    group: Group
    kept: ControlFidelity


@dataclass(frozen=True)
class Job:
    """A request that is ready for sampling.

    Attributes:
        cut: end of the prompt that the model does not read.
        regions: fingerprints of the masks of regions.
        given: the prompt, if that of the request is its reading; see `in_captions`.
    """

    request: Generate
    steered: SteeredModel
    plan: Plan
    width: int
    height: int
    cut: str
    guide: GradientGuide | None
    traces: GradientTraces
    controls: OpenControls
    start: OpenStart | None = None
    regions: tuple[str, ...] = ()
    given: str = ""

    @property
    def model(self) -> DiffusionModel:
        """The model that samples."""
        return self.steered.model

    @property
    def steps(self) -> int:
        """Number of steps that the sampler takes."""
        return len(self.plan.sigmas) - 1

    @property
    def stem(self) -> str:
        """Prefix of the file names."""
        prints = [self.model.fingerprint, *chain(*self.steering.values())]
        return stem(self.request, " ".join(prints))

    @property
    def steering(self) -> dict[str, tuple[str, ...]]:
        """Fingerprints of all that steers it, by their field of `provenance.Record`."""
        return {
            "loras": tuple(lora.fingerprint for lora in self.steered.loras),
            "guides": tuple(guide.fingerprint for guide in self.steered.guides),
            "controls": self.controls.fingerprints,
            "inits": () if self.start is None else self.start.fingerprints,
            "weaker": tuple(weaker.model.fingerprint for weaker in self.steered.weaker),
            "regions": self.regions,
        }

    def decode(self, sampled: Float[Tensor, "b c h w"]) -> list[ImageArray]:
        """Decode sampled latents; pixels that were not to be repainted are restored."""
        images = decode(self.model, sampled)
        return images if self.start is None else self.start.finish(images)

    @property
    def environment(self) -> Environment:
        """The environment in which it is sampled."""
        return Environment(
            device=self.model.device, threads=torch.get_num_threads(), torch=torch.__version__
        )

    @property
    def cfg(self) -> float | None:
        """Guidance weight of the prompt if it acts and is above 1, else None."""
        prompted = bool(self.request.prompt.strip()) and self.plan.away is not None
        return self.request.cfg if prompted and self.request.cfg > 1 else None

    def groups(self) -> list[Group]:
        """Return the batches."""
        count = self.request.count * self.request.best_of
        found = batches(count, self.width, self.height, self.model.device)
        return [Group(numbers, numbers) for numbers in found]

    def run(self, groups: Sequence[Group], monitor: Monitor) -> Iterator[MadeImage]:
        """Sample; yield the most faithful image of each `best_of`."""
        return chosen(self, groups, monitor)

    def times(self, groups: Sequence[Group], sampled: float, seconds: float) -> dict[str, float]:
        """Return the timing fields of a report."""
        count = sum(len(group.numbers) for group in groups)
        return {"steps_per_second": self.steps * count / sampled, "seconds": seconds}

    def image_report(self, made: MadeImage, path: str) -> ImageReport:
        """Return the report of one image."""
        return ImageReport(
            path=path,
            number=made.number,
            seed=image_seed(self.request.seed, made.number),
            kept=made.kept.values,
            chance=made.kept.chance,
        )

    def uncontrolled(self, count: int, monitor: Monitor) -> list[ImageArray]:
        """Return the first images, up to four, without their control; none without `check`."""
        controls = self.controls.controls
        if controls is None or not self.request.check or controls.start(1).is_zero:
            return []
        numbers = range(min(count, _FEW))
        monitor.start(f"sampling {len(numbers)} without control", None)
        return self.decode(sample_batch(self.model, replace(self.plan, control=None), numbers))

    def report(
        self,
        pictures: list[ImageReport],
        images: list[ImageArray],
        monitor: Monitor,
        free: Sequence[ImageArray] = (),
    ) -> Generation:
        """Return the report of images, guides and controls; the caller adds the times."""
        verdicts, self_test = self._verdicts(pictures, images, monitor)
        return Generation(
            prompt=self.given or self.request.prompt,
            read_as=self.request.prompt if self.given else "",
            cut=self.cut,
            pictures=pictures,
            sheet=None,
            model=self.request.model,
            fingerprint=self.model.fingerprint,
            sampler=self.request.sampler,
            steps=self.steps,
            width=self.width,
            height=self.height,
            steps_per_second=0.0,
            seconds=0.0,
            guides=[] if self.guide is None else self.traces.reports(self.guide.terms, self.cfg),
            fights=self.traces.fights(),
            verdicts=verdicts,
            self_test=self_test,
            controls=control_reports(self, pictures, free, monitor),
            start=None
            if self.start is None or not images
            else self.start.report(images, self.steps, self.request.steps),
            converted=dict(self.controls.notes.counts),
        )

    def _verdicts(
        self, pictures: list[ImageReport], images: list[ImageArray], monitor: Monitor
    ) -> tuple[list[ImageVerdict], SelfTest | None]:
        """Run realism checks on guided images; no verdicts if real images are not known."""
        if self.guide is None or self.guide.is_zero or not (self.request.check and images):
            return [], None
        return verdicts_on(self.steered, [one.path for one in pictures], images, monitor)


def in_captions(options: Options, steered: SteeredModel, monitor: Monitor) -> Options:
    """Say prompts for Blocks scenes in the words that the model learned; others stay as they are.

    Records of images hold the reading, which is read as itself.
    """
    if not draws_blocks(steered.frozen) or any(lora.scale for lora in steered.loras):
        return options
    request = options.request
    read: dict[str, object] = {
        field: _caption(getattr(request, field), monitor) for field in ("prompt", "negative")
    }
    if request.source is not None:
        read["source"] = _caption(request.source, monitor)
    regions = [replace(one, prompt=_caption(one.prompt, monitor)) for one in options.regions]
    if request.region:
        masks = [parse_region(entry)[1] for entry in request.region]
        read["region"] = [f"{one.prompt}#{mask}" for one, mask in zip(regions, masks, strict=True)]
    return replace(options, request=request.model_copy(update=read), regions=tuple(regions))


def _caption(text: str, monitor: Monitor) -> str:
    reading = as_caption(text)
    if reading is None or reading.caption == text:
        return text
    unread = ", ".join(reading.unread)
    monitor.note(f"read as: {reading.caption}" + (f"; not understood: {unread}" if unread else ""))
    return reading.caption


def _size_of(request: Generate, model: DiffusionModel, monitor: Monitor) -> tuple[int, int]:
    """Return width and height of the images, and note if they are not the model's own."""
    size = request.width or model.size[0], request.height or model.size[1]
    if size != model.size:
        own, asked = ("{} x {}".format(*one) for one in (model.size, size))
        smaller = size[0] * size[1] < model.size[0] * model.size[1]
        what = "images often miss the prompt" if smaller else "it tends to repeat things"
        monitor.note(f"the model was made for {own} pixels; at {asked} {what}")
    return size


def open_job(options: Options, steered: SteeredModel, monitor: Monitor) -> Job:
    """Encode the prompt of a request, and prepare its controls and guides.

    Raises:
        BadInput: the number of steps, the size or a map cannot be used.
    """
    request, model = options.request, steered.frozen
    size = _size_of(request, model, monitor)
    shape, noise = model.shape(*size), model.noise_at(*size)
    texts, away, cut, reader = None, None, "", steered.model.reader
    if reader is not None:
        texts, away, cut = _read_prompts(options, reader, bool(steered.controls), monitor)
    guidance = Guidance(request.cfg, *options.cfg_interval, request.cfg_rescale)
    if model.guides_itself and texts is not None:
        texts, guidance = replace(texts, scale=request.cfg), Guidance(1.0)
    spread = open_regions(options.regions, texts, model, reader, size)
    sigmas = noise_levels(noise, request.steps, request.schedule, request.sampler)
    said = request.prompt.strip() or request.negative.strip() or options.regions or texts is None
    note_unlike(options, steered, monitor)
    start, taken = _start_at(options, steered, sigmas, size, monitor)
    sigmas = taken if len(taken) > 1 else sigmas
    controls = open_controls(
        steered.controls, model, sigmas, size,
        guess=not said,
        reuse=request.reuse,
        of_scenes=draws_blocks(model),
        mode=request.control_mode,
    )  # fmt: skip
    for loaded in steered.guides:
        controls.notes.add(loaded.notes)
    controls.notes.report(monitor)
    # guidance then amplifies what the control adds
    away = texts if not said and controls.controls is not None else away
    guide = steered.guide(traces := GradientTraces())
    plan = Plan(
        texts=spread.texts,
        away=away,
        regions=spread.regions,
        guidance=guidance,
        sampler=request.sampler,
        eta=request.eta,
        sigmas=taken,
        shape=shape,
        seed=request.seed,
        pull=None if guide is None else guide.apply,
        control=controls.controls,
        start=None if start is None else start.latents,
        steps=request.steps,
        perturbation=request.pag,
        perturbed=request.pag_layers,
        contrasts=steered.contrasts(request, bool(options.regions)),
    )
    return Job(
        request, steered, plan, *size, cut, guide, traces, controls, start, spread.fingerprints
    )


def _start_at(
    options: Options,
    steered: SteeredModel,
    sigmas: list[float],
    size: tuple[int, int],
    monitor: Monitor,
) -> tuple[OpenStart | None, list[float]]:
    """Return the image to start from, and the noise levels that are left of the steps."""
    if options.start is None:
        return None, sigmas
    start = open_start(options.start, steered.frozen, size, monitor)
    taken = last_steps(sigmas, options.start.strength, steered.frozen.noise.flows)
    if options.request.source is not None:
        start = open_edit(start, options.request, steered, taken)
    return start, taken


def note_unlike(options: Options, steered: SteeredModel, monitor: Monitor) -> None:
    """Note which parts of a request are out of distribution for a built-in model."""
    model, request = steered.frozen, options.request
    sources = [
        one.control
        for one in steered.controls
        if not one.control.finished and not (one.control.estimator and not draws_blocks(model))
    ]
    note_finished_maps([one.control for one in steered.controls], monitor)
    note_other_conditions(steered.controls, monitor)
    photos = {one.kind: one.source.image for one in sources}
    if not draws_blocks(model):
        read = [kind for kind in photos if condition_named(kind).read_by == PERCEPTION]
        note_unlike_blocks(
            [photos[kind] for kind in read], "control image", PERCEPTION, monitor,
            advice=ESTIMATOR_ADVICE, device=model.device,
        )  # fmt: skip
        return
    aims = [guide.aim for guide in steered.guides if guide.aim is not None]
    images = [*photos.values(), *(aim.image.image for aim in aims if aim.image is not None)]
    images += [] if options.start is None else [options.start.image.image]
    note_unlike_blocks(
        images, "input image", model.name, monitor,
        advice="whatever is generated is a Blocks scene; for photographs take a model and branches "
        "of your own: --model, --branch",
        device=model.device,
    )  # fmt: skip
    trained = any(lora.scale for lora in steered.loras)  # a LoRA may know other words
    texts = [] if trained else [request.prompt, request.negative]
    texts += [aim.what for aim in aims if aim.aim == "text"]
    if any(aim.scale and aim.aim in {"text", "image"} for aim in aims):
        monitor.note(
            "--guide text= and image= are not recommended with this model: they push objects out "
            "of the scene; say it in the prompt, or guide by class="
        )
    for text in filter(str.strip, texts):
        remark = remark_on(text)
        if remark is not None:
            monitor.note(remark)


def _read_prompts(
    options: Options, reader: TextReader, controlled: bool, monitor: Monitor
) -> tuple[TextStates, TextStates | None, str]:
    request = options.request
    prompt = request.prompt.strip()
    texts = reader.read([prompt])
    cut = reader.cut_from(prompt)
    if cut:
        monitor.note(f"the model does not read the last {len(cut.split()):,} words: {cut[:60]}")
    if request.negative.strip():
        return texts, reader.read([request.negative.strip()]), cut
    if prompt or options.regions:
        return texts, reader.read_nothing(texts), cut
    if not controlled and not options.request.guide:
        monitor.note("no prompt: the model generates whatever it likes")
    nothing = reader.read_nothing(texts)  # an empty prompt, or zeros (SDXL), which differ from it
    return texts, None if bool(nothing.states.any()) else nothing, cut


def sample_groups(job: Job, groups: Sequence[Group], monitor: Monitor) -> Iterator[MadeImage]:
    """Sample batch by batch; yield the selected images, with controls not measured yet."""
    compiling, total = is_compiled(job.model.unet), job.steps * len(groups)
    monitor.start(*(("compiling", None) if compiling else ("generating", total)))
    for group in groups:
        taken = 0

        def watch(step: Step, group: Group = group) -> None:
            nonlocal taken, compiling
            taken = step.number
            if compiling:
                monitor.start("generating", total)
                compiling = False
            if job.request.previews is not None:
                _write_previews(job, job.request.previews, group, step)
            monitor.advance()

        try:
            sampled = sample_batch(job.model, job.plan, group.numbers, watch)
        except Overflowed as error:
            if job.guide is None:
                raise

            def again(steer: GradientGuide, number: int = group.numbers[0]) -> object:
                return sample_batch(job.model, replace(job.plan, pull=steer.apply), [number])

            raise explain_overflow(error, taken + 1, job.steps, job.guide, again) from error
        for number, image, latent in zip(group.numbers, job.decode(sampled), sampled, strict=True):
            if number in group.kept:
                yield MadeImage(number, image, latent, group, ControlFidelity())


def _write_previews(job: Job, folder: Path, group: Group, step: Step) -> None:
    """Write the clean images that are predicted at a step."""
    rows = step.denoised[-len(group.numbers) :]  # an edit has the image before it
    for number, image in zip(group.numbers, job.decode(rows), strict=True):
        if number in group.kept:
            name = f"{job.stem}-{number:03d}-step-{step.number:03d}.png"
            write_image(folder / name, image)


Retained = dict[str, float]
_FEW = 4  # images that are sampled again to measure the cost of reuse


def chosen(job: Job, groups: Sequence[Group], monitor: Monitor) -> Iterator[MadeImage]:
    """Sample, measure the fidelity to controls, and yield the best of each `best_of`."""
    best_of = job.request.best_of
    measured = [target for target in job.controls.targets if target.control.is_measured]
    waiting: list[tuple[float, MadeImage]] = []
    for made in sample_groups(job, groups, monitor):
        [found] = measure_controls(measured, [made.image]) if measured else [ControlFidelity()]
        waiting.append((found.score, replace(made, kept=found)))
        if len(waiting) == best_of:
            yield max(waiting, key=lambda one: one[0])[1]
            waiting.clear()


def control_reports(
    job: Job, images: Sequence[ImageReport], free: Sequence[ImageArray], monitor: Monitor
) -> list[ControlReport]:
    """Report the fidelity of all images to each control, and how much branch reuse costs."""
    reports = []
    few = images[:_FEW]
    again = _again(job, [image.number for image in few], monitor)
    alone = [one.values for one in measure_controls(job.controls.targets, free)] if free else []
    for target in job.controls.targets:
        name, blocks = target.name, target.control.blocks
        values = [image.kept[name] for image in images if name in image.kept]
        reports.append(
            ControlReport(
                kind=target.control.kind,
                image=target.control.source.name,
                weight=target.control.weight,
                blocks=blocks if blocks == "soft" else ",".join(f"{one:g}" for one in blocks),
                measure="" if target.condition is None else target.condition.measure,
                value=_mean(values),
                chance=_mean([image.chance[name] for image in images if name in image.chance]),
                alone=_mean([found[name] for found in alone if name in found]),
                reused=_mean([p.kept[name] for p in few if name in p.kept]) if again else None,
                anew=_mean([found[name] for found in again if name in found]),
            )
        )
    return reports


def _again(job: Job, numbers: Sequence[int], monitor: Monitor) -> list[Retained]:
    """Return the fidelity of a few images, sampled again without branch reuse."""
    controls = job.controls.controls
    measured = [target for target in job.controls.targets if target.control.is_measured]
    if controls is None or controls.reuse == 1 or not measured or not job.request.check:
        return []
    monitor.start(f"generating {len(numbers)} without reuse", None)
    plan = replace(job.plan, control=replace(controls, reuse=1))
    images = job.decode(sample_batch(job.model, plan, numbers))
    return [found.values for found in measure_controls(measured, images)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
