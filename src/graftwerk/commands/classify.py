"""`graft classify`: classify images and texts, zero-shot or by a classifier's own classes."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..adapters.linear_head import LinearHead
from ..data.columns import ColumnChoice
from ..data.dataset import Kind
from ..data.documents.formats import is_image_path
from ..data.inputs import read_inputs
from ..data.load import TEXTS
from ..data.tables import is_table_file, reading_of
from ..errors import BadInput
from ..finetune.base_model import FrozenEncoder
from ..finetune.results import Predictions
from ..metrics.calibration import softmax
from ..models import zero_shot
from ..models.encoders import (
    Encoded,
    encode_image_files,
    list_images,
    load_encoder,
    nothing_readable,
    suited_encoder,
)
from ..models.image_encoder import ImageEncoder
from ..models.results import Classification, ClassifiedImage, LabelProbability, TemperatureFit
from ..requests.base import DEFAULT_ENCODER
from ..requests.models import Classify
from ..results import Skipped
from ..text_safety import counted
from ..types import Monitor, report_reading
from .predictions import of_every_row, report, require_out

_CELLS = 1_000_000  # images times labels with probabilities in memory at once


def run_classify(request: Classify, monitor: Monitor) -> Classification | Predictions:
    """Assign each image or text its best label, zero-shot or from a classifier's own classes.

    Zero-shot, the best label is the one with the nearest prompts. Probabilities are the softmax
    over the labels of cosine x the model's own scale / temperature, or of the head's logits /
    temperature; the temperature is 1 unless one was fitted to labeled images.
    """
    if _are_texts(request):
        return _classify_texts(request, monitor)
    return classify_images(request, monitor)


def classify_images(request: Classify, monitor: Monitor) -> Classification:
    """Classify images only; raises as `run_classify`."""
    require_images_only(request)
    begin = time.perf_counter()
    named = bool(request.labels or request.labels_file is not None)
    labels = zero_shot.read_labels(request) if named else []
    given = zero_shot.check_templates(request.templates)
    paths, skipped = _list(request)
    name = request.encoder if named or given else suited_encoder(request, paths, monitor)
    encoder = load_encoder(name, device=request.device)
    own = isinstance(encoder, ImageEncoder) and bool(encoder.classes)
    if not named and not own:
        raise BadInput(
            "there are no labels to choose from.",
            f"{zero_shot.EXAMPLE} For photographs, --encoder imagenet has 1,000 classes of its own "
            "(graft models fetch imagenet, 18 MB).",
        )
    images = (
        encoder if own and isinstance(encoder, ImageEncoder) else zero_shot.require_joint(encoder)
    )
    retained = None
    if request.calibration is not None and request.calibrate is None:
        retained = zero_shot.read_fit(request.calibration, images)
    if own:
        if given:
            raise BadInput(
                f"{images.name} has classes of its own, which are put into no template.",
                "Leave --templates out.",
            )
        scorer = zero_shot.head_scorer(images, labels)
    else:
        scorer = _by_words(images, labels, _choose_templates(given, retained, images), monitor)
    fitted = None
    if request.calibrate is not None:
        fitted = zero_shot.fit(request.calibrate, scorer, request.seed, monitor)
        if request.calibration is not None:
            zero_shot.save_fit(request.calibration, fitted)
    used = fitted or retained
    temperature = used.temperature if used else 1.0
    encoded = encode_image_files(scorer.encoder, paths, monitor)
    skipped += encoded.skipped
    if paths and not encoded.places:
        raise nothing_readable(request.pictures, skipped)
    return Classification(
        pictures=_classify(scorer, temperature, request.k, paths, encoded),
        skipped=skipped,
        unfamiliar=encoded.unfamiliar,
        labels=len(scorer.labels),
        templates=list(scorer.templates),
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        logit_scale=images.logit_scale or 1.0,
        temperature=temperature,
        calibration=zero_shot.describe(used, scorer.labels),
        fit=fitted,
        seconds=time.perf_counter() - begin,
    )


def _are_texts(request: Classify) -> bool:
    if any(value == "-" or is_table_file(value) for value in request.pictures):
        return True
    # phrases may not be valid paths, hence os.path instead of pathlib
    there = [value for value in request.pictures if os.path.exists(value)]  # noqa: PTH110
    if any(os.path.isdir(value) or is_image_path(value) for value in there):  # noqa: PTH112
        return False
    if any(value.lower().endswith(TEXTS) for value in there):
        return True
    for value in set(request.pictures) - set(there):
        if any(map(str.isspace, value)) and not is_image_path(value):
            return True
    named = bool(request.pictures) and "encoder" in request.model_fields_set
    return named and load_encoder(request.encoder, device=request.device).reads == {"text"}


def require_images_only(request: Classify) -> None:
    """Refuse options that do not apply to images."""
    given = [name for name in ("content", "target", "threshold", "out") if getattr(request, name)]
    if given:
        shown = ", ".join(f"--{name}" for name in given)
        raise BadInput(f"{shown}: for texts and tables only.", "Leave it out; --json has all.")


def _classify_texts(request: Classify, monitor: Monitor) -> Predictions:
    begin = time.perf_counter()
    require_out(request.out, request.pictures)
    if request.calibrate is not None or request.calibration is not None:
        raise BadInput("--calibrate and --calibration are for images.", "Leave them out.")
    labels, given = zero_shot.read_labels(request), zero_shot.check_templates(request.templates)
    name = request.encoder if "encoder" in request.model_fields_set else DEFAULT_ENCODER
    encoder = load_encoder(name, device=request.device)
    kinds: frozenset[Kind] = frozenset(encoder.reads)
    requested = ColumnChoice(kinds, request.target, tuple(request.content), reading_of(request))
    rows = read_inputs(request.pictures, requested, f"encoder {name}")
    report_reading(rows.tables, rows.notes, monitor)
    templates = given or zero_shot.TEXT_TEMPLATES
    monitor.start("reading labels", len(labels) * len(templates))
    heads = zero_shot.label_vectors(encoder, labels, templates, monitor.advance)
    scale = getattr(encoder, "logit_scale", None) or zero_shot.TEXT_SCALE
    weight = (heads * scale).astype(np.float32)
    zero = np.zeros(len(labels), dtype=np.float32)
    head = LinearHead(weight, zero, "class", tuple(labels), encoder.fingerprint)
    monitor.start("classifying", len(rows.items))
    vectors = FrozenEncoder(encoder)(rows.items, monitor.advance)
    scores = of_every_row(rows, head.score(vectors))
    by_fold = {label.casefold(): label for label in labels}
    known = [by_fold.get(" ".join(str(one).split()).casefold(), one) for one in rows.labels]
    rows = replace(rows, labels=known)
    kind: Kind = "text" if isinstance(rows.items[0], str) else "image"
    chance = 1 / len(labels)
    remark = (
        f"zero-shot by {name}: {counted(len(labels), 'label')} in "
        f"{counted(len(templates), 'template')}, chance {chance:.3f}; probabilities are of cosine "
        f"x {scale:g}, not calibrated"
    )
    monitor.note(remark)
    found = report(request, head, kind, rows, scores, monitor, begin)
    return found.model_copy(update={"chance": chance, "notes": [*found.notes, remark]})


def _by_words(
    encoder: ImageEncoder, labels: Sequence[str], templates: tuple[str, ...], monitor: Monitor
) -> zero_shot.Scorer:
    _note_cut(encoder, labels, templates, monitor)
    monitor.start("reading labels", len(labels) * len(templates))
    heads = zero_shot.label_vectors(encoder, labels, templates, monitor.advance)
    return zero_shot.Scorer(encoder, labels, templates, heads)


def _list(request: Classify) -> tuple[list[str], list[Skipped]]:
    if request.pictures:
        return list_images(request.pictures)
    if request.calibrate is None:
        raise BadInput("no image was named.", "Name image files, or folders of them.")
    return [], []


def _choose_templates(
    given: tuple[str, ...], retained: TemperatureFit | None, encoder: ImageEncoder
) -> tuple[str, ...]:
    if retained is None:
        return given or zero_shot.templates_of(encoder.folder)
    fitted = zero_shot.check_templates(retained.templates)
    if given and set(given) != set(fitted):
        raise BadInput(
            f"the calibration was fitted with the templates {', '.join(map(repr, fitted))}.",
            "Leave --templates out, or fit again with --calibrate.",
        )
    return fitted


def _note_cut(
    encoder: ImageEncoder, labels: Sequence[str], templates: Sequence[str], monitor: Monitor
) -> None:
    cut, room = zero_shot.cut_labels(encoder, labels, templates)
    if cut:
        monitor.note(
            f"{counted(len(cut), 'label is', 'labels are')} longer in a template than the "
            f"{counted(room, 'token')} that {encoder.name} reads, and are cut; the first is "
            f"{cut[0]!r}"
        )


def _classify(
    scorer: zero_shot.Scorer, temperature: float, k: int, paths: Sequence[str], encoded: Encoded
) -> list[ClassifiedImage]:
    found = encoded.familiarity
    rows = max(1, _CELLS // len(scorer.labels))
    images = []
    for first in range(0, len(encoded.places), rows):
        vectors = encoded.vectors[first : first + rows]
        cosines = scorer.cosines(vectors)
        probabilities = softmax(scorer.logits(vectors) / temperature)
        for row, chances in enumerate(probabilities):
            best = np.argsort(-chances, kind="stable")[: min(k, len(scorer.labels))]
            reported = [
                LabelProbability(
                    label=scorer.labels[location],
                    probability=float(chances[location]),
                    cosine=None if cosines is None else float(cosines[row, location]),
                )
                for location in best
            ]
            images.append(
                ClassifiedImage(
                    path=paths[encoded.places[first + row]],
                    label=reported[0].label,
                    probability=reported[0].probability,
                    labels=reported,
                    familiarity=None if found is None else found[first + row],
                )
            )
    return images
