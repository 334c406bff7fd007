"""`graft readout`: what a model's values tell linearly of its pictures, and what they do."""

import time
from typing import TYPE_CHECKING

from ..data.images import write_image
from ..errors import BadInput
from ..generation.provenance import require_folder
from ..probing.results import Moved, Read, ReadoutResult, Share, Shift
from ..requests.probe import Readout
from ..types import Monitor

if TYPE_CHECKING:
    from ..probing.intervene import Measure
    from ..probing.locations import EncoderPlace, Place
    from ..probing.probe import Study
    from ..probing.regression import Fit
    from ..probing.targets import Known


_JUDGED_SIDE = 16  # pixels, of which the judge takes multiples


def run_readout(request: Readout, monitor: Monitor) -> ReadoutResult:
    """Read out, with two controls, then move along what can be measured.

    Raises:
        BadInput: data, target or model cannot be used.
        Damaged: a weight file is cut short.
        NoRoom: the out folder cannot be written.
        Cancelled: stopped by the user.
    """
    begin = time.perf_counter()
    if request.moved:
        require_folder(request.out)

    from ..probing.probe import open_study
    from ..probing.targets import read_known, require_enough

    known = read_known(request.data, request.target, request.objects)
    require_enough(known, request.target, request.objects)
    monitor.start("loading the model")
    place = _open(request)
    measure, measured_by = _measure(request, known, place)
    study = open_study(place, known, request.count, request.seed, monitor)
    fits = study.fits(monitor)
    return ReadoutResult(
        model=request.model,
        fingerprint=place.fingerprint,
        at=request.at,
        sigma=place.sigma or None,
        dimension=study.features.shape[1],
        train=len(study.split.train),
        test=len(study.split.test),
        left_out=known.left_out,
        read=[
            Read(name=name, **{kind: _share(fit, number) for kind, fit in fits.items()})
            for number, name in enumerate(known.names)
        ],
        measure=measured_by,
        agreement=study.agreement(measure),
        moved=_move(request, study, measure, monitor),
        seconds=time.perf_counter() - begin,
    )


def _open(request: Readout) -> "Place | EncoderPlace":
    from ..probing.locations import is_pipeline, open_encoder_place, open_place

    if request.at == "encoder" and not is_pipeline(request.model):
        return open_encoder_place(request.model, request.layer, request.device)
    if request.layer is not None:
        raise BadInput("--layer is for encoders of pictures.", "Leave it out.")
    return open_place(request.model, request.at, request.sigma, request.device)


def _measure(
    request: Readout, known: "Known", place: "Place | EncoderPlace"
) -> "tuple[Measure, str]":
    """What looks at pictures, and its name; words are named where the judge can see the picture."""
    from ..probing.intervene import JUDGED, ByColour, ByPerception, WithWords

    plain: ByColour | ByPerception = ByColour()
    if request.perception is not None:
        plain = ByPerception(request.perception, request.device)
    words = [name for name in known.names if name.split("=")[0] in JUDGED and "=" in name]
    if not request.moved or not words or any(side % _JUDGED_SIDE for side in place.size):
        return plain, plain.name
    return WithWords(plain, words, request.device), f"{plain.name}, words by builtin/blocks-judge"


def _share(fit: "Fit", number: int) -> Share:
    return Share(r2=float(fit.r2[number]), low=float(fit.low[number]), high=float(fit.high[number]))


def _move(request: Readout, study: "Study", measure: "Measure", monitor: Monitor) -> list[Moved]:
    if not request.moved:
        return []
    found = []
    for name, (effects, image) in study.moves(measure, request.moved, monitor).items():
        path = request.out / f"{request.at}-{name}.png"
        write_image(path, image)
        shifts = {
            one: Shift(
                value=effect.value,
                low=effect.value - effect.margin,
                high=effect.value + effect.margin,
                count=effect.count,
            )
            for one, effect in effects.items()
        }
        found.append(Moved(name=name, shifts=shifts, picture=str(path)))
    return found
