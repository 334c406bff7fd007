"""A request for images with its model and adapters loaded: what is sampled, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..controlnet.inputs import OpenControls, kept, open_controls
from ..data.images import write_image
from ..diffusion.guidance import GradientGuide, Guidance, Overflowed
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextReader, TextStates
from ..diffusion.samplers import Step
from ..diffusion.sampling import Picture, Plan, batches, decode, sample_batch
from ..requests.generate import Generate
from ..types import Monitor
from .guidance_report import GradientTraces, explain_overflow, verdicts_on
from .provenance import Surroundings, stem
from .results import ControlReport, Generation, ImageReport, ImageVerdict
from .spec import Options
from .steered import SteeredModel


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers of images that are drawn in one batch, and which of them are kept."""

    numbers: Sequence[int]
    kept: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class MadeImage:
    """A generated image.

    Attributes:
        number: within the request.
        image: decoded.
        latent: what the sampler ended with.
        group: what was sampled together.
        kept: how well it keeps each control, by kind.
    """

    number: int
    image: Picture
    latent: Float[Tensor, "c h w"]
    group: Group
    kept: dict[str, float]


@dataclass(frozen=True)
class Job:
    """A request that can be drawn.

    Attributes:
        request: its options.
        steered: the model and its adapters.
        plan: what shapes its images.
        width: in pixels.
        height: in pixels.
        cut: end of the prompt that the model does not read.
        guide: what guides it by gradients; None for nothing.
        pulls: what guides did.
        controls: what the images are to follow.
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

    @property
    def model(self) -> DiffusionModel:
        """The model that samples."""
        return self.steered.model

    @property
    def steps(self) -> int:
        """Steps that the sampler takes."""
        return len(self.plan.sigmas) - 1

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        prints = [*self.loras, *self.prints, *self.controls.fingerprints]
        return stem(self.request, " ".join([self.model.fingerprint, *prints]))

    @property
    def loras(self) -> tuple[str, ...]:
        """Fingerprints of the LoRAs."""
        return tuple(lora.fingerprint for lora in self.steered.loras)

    @property
    def prints(self) -> tuple[str, ...]:
        """Fingerprints of the guides."""
        return tuple(guide.fingerprint for guide in self.steered.guides)

    @property
    def surroundings(self) -> Surroundings:
        """Where it is drawn."""
        return Surroundings(
            device=self.model.device, threads=torch.get_num_threads(), torch=torch.__version__
        )

    def groups(self) -> list[Group]:
        """What is sampled together."""
        count = self.request.count * self.request.best_of
        found = batches(count, self.width, self.height, self.model.device)
        return [Group(numbers, numbers) for numbers in found]

    def run(self, groups: Sequence[Group], monitor: Monitor) -> Iterator[MadeImage]:
        """Sample; of each `best_of` images the one that keeps its controls best is given."""
        return chosen(self, groups, monitor)

    def times(self, groups: Sequence[Group], sampled: float, seconds: float) -> dict[str, float]:
        """The fields of a report that say how long it took."""
        count = sum(len(group.numbers) for group in groups)
        return {"steps_per_second": self.steps * count / sampled, "seconds": seconds}

    def report(
        self, pictures: list[ImageReport], images: list[Picture], monitor: Monitor
    ) -> Generation:
        """What was generated, with what guides and controls did; times are the caller's.

        Args:
            pictures: of each image.
            images: the same images.
            monitor: informed about progress.
        """
        return Generation(
            prompt=self.request.prompt,
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
            guides=[] if self.guide is None else self.traces.reports(self.guide.terms),
            fights=self.traces.fights(),
            verdicts=self._verdicts(pictures, images, monitor),
            controls=control_reports(self, pictures, monitor),
            converted=dict(self.controls.notes.counts),
        )

    def _verdicts(
        self, pictures: list[ImageReport], images: list[Picture], monitor: Monitor
    ) -> list[ImageVerdict]:
        """What realism checks say of guided images; nothing where real ones are not known."""
        if self.guide is None or self.guide.is_zero or not self.request.check:
            return []
        return verdicts_on(self.steered, [one.path for one in pictures], images, monitor)


def open_job(options: Options, steered: SteeredModel, monitor: Monitor) -> Job:
    """Read the prompt of a request and prepare its controls and guides.

    Raises:
        BadInput: a step count, size or map that is not possible.
    """
    request, model = options.request, steered.frozen
    width, height = request.width or model.size[0], request.height or model.size[1]
    if (width, height) != model.size:
        own = "{} x {}".format(*model.size)
        monitor.note(
            f"the model was made for {own} pixels; at {width} x {height} it tends to repeat things"
        )
    texts = away = None
    cut = ""
    reader = steered.model.reader
    if reader is not None:
        texts, away, cut = _read_prompts(request, reader, bool(steered.controls), monitor)
    sigmas = noise_levels(model.noise, request.steps, request.schedule, request.sampler)
    guess = texts is not None and not request.prompt.strip() and not request.negative.strip()
    controls = open_controls(
        steered.controls, model, sigmas, (width, height), guess=guess, reuse=request.reuse
    )
    for loaded in steered.guides:
        controls.notes.add(loaded.notes)
    controls.notes.report(monitor)
    if guess and controls.controls is not None:
        away = texts  # what the control adds is what guidance exaggerates
    traces = GradientTraces()
    guide = steered.guide(traces)
    plan = Plan(
        texts=texts,
        away=away,
        guidance=Guidance(request.cfg, *options.cfg_interval),
        sampler=request.sampler,
        eta=request.eta,
        sigmas=sigmas,
        shape=model.shape(width, height),
        seed=request.seed,
        pull=None if guide is None else guide.apply,
        control=controls.controls,
        steps=request.steps,
    )
    return Job(request, steered, plan, width, height, cut, guide, traces, controls)


def _read_prompts(
    request: Generate, reader: TextReader, controlled: bool, monitor: Monitor
) -> tuple[TextStates, TextStates | None, str]:
    """States of the prompt, of what guidance gets away from, and the end that is not read."""
    prompt = request.prompt.strip()
    texts = reader.read([prompt])
    cut = reader.cut_from(prompt)
    if cut:
        monitor.note(f"the model does not read the last {len(cut.split()):,} words: {cut[:60]}")
    if request.negative.strip():
        return texts, reader.read([request.negative.strip()]), cut
    if prompt:
        return texts, reader.read_nothing(texts), cut
    if not controlled:
        monitor.note("no prompt: the model generates whatever it likes")
    return texts, None, cut


def sample_groups(job: Job, groups: Sequence[Group], monitor: Monitor) -> Iterator[MadeImage]:
    """Sample group by group; yields the images that are kept, their controls not measured yet."""
    monitor.start("drawing", job.steps * len(groups))
    for group in groups:
        taken = 0

        def watch(step: Step, group: Group = group) -> None:
            nonlocal taken
            taken = step.number
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
        for number, image, latent in zip(
            group.numbers, decode(job.model, sampled), sampled, strict=True
        ):
            if number in group.kept:
                yield MadeImage(number, image, latent, group, {})


def _write_previews(job: Job, folder: Path, group: Group, step: Step) -> None:
    """The clean images that a step expects."""
    for number, image in zip(group.numbers, decode(job.model, step.denoised), strict=True):
        if number in group.kept:
            name = f"{job.stem}-{number:03d}-step-{step.number:03d}.png"
            write_image(folder / name, image)


Retained = dict[str, float]
_FEW = 4  # images that are drawn again to say what reuse costs


def chosen(job: Job, groups: Sequence[Group], monitor: Monitor) -> Iterator[MadeImage]:
    """Sample, read the controls back out of the images, and of each `best_of` give the best."""
    best_of = job.request.best_of
    measured = [target for target in job.controls.targets if target.is_measured]
    waiting: list[tuple[float, MadeImage]] = []
    for made in sample_groups(job, groups, monitor):
        [(values, score)] = kept(measured, [made.image]) if measured else [({}, 0.0)]
        waiting.append((score, replace(made, kept=values)))
        if len(waiting) == best_of:
            yield max(waiting, key=lambda one: one[0])[1]
            waiting.clear()


def control_reports(
    job: Job, pictures: Sequence[ImageReport], monitor: Monitor
) -> list[ControlReport]:
    """What all images together keep of each control, and what reusing branches costs them."""
    reports = []
    few = pictures[:_FEW]
    again = _again(job, [image.number for image in few], monitor)
    for target in job.controls.targets:
        kind = target.control.kind
        values = [image.kept[kind] for image in pictures if kind in image.kept]
        reports.append(
            ControlReport(
                kind=kind,
                weight=target.control.weight,
                measure=target.condition.measure,
                value=_mean(values),
                reused=_mean([p.kept[kind] for p in few if kind in p.kept]) if again else None,
                anew=_mean([found[kind] for found in again if kind in found]),
            )
        )
    return reports


def _again(job: Job, numbers: Sequence[int], monitor: Monitor) -> list[Retained]:
    """What a few of the images keep where no branch's output is used twice."""
    controls = job.controls.controls
    measured = [target for target in job.controls.targets if target.is_measured]
    if controls is None or controls.reuse == 1 or not measured or not job.request.check:
        return []
    monitor.start(f"drawing {len(numbers)} without reuse", None)
    plan = replace(job.plan, control=replace(controls, reuse=1))
    images = decode(job.model, sample_batch(job.model, plan, numbers))
    return [values for values, _ in kept(measured, images)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
