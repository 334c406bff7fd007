"""Search: by meaning, by words, or by both, fused.

Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from ..data.documents.formats import PICTURES, is_image_path, refuse_missing
from ..data.images import read_image
from ..errors import BadInput
from ..models.image_encoder import encode_and_compare
from ..requests.base import Mode
from ..types import Encoder, Hit, Passage
from .filters import Filter, parse_where
from .index import Index
from .rows import View, input_text, to_match
from .vectors import Space

# Chosen on half of the English XQuAD paragraphs, alone and among 4,000 news items, and checked on
# the other half: recall@1 .945 (vectors .921, words .938). The paper's offset of 60 gives .942.
RANK_OFFSET = 5.0
VECTOR_WEIGHT = 1.0
TEXT_WEIGHT = 0.9


def fuse(by_vector: Sequence[int], by_text: Sequence[int]) -> list[tuple[int, float]]:
    """Join two rankings of keys into one: `sum of weight / (RANK_OFFSET + rank)`, best first.

    Ties go to the smaller key, so that the same search gives the same order.
    """
    scores: dict[int, float] = {}
    for ranking, weight in ((by_vector, VECTOR_WEIGHT), (by_text, TEXT_WEIGHT)):
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + weight / (RANK_OFFSET + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


DEPTH = 100  # hits of each mode that are fused, and at most reordered by a rescorer


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What a search found.

    Attributes:
        hits: best first.
        searched: passages and pictures that could have been found.
        pictures: pictures among these.
        distance: how far the picture asked with lies from what is familiar to the encoder, in
            units of the limit; None for a text, and where the encoder does not tell.
    """

    hits: tuple[Hit, ...]
    searched: int
    pictures: int = 0
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class _Query:
    text: str
    expression: str | None  # for the full-text search
    vector: Float32[np.ndarray, " d"] | None
    depth: int
    exact: bool
    where: Filter | None


_LOOK_FOR_WORDS = "Check the path; to look for these words use --mode text."


def search(
    index: Index,
    encoder: Encoder | None,
    query: str,
    *,
    k: int = 10,
    mode: Mode = "hybrid",
    exact: bool = False,
    where: Sequence[str] = (),
    rescorer: Encoder | None = None,
) -> SearchOutcome:
    """Find the passages and pictures that answer a query.

    Where an index holds both, the hybrid mode ranks each kind by itself: a joint encoder puts
    texts nearer to texts than any picture (Liang et al., "Mind the Gap", 2022).

    Args:
        index: where to look; one consistent state of it is read.
        encoder: the index's encoder; not needed in text mode.
        query: text, or the path of an image file.
        k: number of hits.
        mode: `vector` (meaning), `text` (words) or `hybrid` (both, fused).
        exact: compare the query with every vector.
        where: conditions as `where.py` describes them; with any, the search is exact.
        rescorer: the encoder that the index's own stands in for; it orders the first hits anew.

    Raises:
        BadInput: a malformed condition, or a query of a kind that the encoder cannot read.
        BadFile: the query names a picture that is not there.
    """
    is_image = is_image_path(query) and Path(query).is_file()
    if mode != "text" and encoder is not None and "image" in encoder.reads:
        refuse_missing(query, PICTURES, _LOOK_FOR_WORDS)
    vector, distance = _encode(encoder, query, mode, is_image) if k else (None, None)
    asked = _Query(
        text=query,
        expression=None if is_image or mode == "vector" else to_match(query),
        vector=vector,
        depth=max(k, DEPTH),
        exact=exact,
        where=parse_where(where),
    )
    with index.view() as view:
        space = None if mode == "text" else index.space(view)
        allowed = None if asked.where is None else view.allowed(asked.where)
        searched = view.count_passages() if allowed is None else len(allowed)
        pictures = _pictures(index, view, where)
        if k == 0:
            return SearchOutcome((), searched, len(pictures))
        by_text = _by_text(view, asked)
        groups = [allowed]
        if mode == "hybrid" and 0 < len(pictures) < searched:
            passages_only = view.allowed(_where([*where, "kind = text"]))
            groups = [pictures, passages_only] if is_image else [passages_only, pictures]
        rankings = [_by_vector(space, asked, group) for group in groups]
        passages = view.passages(list({*by_text}.union(*rankings)))
        if rescorer is not None and not is_image:
            rankings[0] = _rescore(rescorer, query, rankings[0], by_text, passages)
        hits = _complete(_to_hits(rankings, by_text, passages, mode)[:k], view, space, asked)
        return SearchOutcome(tuple(hits), searched, len(pictures), distance)


def _pictures(index: Index, view: View, where: Sequence[str]) -> Int64[np.ndarray, " p"]:
    """Keys of the pictures that could be found."""
    if "image" not in index.reads:
        return np.empty(0, dtype=np.int64)
    return view.allowed(_where([*where, "kind = image"]))


