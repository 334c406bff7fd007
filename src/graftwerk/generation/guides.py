"""`--guide KIND=WHAT:SCALE`: what a diffusion model is guided by, with its models loaded.

What a joint encoder says of clean images, with a gradient.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..blocks.captions import object_phrases
from ..diffusion.classifier_guidance import softened, views
from ..diffusion.guidance import LogProb, Term
from ..diffusion.noise_schedule import Sigma
from ..diffusion.noisy_classifier import NoiseAwareClassifier, load_noise_aware
from ..diffusion.pipeline import DiffusionModel
from ..errors import UnknownName, WrongBase
from ..models.checkpoint import noise_aware_labels
from ..models.encoders import load_encoder
from ..models.hub import locate
from ..models.image_encoder import ImageEncoder
from ..models.trainable import Look, differentiable
from ..models.zero_shot import LOCATION, label_vectors, require_joint, templates_of
from ..types import Vectors
from .guide_spec import Guide, read_guide


@dataclass(frozen=True)
class Joint:
    """A joint encoder with a gradient for images."""

    encoder: ImageEncoder
    look: Look
    device: str

    def of_vectors(self, vectors: Vectors, content: str) -> tuple[Callable[[Tensor], Tensor], str]:
        """The cosine with one vector, -1 to 1, and a fingerprint."""
        requested = torch.from_numpy(vectors[0]).to(self.device)

        def cosine(pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            return self.look(_in_colour(pictures)) @ requested

        return cosine, _digest(self.encoder.fingerprint, content)

    def of_classes(
        self, requested: Sequence[str], labels: Sequence[str], temperature: float
    ) -> tuple[Callable[[Tensor], Tensor], str]:
        """Log p of a label among all of them, zero-shot, and a fingerprint.

        Args:
            requested: the label of all rows, or one for each.
            labels: all of them; none: kinds and colours of Blocks objects.
            temperature: divides the logits for the gradient alone, see `softened`.

        Raises:
            UnknownName: one is none of the labels.
        """
        phrases = {name: name for name in labels} if labels else object_phrases()
        names = list(phrases)
        for label in requested:
            if label not in phrases:
                raise UnknownName("class", label, names)
        templates = templates_of(self.encoder.folder) if labels else (LOCATION,)
        heads = label_vectors(self.encoder, list(phrases.values()), templates)
        weights = torch.from_numpy(heads).to(self.device)
        scale = self.encoder.logit_scale or 1.0
        locations = torch.tensor([names.index(label) for label in requested], device=self.device)

        def log_prob(pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            logits = scale * self.look(_in_colour(pictures)) @ weights.T
            own = locations.expand(len(pictures))[:, None]

            def log_of_own(logits: Tensor) -> Tensor:
                return functional.log_softmax(logits, dim=-1).gather(1, own)[:, 0]

            return softened(log_of_own, logits, temperature)

        return log_prob, _digest(self.encoder.fingerprint, *phrases.values(), *templates)


def _in_colour(pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, "b 3 y x"]:
    return pictures if pictures.shape[1] == 3 else pictures.expand(-1, 3, -1, -1)


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class GuidanceStyle:
    """How a gradient is used.

    Attributes:
        temperature: of class probabilities, see `softened`.
        limit: of the shift, see `Term`.
        noise_limit: of the shift over the noise level, see `Term`.
        views: that are taken of a clean image; 0: it is seen as it is.
    """

    temperature: float
    limit: float
    noise_limit: float
    views: int


PLAIN = GuidanceStyle(1.0, math.inf, math.inf, 0)
# Longer shifts leave what the denoiser knows. Chosen on images of seeds 0 and 3: docs/guide.md.
_NOISE_AWARE = GuidanceStyle(8.0, 0.3, 0.2, 0)
_CLEAN = GuidanceStyle(10.0, 1.5, 0.5, 4)


@dataclass(frozen=True, slots=True)
class Settings:
    """What all guides of a request share.

    Attributes:
        classifier: name of what `class=` asks: a noise-aware classifier, or a joint encoder.
        labels: classes of a joint encoder; none: kinds and colours of Blocks objects.
        encoder: name of the joint encoder of `text=` and `image=`.
        interval: lowest and highest noise level at which they act.
        plain: the bare gradient of log p, at its own length.
    """

    classifier: str
    labels: tuple[str, ...]
    encoder: str
    interval: tuple[float, float] = (0.0, math.inf)
    plain: bool = True


class GuideNetworks:
    """The networks that guides ask, each loaded once."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self._joint: dict[str, Joint] = {}
        self._noise_aware: dict[str, NoiseAwareClassifier] = {}

    def joint(self, name: str) -> Joint:
        """A joint encoder."""
        if name not in self._joint:
            device = self.model.device
            encoder = require_joint(load_encoder(name, device=device))
            self._joint[name] = Joint(encoder, differentiable(encoder, device), device)
        return self._joint[name]

    def opened(self, name: str) -> ImageEncoder | None:
        """A joint encoder that was loaded before; None where it was not."""
        found = self._joint.get(name)
        return None if found is None else found.encoder

    def noise_aware(self, name: str, folder: Path) -> NoiseAwareClassifier:
        """A noise-aware classifier."""
        if name not in self._noise_aware:
            self._noise_aware[name] = load_noise_aware(name, folder, self.model.device)
        return self._noise_aware[name]


