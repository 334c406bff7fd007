"""Gradient guides: `--guide KIND=WHAT:SCALE` as differentiable functions.

A guide maximizes a log-probability or a cosine similarity. A noise-aware classifier computes it
from noisy latents; a joint encoder or an image classifier computes it from clean images.
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
from ..diffusion.guidance import LogProb, Term
from ..diffusion.noise_schedule import Sigma
from ..diffusion.noisy_classifier import NoiseAwareClassifier, load_noise_aware, softened, views
from ..diffusion.pipeline import DiffusionModel
from ..errors import BadInput, UnknownName, WrongBase
from ..models.checkpoint import class_number, noise_aware_labels, own_classes
from ..models.encoders import load_encoder
from ..models.hub import locate
from ..models.image_encoder import ImageEncoder
from ..models.trainable import Look, differentiable, differentiable_head
from ..models.zero_shot import LOCATION, label_vectors, require_joint, templates_of
from ..types import Vectors
from .spec import Guide, read_guide

Clean = tuple[Callable[[Tensor], Tensor], str]  # of clean images, and a fingerprint


@dataclass(frozen=True)
class Joint:
    """A joint encoder that is differentiable with respect to images."""

    encoder: ImageEncoder
    look: Look
    device: str

    def of_vectors(self, vectors: Vectors, content: str) -> Clean:
        """Return a function for the cosine similarity to a vector, and a fingerprint.

        The cosine is from -1 to 1.
        """
        requested = torch.from_numpy(vectors[0]).to(self.device)

        def cosine(images: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            return self.look(_in_colour(images)) @ requested

        return cosine, _digest(self.encoder.fingerprint, content)

    def of_classes(
        self, requested: Sequence[str], labels: Sequence[str], temperature: float
    ) -> Clean:
        """Return a function for a label's zero-shot log-probability, and a fingerprint.

        Args:
            requested: one label for all rows, or one per row.
            labels: all labels; if empty, kinds and colors of Blocks objects.
            temperature: divides the logits for the gradient only, see `softened`.

        Raises:
            UnknownName: a requested label is not one of the labels.
        """
        phrases = {name: name for name in labels} if labels else object_phrases()
        names = list(phrases)
        for label in requested:
            if label not in phrases:
                raise UnknownName("class", label, names)
        if len(names) < 2:
            raise BadInput(
                f"{names[0]!r} is the only class, so its probability is always 1.",
                "Name other classes too: --guide-labels can be repeated.",
            )
        templates = templates_of(self.encoder.folder) if labels else (LOCATION,)
        heads = label_vectors(self.encoder, list(phrases.values()), templates)
        weights = torch.from_numpy(heads).to(self.device)
        scale = self.encoder.logit_scale or 1.0
        locations = torch.tensor([names.index(label) for label in requested], device=self.device)

        def log_prob(images: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            logits = scale * self.look(_in_colour(images)) @ weights.T
            return _log_of(logits, locations, temperature)

        return log_prob, _digest(self.encoder.fingerprint, *phrases.values(), *templates)


@dataclass(frozen=True)
class Head:
    """An image classifier that is differentiable with respect to images."""

    encoder: ImageEncoder
    look: Look
    device: str

    def of_classes(self, requested: Sequence[str], temperature: float) -> Clean:
        """Return a function for the log-probability of a class, and a fingerprint.

        See `Joint.of_classes`; the classes are the classifier's own.

        Raises:
            UnknownName: a requested label is not one of its classes.
        """
        classes = self.encoder.classes
        numbers = [class_number(classes, label) for label in requested]
        locations = torch.tensor(numbers, device=self.device)

        def log_prob(images: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            return _log_of(self.look(_in_colour(images)), locations, temperature)

        return log_prob, _digest(self.encoder.fingerprint, *numbers)


def _log_of(
    logits: Float[Tensor, "b l"], locations: Tensor, temperature: float
) -> Float[Tensor, " b"]:
    """Return the log-probability of each row's class; see `softened`."""
    own = locations.expand(len(logits))[:, None]

    def log_of_own(logits: Tensor) -> Tensor:
        return functional.log_softmax(logits, dim=-1).gather(1, own)[:, 0]

    return softened(log_of_own, logits, temperature)


