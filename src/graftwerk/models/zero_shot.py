"""A classifier made of words: each label is the mean of prompts that name it.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021,
section 3.1: the unit vectors of several prompts are averaged and scaled to length 1 again. A
picture's logits are its cosines with the labels, times the scale that the model learned.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from .. import files, limits
from ..errors import BadInput, LimitExceeded
from ..types import Encoder
from .checkpoint import read_object
from .image_encoder import ImageEncoder, unit

FILE_NAME = "zero_shot.json"
PLACE = "{}"  # of the label in a template
DEFAULT_TEMPLATES = (PLACE, "a photo of {}", "a picture of {}", "an image of {}")
_CHUNK = 1024  # labels whose prompts are encoded together


def require_joint(encoder: Encoder) -> ImageEncoder:
    """The encoder as one of texts and pictures.

    Raises:
        BadInput: it reads only one of both.
    """
    if isinstance(encoder, ImageEncoder) and encoder.texts is not None:
        return encoder
    kinds = {"text": "texts", "image": "pictures"}
    raise BadInput(
        f"encoder {encoder.name!r} reads only {kinds[min(encoder.reads)]}; naming pictures by "
        "labels needs one that reads both.",
        "Choose a joint model: builtin/blocks-clip, or a CLIP or SigLIP folder.",
    )


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates without repetition.

    Raises:
        BadInput: one has no place for the label.
        LimitExceeded: there are too many, or one is too long.
    """
    for template in templates:
        if PLACE not in template:
            raise BadInput(
                f"template {template!r} has no {PLACE}, the place of the label.",
                'Write for example "a photo of {}".',
            )
        many = template.count(PLACE) > limits.TEMPLATE_LABELS
        if many or len(template) > limits.TEMPLATE_CHARACTERS:
            raise LimitExceeded(
                f"a template has {len(template):,} characters and names its label "
                f"{template.count(PLACE):,} times; at most {limits.TEMPLATE_CHARACTERS:,} and "
                f"{limits.TEMPLATE_LABELS} are used.",
                'Write for example "a photo of {}".',
            )
    different = tuple(dict.fromkeys(templates))
    if len(different) > limits.TEMPLATES:
        raise LimitExceeded(
            f"{len(different):,} templates; at most {limits.TEMPLATES:,} are used.",
            "Choose the best.",
        )
    return different


def save_templates(folder: Path, templates: Sequence[str]) -> None:
    """Write the templates that suit an encoder into its folder; its fingerprint stays."""
    files.write_json(folder / FILE_NAME, {"templates": list(check_templates(templates))})


def templates_of(folder: Path) -> tuple[str, ...]:
    """The templates that suit an encoder: those in its folder, else ones for photographs.

    Raises:
        BadInput: the file holds something else.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return DEFAULT_TEMPLATES
    found = read_object(path).get("templates")
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise BadInput(f"{path} holds no list of templates.", "Mend or remove that file.")
    return check_templates(found)


def label_vectors(
    encoder: ImageEncoder,
    labels: Sequence[str],
    templates: Sequence[str],
    advance: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, "l d"]:
    """The unit vector of each label: the mean over the templates.

    Args:
        encoder: reads texts and pictures.
        labels: one or more.
        templates: one or more, each with the place of the label.
        advance: told how many more prompts are done.
    """
    heads = np.empty((len(labels), encoder.dimension), dtype=np.float32)
    for first in range(0, len(labels), _CHUNK):
        some = labels[first : first + _CHUNK]
        prompts = [template.replace(PLACE, label) for label in some for template in templates]
        vectors = encoder.encode_texts(prompts, "document", advance)
        means = vectors.reshape(len(some), len(templates), -1).mean(axis=1)
        heads[first : first + len(some)] = unit(means)
    return heads


def cut_labels(
    encoder: ImageEncoder, labels: Sequence[str], templates: Sequence[str]
) -> tuple[list[str], int]:
    """Labels that the encoder does not read to their end in every template, and its length."""
    if encoder.texts is None:
        return [], 0
    tokens = encoder.texts.tokens
    room = tokens.max_length - sum(map(len, tokens.frame))
    longest = max(templates, key=len)
    rows = tokens.read_whole([longest.replace(PLACE, label) for label in labels])
    return [label for label, row in zip(labels, rows, strict=True) if len(row) > room], room
