"""Whether an image is like those that an encoder was trained on, told from its hidden states.

The distance is Mahalanobis' from a sample of such images, in means over all places of a hidden
layer (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks", 2018, without classes). It is the middle layer, because the last vector keeps
only what the training asked for: from it the Blocks CLIP tells 82 % of photographs, from the
middle all. What is foreign shows in the directions in which the sample hardly varies, so these are
kept: the covariance is shrunk only as far as arithmetic needs.

The limit comes from other images of the same kind by split conformal prediction (Papadopoulos et
al. 2002): a new one lies beyond it with at most the stated chance, in the mean over samples,
whatever the distribution.

The file is JSON because a safetensors file in a model's folder counts as its weights, and would
change the fingerprint that existing indexes were made with.
"""

import base64
import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64

from .. import files
from ..errors import BadFile, BadInput, Damaged, LimitExceeded

if TYPE_CHECKING:
    from .image_encoder import ImageEncoder


States = Float32[np.ndarray, "n w"]
FILE_NAME = "familiar.json"
FALSE_ALARM_RATE = 0.01
_FORMAT = 1
_HELD_OUT = 1 / 3  # of the images, which set the limit
# Share of the mean variance that is added to every direction's: above what states differ by
# between devices, below what images differ by.
_SHRINKAGE = 1e-5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Familiar:
    """What is familiar to one encoder.

    Attributes:
        fingerprint: of the encoder.
        mean: of the sample's states.
        whitening: turns what differs from the mean into numbers of unit variance.
        limit: distance beyond which an image is out of distribution.
        sample: images that mean and whitening come from.
        held_out: images that the limit comes from.
        false_alarm_rate: share of familiar images that lie beyond the limit, 0 to 1.
    """

    fingerprint: str
    mean: Float32[np.ndarray, " w"]
    whitening: Float32[np.ndarray, "w w"]
    limit: float
    sample: int
    held_out: int
    false_alarm_rate: float

    def distances(self, states: States) -> Float64[np.ndarray, " n"]:
        """Distance of each image in units of the limit: above 1 it is out of distribution."""
        return _lengths(states, self.mean, self.whitening) / self.limit


def make_familiar(
    encoder: "ImageEncoder",
    pictures: Sequence[Any],
    false_alarm_rate: float = FALSE_ALARM_RATE,
    advance: Callable[[int], None] | None = None,
) -> Familiar:
    """Learn what is familiar to an encoder.

    Args:
        encoder: reads images.
        pictures: `PIL.Image` images like those of its training, but none of them.
        false_alarm_rate: share of such images that may be called unfamiliar.
        advance: told how many more images are done.

    Raises:
        BadInput: too few images, see `least_images`, or all are equal.
    """
    least = least_images(encoder.width, false_alarm_rate)
    if len(pictures) < least:
        raise BadInput(
            f"{len(pictures)} images are too few to learn what is familiar to {encoder.name}.",
            f"Give at least {least:,}.",
        )
    states = encoder.examine(pictures, advance).states
    return measure_familiar(states, encoder.fingerprint, false_alarm_rate)


def least_images(width: int, false_alarm_rate: float) -> int:
    """Images needed: a covariance wants two for each of its rows, a limit at 1 % wants 99."""
    for_limit = math.ceil(1 / false_alarm_rate - 1e-9) - 1
    return max(math.ceil(for_limit / _HELD_OUT), math.ceil(2 * width / (1 - _HELD_OUT)))


def measure_familiar(states: States, fingerprint: str, false_alarm_rate: float) -> Familiar:
    """Learn what is familiar from the states of at least `least_images` images.

    Raises:
        BadInput: they are all equal.
    """
    # mixed, so that it does not matter how the images were sorted
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
    """Write it into the folder of its encoder; the encoder's fingerprint stays.

    Raises:
        NoRoom: the folder cannot be written.
    """
    content = {
        "format": _FORMAT,
        "about": "images like those of the training; see graftwerk's docs/images.md",
        "fingerprint": familiar.fingerprint,
        "mean": _encode(familiar.mean),
        "whitening": _encode(familiar.whitening),
        "limit": familiar.limit,
        "sample": familiar.sample,
        "held_out": familiar.held_out,
        "false_alarm_rate": familiar.false_alarm_rate,
    }
    files.write_json(folder / FILE_NAME, content | {"sha256": _digest(content)})


def load_familiar(folder: Path, fingerprint: str) -> Familiar | None:
    """Read what is familiar to the encoder of a folder; None where there is no such file.

    A file made with other weights, or of another format, says nothing about these: it is ignored,
    with a warning.

    Raises:
        Damaged: the file is not as it was written.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = files.read_json(path)
        whole = content["sha256"] == _digest({k: content[k] for k in content if k != "sha256"})
        if not whole:
            raise ValueError("it does not match its hash")
        if content["format"] != _FORMAT:
            _LOG.warning(
                "%s is of format %s, not %s, and is ignored; make it again with make_familiar",
                path,
                content["format"],
                _FORMAT,
            )
            return None
        mean = _decode(content["mean"])
        familiar = Familiar(
            fingerprint=content["fingerprint"],
            mean=mean,
            whitening=_decode(content["whitening"]).reshape(len(mean), len(mean)),
            limit=content["limit"],
            sample=content["sample"],
            held_out=content["held_out"],
            false_alarm_rate=content["false_alarm_rate"],
        )
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


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
