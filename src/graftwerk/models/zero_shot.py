"""Zero-shot classification: each label is the mean of the text vectors of its prompts.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021,
section 3.1: the unit vectors of several prompts are averaged and scaled to length 1 again. An
image's logits are its cosines with the labels, times the scale that the model learned.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydantic
from jaxtyping import Float32

from .. import files, limits
from ..data.documents.formats import is_image_path
from ..data.image_folder import LabelledImage, read_image_folder
from ..errors import BadFile, BadInput, LimitExceeded, WrongBase
from ..metrics import calibration
from ..requests.models import Classify
from ..text_safety import counted
from ..types import Advance, Encoder, Monitor
from .checkpoint import class_number, read_object
from .encoders import encode_image_files
from .image_encoder import ImageEncoder, as_logits, unit
from .results import TemperatureFit

EXAMPLE = 'Write for example --labels "a red cube,a blue cone".'


def read_labels(request: Classify) -> list[str]:
    """Return the labels of a request.

    Raises:
        BadInput: none, only one, an empty one, one twice, or both ways of naming them.
        BadFile: the file cannot be read.
        LimitExceeded: too many, or one that is too long.
    """
    if request.labels and request.labels_file is not None:
        raise BadInput("--labels and --labels-file were both given.", "Give one of them.")
    if request.labels_file is not None:
        labels = _read_file(request.labels_file)
    else:
        labels = [label for text in request.labels for label in text.split(",")]
    labels = [" ".join(label.split()) for label in labels]
    if not labels or labels == [""]:
        raise BadInput("there are no labels to choose from.", EXAMPLE)
    _check(labels)
    return labels


def _read_file(path: Path) -> list[str]:
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name a text file with one label a line.")
    limits.require_file_size(path, limits.TEXT_FILE, "file of labels")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error.reason}.", "Save it as UTF-8.") from error
    return [line for line in lines if line.strip()]


def _check(labels: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, label in enumerate(labels, 1):
        if not label:
            raise BadInput(f"label {number} of {len(labels)} is empty.", "Take out the comma.")
        if len(label) > limits.LABEL_CHARACTERS:
            raise LimitExceeded(
                f"label {number} has {len(label):,} characters; at most "
                f"{limits.LABEL_CHARACTERS:,} are read.",
                "Shorten it.",
            )
        first = seen.setdefault(label.casefold(), number)
        if first != number:
            raise BadInput(
                f"labels {first} and {number} are the same: {label!r}.", "Name each once."
            )
    if len(labels) == 1:
        raise BadInput(
            f"{labels[0]!r} is the only label, so everything would get it.",
            f"Name at least two. {EXAMPLE}",
        )
    if len(labels) > limits.LABELS:
        raise LimitExceeded(
            f"{counted(len(labels), 'label')}; at most {limits.LABELS:,} are distinguished.",
            "Leave some out, or classify in steps, coarse labels first.",
        )


def hash_of_labels(labels: Sequence[str]) -> str:
    """Return a hash of the labels that does not depend on their order."""
    content = json.dumps(sorted(label.casefold() for label in labels))
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Images with one label each.

    Attributes:
        paths: the images.
        right: index of each image's label.
        left_out: number of images without a label of the list, or with several.
    """

    paths: list[str]
    right: list[int]
    left_out: int


def read_labelled(
    path: Path, labels: Sequence[str], note: Callable[[str], None] | None = None
) -> LabelledSet:
    """Return the images of a folder whose label is among `labels`.

    An image's label is its column `label` or the name of its folder; otherwise the one label that
    occurs in its caption.

    Raises:
        BadFile: the folder is not of that form.
    """
    rows = read_image_folder(path, note)
    locations = _names_of(labels)
    in_captions = re.compile(
        # longest first, so that "a cube" is not found in "a cube of ice"
        r"(?<!\w)(?:"
        + "|".join(map(re.escape, sorted(locations, key=len, reverse=True)))
        + r")(?!\w)"
    )
    found = [(row.path, _label_of(row, locations, in_captions)) for row in rows]
    retained = [
        (path, location) for path, location in found if location is not None and is_image_path(path)
    ]
    return LabelledSet(
        [path for path, _ in retained],
        [location for _, location in retained],
        len(rows) - len(retained),
    )


def _names_of(labels: Sequence[str]) -> dict[str, int]:
    """Map each label's full name, and those of its partial names that are unique, to its index."""
    found = {label.casefold(): location for location, label in enumerate(labels)}
    parts: dict[str, set[int]] = {}
    for location, label in enumerate(labels):
        for part in label.split(","):
            parts.setdefault(part.strip().casefold(), set()).add(location)
    return {name: min(own) for name, own in parts.items() if len(own) == 1 and name} | found


