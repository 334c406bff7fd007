"""Move an input of a diffusion model towards an image, a class or a sentence."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import files
from ..data.image_inputs import ImageLike, as_image, name_of, open_and_hash
from ..data.images import image_html, write_image
from ..diffusion.sampling import film_strip, stretch
from ..errors import BadInput
from ..generation.authenticity import can_testify, open_realism_check
from ..generation.guidance_report import chances_of
from ..generation.guides import Settings
from ..generation.invert import Target, descend_to, invert_image, open_head_target, open_target
from ..generation.results import ImageVerdict, Inversion, SelfTest
from ..generation.spec import Aim, Guide
from ..generation.validate import require_class
from ..models.checkpoint import own_classes
from ..models.encoders import real_images_in
from ..models.hub import locate, named_by_user
from ..requests.base import PathArgument, checked, path_texts
from ..requests.control import Invert
from ..requests.generate import require_guides
from ..types import Monitor, Silent
from .pipeline import Pipeline, require_pipeline

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class InvertedImages:
    """Result of an inversion.

    Attributes:
        images: the final images.
        film: strip of intermediate results of the first image, from left to right.
        report: the report of `graft invert --json`; its paths are empty before `save`.
    """

    images: "list[Image]"
    film: "Image"
    report: Inversion

    @property
    def losses(self) -> list[float]:
        """Mean loss before each step and at the end; empty for DDIM inversion."""
        return self.report.losses

    @property
    def verdicts(self) -> list[ImageVerdict]:
        """Whether each image is like real ones of its class, or only fools a classifier."""
        return self.report.verdicts

    def save(self, folder: PathArgument, stem: str = "inverted") -> "InvertedImages":
        """Write images, film strip and losses; return a copy whose report names the files.

        Raises:
            NoRoom: the folder cannot be written.
        """
        out = Path(folder)
        paths = [out / f"{stem}-{number:03d}.png" for number in range(len(self.images))]
        for path, image in zip(paths, self.images, strict=True):
            write_image(path, image)
        film, losses = out / f"{stem}-film.png", out / f"{stem}-losses.json"
        write_image(film, self.film)
        report = self.report
        files.write_json(losses, {"to": report.to, "space": report.space, "losses": report.losses})
        names = [str(path) for path in paths]
        verdicts = [
            one.model_copy(update={"path": name})
            for one, name in zip(report.verdicts, names, strict=False)
        ]
        written = {
            "pictures": names,
            "film": str(film),
            "losses_file": str(losses),
            "verdicts": verdicts,
        }
        return InvertedImages(self.images, self.film, report.model_copy(update=written))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        report = self.report
        if report.psnr_db is not None:
            found = f"{report.psnr_db:.1f} dB"
        else:
            found = f"loss {report.losses[0]:.3g} -> {report.losses[-1]:.3g}"
        return f"InvertedImages({len(self)}, {report.space} to {report.to!r}, {found})"

    def _repr_html_(self) -> str:
        return image_html(self.film, repr(self))


def invert(
    pipe: Pipeline | None = None,
    *,
    image: ImageLike | None = None,
    label: str | None = None,
    text: str | None = None,
    space: Literal["latent", "pixel", "noise"] = "latent",
    start: ImageLike | None = None,
    real: PathArgument | None = None,
    monitor: Monitor | None = None,
    **options: Any,
) -> InvertedImages:
    """Move a latent, pixels or noise towards an image, a class or a sentence.

    This is done by gradient descent; the noise of an image is found by DDIM inversion instead.

    >>> import graftwerk as gw
    >>> pipe = gw.Pipeline("builtin/blocks", device="cpu")
    >>> found = gw.invert(pipe, label="red cube", steps=2)
    >>> len(found), len(found.losses)
    (1, 3)

    Args:
        pipe: frozen, without adapters; None for the built-in one, or a classifier's pixels.
        image: the target image; pass exactly one of `image`, `label` and `text`.
        label: the target class, for example `red cube`.
        text: the target sentence.
        space: what is optimized: latent, pixels (0 to 1), or the sampler's initial noise.
        start: image to start from, for `latent` and `pixel`; default: noise.
        real: folder of real images for the verdict; default: Blocks scenes, for models of these.
        monitor: informed about progress; silent by default.
        **options: the other fields of `graftwerk.Invert`: `steps`, `rate`, `count`, `seed`,
            `sampling_steps`, `guide_model`, `guide_labels`, `guide_encoder`.

    Raises:
        UnknownName: a class that the classifier does not have.
        WrongBase: the classifier reads another latent space.
        BadInput: a target, start, pipeline or option that is not possible.
    """
    aim = _aim(pipe, {"image": image, "class": label, "text": text}, options)
    if start is not None:
        options["start"] = name_of(start)
    if pipe is not None:
        options["model"] = pipe.name
    request = checked(
        Invert,
        to=aim.what if aim.aim == "image" else aim.name,
        space=space,
        real=None if real is None else path_texts(real)[0],
        **options,
    )
    check(request, aim)
    with named_by_user([request.guide_model, request.guide_encoder]):
        return carry_out(
            request,
            aim,
            None if start is None else as_image(start),
            lambda: pipe or Pipeline(request.model, device=request.device),
            monitor or Silent(),
        )


def _aim(pipe: Pipeline | None, given: Mapping[Aim, Any], options: Mapping[str, Any]) -> Guide:
    """Return the only target that was given."""
    if pipe is not None:
        require_pipeline(pipe)
    if pipe is not None and pipe.adapters:
        raise BadInput(
            f"{pipe!r} has adapters, but its frozen model is inverted.", "Pass pipe.without()."
        )
    if "out" in options:
        raise BadInput("out is not an option of an inversion.", "Write with result.save(folder).")
    named = [(aim, value) for aim, value in given.items() if value is not None]
    if len(named) != 1:
        words = " and ".join(aim.replace("class", "label") for aim, _ in named)
        said = f"{words} were given together" if named else "no target was given"
        raise BadInput(f"{said}.", "Give one of image, label and text.")
    ((aim, value),) = named
    if aim == "image":
        return Guide(aim, name_of(value), 1.0, open_and_hash(value))
    return Guide(aim, value, 1.0)


def check(request: Invert, aim: Guide) -> None:
    """Refuse what can be refused before a network is loaded.

    Raises:
        UnknownName: a class that the classifier does not have.
        BadInput: options that contradict each other.
        BadFile: the folder of real images cannot be read.
    """
    if aim.aim == "image" and request.space == "noise":
        _refuse_unused(request)
    if aim.aim == "class":
        require_class(aim.what, request.guide_model, request.guide_labels)
    if aim.aim != "image":
        require_guides(request, request.model_fields_set, [aim.aim], "to")
    if request.space != "noise" and request.sampling_steps is not None:
        raise BadInput(
            f"--space {request.space} goes through no sampler, so --sampling-steps is of no use.",
            "Leave it out, or choose --space noise.",
        )
    if request.real is not None:
        real_images_in(str(request.real))
    if request.start is not None and request.space == "noise":
        raise BadInput(
            "a descent on noise begins from noise.", "Leave --start out, or choose --space latent."
        )


def _refuse_unused(request: Invert) -> None:
    given = [
        name for name in ("steps", "rate", "start", "count") if name in request.model_fields_set
    ]
    if given:
        raise BadInput(
            f"the noise of an image is found by DDIM inversion, which takes no --{given[0]}.",
            "Set --sampling-steps, or choose --space latent.",
        )


def by_head(request: Invert, aim: Guide) -> bool:
    """Whether the pixels of an image classifier are optimized, without a diffusion model."""
    return (
        aim.aim == "class"
        and request.space == "pixel"
        and "model" not in request.model_fields_set
        and bool(own_classes(locate(request.guide_model)))
    )


def carry_out(
    request: Invert,
    aim: Guide,
    start: "Image | None",
    open_pipe: Callable[[], Pipeline],
    monitor: Monitor,
) -> InvertedImages:
    """Run gradient descent or DDIM inversion; nothing is written.

    Raises:
        WrongBase: the classifier reads another latent space.
        BadInput: a target or model that is not possible, or a loss that is not finite.
    """
    began = time.perf_counter()
    monitor.start("loading the models")
    settings = Settings(request.guide_model, tuple(request.guide_labels), request.guide_encoder)
    if by_head(request, aim):
        target = open_head_target(aim.what, settings, request.device)
    else:
        target = open_target(aim, settings, open_pipe().steered.frozen)
    if request.space == "noise" and target.picture is not None:
        found = invert_image(request, target, monitor)
    else:
        found = descend_to(request, target, start, monitor)
        if request.space == "latent" and target.latent_loss is not None:
            monitor.note(
                "the loss is measured on the optimized latents, the realism checks on the decoded "
                "image: what only the latents contain is lost in decoding"
            )
    verdicts, self_test = _verdicts(request, target, found.pictures, monitor)
    report = Inversion(
        to=request.to,
        space=request.space,
        pictures=[],
        film="",
        losses_file="",
        losses=found.losses,
        psnr_db=found.psnr_db,
        psnr_db_of_decoder=found.psnr_db_of_decoder,
        verdicts=verdicts,
        self_test=self_test,
        seconds=time.perf_counter() - began,
    )
    return InvertedImages(found.pictures, film_strip(found.film), report)


def _verdicts(
    request: Invert, target: Target, images: "list[Image]", monitor: Monitor
) -> tuple[list[ImageVerdict], SelfTest | None]:
    real = None if request.real is None else str(request.real)
    if not can_testify(target.given, real):
        monitor.note("no verdict: name a folder of real images with --real")
        return [], None
    head = target.models.networks.head(request.guide_model) if target.given is None else None
    encoder = None if head is None else head.encoder
    realism_check = open_realism_check(target.given, real, monitor, encoder)
    pictures = stretch(images, target.size)
    chances = chances_of(target.models, target.label, pictures)
    verdicts = realism_check.testify([""] * len(images), pictures, target.label, chances)
    return verdicts, realism_check.self_test
