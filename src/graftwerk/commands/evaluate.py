"""`graft eval alignment|answers|retrieval|similarity` and `graft readout`.

- `graft eval alignment`: check whether similar items are close in an encoder's vector space.
- `graft eval answers`: evaluate answers, with some paragraphs left out of the index.
- `graft eval retrieval`: evaluate search on paragraphs with questions.
- `graft eval similarity`: correlate an encoder's cosines with human judgements.
- `graft readout`: fit a linear probe, with two controls.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Int64

from ..blocks.captions import parse
from ..data.benchmarks import attributes, read_labelled_texts, read_pairs
from ..data.documents.formats import is_image_path
from ..data.image_folder import LAYOUT, TABLES, LabelledImage, read_image_folder
from ..data.tables import is_table, reading_of
from ..errors import BadInput
from ..library.index import Index
from ..library.probing import carry_out
from ..metrics import results as reports
from ..metrics import retrieval
from ..metrics.intervals import wilson
from ..models.encoders import (
    CachingEncoder,
    encode_image_files,
    load_encoder,
    nothing_readable,
    suited_encoder,
)
from ..models.language.markup import MASK, readable
from ..models.language.reading import list_sentences
from ..probing.results import ReadoutResult
from ..rag.citations import says, wordings
from ..rag.results import Answer
from ..requests.base import Mode
from ..requests.models import EvalAlignment, EvalAnswers, EvalRetrieval, EvalSimilarity, Readout
from ..search import qa_pairs
from ..search.index import open_index
from ..search.query import search
from ..search.results import Hit
from ..search.words import plain_words
from ..text_safety import CITATION, counted
from ..types import Encoder, Monitor, Source, Vectors, report_reading

Values = Mapping[str, tuple[str, ...]]
_ASKED = ("k", "writer", "writer_model", "reader", "seed")  # options that `Index.ask` has too


@dataclass(frozen=True, slots=True)
class _Side:
    """Vectors of images or of texts.

    Attributes:
        vectors: one row per item.
        values: values by attribute, for each item.
        groups: number shared by an image and its caption; -1 for items without a counterpart.
    """

    vectors: Vectors
    values: Sequence[Values]
    groups: Int64[np.ndarray, " n"]


def run_eval_alignment(request: EvalAlignment, monitor: Monitor) -> reports.AlignmentEvaluation:
    """Embed images and their captions, or texts, and measure the geometry of their vectors."""
    begin = time.perf_counter()
    encoded = images = table = None
    if is_table(request.data) and request.data.name not in TABLES:
        table = read_labelled_texts(request.data, reading_of(request))
        report_reading([table.dialect], table.notes, monitor)
        encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
        texts = _embed_texts(encoder, [(one.text, one.values) for one in table.rows], monitor)
    else:
        rows = [
            row for row in read_image_folder(request.data, monitor.note) if is_image_path(row.path)
        ]
        if not rows:
            raise nothing_readable([str(request.data)], [])
        if not any(row.caption or row.values for row in rows):
            monitor.note(f"no image has a caption or label to compare with others. {LAYOUT}")
        name = suited_encoder(request, [row.path for row in rows], monitor)
        encoder = load_encoder(name, layer=request.layer, device=request.device)
        if "image" in encoder.reads:
            encoded = encode_image_files(encoder, [row.path for row in rows], monitor)
            if not encoded.places:
                raise nothing_readable([str(request.data)], encoded.skipped)
            rows = [rows[location] for location in encoded.places]
            images = _Side(encoded.vectors, _with_facts(rows), _number_captions(rows))
        captioned = zip(rows, _with_facts(rows), strict=True)
        predicted_of = [
            (row.caption, values) for row, values in captioned if row.caption is not None
        ]
        texts = _embed_texts(encoder, predicted_of, monitor)
    _require_enough(request, encoder, images, texts)
    monitor.start("measuring")
    return reports.AlignmentEvaluation(
        encoder=encoder.name,
        k=request.k,
        across=_across(images, texts, request.k),
        pictures=_half(images, request.k),
        texts=_half(texts, request.k),
        unfamiliar=None if encoded is None else encoded.unfamiliar,
        skipped=[] if encoded is None else encoded.skipped,
        tables=[] if table is None else [table.dialect],
        notes=[] if table is None else list(table.notes),
        seconds=time.perf_counter() - begin,
    )


def _number_captions(rows: Sequence[LabelledImage]) -> Int64[np.ndarray, " n"]:
    numbers: dict[str, int] = {}
    groups = [
        -1 if row.caption is None else numbers.setdefault(row.caption, len(numbers)) for row in rows
    ]
    return np.array(groups, dtype=np.int64)


def _embed_texts(
    encoder: Encoder, predicted: Sequence[tuple[str, Values]], monitor: Monitor
) -> _Side | None:
    if "text" not in encoder.reads or not predicted:
        return None
    values = dict(reversed(predicted))
    different = list(dict.fromkeys(text for text, _ in predicted))
    monitor.start("embedding texts", len(different))
    vectors = encoder.encode_texts(different, "document", monitor.advance)
    return _Side(vectors, [values[text] for text in different], np.arange(len(different)))


def _with_facts(rows: Sequence[LabelledImage]) -> list[Values]:
    """Return the metadata columns, and the facts stated in the captions.

    Facts are added only if all captions follow the Blocks grammar.
    """
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
    request: EvalAlignment, encoder: Encoder, images: _Side | None, texts: _Side | None
) -> None:
    if images is None and texts is None:
        raise BadInput(
            f"encoder {encoder.name!r} reads only {', '.join(sorted(encoder.reads))}, and "
            f"{request.data} holds nothing of that kind.",
            "Choose an encoder that reads what is there; texts are captions or a column text.",
        )
    most = max(len(side.vectors) for side in (images, texts) if side is not None)
    if most <= request.k:
        raise BadInput(
            f"{request.data} holds {counted(most, 'different image')} or texts, so none has "
            f"{request.k} neighbors.",
            "Give more" + (f", or ask for fewer: -k {most - 1}." if most > 1 else "."),
        )


def _half(side: _Side | None, k: int) -> reports.Half | None:
    if side is None or len(side.vectors) <= k:
        return None
    neighbours = retrieval.nearest(side.vectors, k)
    shares = {}
    for name, values in attributes(side.values).items():
        has, names = retrieval.memberships(values)
        shared, chance = retrieval.purity(neighbours, has)
        shares[name] = reports.Purity(shared=shared, chance=chance, values=len(names))
    return reports.Half(
        count=len(side.vectors),
        anisotropy=retrieval.anisotropy(side.vectors),
        hubness=_hubness(neighbours, len(side.vectors)),
        purity=shares,
    )


def _hubness(neighbours: Int64[np.ndarray, "n k"], count: int) -> reports.Hubness:
    often = retrieval.occurrences(neighbours, count)
    return reports.Hubness(
        skewness=retrieval.skewness(often),
        antihubs=float((often == 0).mean()),
        largest=float(often.max() / len(neighbours)),
    )


def _across(images: _Side | None, texts: _Side | None, k: int) -> reports.Across | None:
    if images is None or texts is None or len(texts.vectors) < 2:
        return None
    reported = images.groups >= 0
    shown, groups = images.vectors[reported], images.groups[reported]
    matching, other = retrieval.matching_cosines(shown, texts.vectors, groups)
    near = retrieval.nearest(texts.vectors, min(k, len(shown)), shown)
    return reports.Across(
        text_to_image=_recall(texts.vectors, shown, texts.groups, groups),
        image_to_text=_recall(shown, texts.vectors, groups, texts.groups),
        matching_cosine=matching,
        other_cosine=other,
        modality_gap=retrieval.modality_gap(shown, texts.vectors),
        hubness=_hubness(near, len(shown)),
    )


def _recall(
    queries: retrieval.Queries,
    answers: retrieval.Answers,
    query_groups: Int64[np.ndarray, " q"],
    answer_groups: Int64[np.ndarray, " a"],
) -> reports.Recall:
    found = retrieval.ranks(queries, answers, query_groups, answer_groups)
    at = {depth: float((found <= depth).mean()) for depth in (1, 5, 10)}
    return reports.Recall(
        recall_at_1=at[1],
        recall_at_5=at[5],
        recall_at_10=at[10],
        chance_at_1=retrieval.chance_at_1(query_groups, answer_groups),
        median_rank=float(np.median(found)),
        queries=len(queries),
        answers=len(answers),
    )


def run_eval_answers(request: EvalAnswers, monitor: Monitor) -> reports.AnswersEvaluation:
    """Index the documents, or the paragraphs that the seed does not leave out, and ask.

    An abstention counts as an empty answer in `exact_match`, `f1` and `contains_answer`.
    """
    begin = time.perf_counter()
    encoder = load_encoder(request.encoder, device=request.device)
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as name:
        folder = Path(name) / "index"
        if request.documents is None:
            paragraphs = qa_pairs.read_paragraphs(request.file)
            retained, left_out = _divide(paragraphs, request.held_out, request.seed)
            qa_pairs.build_index(folder, retained, encoder, None, monitor)
            questions = [question for item in retained for question in item.questions]
            absent = [question for item in left_out for question in item.questions]
        else:
            questions, absent = qa_pairs.read_questions(request.file), []
            with Index(folder, encoder=request.encoder, device=request.device) as index:
                index.add(request.documents, monitor=monitor)
            _note_unknown_sentences(folder, questions, monitor)
        answerable = [question for question in questions if question.answers]
        unanswerable = [question for question in questions if not question.answers] + absent
        with Index(folder, device=request.device) as index:
            monitor.start("asking", len(answerable) + len(unanswerable))
            options = {name: getattr(request, name) for name in _ASKED}

            def asked(question: qa_pairs.Question) -> Answer:
                answer = index.ask(question.text, **options)
                monitor.advance()
                return answer

            answers = [asked(question) for question in (*answerable, *unanswerable)]
    monitor.note(f"answerability threshold: {answers[0].calibration}")
    given = [*zip(answerable, answers, strict=False)]
    false = [bool(answer.text) for answer in answers[len(answerable) :]]
    texts = [(_bare(answer.text), question.answers) for question, answer in given]
    return reports.AnswersEvaluation(
        encoder=encoder.name,
        writer=request.writer,
        answerable=len(answerable),
        unanswerable=len(unanswerable),
        share_answered=_mean([bool(text) for text, _ in texts]),
        exact_match=_mean([retrieval.exact_match(text, right) for text, right in texts]),
        f1=_mean([retrieval.token_f1(text, right) for text, right in texts]),
        contains_answer=_mean([retrieval.contains_answer(text, right) for text, right in texts]),
        false_answer_rate=_mean(false),
        evidence_floor=answers[0].evidence_floor,
        false=_share(false),
        seconds=time.perf_counter() - begin,
        **_judge(given, encoder, request),
    )


def _note_unknown_sentences(
    folder: Path, questions: Sequence[qa_pairs.Question], monitor: Monitor
) -> None:
    """Note sentences of the question file that no passage contains, which never count as right."""
    with closing(open_index(folder)) as opened, opened.view() as view:
        stored = [passage for path in view.files() for passage in view.passages_of(path)]
    texts = [plain_words(one.text.replace(MASK, "")) for one in readable(stored)]
    unknown = [
        one.sentence
        for one in questions
        if one.sentence
        and not any(said in text for said in wordings(one.sentence) for text in texts)
    ]
    if unknown:
        monitor.note(
            f"{counted(len(unknown), 'sentence')} of the question file in no passage, so no answer "
            f"is right there, for example {unknown[0][:60]!r}"
        )


def _bare(answer: str) -> str:
    return CITATION.sub("", answer)


def _judge(
    given: Sequence[tuple[qa_pairs.Question, Answer]], encoder: Encoder, request: EvalAnswers
) -> dict[str, Any]:
    """Measure how often quoted sentences are right, compared with a simple baseline and chance."""
    if encoder.rescorer is not None:
        encoder = load_encoder(encoder.rescorer, device=request.device)
    reader = CachingEncoder(encoder)
    first, three, plain_first, plain_three, chance = [], [], [], [], []
    for question, answer in given:
        lines = [_bare(line) for line in answer.text.splitlines() if line.strip()]
        shown = lines[:3] if answer.extractive else [_bare(answer.text)]
        right = [_is_right(line, question) for line in shown]
        first.append(any(right[:1]))
        three.append(any(right))
        plain = [_is_right(text, question) for text in _by_cosine(question.text, answer, reader)]
        plain_first.append(any(plain[:1]))
        plain_three.append(any(plain[:3]))
        chance.append(_mean(plain))
    silent = [not answer.text for _, answer in given]
    near = [any(_is_right(one.claim, asked) for one in answer.nearest) for asked, answer in given]
    spans = [
        max(cited, key=lambda one: one.answers or 0.0).span if cited else ""
        for cited in (answer.citations + answer.attributions for _, answer in given)
    ]
    return {
        "right_first": _share(first),
        "right_in_three": _share(three),
        "wrong": _share([not a and not b for a, b in zip(three, silent, strict=True)]),
        "silent": _share(silent),
        "nearest_right": _share(near),
        "plain_first": _share(plain_first),
        "plain_in_three": _share(plain_three),
        "chance_first": _mean(chance),
        "span_f1": _mean(
            [retrieval.token_f1(s, q.answers) for s, (q, _) in zip(spans, given, strict=True)]
        ),
    }


def _by_cosine(question: str, answer: Answer, reader: Encoder) -> list[str]:
    sources = [Source(number, hit) for number, hit in enumerate(readable(answer.hits), 1)]
    texts = list(dict.fromkeys(sentence.text for sentence in list_sentences(sources)))
    if not texts:
        return []
    cosines = reader.encode_texts(texts) @ reader.encode_texts([question], role="query")[0]
    return [texts[i] for i in np.argsort(-cosines, kind="stable")]


def _is_right(text: str, question: qa_pairs.Question) -> bool:
    if question.sentence:
        return says(text, question.sentence)
    return retrieval.contains_answer(text, question.answers)


def _share(values: Sequence[bool]) -> reports.Share:
    low, high = wilson(sum(values), len(values))
    return reports.Share(share=_mean(values), low=low, high=high)


def _divide(
    paragraphs: Sequence[qa_pairs.Paragraph], held_out: float, seed: int
) -> tuple[list[qa_pairs.Paragraph], list[qa_pairs.Paragraph]]:
    count = min(round(held_out * len(paragraphs)), len(paragraphs) - 1)
    order = np.random.default_rng(seed).permutation(len(paragraphs))
    left_out = set(order[:count].tolist())
    return (
        [item for location, item in enumerate(paragraphs) if location not in left_out],
        [item for location, item in enumerate(paragraphs) if location in left_out],
    )


def _mean(values: Sequence[bool | float]) -> float:
    return sum(values) / len(values) if values else 0.0


_DEPTH = 100  # passages retrieved; a paragraph not among them has no rank


def run_eval_retrieval(request: EvalRetrieval, monitor: Monitor) -> reports.RetrievalEvaluation:
    """Index the paragraphs in a temporary folder and search for each question in each mode."""
    begin = time.perf_counter()
    paragraphs = qa_pairs.read_paragraphs(request.file)
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    rescorer = None
    if encoder.rescorer is not None:
        rescorer = CachingEncoder(load_encoder(encoder.rescorer, device=request.device))
    requested = [
        (question, number)
        for number, paragraph in enumerate(paragraphs)
        for question in paragraph.questions
    ]
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as name:
        folder = Path(name) / "index"
        embedding_seconds = qa_pairs.build_index(
            folder, paragraphs, encoder, request.layer, monitor
        )
        finder = CachingEncoder(encoder)
        for known in (finder, rescorer):
            if known is not None:  # one batch for all questions
                known.encode_texts([question.text for question, _ in requested], role="query")
        modes = {}
        with open_index(folder) as index:
            monitor.start("searching", len(requested) * len(get_args(Mode)))
            for mode in get_args(Mode):
                ranks = []
                for question, number in requested:
                    found = search(
                        index, finder, question.text, k=_DEPTH, mode=mode, rescorer=rescorer
                    )
                    ranks.append(_rank(found.hits, qa_pairs.document_path(folder, number)))
                    monitor.advance()
                modes[mode] = retrieval.retrieval_figures(ranks)
    return reports.RetrievalEvaluation(
        encoder=encoder.name,
        documents=len(paragraphs),
        questions=len(requested),
        modes=modes,
        documents_per_second=len(paragraphs) / max(embedding_seconds, 1e-9),
        seconds=time.perf_counter() - begin,
    )


def _rank(hits: Sequence[Hit], right: str) -> int | None:
    ranks: dict[str, int] = {}
    for hit in hits:
        rank = ranks.setdefault(hit.path, len(set(ranks.values())) + 1)
        for copy in hit.copies:
            ranks.setdefault(copy.path, rank)
    return ranks.get(right)


def run_eval_similarity(request: EvalSimilarity, monitor: Monitor) -> reports.SimilarityEvaluation:
    """Embed both texts of each pair and correlate the cosines with the scores."""
    begin = time.perf_counter()
    read = read_pairs(request.file, reading_of(request))
    report_reading([read.dialect], read.notes, monitor)
    pairs = read.rows
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    texts = [pair.first for pair in pairs] + [pair.second for pair in pairs]
    monitor.start("embedding", len(texts))
    vectors = encoder.encode_texts(texts, advance=monitor.advance)
    cosines = (vectors[: len(pairs)] * vectors[len(pairs) :]).sum(axis=1)
    spearman, pearson = retrieval.correlations(cosines, np.array([pair.score for pair in pairs]))
    return reports.SimilarityEvaluation(
        encoder=encoder.name,
        pairs=len(pairs),
        spearman=spearman,
        pearson=pearson,
        tables=[read.dialect],
        notes=list(read.notes),
        seconds=time.perf_counter() - begin,
    )


def run_readout(request: Readout, monitor: Monitor) -> ReadoutResult:
    """Fit linear probes, with two controls, then move along what can be measured.

    Raises as `library.probing.carry_out` does.
    """
    return carry_out(request, monitor).report
