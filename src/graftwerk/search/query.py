"""Search: by meaning, by words, or by both, fused."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import exp, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64

from ..data.documents.formats import IMAGES, is_image_path, name_notes, refuse_missing
from ..data.images import read_image
from ..errors import BadInput
from ..models.encoders import familiarity
from ..models.image_encoder import encode_and_compare
from ..requests.base import Mode
from ..results import Familiarity, Passage
from ..text_safety import printable
from ..types import Encoder
from .index import Index, VectorCache
from .results import Hit, Location, SearchResult, location_of
from .rows import Filter, View, input_text, parse_where
from .vectors import Space
from .words import plain_words, to_match

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..data.image_inputs import ImageLike
    from ..models.language.reader import Reader

# By `python -m bench.fusion`, nDCG@10 on five sets of other domains, each with the constant that is
# best on the other four: .867; reciprocal ranks .859, BM25 alone .824, cosines alone .808.
TEXT_WEIGHT = 0.7


def fuse(cosines: Mapping[int, float], bm25: Mapping[int, float]) -> list[tuple[int, float]]:
    """Merge the scores of keys by meaning and by words: standard scores, summed, best first.

    A key without a cosine counts as the least, one whose words were not found has a BM25 of 0.
    Ties go to the smaller key, so that the same search gives the same order.
    """
    keys = sorted({*cosines, *bm25})
    least = min(cosines.values(), default=0.0)
    sums = _standard([cosines.get(key, least) for key in keys])
    sums += TEXT_WEIGHT * _standard([bm25.get(key, 0.0) for key in keys])
    scored = zip(keys, sums.tolist(), strict=True)
    return sorted(scored, key=lambda item: (-item[1], item[0]))


def _standard(values: Sequence[float]) -> np.ndarray:
    """Distances from the mean in standard deviations; equal values are at the mean."""
    found = np.array(values, dtype=np.float64)
    deviation = found.std() if len(found) else 0.0
    return (found - found.mean()) / deviation if deviation > _EQUAL else np.zeros(len(found))


_EQUAL = 1e-6
_RANK_OFFSET, _OTHER_KIND = 5.0, 0.9  # of texts and images side by side
_PASSAGE = fields(Passage)
COPIES_LISTED = 20  # of one hit; all are counted
DEPTH = 100  # hits of each mode that are fused
# of these, those that a rescorer puts in order; nDCG@10 on XQuAD's paragraphs among 4,000 news
# items: .949 with 16, .951 with 24, .953 with 32 and with 100 (hybrid; the full index .954)
RESCORED = 16
# hits that a reader puts in order, and the weight of its logit; see `python -m bench.rerank`
RERANKED, READER_WEIGHT, MAX_LOGIT = 20, 0.3, 6.0


@dataclass(frozen=True, slots=True)
class _Query:
    text: str
    expression: str | None  # for the full-text search
    vector: Float32[np.ndarray, " d"] | None
    k: int
    mode: Mode
    exact: bool
    where: Filter | None
    depth: int  # of each ranking


_LOOK_FOR_WORDS = "Check the path; to look for these words use --mode text."


def query_of(given: "str | ImageLike") -> "tuple[Image | None, str]":
    """Return the image of a query that is one in memory, and its text, file or name."""
    if isinstance(given, str | Path):
        return None, str(given)
    from ..data.image_inputs import as_image

    return as_image(given), "the image"


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
    rerank: bool = False,
    image: "Image | None" = None,
) -> SearchResult:
    """Find the passages and images that answer a query.

    Args:
        index: where to look; one consistent state of it is read.
        encoder: the index's encoder; not needed in text mode.
        query: text, or the path of an image file.
        k: number of hits.
        mode: `vector` (meaning), `text` (words) or `hybrid` (both, fused).
        exact: compare the query with every vector.
        where: conditions as described in `rows.parse_where`; with any, the search is exact.
        rescorer: the encoder that the index's own stands in for; it orders the first hits again.
        rerank: order the first hits of a hybrid search again by what the trained reader finds.
        image: the query, which `query` then only names.
    """
    begin = time.perf_counter()
    if image is None and is_image_path(query) and Path(query).is_file():
        image = read_image(query)
    is_image = image is not None
    reader = _reader(query, mode, rescorer or encoder, is_image=is_image) if rerank else None
    vector, familiar = _encode(encoder, query, mode, image) if k else (None, None)
    with index.view() as view:
        by_words = not is_image and mode != "vector"
        words = to_match(query, spelled=view.spelled) if by_words else None
        count = max(k, RERANKED) if rerank else k
        condition, depth = parse_where(where), max(k, DEPTH)
        requested = _Query(query, words, vector, count, mode, exact, condition, depth)
        allowed = None if condition is None else view.allowed(condition)
        space = None if mode == "text" else index.space(view)
        searched = view.count_passages() if allowed is None else len(allowed)
        images = _images(index, view, where)
        mixed = k and mode == "hybrid" and 0 < len(images) < searched
        groups = _by_kind(view, where, images, is_image=is_image) if mixed else [allowed]
        again = partial(_rescore, index, rescorer, query) if rescorer is not None else None
        hits = _find(view, space, requested, groups, None if is_image else again) if k else []
        notes = [] if is_image else list(name_notes(query, any_word=False))
        notes += [] if searched else [_why_nothing(view, where)]
    return SearchResult(
        query=query,
        mode=mode,
        hits=hits if reader is None else _reranked(reader, query, hits)[:k],
        searched=searched,
        pictures=len(images),
        familiarity=familiar,
        sheet=None,
        seconds=time.perf_counter() - begin,
        notes=notes,
    )


def _reader(query: str, mode: Mode, encoder: Encoder | None, *, is_image: bool) -> "Reader":
    from ..models.language.reader import BASE, load_reader

    if is_image:
        reason = f"the query {query!r} is an image, and the reader that reranks reads texts"
    elif mode != "hybrid" or encoder is None:
        reason = f"mode {mode} is not reranked: only hits of mode hybrid are"
    elif reader := load_reader(encoder):
        return reader
    else:
        reason = f"the index is made with {encoder.name}, and the reader that reranks fits {BASE}"
    raise BadInput(f"{reason}.", "Search without --rerank.")


def _reranked(reader: "Reader", query: str, hits: Sequence[Hit]) -> list[Hit]:
    """Add what is read in the first hits to their scores, and to those of others the least."""
    read = reader.read(query, [(hit.heading, hit.text) for hit in hits[:RERANKED]])
    logits = np.clip([one.relevance for one in read], -MAX_LOGIT, MAX_LOGIT).tolist()
    first = [
        replace(hit, score=hit.score + READER_WEIGHT * logit, relevance=1 / (1 + exp(-logit)))
        for hit, logit in zip(hits, logits, strict=False)
    ]
    rest = [replace(hit, score=hit.score - READER_WEIGHT * MAX_LOGIT) for hit in hits[RERANKED:]]
    return sorted(first, key=lambda hit: -hit.score) + rest


def _why_nothing(view: View, where: Sequence[str]) -> str:
    if not view.count_passages():
        return "there is no passage in the index"
    example = min(view.files())
    return f"no passage has {' and '.join(where)}; a path of the index is {printable(example)}"


def _find(
    view: View,
    space: Space | None,
    requested: _Query,
    groups: Sequence[Int64[np.ndarray, " a"] | None],
    rescore: Callable[[Sequence[Passage]], Sequence[float]] | None,
) -> list[Hit]:
    """Rank the passages of each group by vector and all by words, and join the rankings.

    What has the same content is ranked once, so that copies neither take places nor push others
    down; where too little is left, the rankings are made deeper.
    """
    by_text: dict[int, float] = {}
    if requested.expression is not None:
        by_text = dict(view.match(requested.expression, requested.depth, requested.where))
    rankings = [_by_vector(space, requested, group) for group in groups]
    passages = view.passages(list({*by_text}.union(*rankings)))
    same = _Same(view, passages, (*rankings, by_text))
    full = any(len(ranking) >= requested.depth for ranking in (*rankings, by_text))
    if full and len(same.members) < requested.k:
        return _find(view, space, replace(requested, depth=4 * requested.depth), groups, rescore)
    by_text, rankings = same.once(by_text), [same.once(ranking) for ranking in rankings]
    known = {key: cosine for ranking in rankings for key, cosine in ranking.items()}
    cosines = known | _missing_cosines([*by_text], known, space, requested)
    if rescore is not None:
        rankings[0], cosines = _reordered(rescore, rankings[0], cosines, by_text, passages)
    ranks = _Ranks.of(rankings, by_text, cosines)
    scores = ranks.scores(requested.mode)
    chosen = list(scores)[: requested.k]
    view.require_sound(chosen)
    marks = view.marks(chosen, requested.expression) if requested.expression and chosen else {}
    copies = same.copies(view, chosen, requested.where)
    return [
        Hit(
            **{field.name: getattr(passages[key], field.name) for field in _PASSAGE},
            score=scores[key],
            similarity=ranks.cosines.get(key),
            vector_rank=ranks.by_vector.get(key),
            text_rank=ranks.by_text.get(key),
            marks=marks.get(key, ()),
            copies=tuple(copies[key][:COPIES_LISTED]),
            copy_count=len(copies[key]),
        )
        for key in chosen
    ]


_SHORT = 80  # characters; a shorter text means little without its heading
_BEGIN = 64


def _content(passage: Passage) -> str:
    text = plain_words(passage.text)
    return text if len(text) >= _SHORT else f"{plain_words(passage.heading)}\n{text}"


class _Same:
    """Ranked passages grouped by identical content: the best of a group stands for all.

    The content of a text is its words and numbers, without punctuation, markup, white space,
    letter case and invisible characters, of an image its file.

    Attributes:
        members: keys of the same content, by the key that stands for them.
    """

    def __init__(
        self, view: View, passages: Mapping[int, Passage], rankings: Sequence[Mapping[int, float]]
    ) -> None:
        images = view.image_contents([k for k, found in passages.items() if found.kind == "image"])
        buckets: dict[str, list[int]] = {}  # by how they begin, which is soon compared
        for key in dict.fromkeys(key for ranking in rankings for key in ranking if key in passages):
            begin = plain_words(passages[key].text[:_BEGIN]).replace(" ", "")
            buckets.setdefault(begin[: _BEGIN // 4], []).append(key)
        groups: dict[str | bytes | int, list[int]] = {}
        for keys in buckets.values():
            for key in keys:
                content = _content(passages[key]) if len(keys) > 1 else key
                groups.setdefault(images.get(key, content), []).append(key)
        self._passages = passages
        self._standing: dict[int, int] = {}
        self.members: dict[int, list[int]] = {}
        for keys in groups.values():
            best = input_text(passages[keys[0]])  # equal ones differ by rounding only
            first = min(key for key in keys if input_text(passages[key]) == best)
            self.members[first] = keys
            self._standing.update(dict.fromkeys(keys, first))

    def once(self, ranking: Mapping[int, float]) -> dict[int, float]:
        """Return the ranking with each content at its best rank only."""
        best: dict[int, float] = {}
        for key, score in ranking.items():
            if key in self._standing:
                best.setdefault(self._standing[key], score)
        return best

    def copies(
        self, view: View, keys: Sequence[int], where: Filter | None
    ) -> dict[int, list[Location]]:
        """Return other locations of the hits' contents, sorted: among the ranked and beyond."""
        equal, given = view.equal_inputs(keys, where), set(keys)
        return {
            key: sorted(
                {
                    key: location_of(passage)
                    for key, passage in (
                        *((other, self._passages[other]) for other in self.members[key]),
                        *equal.get(key, {}).items(),
                    )
                    if key not in given
                }.values()
            )
            for key in keys
        }