def _where(conditions: Sequence[str]) -> Filter:
    parsed = parse_where(conditions)
    if parsed is None:
        raise ValueError("there is no condition")
    return parsed


def _encode(
    encoder: Encoder | None, query: str, mode: Mode, is_image: bool
) -> tuple[Float32[np.ndarray, " d"] | None, float | None]:
    """The query's vector, and of a picture the distance from what is familiar."""
    if mode == "text":
        if is_image:
            raise BadInput(
                f"the query {query!r} is an image file, and a picture has no words to look up.",
                "Search with --mode vector or hybrid.",
            )
        return None, None
    if encoder is None:
        raise ValueError(f"mode {mode} needs the index's encoder")
    kind = "image" if is_image else "text"
    if kind not in encoder.reads:
        raise BadInput(
            f"the query {query!r} is {'an image file' if is_image else 'text'}, and the index's "
            f"encoder {encoder.name} reads only {', '.join(sorted(encoder.reads))}.",
            "Ask with the other kind, or make an index with an encoder that reads both.",
        )
    if is_image:
        vectors, distances = encode_and_compare(encoder, [read_image(query)])
        return np.asarray(vectors[0]), None if distances is None else float(distances[0])
    return np.asarray(encoder.encode_texts([query], role="query")[0]), None


def _by_vector(
    space: Space | None, asked: _Query, allowed: Int64[np.ndarray, " a"] | None
) -> dict[int, float]:
    if space is None or asked.vector is None:
        return {}
    if allowed is None:
        return dict(space.nearest(asked.vector, asked.depth, exact=asked.exact))
    return dict(space.nearest_among(allowed, asked.vector, asked.depth))


def _by_text(view: View, asked: _Query) -> dict[int, float]:
    if asked.expression is None:
        return {}
    return dict(view.match(asked.expression, asked.depth, asked.where))


def _rescore(
    rescorer: Encoder,
    query: str,
    by_vector: dict[int, float],
    by_text: dict[int, float],
    passages: dict[int, Passage],
) -> dict[int, float]:
    """Order the first fused hits by the rescorer's cosines; they take the vector ranks' place."""
    first = [key for key, _ in fuse(list(by_vector), list(by_text)) if key in passages][:DEPTH]
    texts = [key for key in first if passages[key].kind == "text"]
    if not texts:
        return by_vector
    vectors = rescorer.encode_texts([input_text(passages[key]) for key in texts])
    cosines = vectors @ rescorer.encode_texts([query], role="query")[0]
    return {texts[i]: float(cosines[i]) for i in np.argsort(-cosines, kind="stable")}


def _to_hits(
    rankings: Sequence[dict[int, float]],
    by_text: dict[int, float],
    passages: dict[int, Passage],
    mode: Mode,
) -> list[Hit]:
    """Hits in their order; what is in a ranking but no longer stored is left out.

    Args:
        rankings: by vector; the query's own kind first, where kinds are ranked apart.
        by_text: ranking by words.
        passages: what is stored.
        mode: which of them count.
    """
    by_vector = {key: cosine for ranking in rankings for key, cosine in ranking.items()}
    fused = fuse([*rankings[0]], [*by_text])
    for ranking in rankings[1:]:
        # the other kind weighs as words do: a little less
        fused = sorted([*fused, *fuse([], [*ranking])], key=lambda item: (-item[1], item[0]))
    scores = {"vector": by_vector, "text": by_text, "hybrid": dict(fused)}
    vector_ranks = {key: rank for ranking in rankings for rank, key in enumerate(ranking, start=1)}
    text_ranks = {key: rank for rank, key in enumerate(by_text, start=1)}
    return [
        Hit(
            passage_id=key,
            passage=passages[key],
            score=score,
            similarity=by_vector.get(key),
            vector_rank=vector_ranks.get(key),
            text_rank=text_ranks.get(key),
        )
        for key, score in scores[mode].items()
        if key in passages
    ]


def _complete(hits: list[Hit], view: View, space: Space | None, asked: _Query) -> list[Hit]:
    """Fill in the marks, and the similarity of hits that only words found."""
    keys = [hit.passage_id for hit in hits]
    marks = view.marks(keys, asked.expression) if asked.expression and keys else {}
    similarities: dict[int, float] = {}
    if space is not None and asked.vector is not None:
        missing = [hit.passage_id for hit in hits if hit.similarity is None]
        ids, vectors = space.take(np.array(sorted(missing), dtype=np.int64))
        similarities = dict(zip(ids.tolist(), (vectors @ asked.vector).tolist(), strict=True))
    return [
        Hit(
            hit.passage_id,
            hit.passage,
            hit.score,
            hit.similarity if hit.similarity is not None else similarities.get(hit.passage_id),
            hit.vector_rank,
            hit.text_rank,
            marks.get(hit.passage_id, ()),
        )
        for hit in hits
    ]
