"""What the realism checks know of images that are not real: known fakes, and squeezing.

A linear head tells real images from known fakes. Images that were changed to fool a classifier are
found by squeezing: a real image keeps its class when it is slightly smoothed, they lose it.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageFilter

from ..diffusion.sampling import stack, stretch
from ..models.image_encoder import ImageEncoder, as_logits

_TILES = 8  # tiles a side of the shuffled images
_QUALITY = 50  # of the JPEG files
_WINDOW = 3  # pixels a side of the median filter


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Scale of a measurement that is larger for images that are not real.

    Attributes:
        limit: value below which 95 % of real images are.
        spread: standard deviation of the values of real images.
    """

    limit: float
    spread: float

    def distances(self, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Return how far values are beyond real ones; 95 % of real images are below 1."""
        return np.maximum(0.0, 1 + (values - self.limit) / self.spread)


def scale_of(real: Float64[np.ndarray, " n"]) -> Scale:
    """Return the scale that follows from the values of real images."""
    return Scale(float(np.quantile(real, 0.95)), max(float(real.std()), 1e-6))


@dataclass(frozen=True, slots=True, eq=False)
class FakeProbe:
    """A linear head on an encoder's states whose log-odds tell known fakes from real images."""

    head: Any
    scale: Scale

    def distances(self, states: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """Return how far images are on the side of the fakes, see `Scale`."""
        return self.scale.distances(self.head.decision_function(states))


def fit_probe(
    real: Float64[np.ndarray, "n d"], fakes: Float64[np.ndarray, "m d"]
) -> tuple[FakeProbe, Float64[np.ndarray, " n"]]:
    """Fit a linear head to real images and fakes.

    Returns:
        The probe, and the distances of the real images by heads that did not see them.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    rows = np.concatenate([real, fakes])
    labels = np.repeat([0, 1], [len(real), len(fakes)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    odds = cross_val_predict(head, rows, labels, cv=folds, method="decision_function")[: len(real)]
    scale = scale_of(odds)
    return FakeProbe(head.fit(rows, labels), scale), scale.distances(odds)


def fakes_of(
    images: UInt8[np.ndarray, "n h w 3"], seed: int = 0
) -> dict[str, UInt8[np.ndarray, "m h w 3"]]:
    """Return images that are certainly not real: noise, blurred ones and shuffled tiles."""
    rng, some = np.random.default_rng(seed), images
    height, width = some.shape[1:3]
    blur = ImageFilter.GaussianBlur(min(height, width) / 32)
    tall, wide = max(1, height // _TILES), max(1, width // _TILES)
    rows, columns = height // tall, width // wide
    shuffled = []
    for image in some[:, : rows * tall, : columns * wide]:
        tiles = (
            image.reshape(rows, tall, columns, wide, 3).swapaxes(1, 2).reshape(-1, tall, wide, 3)
        )
        mixed = tiles[rng.permutation(len(tiles))].reshape(rows, columns, tall, wide, 3)
        whole = mixed.swapaxes(1, 2).reshape(rows * tall, columns * wide, 3)
        shuffled.append(Image.fromarray(whole))
    return {
        "noise": rng.integers(0, 256, some.shape, dtype=np.uint8),
        "blurred": stack([Image.fromarray(image).filter(blur) for image in some]),
        "shuffled": stretch(shuffled, (width, height)),
    }


def squeezed(
    encoder: ImageEncoder, images: UInt8[np.ndarray, "n h w 3"]
) -> Float64[np.ndarray, " n"]:
    """Return how much an encoder's view of images changes when these are squeezed.

    Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    2018, with a median filter and JPEG compression (Das et al., "SHIELD", 2018), and the mean of
    the Kullback-Leibler divergences of the class probabilities from those of the image itself
    instead of the largest L1 distance. For an encoder without classes it is 1 - cosine.
    """
    sees = as_logits(encoder) if encoder.classes else encoder
    opened = [Image.fromarray(image) for image in images]
    own = sees.encode_images(opened).astype(np.float64)
    total = np.zeros(len(images))
    for squeeze in (_smoothed, _compressed):
        other = sees.encode_images([squeeze(one) for one in opened]).astype(np.float64)
        total += _divergence(own, other) if encoder.classes else 1 - (own * other).sum(axis=1)
    return total / 2


def _smoothed(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.MedianFilter(_WINDOW))


def _compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return Image.open(buffer).convert("RGB")


def _divergence(
    logits: Float64[np.ndarray, "n k"], others: Float64[np.ndarray, "n k"]
) -> Float64[np.ndarray, " n"]:
    from scipy.special import log_softmax

    p, q = log_softmax(logits, axis=1), log_softmax(others, axis=1)
    found: Float64[np.ndarray, " n"] = (np.exp(p) * (p - q)).sum(axis=1)
    return found