def _missing_cosines(
    keys: Sequence[int], known: Mapping[int, float], space: Space | None, requested: _Query
) -> dict[int, float]:
    """Return the cosines of what only the keyword search found; a damaged vector has none."""
    if space is None or requested.vector is None:
        return {}
    missing = sorted(key for key in keys if key not in known)
    ids, vectors = space.take(np.array(missing, dtype=np.int64))
    with np.errstate(all="ignore"):
        found = zip(ids.tolist(), (vectors @ requested.vector).tolist(), strict=True)
    return {key: cosine for key, cosine in found if isfinite(cosine)}


def _by_kind(
    view: View, where: Sequence[str], images: Int64[np.ndarray, " p"], *, is_image: bool
) -> list[Int64[np.ndarray, " a"] | None]:
    """Return passages and images separately, the query's own kind first.

    A joint encoder puts texts nearer to texts than any image (Liang et al., "Mind the Gap", 2022).
    """
    passages = view.allowed(_where([*where, "kind = text"]))
    return [images, passages] if is_image else [passages, images]


def _images(index: Index, view: View, where: Sequence[str]) -> Int64[np.ndarray, " p"]:
    if "image" not in index.reads:
        return np.empty(0, dtype=np.int64)
    return view.allowed(_where([*where, "kind = image"]))


