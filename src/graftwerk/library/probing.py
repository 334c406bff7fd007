"""Probe a model's values for images linearly, and test the probes by interventions."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.images import write_image
from ..errors import BadInput
from ..generation.provenance import require_folder
from ..models.hub import named_by_user
from ..probing.results import Moved, Read, ReadoutResult, Share, Shift
from ..requests.base import DEFAULT_PIPELINE, checked, given_path
from ..requests.models import Readout
from ..text_safety import html_table
from ..types import Monitor, Silent

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..probing.locations import EncoderLayer, Location
    from ..probing.probe import Measure, Study
    from ..probing.targets import Fit, ProbeTargets


_JUDGED_SIDE = 16  # pixels; the judge reads images with multiples of this side


@dataclass(frozen=True)
class Probing:
    """Linear probes of a model, and the effect of moving along their directions.

    Attributes:
        report: all results.
        images: rows of images from -2 to 2 standard deviations, by name of what was moved.
    """

    report: ReadoutResult
    images: "Mapping[str, Image]"

    @property
    def table(self) -> list[dict[str, Any]]:
        """R2 of each number with its 95 % interval, and of two controls, ideally near 0."""
        return [
            {
                "name": one.name,
                "r2": one.model.r2,
                "low": one.model.low,
                "high": one.model.high,
                "r2_shuffled_labels": one.shuffled.r2,
                "r2_random_weights": one.random.r2,
            }
            for one in self.report.read
        ]

    def __repr__(self) -> str:
        numbers = ", ".join(f"{one.name}={one.model.r2:z.2f}" for one in self.report.read)
        return f"Probing(at={self.report.at!r}, R2: {numbers})"

    def _repr_html_(self) -> str:
        rows = [
            (str(row["name"]), *(f"{row[name]:z.2f}" for name in ("r2", "low", "high")))
            for row in self.table
        ]
        return html_table(("number", "R2", "95 % from", "to"), rows)


def probe(
    data: str | Path,
    target: str | Sequence[str] = "place",
    *,
    model: str | Path = DEFAULT_PIPELINE,
    at: str = "latent",
    out: str | Path | None = None,
    monitor: Monitor | None = None,
    **options: Any,
) -> Probing:
    """Predict numbers linearly from a model's values, and move images along them.

    >>> import graftwerk as gw
    >>> gw.probe("nowhere", "depth")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graftwerk.errors.Bad...

    Args:
        data: folder written by `graft blocks render`, or images with a metadata.jsonl.
        target: place, distance, height, kind, colour, ground, time, keypoints, or a column of
            numbers; or several of these.
        model: a diffusion pipeline, an autoencoder (latent), or an image encoder (encoder).
        at: `latent`, `middle` or `encoder`.
        out: folder for the images along each direction; None to write nothing.
        monitor: informed about progress; silent by default.
        **options: the other fields of `graftwerk.Readout`, for example `count`, `moved`, `layer`.

    Raises:
        BadInput: data, target or model cannot be used.
        Damaged: a weight file is truncated.
    """
    targets = [target] if isinstance(target, str) else list(target)
    given = {"data": given_path(data), "target": targets, "model": str(model), "at": at, **options}
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as folder:
        given["out"] = Path(folder) / "probe" if out is None else Path(out)
        request = checked(Readout, **given)
        with named_by_user([request.model]):
            found = carry_out(request, monitor or Silent())
    if out is not None:
        return found
    moved = [one.model_copy(update={"picture": ""}) for one in found.report.moved]
    return Probing(found.report.model_copy(update={"moved": moved}), found.images)


def carry_out(request: Readout, monitor: Monitor) -> Probing:
    """Fit linear probes and two controls, then move images along what can be measured.

    Raises:
        BadInput: data, target or model cannot be used.
        Damaged: a weight file is truncated.
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
    location = _open(request)
    measure, measured_by = _measure(request, known, location)
    study = open_study(location, known, request.count, request.seed, monitor)
    fits = study.fits(monitor)
    moved, images = _move(request, study, measure, monitor)
    report = ReadoutResult(
        model=request.model,
        fingerprint=location.fingerprint,
        at=request.at,
        sigma=location.sigma or None,
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
        moved=moved,
        seconds=time.perf_counter() - begin,
    )
    return Probing(report, images)


def _open(request: Readout) -> "Location | EncoderLayer":
    from ..probing.locations import is_pipeline, open_encoder_location, open_location

    if request.at == "encoder" and not is_pipeline(request.model):
        return open_encoder_location(request.model, request.layer, request.device)
    if request.layer is not None:
        raise BadInput("--layer is for encoders of images.", "Leave it out.")
    return open_location(request.model, request.at, request.sigma, request.device)


def _measure(
    request: Readout, known: "ProbeTargets", location: "Location | EncoderLayer"
) -> "tuple[Measure, str]":
    """Return the measure for moved images, and its name.

    Categories are only measured if the judge can read images of this size.
    """
    from ..probing.probe import JUDGED, ByColour, ByPerception, WithWords

    plain: ByColour | ByPerception = ByColour()
    if request.perception is not None:
        plain = ByPerception(request.perception, request.device)
    words = [name for name in known.names if name.split("=")[0] in JUDGED and "=" in name]
    if not request.moved or not words or any(side % _JUDGED_SIDE for side in location.size):
        return plain, plain.name
    return WithWords(plain, words, request.device), f"{plain.name}, words by builtin/blocks-judge"


def _share(fit: "Fit", number: int) -> Share:
    return Share(r2=float(fit.r2[number]), low=float(fit.low[number]), high=float(fit.high[number]))


def _move(
    request: Readout, study: "Study", measure: "Measure", monitor: Monitor
) -> "tuple[list[Moved], dict[str, Image]]":
    found: list[Moved] = []
    images: dict[str, Image] = {}
    if not request.moved:
        return found, images
    for name, (effects, image) in study.moves(measure, request.moved, monitor).items():
        path = request.out / f"{request.at}-{name}.png"
        write_image(path, image)
        images[name] = image
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
    return found, images
