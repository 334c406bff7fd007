"""Several realism checks on an image, for one judge can be fooled too.

Classes as a judge sees them: a kind, a colour, both, a ground or a time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from .. import files
from ..blocks.judge import Judge, Judgement, load_judge
from ..data.images import open_image
from ..data.pixels import stack, stretch
from ..diffusion.inversion import residuals
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.sampling import decode, encode
from ..errors import BadInput
from ..metrics.distributions import Usual, neighbour_distances, spectra, usual
from ..models.encoders import load_encoder, real_images_in
from ..models.hub import builtin_folder
from ..models.image_encoder import ImageEncoder
from ..models.trainable import own_size
from ..models.zero_shot import require_joint
from ..recipes.autoencoder import latents_identity
from ..recipes.registry import HELD_OUT_WORLD, SIDE
from ..recipes.scenes import open_scenes
from ..requests.base import DEFAULT_IMAGE_ENCODER
from ..settings import settings
from ..types import Denoiser, Monitor
from .results import CheckReport, ImageVerdict, Verdict


def judge_knows(judge: Judge, label: str) -> bool:
    """Whether a judge can tell of a class."""
    config = judge.network.config
    names = {*config["kinds"], *config["colours"], *config["grounds"], *config["times"]}
    pairs = {f"{colour} {kind}" for colour in config["colours"] for kind in config["kinds"]}
    return label in names | pairs


def shows(judgement: Judgement, label: str) -> bool:
    """Whether an image that was judged so shows a class."""
    if label in {judgement.ground, judgement.time}:
        return True
    return any(
        label in {seen.kind, seen.colour, f"{seen.colour} {seen.kind}"}
        for seen in judgement.objects
    )


Pictures = UInt8[np.ndarray, "n h w 3"]
LIMIT = 1.5  # strangeness above which an image is not like real ones
_LEVELS = (0.2, 0.5, 1.0, 2.0)  # noise levels of the residual
_REAL = 200  # images that the realism checks learn from
_BATCH = 32
_SURE = 0.5  # of the guide


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What is measured of images, before it is compared with real ones."""

    residual: Float64[np.ndarray, "n levels"] | None
    spectrum: Float64[np.ndarray, "n bands"]
    states: Float64[np.ndarray, "n d"]

    def save(self) -> bytes:
        """As the bytes of a safetensors file."""
        from safetensors.numpy import save

        arrays = {"spectrum": self.spectrum, "states": self.states}
        if self.residual is not None:
            arrays["residual"] = self.residual
        content: bytes = save(arrays)
        return content


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """How far images lie from real ones, by name: 1 is what 95 % of these keep."""

    named: dict[str, Float64[np.ndarray, " n"]]

    @property
    def together(self) -> Float64[np.ndarray, " n"]:
        """Root mean square of all."""
        found: Float64[np.ndarray, " n"] = np.sqrt(
            np.mean([distance**2 for distance in self.named.values()], axis=0)
        )
        return found


class RealismCheck:
    """Realism checks of images, with what is usual in real ones.

    Args:
        model: the diffusion model that they are of; None: they are of no model, and the residual
            of a denoiser is left out.
        encoder: in whose middle layer neighbours are near.
        judge: that names classes of Blocks scenes.
        real: folder of real images; None: Blocks scenes.
        monitor: informed about the work.
        size: of the images, without a model.
    """

    def __init__(
        self,
        model: DiffusionModel | None,
        encoder: ImageEncoder,
        judge: Judge | None,
        real: str | None,
        monitor: Monitor,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._model, self._encoder, self._judge = model, encoder, judge
        self.size = model.size if model is not None else size or own_size(encoder)
        readings = self._usual_readings(real, monitor)
        self.real = len(readings.states)
        self._residual = None if readings.residual is None else usual(readings.residual)
        self._spectrum: Usual = usual(readings.spectrum)
        self._states = readings.states
        own = neighbour_distances(readings.states, readings.states, among=True)
        self._near = float(np.quantile(own, 0.95))
        lengths = self._distances(readings, own)
        self._together = float(np.quantile(lengths.together, 0.95))

    def testify(
        self,
        paths: Sequence[str],
        pictures: Pictures,
        label: str | None,
        chances: Float[np.ndarray, " n"] | None,
    ) -> list[ImageVerdict]:
        """What all realism checks say of each image.

        Args:
            paths: of the images, for the report.
            pictures: of the size that the model draws.
            label: the class that they should show; None for any.
            chances: the guide's probability of it; None without a guide.
        """
        readings = self._read(pictures)
        distances = self._distances(readings, neighbour_distances(readings.states, self._states))
        seen = self.sees(pictures, label)
        strangeness = distances.together / self._together
        return [
            _verdict(
                path,
                float(strangeness[row]),
                {name: float(distance[row]) for name, distance in distances.named.items()},
                None if chances is None else float(chances[row]),
                None if seen is None else seen[row],
            )
            for row, path in enumerate(paths)
        ]

    def sees(self, pictures: Pictures, label: str | None) -> list[bool] | None:
        """Whether the judge sees the class in each image; None where it cannot tell."""
        if self._judge is None or label is None or not judge_knows(self._judge, label):
            return None
        return [shows(judgement, label) for judgement in self._judge.judge(pictures)]

    def _distances(self, readings: Readings, near: Float64[np.ndarray, " n"]) -> Distances:
        named = {}
        if self._residual is not None and readings.residual is not None:
            named["residual"] = self._residual.distances(readings.residual)
        named["spectrum"] = self._spectrum.distances(readings.spectrum)
        named["neighbours"] = near / self._near
        return Distances(named)

    def noise_is_strange(self) -> bool:
        """Whether uniform noise, which is like no image, is out of the ordinary here."""
        width, height = self.size
        shape = (4, height, width, 3)
        noise: Pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        verdicts = self.testify([""] * len(noise), noise, None, None)
        return all(verdict.strangeness > LIMIT for verdict in verdicts)

    def _read(self, pictures: Pictures) -> Readings:
        examined = self._encoder.examine([Image.fromarray(image) for image in pictures])
        states = examined.states.astype(np.float64)
        if self._model is None:
            return Readings(None, spectra(pictures), states)
        reader = self._model.reader
        denoise: Denoiser = self._model.denoiser(None if reader is None else reader.read([""]))
        # the same noise for every image
        found = [
            residuals(denoise, part, _LEVELS, torch.Generator().manual_seed(0))
            for part in torch.split(encode(self._model, pictures), _BATCH)
        ]
        return Readings(torch.cat(found).double().cpu().numpy(), spectra(pictures), states)

    def _usual_readings(self, real: str | None, monitor: Monitor) -> Readings:
        """Readings of real images, half of them through a model's autoencoder; in the cache."""
        images, identity = _real_images(self._model, self.size, real, monitor)
        model = "no model" if self._model is None else self._model.fingerprint
        parts = [model, self._encoder.fingerprint, identity, str(_LEVELS)]
        digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
        path = settings().cache / "witnesses" / f"{digest}.safetensors"
        found = _load(path)
        if found is not None:
            return found
        monitor.start("reading real images")
        if self._model is not None:
            half = len(images) // 2
            again = stack(decode(self._model, encode(self._model, images[half:])))
            images = np.concatenate([images[:half], again])
        readings = self._read(images)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, readings.save())
        return readings


