"""A request for pictures with its model loaded: what is drawn, batch by batch.

Pictures of a request with what they keep of its controls; of several the most faithful.

`--lora DIR[:SCALE]`: saved low-rank steers on a diffusion model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..adapters.lora import load_several
from ..adapters.peft_format import adapter_fingerprint
from ..controlnet.inputs import OpenControls, kept, open_controls
from ..data.images import write_image
from ..diffusion.guidance import GradientGuide, Guidance, Overflowed
from ..diffusion.noise_schedule import noise_levels
from ..diffusion.options import parse_interval
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.prompts import TextReader, TextStates
from ..diffusion.samplers import Step
from ..diffusion.sampling import Picture, Plan, decode, draw_batch
from ..errors import BadInput
from ..requests.generate import Generate
from ..types import Monitor
from .guidance_report import Pulls, explain_overflow, settings_of
from .guide_spec import parse_guide
from .guides import Opened, open_guides
from .provenance import Surroundings, stem
from .results import ControlReport, PictureReport


def parse_lora(entry: str) -> tuple[Path, float]:
    """Folder and scale of one `DIR[:SCALE]`; the scale is 1 where none is given.

    Raises:
        BadInput: the scale is no finite number.
    """
    name, colon, tail = entry.rpartition(":")
    if not colon or not name or Path(entry).exists():
        return Path(entry), 1.0
    try:
        scale = float(tail)
    except ValueError:
        return Path(entry), 1.0
    if not math.isfinite(scale):
        raise BadInput(f"--lora {entry!r} has no finite scale.", "1 is what was learned, 0 none.")
    return Path(name), scale


def put_loras(model: DiffusionModel, entries: Sequence[str]) -> tuple[str, ...]:
    """Put all of them into the model's U-Net; gives their fingerprints.

    Those of scale 0 are left out, so with nothing else the model is the frozen one.

    Raises:
        WrongBase: one was made on another model; both are named.
        BadInput: one is no low-rank steer, or does not fit.
        Damaged: one of its files is damaged.
    """
    parts = [parse_lora(entry) for entry in entries]
    prints = tuple(adapter_fingerprint(folder) for folder, _ in parts)
    acting = [(folder, scale) for folder, scale in parts if scale != 0]
    if acting:
        load_several(acting, model.unet, model.name, model.fingerprint)
    return prints


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers of pictures that are drawn in one batch, and which of them are kept."""

    numbers: Sequence[int]
    kept: Sequence[int]


@dataclass(frozen=True, slots=True)
class Job:
    """A request that can be drawn.

    Attributes:
        request: what was asked for.
        model: its model.
        plan: what shapes its pictures.
        width: in pixels.
        height: in pixels.
        cut: end of the prompt that the model does not read.
        loras: fingerprints of the low-rank steers on the model.
        guides: what guides it by gradients; None for nothing.
        pulls: what they did.
        controls: what is wanted of the pictures.
    """

    request: Generate
    model: DiffusionModel
    plan: Plan
    width: int
    height: int
    cut: str
    loras: tuple[str, ...]
    guides: Opened | None
    pulls: Pulls
    controls: OpenControls

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
    def prints(self) -> tuple[str, ...]:
        """Fingerprints of the guides."""
        return () if self.guides is None else self.guides.fingerprints

    @property
    def surroundings(self) -> Surroundings:
        """Where it is drawn."""
        return Surroundings(
            device=self.model.device, threads=torch.get_num_threads(), torch=torch.__version__
        )


def open_job(request: Generate, monitor: Monitor) -> Job:
    """Load the model of a request that `checking.check` let through, and read its prompt.

    Raises:
        BadInput: a step count, branch, guide or model that is not possible.
        Damaged: a weight file is cut short.
    """
    lowest, highest = parse_interval(request.cfg_interval)
    wanted = [parse_guide(entry) for entry in request.guide]
    monitor.start("loading the model")
    model = load_diffusion(request.model, request.device)
    width, height = request.width or model.size[0], request.height or model.size[1]
    if (width, height) != model.size:
        own = "{} x {}".format(*model.size)
        monitor.note(
            f"the model was made for {own} pixels; at {width} x {height} it tends to repeat things"
        )
    texts = away = None
    cut = ""
    if model.reader is not None:
        texts, away, cut = _read_prompts(request, model.reader, monitor)
    sigmas = noise_levels(model.noise, request.steps, request.schedule)
    guess = texts is not None and not request.prompt.strip() and not request.negative.strip()
    controls = open_controls(request, model, sigmas, (width, height), guess)
    controls.notes.report(monitor)
    loras = put_loras(model, request.lora)  # after the branches, which copy the frozen encoder
    if guess and controls.controls is not None:
        away = texts  # what the control adds is what guidance exaggerates
    pulls = Pulls()
    guides = open_guides(wanted, model, settings_of(request), pulls) if wanted else None
    plan = Plan(
        texts=texts,
        away=away,
        guidance=Guidance(request.cfg, lowest, highest),
        sampler=request.sampler,
        eta=request.eta,
        sigmas=sigmas,
        shape=model.shape(width, height),
        seed=request.seed,
        pull=None if guides is None else guides.steer.apply,
        control=controls.controls,
    )
    return Job(request, model, plan, width, height, cut, loras, guides, pulls, controls)


