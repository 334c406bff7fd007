"""Out-of-distribution detection for image encoders, from their hidden states.

The score is the Mahalanobis distance from a sample of in-distribution images, computed from means
of a hidden layer over all positions (Lee et al., "A Simple Unified Framework for Detecting Out-of-
Distribution Samples and Adversarial Attacks", 2018, without classes). The middle layer is used
because the final vector retains only what the training objective required: from it the Blocks CLIP
detects 82 % of photographs, from the middle layer all of them. Out-of-distribution images differ
in the directions in which the sample hardly varies, so these are retained: the covariance is
shrunk only as far as numerical stability requires.

The limit is set on other images of the same kind by split conformal prediction (Papadopoulos et
al. 2002): a new one exceeds it with at most the stated probability, on average over samples,
whatever the distribution.

The statistics are stored as JSON because a safetensors file in a model's folder counts as weights
and would change the fingerprint that existing indexes were built with.
"""

import base64
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64

from .. import files
from ..errors import BadFile, BadInput, Damaged, LimitExceeded
from ..text_safety import counted
from ..types import Advance

if TYPE_CHECKING:
    from .image_encoder import ImageEncoder


States = Float32[np.ndarray, "n w"]
FILE_NAME = "familiar.json"
FALSE_ALARM_RATE = 0.01
_FORMAT = 1
_HELD_OUT = 1 / 3  # share of the images that are used for the limit
# Share of the mean variance that is added to every direction's: more than states differ between
# devices, less than they differ between images.
_SHRINKAGE = 1e-5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Familiar:
    """Statistics of the images that are in distribution for one encoder.

    Attributes:
        fingerprint: fingerprint of the encoder.
        mean: mean of the sample's states.
        whitening: maps differences from the mean to values of unit variance.
        limit: distance beyond which an image is out of distribution.
        sample: number of images used for mean and whitening.
        held_out: number of images used for the limit.
        false_alarm_rate: share of in-distribution images beyond the limit, 0 to 1.
    """

    fingerprint: str
    mean: Float32[np.ndarray, " w"]
    whitening: Float32[np.ndarray, "w w"]
    limit: float
    sample: int
    held_out: int
    false_alarm_rate: float

    def distances(self, states: States) -> Float64[np.ndarray, " n"]:
        """Return each image's distance in units of the limit; above 1 is out of distribution."""
        return _lengths(states, self.mean, self.whitening) / self.limit


def make_familiar(
    encoder: "ImageEncoder",
    images: Sequence[Any],
    false_alarm_rate: float = FALSE_ALARM_RATE,
    advance: Advance | None = None,
) -> Familiar:
    """Compute an encoder's in-distribution statistics from images.

    Args:
        encoder: an encoder of images.
        images: `PIL.Image` images like those of its training, but none of them.
        false_alarm_rate: share of such images that may be flagged as out of distribution.
        advance: called with the number of additional images done.

    Raises:
        BadInput: too few images, see `least_images`, or all are equal.
    """
    least = least_images(encoder.width, false_alarm_rate)
    if len(images) < least:
        raise BadInput(
            f"{counted(len(images), 'image is', 'images are')} too few to learn what is familiar "
            f"to {encoder.name}.",
            f"Give at least {least:,}.",
        )
    states = encoder.examine(images, advance).states
    return measure_familiar(states, encoder.fingerprint, false_alarm_rate)


def least_images(width: int, false_alarm_rate: float) -> int:
    """Return the number of images needed: two per covariance row, 99 for a limit at 1 %."""
    for_limit = math.ceil(1 / false_alarm_rate - 1e-9) - 1
    return max(math.ceil(for_limit / _HELD_OUT), math.ceil(2 * width / (1 - _HELD_OUT)))


def measure_familiar(states: States, fingerprint: str, false_alarm_rate: float) -> Familiar:
    """Compute in-distribution statistics from the states of at least `least_images` images.

    Raises:
        BadInput: they are all equal.
    """
    # shuffled, so that the order of the images does not matter
    mixed = states[np.random.default_rng(0).permutation(len(states))].astype(np.float64)
    held_out, sample = np.split(mixed, [round(_HELD_OUT * len(mixed))])
    mean = sample.mean(axis=0)
    covariance = np.atleast_2d(np.cov(sample, rowvar=False))
    floor = _SHRINKAGE * np.trace(covariance) / len(covariance)
    if not floor > 0:
        raise BadInput("all images are equal.", "Give different ones.")
    factor = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
    mean, whitening = mean.astype(np.float32), np.linalg.inv(factor).astype(np.float32)
    distances = np.sort(_lengths(held_out.astype(np.float32), mean, whitening))
    location = math.ceil((len(distances) + 1) * (1 - false_alarm_rate) - 1e-9)
    return Familiar(
        fingerprint=fingerprint,
        mean=mean,
        whitening=whitening,
        limit=float(distances[location - 1]),
        sample=len(sample),
        held_out=len(held_out),
        false_alarm_rate=false_alarm_rate,
    )


def save_familiar(folder: Path, familiar: Familiar) -> None:
    """Write the statistics into the encoder's folder; the encoder's fingerprint is unaffected.

    Raises:
        NoRoom: the folder cannot be written.
    """
    content = {
        "format": _FORMAT,
        "about": "images like those of the training; see graftwerk's docs/images.md",
        **vars(familiar),
        "mean": _encode(familiar.mean),
        "whitening": _encode(familiar.whitening),
    }
    files.write_json(folder / FILE_NAME, content | {"sha256": files.sha256_of_json(content)})


def load_familiar(folder: Path, fingerprint: str) -> Familiar | None:
    """Read the statistics from an encoder's folder; None if there is no such file.

    A file made with other weights or in another format does not apply and is ignored with a
    warning.

    Raises:
        Damaged: the file is not as it was written.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = files.read_json(path)
        listed = {name: content[name] for name in content if name != "sha256"}
        if content["sha256"] != files.sha256_of_json(listed):
            raise ValueError("it does not match its hash")
        if content["format"] != _FORMAT:
            _LOG.warning(
                "%s is of format %s, not %s, and is ignored; make it again with make_familiar",
                path,
                content["format"],
                _FORMAT,
            )
            return None
        mean, whitening = _decode(content["mean"]), _decode(content["whitening"])
        arrays = {"mean": mean, "whitening": whitening.reshape(len(mean), len(mean))}
        values = {field.name: content[field.name] for field in fields(Familiar)}
        familiar = Familiar(**values | arrays)
    except (BadFile, LimitExceeded, OSError, KeyError, TypeError, ValueError) as error:
        raise Damaged(
            f"{path} is damaged: {error}.",
            "Copy it again; without that file unfamiliar images are not named.",
        ) from error
    if familiar.fingerprint != fingerprint:
        _LOG.warning("%s was made for other weights and is ignored", path)
        return None
    return familiar


def _lengths(
    states: States, mean: Float32[np.ndarray, " w"], whitening: Float32[np.ndarray, "w w"]
) -> Float64[np.ndarray, " n"]:
    apart = states.astype(np.float64) - mean
    lengths: Float64[np.ndarray, " n"] = np.linalg.norm(apart @ whitening.T, axis=1)
    return lengths


def _encode(values: Float32[np.ndarray, "..."]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def _decode(text: str) -> Float32[np.ndarray, " m"]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