class GuideModels:
    """What guides of the same settings ask of a model's images and latents."""

    def __init__(
        self, settings: Settings, model: DiffusionModel, networks: GuideNetworks | None = None
    ) -> None:
        self._settings, self._model = settings, model
        self.networks = networks or GuideNetworks(model)

    @property
    def device(self) -> str:
        """Where they run."""
        return self._model.device

    def term(self, name: str, log_prob: LogProb, scale: float, clean: bool) -> Term:
        """A guide with the interval and limits of the settings."""
        lowest, highest = self._settings.interval
        manner = self._manner(clean)
        limits = (manner.limit, manner.noise_limit)
        return Term(name, log_prob, scale, clean, lowest, highest, *limits)

    def log_prob(self, guide: Guide) -> tuple[LogProb, bool, str]:
        """What a guide maximises, whether it reads clean images, and its fingerprint."""
        if guide.aim == "class":
            return self.each([guide.what])
        clean, fingerprint = self.clean(guide)
        return self._decoded(clean), True, fingerprint

    def each(self, labels: Sequence[str]) -> tuple[LogProb, bool, str]:
        """The same for a class of all rows, or for one of each row.

        Raises:
            UnknownName: a class that the classifier does not have.
            WrongBase: the classifier reads another latent space.
        """
        name = self._settings.classifier
        folder = locate(name)
        if noise_aware_labels(folder) is None:
            clean, fingerprint = self._of_classes(name, labels)
            return self._decoded(clean), True, fingerprint
        classifier = self.networks.noise_aware(name, folder)
        require_space(classifier, self._model.name, self._model.space.identity)
        for label in labels:
            classifier.location_of(label)

        temperature = self._manner(clean=False).temperature

        def log_prob(x: Tensor, sigma: Sigma) -> Tensor:
            return classifier.log_prob(x, sigma, *labels, temperature=temperature)

        return log_prob, False, classifier.fingerprint

    def _manner(self, clean: bool) -> GuidanceStyle:
        if self._settings.plain:
            return PLAIN
        return _CLEAN if clean else _NOISE_AWARE

    def _decoded(self, clean: Callable[[Tensor], Tensor]) -> LogProb:
        decode, count = self._model.decode, self._manner(clean=True).views

        def log_prob(denoised: Tensor, sigma: Sigma) -> Tensor:
            images = decode(denoised)
            if count == 0:
                return clean(images)
            # other views at each level, the same when an image is drawn again
            seed = round(1e4 * float(torch.as_tensor(sigma).max()))
            return torch.stack([clean(view) for view in views(images, count, seed)]).mean(dim=0)

        return log_prob

    def _of_classes(
        self, name: str, requested: Sequence[str]
    ) -> tuple[Callable[[Tensor], Tensor], str]:
        temperature = self._manner(clean=True).temperature
        return self.networks.joint(name).of_classes(requested, self._settings.labels, temperature)

    def of_images(self, guide: Guide) -> Callable[[Tensor], Tensor]:
        """What a guide maximises on clean images of values 0 to 1, whatever it reads."""
        log_prob, clean, _ = self.log_prob(guide)
        if clean:
            return self.clean(guide)[0]
        space, least = self._model.space, float(self._model.noise.sigmas[0])
        return lambda images: log_prob(space.encode(images), least)

    def clean(self, guide: Guide) -> tuple[Callable[[Tensor], Tensor], str]:
        """What a guide maximises on images of values 0 to 1, and its fingerprint."""
        name = self._settings.classifier if guide.aim == "class" else self._settings.encoder
        joint = self.networks.joint(name)
        if guide.aim == "class":
            return self._of_classes(name, [guide.what])
        if guide.aim == "text":
            return joint.of_vectors(joint.encoder.encode_texts([guide.what]), guide.what)
        read = read_guide(guide).image
        if read is None:
            raise ValueError(f"{guide.name} has no image")
        return joint.of_vectors(joint.encoder.encode_images([read.image]), read.sha256)


def require_space(classifier: NoiseAwareClassifier, model: str, identity: str) -> None:
    """Refuse a classifier of another latent space than a model's by name.

    Raises:
        WrongBase: it is of another one.
    """
    if classifier.latents != identity:
        raise WrongBase(
            classifier.name,
            made_on=f"the latent space {classifier.latents[:12]}",
            received=f"that of model {model!r} ({identity[:12]})",
            hint="Train one for it: graft recipe run noisy-classifier --autoencoder FOLDER, or "
            "guide by a clean classifier: --guide-model with a CLIP folder.",
        )
