"""`graft invert`: gradient descent on an input, and a picture back to its noise."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..contracts import Monitor
from ..errors import BadInput, UnknownName
from ..reports import Inversion
from ..requests import Invert
from ..search.readers import read_image
from .checking import require_class
from .picture_record import require_folder, write_image
from .pictures import real_pictures_in

if TYPE_CHECKING:
    from ..reports import PictureVerdict
    from .inverting import Found, Target

_STEPS, _STEPS_AND_BACK = 50, 10  # of the sampler: forth alone, and with a way back through it


def run(request: Invert, monitor: Monitor) -> Inversion:
    """Descend, or invert a picture; write pictures, a film strip, and every step's loss.

    Raises:
        UnknownName: a class that the classifier does not have.
        WrongBase: the classifier reads another latent space.
        BadInput: a target, start or model that is not possible, or a loss that is not finite.
        NoRoom: the out folder cannot be written.
    """
    began = time.perf_counter()
    _check(request)
    require_folder(request.out)
    from ..frozen.diffusion.model import load_diffusion
    from .inverting import descend_to, invert_picture, open_target

    monitor.start("loading the models")
    model = load_diffusion(request.model, request.device)
    target = open_target(request, model)
    exact = request.space == "noise" and target.picture is not None
    if exact:
        found = invert_picture(model, target, request.sampling_steps or _STEPS, monitor)
    else:
        steps = request.sampling_steps or _STEPS_AND_BACK
        found = descend_to(request, model, target, steps, monitor)
        if request.space == "latent" and target.latent_loss is not None:
            monitor.note(
                "the loss is of the latents that were moved, the witnesses read the picture that "
                "was decoded from them: what only the latents held is lost between the two"
            )
    return _write(request, target, found, monitor, began)


def _check(request: Invert) -> None:
    """Refuse what can be refused before a network is loaded."""
    aim, equals, what = request.to.partition("=")
    if not equals or Path(request.to).exists():
        read_image(request.to)
        if request.space == "noise":
            _refuse_unused(request)
    elif aim not in {"class", "text"} or not what.strip():
        raise UnknownName("target", aim, ["class", "text"])
    elif aim == "class":
        require_class(what.strip(), request.guide_model, request.guide_labels)
    if request.space != "noise" and request.sampling_steps is not None:
        raise BadInput(
            f"--space {request.space} goes through no sampler, so --sampling-steps is of no use.",
            "Leave it out, or choose --space noise.",
        )
    if request.real is not None:
        real_pictures_in(str(request.real))
    if request.start is not None:
        if request.space == "noise":
            raise BadInput(
                "a descent on noise begins from noise.",
                "Leave --start out, or choose --space latent.",
            )
        read_image(request.start)


def _refuse_unused(request: Invert) -> None:
    given = [
        name for name in ("steps", "rate", "start", "count") if name in request.model_fields_set
    ]
    if given:
        raise BadInput(
            f"the noise of a picture is found by DDIM inversion, which takes no --{given[0]}.",
            "Set --sampling-steps, or choose --space latent.",
        )


def _write(
    request: Invert, target: "Target", found: "Found", monitor: Monitor, began: float
) -> Inversion:
    from ..diffuse.pictures import film_strip

    stem = f"{request.space}-{target.slug}-{request.seed}"
    paths = [request.out / f"{stem}-{number:03d}.png" for number in range(len(found.pictures))]
    for path, picture in zip(paths, found.pictures, strict=True):
        write_image(path, picture)
    film = request.out / f"{stem}-film.png"
    write_image(film, film_strip(found.film))
    losses = request.out / f"{stem}-losses.json"
    files.write_json(losses, {"to": request.to, "space": request.space, "losses": found.losses})
    return Inversion(
        to=request.to,
        space=request.space,
        pictures=[str(path) for path in paths],
        film=str(film),
        losses_file=str(losses),
        losses=found.losses,
        psnr_db=found.psnr_db,
        psnr_db_of_decoder=found.psnr_db_of_decoder,
        verdicts=_verdicts(request, target, found, [str(path) for path in paths], monitor),
        seconds=time.perf_counter() - began,
    )


def _verdicts(
    request: Invert, target: "Target", found: "Found", paths: list[str], monitor: Monitor
) -> "list[PictureVerdict]":
    from .guide_check import chances_of
    from .witnesses import as_pictures, can_testify, open_witnesses

    real = None if request.real is None else str(request.real)
    if not can_testify(target.model, real):
        monitor.note("no verdict: name a folder of real pictures with --real")
        return []
    witnesses = open_witnesses(target.model, real, monitor)
    pictures = as_pictures(found.pictures, target.model.size)
    chances = chances_of(target.models, target.label, pictures)
    return witnesses.testify(paths, pictures, target.label, chances)
