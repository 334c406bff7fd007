"""Probabilities of labels fitted to labelled pictures, and the file that keeps the fit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydantic
from jaxtyping import Float32

from .. import files, limits
from ..errors import BadFile, BadInput, LimitExceeded, WrongBase
from ..metrics.calibration import (
    calibration_error,
    cross_fitted,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)
from ..types import Monitor
from .encode_files import encode_pictures
from .image_encoder import ImageEncoder
from .labels import hash_of_labels, read_labelled
from .results import TemperatureFit

LEAST_PICTURES = 20  # with fewer the fit says next to nothing


def fit(
    source: Path,
    encoder: ImageEncoder,
    labels: Sequence[str],
    templates: Sequence[str],
    heads: Float32[np.ndarray, "l d"],
    seed: int,
    monitor: Monitor,
) -> TemperatureFit:
    """Fit the temperature on labelled pictures.

    Args:
        source: folder of the pictures.
        encoder: reads them.
        labels: to choose from.
        templates: that `heads` were made with.
        heads: vector of each label.
        seed: of the division for the figures after the fit.
        monitor: told about progress.

    Raises:
        BadInput: fewer than `LEAST_PICTURES` labelled pictures, or all with one label.
        BadFile: the folder is not of a known form.
    """
    found = read_labelled(source, labels, monitor.note)
    if len(found.paths) * len(labels) > limits.LOGITS:
        raise LimitExceeded(
            f"{len(found.paths):,} pictures for {len(labels):,} labels are too many to fit to.",
            f"Give at most {limits.LOGITS // len(labels):,} pictures.",
        )
    encoded = encode_pictures(encoder, found.paths, monitor)
    right = np.array([found.right[place] for place in encoded.places], dtype=np.int64)
    left_out = found.left_out + len(encoded.skipped)
    different = len(np.unique(right))
    if len(right) < LEAST_PICTURES or different < 2:
        raise BadInput(
            f"{source} has {len(right):,} readable pictures with exactly one of the labels, of "
            f"{different} different ones; {left_out:,} others were left out.",
            f"At least {LEAST_PICTURES} pictures of two labels are needed. A picture's label is "
            "its column `label`, the name of its folder, or the one label in its caption.",
        )
    logits = encoder_logits(encoder, encoded.vectors, heads)
    before, after = softmax(logits), cross_fitted(logits, right, seed)
    first = logits.argmax(axis=1)
    return TemperatureFit(
        temperature=fit_temperature(logits, right),
        source=str(source),
        pictures=len(right),
        left_out=left_out,
        labels=len(labels),
        labels_hash=hash_of_labels(labels),
        templates=list(templates),
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        accuracy=float((first == right).mean()),
        ece_before=calibration_error(before.max(axis=1), first == right),
        ece_after=calibration_error(after.max(axis=1), after.argmax(axis=1) == right),
        nll_before=negative_log_likelihood(before, right),
        nll_after=negative_log_likelihood(after, right),
    )


def encoder_logits(
    encoder: ImageEncoder,
    vectors: Float32[np.ndarray, "n d"],
    heads: Float32[np.ndarray, "l d"],
) -> np.ndarray:
    """Cosines of pictures and labels times the model's own scale, in double precision."""
    if encoder.logit_scale is None:
        raise TypeError(f"{encoder.name} is no joint model")
    logits: np.ndarray = (vectors.astype(np.float64) @ heads.T) * encoder.logit_scale
    return logits


def save_fit(path: Path, found: TemperatureFit) -> None:
    """Write a fit to a JSON file.

    Raises:
        NoRoom: it cannot be written.
    """
    files.write_json(path, found.model_dump())


def read_fit(path: Path, encoder: ImageEncoder) -> TemperatureFit:
    """Read a fit for an encoder.

    Raises:
        BadFile: it is no such file.
        WrongBase: it was made with other weights.
    """
    try:
        found = TemperatureFit.model_validate(files.read_json(path))
        if not 0 < found.temperature < float("inf"):
            raise BadFile(f"{path} has the temperature {found.temperature}.", "Fit it again.")
    except pydantic.ValidationError as error:
        raise BadFile(
            f"{path} is no calibration of `graft classify`.",
            "Make one: graft classify --calibrate FOLDER --calibration FILE --labels ...",
        ) from error
    if found.fingerprint != encoder.fingerprint:
        raise WrongBase(
            f"the calibration {path}",
            f"encoder {found.encoder} with fingerprint {found.fingerprint[:12]}",
            f"{encoder.name} with fingerprint {encoder.fingerprint[:12]}",
            "Fit it again with --calibrate.",
        )
    return found


def describe(found: TemperatureFit | None, labels: Sequence[str]) -> str:
    """One line: where the temperature comes from and what it is worth for these labels."""
    if found is None:
        return (
            "not calibrated: the model's own scale; --calibrate FOLDER fits it to labelled pictures"
        )
    line = (
        f"temperature {found.temperature:.3g}, fitted on {found.pictures:,} pictures of "
        f"{found.source}: calibration error {found.ece_before:.3f} before, {found.ece_after:.3f} "
        "after on pictures that the fit did not see"
    )
    if found.labels_hash != hash_of_labels(labels):
        line += f"; with {found.labels:,} other labels, so for these it is a guess"
    return line
