"""Realism checks of images: several measures, since a single judge can be fooled.

Apart from what a judge or a guide sees in an image, the checks compare it with real images: by the
residual of the denoiser, by its spectrum, by nearest neighbors in an encoder, by a linear head on
that encoder which tells real images from known fakes, and by what squeezing changes. Class labels
are those of the judge: an object's kind, its color, both, a ground or a time of day.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .. import files
from ..blocks.networks import Judge, Judgement, load_judge
from ..blocks.scene import MOST_OBJECTS, SIDE
from ..data.images import open_image
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.sampling import decode, encode, residuals, stack, stretch
from ..errors import BadInput
from ..metrics.distributions import Usual, neighbour_distances, spectra, usual
from ..models.encoders import load_encoder, real_images_in
from ..models.hub import builtin_folder
from ..models.image_encoder import ImageEncoder
from ..models.trainable import own_shape
from ..models.zero_shot import require_joint
from ..recipes.autoencoder import latents_identity
from ..recipes.registry import HELD_OUT_WORLD, LARGE_SIDE
from ..recipes.scenes import open_scenes
from ..requests.base import DEFAULT_IMAGE_ENCODER
from ..settings import settings
from ..types import Denoiser, Monitor
from .realism_measures import fakes_of, fit_probe, scale_of, squeezed
from .results import CheckReport, ImageVerdict, SelfTest, Verdict


def judge_knows(judge: Judge, label: str) -> bool:
    """Whether a class is one that a judge can recognize."""
    config = judge.network.config
    names = {*config["kinds"], *config["colours"], *config["grounds"], *config["times"]}
    pairs = {f"{colour} {kind}" for colour in config["colours"] for kind in config["kinds"]}
    return label in names | pairs


def shows(judgement: Judgement, label: str) -> bool:
    """Whether a judged image contains a class."""
    if label in {judgement.ground, judgement.time}:
        return True
    return any(
        label in {seen.kind, seen.colour, f"{seen.colour} {seen.kind}"}
        for seen in judgement.objects
    )


ImageBatch = UInt8[np.ndarray, "n h w 3"]
LIMIT = 1.5  # strangeness above which an image is not like real ones
_LEVELS = (0.2, 0.5, 1.0, 2.0)  # noise levels of the residual
_REAL = 200  # real images for calibration
_BATCH = 32
_SURE = 0.5  # probability from which the guide counts as sure
_IMPOSSIBLE = 2.0  # reading of a scene that the Blocks world does not contain
_FAKES = 16  # images of each self-test
_EXAMPLES = 48  # images whose fakes the linear head learns from; they are not in the self-test
_PASSED = 0.9  # share of them whose strangeness has to exceed the limit


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Raw measurements of images, before they are compared with real ones."""

    residual: Float64[np.ndarray, "n levels"] | None
    spectrum: Float64[np.ndarray, "n bands"]
    states: Float64[np.ndarray, "n d"]
    changes: Float64[np.ndarray, " n"] | None = None  # when squeezed


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Distances from real images, by measure; 95 % of real images are below 1."""

    named: dict[str, Float64[np.ndarray, " n"]]

    @property
    def largest(self) -> Float64[np.ndarray, " n"]:
        """The largest distance of each image: one large measure is enough to reject it."""
        found: Float64[np.ndarray, " n"] = np.stack([*self.named.values()]).max(axis=0)
        return found

    @property
    def together(self) -> Float64[np.ndarray, " n"]:
        """The root mean square of each image's distances."""
        squares = np.stack([*self.named.values()]) ** 2
        found: Float64[np.ndarray, " n"] = np.sqrt(squares.mean(axis=0))
        return found