def _label_of(
    row: LabelledImage, locations: dict[str, int], in_captions: re.Pattern[str]
) -> int | None:
    named = row.values.get("label")
    if named is not None:
        if len(named) != 1:
            return None
        label = named[0].casefold()
        return locations.get(label, locations.get(label.replace("_", " ")))
    if row.caption is None:
        return None
    standing = set(in_captions.findall(" ".join(row.caption.casefold().split())))
    return locations[standing.pop()] if len(standing) == 1 else None


# The first two of six templates on 500 AG News texts with builtin/minilm: accuracy .69 and .68, the
# bare label .61; of seven scales, 20 had the lowest negative log-likelihood with all six.
TEXT_TEMPLATES, TEXT_SCALE = ("This text is about {}.", "The topic of this text is {}."), 20.0
FILE_NAME = "zero_shot.json"
LOCATION = "{}"  # placeholder for the label in a template
DEFAULT_TEMPLATES = (LOCATION, "a photo of {}", "a picture of {}", "an image of {}")
_CHUNK = 1024  # labels whose prompts are encoded together


def require_joint(encoder: Encoder) -> ImageEncoder:
    """Return the encoder if it reads both texts and images.

    Raises:
        BadInput: it reads only one of both.
    """
    if isinstance(encoder, ImageEncoder) and encoder.texts is not None:
        return encoder
    kinds = {"text": "texts", "image": "images"}
    raise BadInput(
        f"encoder {encoder.name!r} reads only {kinds[min(encoder.reads)]}; naming images by "
        "labels needs one that reads both.",
        "Choose a joint model: builtin/blocks-clip, or a CLIP or SigLIP folder.",
    )


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return the templates without duplicates.

    Raises:
        BadInput: one has no place for the label.
        LimitExceeded: there are too many, or one is too long.
    """
    for template in templates:
        if LOCATION not in template:
            raise BadInput(
                f"template {template!r} has no {LOCATION}, the place of the label.",
                'Write for example "a photo of {}".',
            )
        many = template.count(LOCATION) > limits.TEMPLATE_LABELS
        if many or len(template) > limits.TEMPLATE_CHARACTERS:
            raise LimitExceeded(
                f"a template has {len(template):,} characters and names its label "
                f"{template.count(LOCATION):,} times; at most {limits.TEMPLATE_CHARACTERS:,} and "
                f"{limits.TEMPLATE_LABELS} are used.",
                'Write for example "a photo of {}".',
            )
    different = tuple(dict.fromkeys(templates))
    if len(different) > limits.TEMPLATES:
        raise LimitExceeded(
            f"{counted(len(different), 'template')}; at most {limits.TEMPLATES:,} are used.",
            "Choose the best.",
        )
    return different


def save_templates(folder: Path, templates: Sequence[str]) -> None:
    """Write an encoder's templates into its folder; its fingerprint is unaffected."""
    files.write_json(folder / FILE_NAME, {"templates": list(check_templates(templates))})


def templates_of(folder: Path) -> tuple[str, ...]:
    """Return the templates in an encoder's folder, or else templates for photographs.

    Raises:
        BadInput: the file holds something else.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return DEFAULT_TEMPLATES
    found = read_object(path).get("templates")
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise BadInput(f"{path} contains no list of templates.", "Fix or remove that file.")
    return check_templates(found)


def label_vectors(
    encoder: Encoder,
    labels: Sequence[str],
    templates: Sequence[str],
    advance: Advance | None = None,
) -> Float32[np.ndarray, "l d"]:
    """Return the unit vector of each label: the mean over the templates.

    Args:
        encoder: an encoder of texts and images.
        labels: one or more labels.
        templates: one or more templates, each with a placeholder for the label.
        advance: called with the number of additional prompts done.
    """
    heads = np.empty((len(labels), encoder.dimension), dtype=np.float32)
    for first in range(0, len(labels), _CHUNK):
        some = labels[first : first + _CHUNK]
        prompts = [template.replace(LOCATION, label) for label in some for template in templates]
        vectors = encoder.encode_texts(prompts, "document", advance)
        means = vectors.reshape(len(some), len(templates), -1).mean(axis=1)
        heads[first : first + len(some)] = unit(means)
    return heads


def cut_labels(
    encoder: ImageEncoder, labels: Sequence[str], templates: Sequence[str]
) -> tuple[list[str], int]:
    """Return the labels that are truncated in the longest template, and the token limit."""
    if encoder.texts is None:
        return [], 0
    tokens = encoder.texts.tokens
    room = tokens.max_length - sum(map(len, tokens.frame))
    longest = max(templates, key=len)
    rows = tokens.read_whole([longest.replace(LOCATION, label) for label in labels])
    return [label for label, row in zip(labels, rows, strict=True) if len(row) > room], room


@dataclass(frozen=True)
class Scorer:
    """Logits of labels for images, from text prompts or from a classifier's own head.

    Attributes:
        encoder: encodes the images; for a head its vectors are the logits of all classes.
        labels: the labels to choose from.
        templates: the templates filled with the labels; empty for a head.
        heads: vector of each label; None for a head.
        columns: indices of the labels among the head's classes.
    """

    encoder: ImageEncoder
    labels: Sequence[str]
    templates: tuple[str, ...] = ()
    heads: Float32[np.ndarray, "l d"] | None = None
    columns: Sequence[int] = ()

    def cosines(self, vectors: Float32[np.ndarray, "n d"]) -> np.ndarray | None:
        """Return the cosines of images and labels; None for a head."""
        return None if self.heads is None else vectors @ self.heads.T

    def logits(self, vectors: Float32[np.ndarray, "n d"]) -> np.ndarray:
        """Return logits in double precision; for prompts, cosines times the model's own scale."""
        exact = vectors.astype(np.float64)
        if self.heads is None:
            return exact[:, list(self.columns)]
        if self.encoder.logit_scale is None:
            raise TypeError(f"{self.encoder.name} is not a joint model")
        found: np.ndarray = (exact @ self.heads.T) * self.encoder.logit_scale
        return found