def _where(conditions: Sequence[str]) -> Filter:
    parsed = parse_where(conditions)
    if parsed is None:
        raise ValueError("there is no condition")
    return parsed


def _encode(
    encoder: Encoder | None, query: str, mode: Mode, image: "Image | None"
) -> tuple[Float32[np.ndarray, " d"] | None, Familiarity | None]:
    """The query's vector, and of an image whether it is like what the encoder was trained on."""
    if mode == "text":
        if image is not None:
            raise BadInput(
                f"the query {query!r} is an image, and an image has no words to look up.",
                "Search with --mode vector or hybrid.",
            )
        return None, None
    if encoder is None:
        raise ValueError(f"mode {mode} needs the index's encoder")
    kind = "text" if image is None else "image"
    if kind == "text" and "image" in encoder.reads:
        refuse_missing(query, IMAGES, _LOOK_FOR_WORDS)
    if kind not in encoder.reads:
        given, other = ("text", "an image") if image is None else ("an image", "text")
        raise BadInput(
            f"the query {query!r} is {given}, and the index's encoder {encoder.name} reads only "
            f"{min(encoder.reads)}s.",
            f"Ask with {other}, or by a joint encoder: graft index rebuild --encoder CLIP-FOLDER.",
        )
    if image is not None:
        vectors, distances = encode_and_compare(encoder, [image])
        known = None if distances is None else familiarity(encoder, distances)
        return np.asarray(vectors[0]), known[0] if known else None
    return np.asarray(encoder.encode_texts([query], role="query")[0]), None