class RealismCheck:
    """Realism checks of images, calibrated on real ones.

    Args:
        model: the diffusion model that generated the images; None for images without a model, which
            are checked without the residual of a denoiser.
        encoder: nearest neighbors are compared in its middle layer.
        judge: object classifier of Blocks scenes; None for other images.
        real: folder of real images; None for Blocks scenes.
        monitor: informed about progress.
    """

    def __init__(
        self,
        model: DiffusionModel | None,
        encoder: ImageEncoder,
        judge: Judge | None,
        real: str | None,
        monitor: Monitor,
    ) -> None:
        self._model, self._encoder, self._judge = model, encoder, judge
        self.size, self.crops = own_shape(encoder) if model is None else (model.size, False)
        self._of_blocks = real is None  # only then the judge knows which scenes are possible
        known = self._known_readings(real, monitor)
        readings = known[_REAL_ONES]
        self.real = len(readings.states)
        self._residual = None if readings.residual is None else usual(readings.residual)
        self._spectrum: Usual = usual(readings.spectrum)
        self._states = readings.states
        own = neighbour_distances(readings.states, readings.states, among=True)
        self._near = float(np.quantile(own, 0.95))
        self._probe, scores = None, None
        if not self._of_blocks:  # for those, residual and spectrum find every fake
            self._probe, scores = fit_probe(readings.states, known[_FOR_PROBE].states)
        changes = readings.changes
        self._squeezing = None if changes is None else scale_of(changes)
        lengths = self._distances(readings, own, scores)
        self._together = float(np.quantile(lengths.together, 0.95))
        self.self_test = self._test(known)

    def testify(
        self,
        paths: Sequence[str],
        images: ImageBatch,
        label: str | None,
        chances: Float[np.ndarray, " n"] | None,
    ) -> list[ImageVerdict]:
        """Run all realism checks on each image."""
        distances, strangeness = self._measure(self._read(images))
        judged = None if self._judge is None else self._judge.judge(images)
        seen = self._seen(judged, label)
        found = []
        for row, path in enumerate(paths):
            readings = {name: float(values[row]) for name, values in distances.named.items()}
            if judged is not None and self._of_blocks:
                possible = is_possible(judged[row])
                readings = {"composition": 0.0 if possible else _IMPOSSIBLE} | readings
            strange = max(float(strangeness[row]), *readings.values())
            chance = None if chances is None else float(chances[row])
            found.append(
                _verdict(path, strange, readings, chance, None if seen is None else seen[row])
            )
        if self.self_test.passed:
            return found
        return [
            one if one.strangeness > LIMIT else one.model_copy(update={"verdict": "no verdict"})
            for one in found
        ]

    def _seen(self, judged: list[Judgement] | None, label: str | None) -> list[bool] | None:
        if self._judge is None or judged is None or label is None:
            return None
        if not judge_knows(self._judge, label):
            return None
        return [shows(judgement, label) for judgement in judged]

    def _measure(self, readings: Readings) -> tuple[Distances, Float64[np.ndarray, " n"]]:
        """Return the distances by measure, and the strangeness that follows from them."""
        near = neighbour_distances(readings.states, self._states)
        probe = None if self._probe is None else self._probe.distances(readings.states)
        found = self._distances(readings, near, probe)
        return found, np.maximum(found.together / self._together, found.largest)

    def _test(self, known: dict[str, Readings]) -> SelfTest:
        shares = {
            name: float((self._measure(known[name])[1] > LIMIT).mean()) for name in _FAKE_KINDS
        }
        known_names = [self._encoder.name]
        scenes = "what they were trained on"
        if self._model is not None:
            known_names.insert(0, self._model.name)
            scenes = "Blocks scenes" if draws_blocks(self._model) else scenes
        familiar = self._encoder.familiar
        unlike = None
        if familiar is not None:
            states = known[_REAL_ONES].states.astype(np.float32)
            unlike = float((familiar.distances(states) > 1).mean())
        return SelfTest(
            unlike=unlike,
            world=f"{scenes} ({', '.join(known_names)})",
            passed=min(shares.values()) >= _PASSED,
            **shares,
        )

    def _distances(
        self,
        readings: Readings,
        near: Float64[np.ndarray, " n"],
        probe: Float64[np.ndarray, " n"] | None,
    ) -> Distances:
        named = {}
        if self._residual is not None and readings.residual is not None:
            named["residual"] = self._residual.distances(readings.residual)
        named["spectrum"] = self._spectrum.distances(readings.spectrum)
        named["neighbours"] = near / self._near
        if probe is not None:
            named["probe"] = probe
        if self._squeezing is not None and readings.changes is not None:
            named["squeezing"] = self._squeezing.distances(readings.changes)
        return Distances(named)

    def _read(self, images: ImageBatch, whole: bool = True) -> Readings:
        """Return the readings of images; without residual and squeezing if not `whole`."""
        examined = self._encoder.examine([Image.fromarray(image) for image in images])
        states = examined.states.astype(np.float64)
        changes = squeezed(self._encoder, images) if whole and not self._of_blocks else None
        if self._model is None or not whole:
            return Readings(None, spectra(images), states, changes)
        reader = self._model.reader
        denoise: Denoiser = self._model.denoiser(None if reader is None else reader.read([""]))
        # the same noise for every image
        found = [
            residuals(denoise, part, _LEVELS, torch.Generator().manual_seed(0))
            for part in torch.split(encode(self._model, images), _BATCH)
        ]
        measured = torch.cat(found).double().cpu().numpy()
        return Readings(measured, spectra(images), states, changes)

    def _known_readings(self, real: str | None, monitor: Monitor) -> dict[str, Readings]:
        """Return cached readings of fakes and of real images.

        With a model, half of the real images are encoded and decoded first.
        """
        images, identity = _real_images(self._model, self.size, self.crops, real, monitor)
        model = f"no model, {self.crops}" if self._model is None else self._model.fingerprint
        parts = [model, self._encoder.fingerprint, identity, str(_LEVELS)]
        parts += [str((_FAKES, _EXAMPLES)), "squeezed"]
        digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
        path = settings().cache / "witnesses" / f"{digest}.safetensors"
        kinds = (_REAL_ONES, *_FAKE_KINDS, *(() if self._of_blocks else (_FOR_PROBE,)))
        found = _load(path, kinds)
        if found is not None:
            return found
        monitor.start("reading real images")
        half, known = len(images) // 2, images
        if self._model is not None:
            again = stack(decode(self._model, encode(self._model, images[half:])))
            known = np.concatenate([images[:half], again])
        examples = {_REAL_ONES: known, **fakes_of(images[:_FAKES])}
        readings = {name: self._read(pictures) for name, pictures in examples.items()}
        if not self._of_blocks:
            fakes = np.concatenate(
                [*fakes_of(images[_FAKES : _FAKES + _EXAMPLES], seed=1).values()]
            )
            readings[_FOR_PROBE] = self._read(fakes, whole=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, _saved(readings))
        return readings