def _in_colour(images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b 3 y x"]:
    return images if images.shape[1] == 3 else images.expand(-1, 3, -1, -1)


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class GuidanceStyle:
    """How a gradient is softened, limited and averaged.

    Attributes:
        views: number of augmented views of a clean image; 0 for the image itself.
    """

    temperature: float
    limit: float
    noise_limit: float
    views: int


PLAIN = GuidanceStyle(1.0, math.inf, math.inf, 0)
# Longer shifts are out of distribution for the denoiser. Chosen on seeds 0 and 3: docs/guide.md.
_NOISE_AWARE = GuidanceStyle(8.0, 0.3, 0.2, 0)
_CLEAN = GuidanceStyle(10.0, 1.5, 0.5, 4)


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings shared by all guides of a request.

    Attributes:
        classifier: model of `class=`: a noise-aware classifier, an image classifier, or a joint
            encoder.
        labels: classes of a joint encoder; if empty, kinds and colors of Blocks objects.
        encoder: joint encoder of `text=` and `image=`.
        plain: whether the gradient of log p is used as it is, not softened, limited or averaged.
    """

    classifier: str
    labels: tuple[str, ...]
    encoder: str
    interval: tuple[float, float] = (0.0, math.inf)
    plain: bool = True


class GuideNetworks:
    """The networks of guides, each loaded once."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._joint: dict[str, Joint] = {}
        self._heads: dict[str, Head] = {}
        self._noise_aware: dict[str, NoiseAwareClassifier] = {}

    def joint(self, name: str) -> Joint:
        """Return a joint encoder."""
        if name not in self._joint:
            encoder = require_joint(load_encoder(name, device=self.device))
            look = differentiable(encoder, self.device)
            self._joint[name] = Joint(encoder, look, self.device)
        return self._joint[name]

    def head(self, name: str) -> Head | None:
        """Return an image classifier; None for a model without classes of its own."""
        if name not in self._heads and own_classes(locate(name)):
            encoder = load_encoder(name, device=self.device)
            if isinstance(encoder, ImageEncoder) and encoder.classes:
                look = differentiable_head(encoder, self.device)
                self._heads[name] = Head(encoder, look, self.device)
        return self._heads.get(name)

    def opened(self, name: str) -> ImageEncoder | None:
        """Return a joint encoder if it is already loaded, else None."""
        found = self._joint.get(name)
        return None if found is None else found.encoder

    def noise_aware(self, name: str, folder: Path) -> NoiseAwareClassifier:
        """Return a noise-aware classifier."""
        if name not in self._noise_aware:
            self._noise_aware[name] = load_noise_aware(name, folder, self.device)
        return self._noise_aware[name]


class GuideModels:
    """Objective functions of guides with the same settings.

    Args:
        settings: settings shared by the guides.
        model: the model whose latents are guided; None if only images are evaluated.
        networks: networks of the guides, some of which may be loaded already.
        device: where they run without a model.
    """

    def __init__(
        self,
        settings: Settings,
        model: DiffusionModel | None,
        networks: GuideNetworks | None = None,
        device: str = "cpu",
    ) -> None:
        self._settings, self._given = settings, model
        self.networks = networks or GuideNetworks(device if model is None else model.device)

    @property
    def _model(self) -> DiffusionModel:
        if self._given is None:
            raise TypeError("these guides ask images alone")
        return self._given

    @property
    def device(self) -> str:
        """The device of the networks."""
        return self.networks.device

    def term(self, name: str, log_prob: LogProb, scale: float, clean: bool) -> Term:
        """Return a guide with the interval and limits of the settings."""
        lowest, highest = self._settings.interval
        manner = self._manner(clean)
        limits = (manner.limit, manner.noise_limit)
        return Term(name, log_prob, scale, clean, lowest, highest, *limits)

    def log_prob(self, guide: Guide) -> tuple[LogProb, bool, str]:
        """Return a guide's objective, whether it reads clean images, and its fingerprint."""
        if guide.aim == "class":
            return self.each([guide.what])
        clean, fingerprint = self.clean(guide)
        return self._decoded(clean), True, fingerprint

    def each(self, labels: Sequence[str]) -> tuple[LogProb, bool, str]:
        """Return the same as `log_prob` for one class for all rows, or one class per row.

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
            # different views at each noise level, the same when an image is generated again
            seed = round(1e4 * float(torch.as_tensor(sigma).max()))
            return torch.stack([clean(view) for view in views(images, count, seed)]).mean(dim=0)

        return log_prob

    def _of_classes(self, name: str, requested: Sequence[str]) -> Clean:
        temperature = self._manner(clean=True).temperature
        head = self.networks.head(name)
        if head is not None:
            return head.of_classes(requested, temperature)
        return self.networks.joint(name).of_classes(requested, self._settings.labels, temperature)

    def of_images(self, guide: Guide) -> Callable[[Tensor], Tensor]:
        """Return a guide's objective as a function of clean images with values 0 to 1."""
        if self._given is None:
            return self.clean(guide)[0]
        log_prob, clean, _ = self.log_prob(guide)
        if clean:
            return self.clean(guide)[0]
        space, least = self._model.space, float(self._model.noise.sigmas[0])
        return lambda images: log_prob(space.encode(images), least)

    def clean(self, guide: Guide) -> Clean:
        """Return the objective of a guide that reads images, and its fingerprint.

        The images have values 0 to 1.
        """
        name = self._settings.classifier if guide.aim == "class" else self._settings.encoder
        if guide.aim == "class":
            return self._of_classes(name, [guide.what])
        joint = self.networks.joint(name)
        if guide.aim == "text":
            return joint.of_vectors(joint.encoder.encode_texts([guide.what]), guide.what)
        read = read_guide(guide).image
        if read is None:
            raise ValueError(f"{guide.name} has no image")
        return joint.of_vectors(joint.encoder.encode_images([read.image]), read.sha256)


def require_space(classifier: NoiseAwareClassifier, model: str, identity: str) -> None:
    """Refuse a classifier of another latent space than the model's, and name both.

    Raises:
        WrongBase: the latent spaces differ.
    """
    if classifier.latents != identity:
        raise WrongBase(
            classifier.name,
            made_on=f"the latent space {classifier.latents[:12]}",
            received=f"that of model {model!r} ({identity[:12]})",
            hint="Train one for it: graft recipe run noisy-classifier --autoencoder FOLDER, or "
            "guide by a clean classifier: --guide-model with a CLIP folder.",
        )