def _by_vector(
    space: Space | None, requested: _Query, allowed: Int64[np.ndarray, " a"] | None
) -> dict[int, float]:
    if space is None or requested.vector is None:
        return {}
    if allowed is None:
        return dict(space.nearest(requested.vector, requested.depth, exact=requested.exact))
    return dict(space.nearest_among(allowed, requested.vector, requested.depth))


def _rescore(
    index: Index, rescorer: Encoder, query: str, passages: Sequence[Passage]
) -> Sequence[float]:
    """Return the rescorer's cosines; the vectors of the passages are kept beside the index."""
    vectors = VectorCache(index.folder, rescorer.fingerprint).encode(rescorer, passages)
    cosines = vectors @ rescorer.encode_texts([query], role="query")[0]
    return list(map(float, cosines))


def _reordered(
    rescore: Callable[[Sequence[Passage]], Sequence[float]],
    by_vector: dict[int, float],
    cosines: dict[int, float],
    by_text: dict[int, float],
    passages: dict[int, Passage],
) -> tuple[dict[int, float], dict[int, float]]:
    """Put the first fused hits in the order of their new cosines, the others after them.

    Returns:
        The new ranking by vector, and the cosines of all.
    """
    fused = [key for key, _ in fuse(cosines, by_text)]
    first = [key for key in fused[:RESCORED] if passages[key].kind == "text"]
    if not first:
        return by_vector, cosines
    new = dict(zip(first, rescore([passages[key] for key in first]), strict=True))
    least = min(new.values())  # the first encoder's cosines are of another scale
    ranked = {key: new[key] for key in sorted(first, key=lambda key: -new[key])}
    others = {key: min(cosine, least) for key, cosine in cosines.items() if key not in ranked}
    return ranked | {key: others[key] for key in by_vector if key not in ranked}, ranked | others


@dataclass(frozen=True, slots=True)
class _Ranks:
    """Where each key stands in the rankings, from 1.

    Attributes:
        cosines: by key; those of the rankings come first, in their order.
        fused: score of all rankings joined, best first.
    """

    cosines: dict[int, float]
    by_vector: dict[int, int]
    by_text: dict[int, int]
    bm25: dict[int, float]
    fused: dict[int, float]

    @classmethod
    def of(
        cls,
        rankings: Sequence[dict[int, float]],
        by_text: dict[int, float],
        cosines: dict[int, float],
    ) -> "_Ranks":
        """Join rankings; the query's own kind comes first, where kinds are ranked apart."""
        apart = {key for ranking in rankings[1:] for key in ranking}
        fused = fuse({key: c for key, c in cosines.items() if key not in apart}, by_text)
        if rankings[1:]:  # scores of two kinds do not compare: they take turns, by their ranks
            lists = [[key for key, _ in fused], *([*ranking] for ranking in rankings[1:])]
            fused = [
                (key, (1.0 if own else _OTHER_KIND) / (_RANK_OFFSET + rank))
                for own, keys in zip((True, False), lists, strict=True)
                for rank, key in enumerate(keys, start=1)
            ]
        fused.sort(key=lambda item: (-item[1], item[0]))
        ranked = {key: cosine for ranking in rankings for key, cosine in ranking.items()}
        return cls(
            cosines=ranked | cosines,
            by_vector={key: n for ranking in rankings for n, key in enumerate(ranking, start=1)},
            by_text={key: n for n, key in enumerate(by_text, start=1)},
            bm25=by_text,
            fused=dict(fused),
        )

    def scores(self, mode: Mode) -> dict[int, float]:
        """What hits are ordered by, best first."""
        vector = {key: self.cosines[key] for key in self.by_vector}
        return {"vector": vector, "text": self.bm25, "hybrid": self.fused}[mode]