_REAL_ONES, _FOR_PROBE = "real", "for the probe"
_FAKE_KINDS = ("noise", "blurred", "shuffled")


def is_possible(judgement: Judgement) -> bool:
    """Whether the Blocks world contains such scenes: one to four different objects."""
    seen = [(thing.kind, thing.colour) for thing in judgement.objects]
    return 1 <= len(seen) <= MOST_OBJECTS and len(set(seen)) == len(seen)


def open_realism_check(
    model: DiffusionModel | None,
    real: str | None,
    monitor: Monitor,
    encoder: ImageEncoder | None = None,
) -> RealismCheck:
    """Load the realism checks for a model's images or for photographs.

    Raises:
        BadInput: the model generates something other than Blocks scenes and no folder is named, or
            the folder contains too few images.
    """
    if encoder is None:
        device = "auto" if model is None else model.device
        encoder = require_joint(load_encoder(DEFAULT_IMAGE_ENCODER, device=device))
    judge = None
    if model is not None and draws_blocks(model):
        judge = load_judge(builtin_folder("builtin/blocks-judge"), model.device)
    return RealismCheck(model, encoder, judge, real, monitor)


def can_testify(model: DiffusionModel | None, real: str | None) -> bool:
    """Whether real images are known that a model's images can be compared with."""
    return real is not None or (model is not None and draws_blocks(model))


def draws_blocks(model: DiffusionModel) -> bool:
    """Whether a model generates Blocks scenes, in their latent space and size."""
    sizes = {(side, side) for side in (SIDE, LARGE_SIDE)}
    return model.space.identity == _own_latents() and model.size in sizes


@cache
def _own_latents() -> str:
    return latents_identity(builtin_folder("builtin/blocks-autoencoder"))


def _verdict(
    path: str,
    strangeness: float,
    distances: dict[str, float],
    chance: float | None,
    seen: bool | None,
) -> ImageVerdict:
    realism_check = []
    if chance is not None:
        realism_check.append(CheckReport(name="guide", reading=chance, agrees=chance >= _SURE))
    if seen is not None:
        realism_check.append(CheckReport(name="judge", reading=float(seen), agrees=seen))
    realism_check += [
        CheckReport(name=name, reading=value, agrees=value <= LIMIT)
        for name, value in distances.items()
    ]
    # without a judge, the guide is believed if the image is like real ones
    there = seen if seen is not None else (chance is None or chance >= _SURE)
    verdict: Verdict = "real" if there else "not the class"
    if strangeness > LIMIT:
        fooled = chance is not None and chance >= _SURE and not seen
        verdict = "adversarial" if fooled else "strange"
    return ImageVerdict(
        path=path, verdict=verdict, strangeness=strangeness, witnesses=realism_check
    )


def _real_images(
    model: DiffusionModel | None,
    size: tuple[int, int],
    crop: bool,
    folder: str | None,
    monitor: Monitor,
) -> tuple[ImageBatch, str]:
    if folder is None:
        if model is None or not draws_blocks(model):
            of = "" if model is None else f" of model {model.name!r}"
            raise BadInput(
                f"what real images{of} look like is not known.",
                "Name a folder of some with --real.",
            )
        scenes = open_scenes("pictures", HELD_OUT_WORLD, _REAL, model.size[0], monitor)
        images: ImageBatch = scenes.rows(np.arange(_REAL))["picture"]
        return images, scenes.name
    paths = real_images_in(folder)[:_REAL]
    found = [open_image(path) for path in paths]
    digest = hashlib.sha256("".join(one.sha256 for one in found).encode())
    return stretch([one.image for one in found], size, crop), digest.hexdigest()


def _saved(readings: dict[str, Readings]) -> bytes:
    return save(
        {
            f"{name}.{part}": values
            for name, one in readings.items()
            for part in _PARTS
            if (values := getattr(one, part)) is not None
        }
    )


def _load(path: Path, kinds: Sequence[str]) -> dict[str, Readings] | None:
    try:
        stored = load(path.read_bytes())
        return {
            name: Readings(
                stored.get(f"{name}.residual"),
                stored[f"{name}.spectrum"],
                stored[f"{name}.states"],
                stored.get(f"{name}.changes"),
            )
            for name in kinds
        }
    except (OSError, SafetensorError, KeyError):
        return None


_PARTS = ("residual", "spectrum", "states", "changes")  # of the readings
