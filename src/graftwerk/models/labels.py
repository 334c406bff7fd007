"""Labels of a classification, and pictures that are labelled with them."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import limits
from ..data.documents.formats import is_image_path
from ..data.image_folder import LabelledPicture, read_picture_folder
from ..errors import BadFile, BadInput, LimitExceeded
from ..requests.classify import Classify

_EXAMPLE = 'Write for example --labels "a red cube,a blue cone".'


def read_labels(request: Classify) -> list[str]:
    """The labels of a request.

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
        raise BadInput("there are no labels to choose from.", _EXAMPLE)
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
            f"{labels[0]!r} is the only label, so every picture would get it.",
            f"Name at least two. {_EXAMPLE}",
        )
    if len(labels) > limits.LABELS:
        raise LimitExceeded(
            f"{len(labels):,} labels; at most {limits.LABELS:,} are told apart.",
            "Leave some out, or classify in steps, coarse labels first.",
        )


def hash_of_labels(labels: Sequence[str]) -> str:
    """The same for the same labels in any order."""
    content = json.dumps(sorted(label.casefold() for label in labels))
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Pictures, each with its one label.

    Attributes:
        paths: the pictures.
        right: place of the label of each.
        left_out: pictures without a label of the list, or with several.
    """

    paths: list[str]
    right: list[int]
    left_out: int


def read_labelled(
    path: Path, labels: Sequence[str], note: Callable[[str], None] | None = None
) -> LabelledSet:
    """Pictures of a folder whose label is among `labels`.

    A picture's label is its column `label`, or the name of its folder; else the one label that
    stands in its caption.

    Raises:
        BadFile: the folder is not of that form.
    """
    rows = read_picture_folder(path, note)
    places = {label.casefold(): place for place, label in enumerate(labels)}
    in_captions = re.compile(
        # the longest first, so that "a cube" is not found in "a cube of ice"
        r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(places, key=len, reverse=True))) + r")(?!\w)"
    )
    found = [(row.path, _label_of(row, places, in_captions)) for row in rows]
    kept = [(path, place) for path, place in found if place is not None and is_image_path(path)]
    return LabelledSet(
        [path for path, _ in kept], [place for _, place in kept], len(rows) - len(kept)
    )


def _label_of(
    row: LabelledPicture, places: dict[str, int], in_captions: re.Pattern[str]
) -> int | None:
    named = row.values.get("label")
    if named is not None:
        if len(named) != 1:
            return None
        label = named[0].casefold()
        return places.get(label, places.get(label.replace("_", " ")))
    if row.caption is None:
        return None
    standing = set(in_captions.findall(" ".join(row.caption.casefold().split())))
    return places[standing.pop()] if len(standing) == 1 else None