def head_scorer(encoder: ImageEncoder, labels: Sequence[str]) -> Scorer:
    """Return a scorer of a classifier's own classes, either all or the named ones.

    Raises:
        UnknownName: a label is none of them.
        BadInput: two labels mean the same class.
    """
    columns = [class_number(encoder.classes, label) for label in labels]
    if len(set(columns)) < len(columns):
        twice = next(label for n, label in enumerate(labels) if columns[n] in columns[:n])
        raise BadInput(f"{twice!r} is a class that another label names too.", "Name it once.")
    return Scorer(
        as_logits(encoder),
        labels or encoder.classes,
        columns=columns or range(len(encoder.classes)),
    )


LEAST_IMAGES = 20  # with fewer images the fit is unreliable


def fit(source: Path, scorer: Scorer, seed: int, monitor: Monitor) -> TemperatureFit:
    """Fit the temperature on labeled images.

    Args:
        source: folder of the images.
        scorer: computes their logits.
        seed: seed of the split on which the fit is evaluated.
        monitor: informed about progress.

    Raises:
        BadInput: fewer than `LEAST_IMAGES` labeled images, or all with one label.
        BadFile: the folder is not of a known form.
    """
    encoder, labels = scorer.encoder, scorer.labels
    found = read_labelled(source, labels, monitor.note)
    if len(found.paths) * len(labels) > limits.LOGITS:
        raise LimitExceeded(
            f"{len(found.paths):,} images for {len(labels):,} labels are too many to fit to.",
            f"Give at most {limits.LOGITS // len(labels):,} images.",
        )
    encoded = encode_image_files(encoder, found.paths, monitor)
    right = np.array([found.right[location] for location in encoded.places], dtype=np.int64)
    left_out = found.left_out + len(encoded.skipped)
    different = len(np.unique(right))
    if len(right) < LEAST_IMAGES or different < 2:
        raise BadInput(
            f"{source} has {len(right):,} readable images with exactly one of the labels, of "
            f"{different} different ones; {left_out:,} others were left out.",
            f"At least {LEAST_IMAGES} images of two labels are needed. An image's label is "
            "its column `label`, the name of its folder, or the one label in its caption.",
        )
    logits = scorer.logits(encoded.vectors)
    before, after = calibration.softmax(logits), calibration.cross_fitted(logits, right, seed)
    first = logits.argmax(axis=1)
    return TemperatureFit(
        temperature=calibration.fit_temperature(logits, right),
        source=str(source),
        pictures=len(right),
        left_out=left_out,
        labels=len(labels),
        labels_hash=hash_of_labels(labels),
        templates=list(scorer.templates),
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        accuracy=float((first == right).mean()),
        ece_before=calibration.calibration_error(before.max(axis=1), first == right),
        ece_after=calibration.calibration_error(after.max(axis=1), after.argmax(axis=1) == right),
        nll_before=calibration.negative_log_likelihood(before, right),
        nll_after=calibration.negative_log_likelihood(after, right),
    )


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
            f"{path} is not a calibration of `graft classify`.",
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
    """Describe in one line the source of the temperature and its value for these labels."""
    if found is None:
        return "not calibrated: the model's own scale; --calibrate FOLDER fits it to labeled images"
    line = (
        f"temperature {found.temperature:.3g}, fitted on {counted(found.pictures, 'image')} of "
        f"{found.source}: calibration error {found.ece_before:.3f} before, {found.ece_after:.3f} "
        "after on images that the fit did not see"
    )
    if found.labels_hash != hash_of_labels(labels):
        line += f"; with {counted(found.labels, 'other label')}, so for these it is a guess"
    return line