def _read_prompts(
    request: Generate, reader: TextReader, monitor: Monitor
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
    if not request.control:
        monitor.note("no prompt: the model draws whatever it likes")
    return texts, None, cut


def draw_groups(
    job: Job, groups: Sequence[Group], monitor: Monitor
) -> Iterator[tuple[int, Picture, Group]]:
    """Draw group by group; yields number, picture and group of each picture that is kept."""
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
            drawn = draw_batch(job.model, job.plan, group.numbers, watch)
        except Overflowed as error:
            if job.guides is None:
                raise

            def again(steer: GradientGuide, number: int = group.numbers[0]) -> object:
                return draw_batch(job.model, replace(job.plan, pull=steer.apply), [number])

            steer = job.guides.steer
            raise explain_overflow(error, taken + 1, job.steps, steer, again) from error
        for number, picture in zip(group.numbers, decode(job.model, drawn), strict=True):
            if number in group.kept:
                yield number, picture, group


def _write_previews(job: Job, folder: Path, group: Group, step: Step) -> None:
    """The clean pictures that a step expects."""
    for number, picture in zip(group.numbers, decode(job.model, step.denoised), strict=True):
        if number in group.kept:
            name = f"{job.stem}-{number:03d}-step-{step.number:03d}.png"
            write_image(folder / name, picture)


Kept = dict[str, float]
_FEW = 4  # pictures that are drawn again to say what reuse costs


def chosen(
    job: Job, groups: Sequence[Group], monitor: Monitor
) -> Iterator[tuple[int, Picture, Group, Kept]]:
    """Draw, read the controls back out of the pictures, and of each `best_of` keep the best.

    Yields:
        Number, picture, group and what is kept, of each picture that is wanted.
    """
    wanted, best_of = job.controls.wanted, job.request.best_of
    measured = [one for one in wanted if not one.asked.masks]
    waiting: list[tuple[int, Picture, Group, Kept, float]] = []
    for number, image, group in draw_groups(job, groups, monitor):
        [(values, score)] = kept(measured, [image]) if measured else [({}, 0.0)]
        waiting.append((number, image, group, values, score))
        if len(waiting) == best_of:
            best = max(waiting, key=lambda one: one[4])
            yield best[:4]
            waiting.clear()


def control_reports(
    job: Job, pictures: Sequence[PictureReport], monitor: Monitor
) -> list[ControlReport]:
    """What all pictures together keep of each control, and what reusing branches costs them."""
    reports = []
    few = pictures[:_FEW]
    anew = _anew(job, [picture.number for picture in few], monitor)
    for one in job.controls.wanted:
        kind = one.asked.kind
        values = [picture.kept[kind] for picture in pictures if kind in picture.kept]
        reports.append(
            ControlReport(
                kind=kind,
                weight=one.asked.weight,
                measure=one.condition.measure,
                value=_mean(values),
                reused=_mean([p.kept[kind] for p in few if kind in p.kept]) if anew else None,
                anew=_mean([found[kind] for found in anew if kind in found]),
            )
        )
    return reports


def _anew(job: Job, numbers: Sequence[int], monitor: Monitor) -> list[Kept]:
    """What a few of the pictures keep where no branch's output is used twice."""
    controls = job.controls.controls
    measured = [one for one in job.controls.wanted if not one.asked.masks]
    if controls is None or controls.reuse == 1 or not measured or not job.request.check:
        return []
    monitor.start(f"drawing {len(numbers)} without reuse", None)
    plan = replace(job.plan, control=replace(controls, reuse=1))
    images = decode(job.model, draw_batch(job.model, plan, numbers))
    return [values for values, _ in kept(measured, images)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
