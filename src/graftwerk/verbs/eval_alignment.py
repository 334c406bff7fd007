"""`graft eval alignment`: do similar things lie close in an encoder's vectors?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from ..blocks.captions import parse
from ..contracts import Encoder, Monitor, Vectors
from ..errors import BadInput
from ..frozen.encoders import load_encoder
from ..measure import alignment as layout
from ..measure.labelled_texts import SUFFIXES, read_labelled_texts
from ..measure.picture_folder import METADATA, LabelledPicture, attributes, read_picture_folder
from ..reports import Across, AlignmentEvaluation, Half, Hubness, Purity, Recall
from ..requests import EvalAlignment
from ..search.readers import is_image_path
from .pictures import encode_pictures, nothing_readable

Values = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Side:
    """Pictures, or texts.

    Attributes:
        vectors: one each.
        values: values by attribute, one each.
        groups: a picture and a caption with one number belong together; -1 for neither.
    """

    vectors: Vectors
    values: Sequence[Values]
    groups: Int64[np.ndarray, " n"]


def run(request: EvalAlignment, monitor: Monitor) -> AlignmentEvaluation:
    """Embed pictures and their captions, or texts, and measure how they lie.

    Raises:
        BadInput: too few of them, or an encoder that reads nothing of what is there.
        BadFile: the data are not of a known form.
    """
    begin = time.perf_counter()
    encoded = pictures = None
    if request.data.suffix.lower() in SUFFIXES and request.data.name != METADATA:
        said = read_labelled_texts(request.data)
        encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
        texts = _embed_texts(encoder, [(one.text, one.values) for one in said], monitor)
    else:
        rows = [row for row in read_picture_folder(request.data) if is_image_path(row.path)]
        if not rows:
            raise nothing_readable([str(request.data)], [])
        encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
        if "image" in encoder.reads:
            encoded = encode_pictures(encoder, [row.path for row in rows], monitor)
            if not encoded.places:
                raise nothing_readable([str(request.data)], encoded.skipped)
            rows = [rows[place] for place in encoded.places]
            pictures = _Side(encoded.vectors, _with_facts(rows), _number_captions(rows))
        captioned = zip(rows, _with_facts(rows), strict=True)
        said_of = [(row.caption, values) for row, values in captioned if row.caption is not None]
        texts = _embed_texts(encoder, said_of, monitor)
    _require_enough(request, encoder, pictures, texts)
    monitor.start("measuring")
    return AlignmentEvaluation(
        encoder=encoder.name,
        k=request.k,
        across=_across(pictures, texts, request.k),
        pictures=_half(pictures, request.k),
        texts=_half(texts, request.k),
        unfamiliar=None if encoded is None else encoded.unfamiliar,
        skipped=[] if encoded is None else encoded.skipped,
        seconds=time.perf_counter() - begin,
    )


def _number_captions(rows: Sequence[LabelledPicture]) -> Int64[np.ndarray, " n"]:
    """Equal numbers for equal captions, in the order in which they come; -1 without one."""
    numbers: dict[str, int] = {}
    groups = [
        -1 if row.caption is None else numbers.setdefault(row.caption, len(numbers)) for row in rows
    ]
    return np.array(groups, dtype=np.int64)


def _embed_texts(
    encoder: Encoder, said: Sequence[tuple[str, Values]], monitor: Monitor
) -> _Side | None:
    """The different texts in their order, each with the values of its first row."""
    if "text" not in encoder.reads or not said:
        return None
    values = dict(reversed(said))
    different = list(dict.fromkeys(text for text, _ in said))
    monitor.start("embedding texts", len(different))
    vectors = encoder.encode_texts(different, "document", monitor.advance)
    return _Side(vectors, [values[text] for text in different], np.arange(len(different)))


def _with_facts(rows: Sequence[LabelledPicture]) -> list[Values]:
    """Columns of the metadata and, where all captions are of the Blocks grammar, what they say."""
    try:
        facts = [parse(row.caption or "") for row in rows]
    except BadInput:
        return [row.values for row in rows]
    return [
        {
            **row.values,
            "kind": tuple(thing.kind for thing in fact.objects if thing.kind),
            "colour": tuple(thing.colour for thing in fact.objects if thing.colour),
            "ground": (fact.ground,) if fact.ground else (),
            "time": (fact.time,) if fact.time else (),
        }
        for row, fact in zip(rows, facts, strict=True)
    ]


def _require_enough(
    request: EvalAlignment, encoder: Encoder, pictures: _Side | None, texts: _Side | None
) -> None:
    if pictures is None and texts is None:
        raise BadInput(
            f"encoder {encoder.name!r} reads only {', '.join(sorted(encoder.reads))}, and "
            f"{request.data} holds nothing of that kind.",
            "Choose an encoder that reads what is there; texts are captions or a column text.",
        )
    most = max(len(side.vectors) for side in (pictures, texts) if side is not None)
    if most <= request.k:
        raise BadInput(
            f"{request.data} holds {most} different pictures or texts, so none has {request.k} "
            "neighbours.",
            "Give more" + (f", or ask for fewer: -k {most - 1}." if most > 1 else "."),
        )


def _half(side: _Side | None, k: int) -> Half | None:
    """Figures of one side; None where it is too small."""
    if side is None or len(side.vectors) <= k:
        return None
    neighbours = layout.nearest(side.vectors, k)
    shares = {}
    for name, values in attributes(side.values).items():
        has, names = layout.memberships(values)
        shared, chance = layout.purity(neighbours, has)
        shares[name] = Purity(shared=shared, chance=chance, values=len(names))
    return Half(
        count=len(side.vectors),
        anisotropy=layout.anisotropy(side.vectors),
        hubness=_hubness(neighbours, len(side.vectors)),
        purity=shares,
    )


def _hubness(neighbours: Int64[np.ndarray, "n k"], count: int) -> Hubness:
    often = layout.occurrences(neighbours, count)
    return Hubness(
        skewness=layout.skewness(often),
        antihubs=float((often == 0).mean()),
        largest=float(often.max() / len(neighbours)),
    )


def _across(pictures: _Side | None, texts: _Side | None, k: int) -> Across | None:
    """Figures between pictures and their captions."""
    if pictures is None or texts is None or len(texts.vectors) < 2:
        return None
    told = pictures.groups >= 0
    shown, groups = pictures.vectors[told], pictures.groups[told]
    matching, other = layout.matching_cosines(shown, texts.vectors, groups)
    near = layout.nearest_answers(texts.vectors, shown, min(k, len(shown)))
    return Across(
        text_to_image=_recall(texts.vectors, shown, texts.groups, groups),
        image_to_text=_recall(shown, texts.vectors, groups, texts.groups),
        matching_cosine=matching,
        other_cosine=other,
        modality_gap=layout.modality_gap(shown, texts.vectors),
        hubness=_hubness(near, len(shown)),
    )


def _recall(
    queries: layout.Queries,
    answers: layout.Answers,
    query_groups: Int64[np.ndarray, " q"],
    answer_groups: Int64[np.ndarray, " a"],
) -> Recall:
    found = layout.ranks(queries, answers, query_groups, answer_groups)
    at = {depth: float((found <= depth).mean()) for depth in (1, 5, 10)}
    return Recall(
        recall_at_1=at[1],
        recall_at_5=at[5],
        recall_at_10=at[10],
        chance_at_1=layout.chance_at_1(query_groups, answer_groups),
        median_rank=float(np.median(found)),
        queries=len(queries),
        answers=len(answers),
    )