def open_realism_check(
    model: DiffusionModel | None,
    real: str | None,
    monitor: Monitor,
    encoder: ImageEncoder | None = None,
) -> RealismCheck:
    """Load the realism checks of a model's images, or of photographs.

    Args:
        model: that the images are, or should be, of; None: of none, which needs `real` and
            `encoder`.
        real: folder of real images; None: Blocks scenes, for a model of them.
        monitor: informed about the work.
        encoder: the default joint encoder, where it is loaded already.

    Raises:
        BadInput: the model draws something else than Blocks scenes, and no folder is named; or
            there are too few images in it.
    """
    if encoder is None:
        device = "auto" if model is None else model.device
        encoder = require_joint(load_encoder(DEFAULT_IMAGE_ENCODER, device=device))
    judge = None
    if model is not None and draws_blocks(model):
        judge = load_judge(builtin_folder("builtin/blocks-judge"), model.device)
    check = RealismCheck(model, encoder, judge, real, monitor)
    if real is not None and not check.noise_is_strange():
        monitor.note(
            f"these checks call uniform noise usual among the images of {real}, so their verdicts "
            "are unreliable; for photographs name a classifier of them: --guide-model imagenet"
        )
    return check


def can_testify(model: DiffusionModel | None, real: str | None) -> bool:
    """Whether it is known what real images of a model look like."""
    return real is not None or (model is not None and draws_blocks(model))


def draws_blocks(model: DiffusionModel) -> bool:
    """Whether a model draws in the latents of the Blocks scenes."""
    own = latents_identity(builtin_folder("builtin/blocks-autoencoder"))
    return model.space.identity == own and model.size == (SIDE, SIDE)


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
    # without a judge the guide has to be believed where the image is like real ones
    there = seen if seen is not None else (chance is None or chance >= _SURE)
    verdict: Verdict = "real" if there else "not the class"
    if strangeness > LIMIT:
        fooled = chance is not None and chance >= _SURE
        verdict = "adversarial" if fooled else "strange"
    return ImageVerdict(
        path=path, verdict=verdict, strangeness=strangeness, witnesses=realism_check
    )


def _real_images(
    model: DiffusionModel | None, size: tuple[int, int], folder: str | None, monitor: Monitor
) -> tuple[Pictures, str]:
    """Real images, and what they are known by."""
    if folder is None:
        if model is None or not draws_blocks(model):
            of = "" if model is None else f" of model {model.name!r}"
            raise BadInput(
                f"what real images{of} look like is not known.",
                "Name a folder of some with --real.",
            )
        scenes = open_scenes("pictures", HELD_OUT_WORLD, _REAL, SIDE, monitor)
        images: Pictures = scenes.rows(np.arange(_REAL))["picture"]
        return images, scenes.name
    paths = real_images_in(folder)[:_REAL]
    found = [open_image(path) for path in paths]
    digest = hashlib.sha256("".join(one.sha256 for one in found).encode())
    return stretch([one.image for one in found], size), digest.hexdigest()


def _load(path: Path) -> Readings | None:
    """Readings from the cache; None where there are none or the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        stored = load(path.read_bytes())
        return Readings(stored.get("residual"), stored["spectrum"], stored["states"])
    except (OSError, SafetensorError, KeyError):
        return None
