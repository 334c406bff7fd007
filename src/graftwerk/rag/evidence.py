"""Answers, and the threshold below which a question is not answered; the error rate it promises.

How strongly the passages found speak for an answer being in them: a number from 0 to 1.

Three things are looked at: the cosine of the nearest sentence, alone or under its headings; the
share of the question's content words, weighted by rarity, that one passage holds; and by how much
the likeliest sentence leads all others and "none of them". With the trained reader, a fourth: the
largest probability that it gives a passage of holding the answer. A logistic function joins them.
Its coefficients were fitted by `bench/fit_evidence.py` on the question sets in `bench/questions`
with the built-in encoder: each question once with the passages that answer it and once without,
other passages of the same documents still there, and questions that the documents do not answer.

A calibration says whether it was made with the reader, and is held to the evidence of its kind.
"""

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydantic

from .. import files
from ..errors import BadInput, WriterFailed
from ..metrics.intervals import clopper_pearson_upper
from ..models.language import reading
from ..models.language.markup import readable
from ..models.language.reader import Reader, load_reader
from ..models.language.reading import ExtractiveWriter
from ..models.language.sentences import DIVIDED, content_stems, covered, joined, rarity
from ..requests.search import Ask
from ..search.results import Hit, SearchResult
from ..types import Encoder, Monitor, Source, Writer
from .citations import (
    as_in_files,
    attribute,
    check_citations,
    details_not_in,
    find_claims,
    nearest_sentences,
    rate_answers,
)
from .prompt import (
    NOT_IN_DOCUMENTS,
    KnownCitations,
    RetrievedContext,
    build_prompt,
    clean_reply,
    require_room,
)
from .results import Answer, Calibration

FILE_NAME = "calibration.json"
LEAST_QUESTIONS = 10  # of each kind; with fewer the promise says next to nothing
RULES, READER = 2, 3  # kinds of evidence, without and with the reader; a calibration is for one
_STEP = 1e-6  # above the noise of float32, below any difference that means something
_WEIGHTS = Path(__file__).parents[1] / "weights"
_SHIPPED = {
    RULES: _WEIGHTS / "minilm-calibration.json",
    READER: _WEIGHTS / "minilm-reader-calibration.json",
}


def calibrate(
    answerable: Sequence[float],
    unanswerable: Sequence[float],
    false_answer_rate: float,
    encoder: Encoder,
    source: str,
    *,
    reader: bool = True,
) -> Calibration:
    """Choose the floor that answers most and lets at most `false_answer_rate` through wrongly.

    Of the floors that answer equally many answerable questions, the one that lets the fewest
    others through, in the middle of the gap that it may lie in. The floor lies above an order
    statistic of n scores with j above it, so the true rate follows Beta(j+1, n-j) at most, whose
    quantile is the upper Clopper-Pearson limit of j out of n: the promise holds although the
    floor was chosen on the same questions.

    Args:
        answerable: evidence for questions that the documents answer.
        unanswerable: evidence for questions that they do not.
        false_answer_rate: share of the latter that may be answered, 0 to 1.
        encoder: what it holds for.
        source: as shown to the user.
        reader: whether the evidence was measured with the trained reader, where there is one.
    """
    for kind, scores in (("answerable", answerable), ("unanswerable", unanswerable)):
        if len(scores) < LEAST_QUESTIONS:
            raise BadInput(
                f"{len(scores)} {kind} questions are too few to calibrate with.",
                f"Give at least {LEAST_QUESTIONS} questions of each kind; 100 promise more.",
            )
    allowed = math.floor(false_answer_rate * len(unanswerable) + 1e-9)
    floor = _floor(answerable, unanswerable, allowed)
    above = sum(score >= floor for score in unanswerable)
    return Calibration(
        floor=floor,
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        answerable=len(answerable),
        unanswerable=len(unanswerable),
        share_answered=sum(score >= floor for score in answerable) / len(answerable),
        false_answer_rate=above / len(unanswerable),
        promised_rate=clopper_pearson_upper(allowed, len(unanswerable)),
        auc=area_under_curve(answerable, unanswerable),
        source=source,
        measure=RULES if not reader or load_reader(encoder) is None else READER,
    )


def _floor(answerable: Sequence[float], unanswerable: Sequence[float], allowed: int) -> float:
    highest_refused = sorted(unanswerable, reverse=True)[allowed]
    answered = [score for score in answerable if score > highest_refused]
    if not answered:
        return highest_refused + _STEP
    lowest = min(answered)
    below = max(score for score in (*answerable, *unanswerable) if score < lowest)
    return (below + lowest) / 2  # as far as can be from a question of either kind


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the probability that a positive scores above a negative; ties count half."""
    ordered = sorted(negative)
    above = sum(
        (bisect_left(ordered, score) + bisect_right(ordered, score)) / 2 for score in positive
    )
    return above / (len(positive) * len(negative))


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration into the folder of an index."""
    files.write_json(folder / FILE_NAME, calibration.model_dump())


def find_calibration(
    folder: Path, encoder: Encoder, *, reader: bool = True
) -> tuple[Calibration | None, str]:
    """Return the calibration that applies to an index, and a line that describes it.

    The index's own where it was made with the same weights, else the shipped one where it was.
    """
    kinds = (RULES,) if not reader or load_reader(encoder) is None else (RULES, READER)
    own = folder / FILE_NAME
    stale = ""
    if own.exists():
        found = _read(own)
        if found and found.fingerprint == encoder.fingerprint and found.measure in kinds:
            return found, describe(found)
        stale = f"{own} was made with another encoder, reader or format and is ignored; "
    shipped = _read(_SHIPPED[kinds[-1]])
    if shipped is not None and shipped.fingerprint == encoder.fingerprint:
        return shipped, stale + describe(shipped)
    return None, (
        f"{stale}none for {encoder.name}: no question is turned away; run `graft calibrate`"
    )


class Threshold(NamedTuple):
    """The threshold for a question, its origin, the reader of its evidence, and what it learned."""

    floor: float
    line: str
    reader: Reader | None = None
    reading: Sequence[float] = ()

    def teach(self, writer: Writer) -> Writer:
        """Return the writer, with the coefficients that its index has learned."""
        return writer.learned(self.reading) if isinstance(writer, ExtractiveWriter) else writer


def find_threshold(request: Ask, encoder: Encoder) -> Threshold:
    """Return the threshold for a question."""
    if request.k == 0:
        return Threshold(0.0, "none: with -k 0 no documents are looked at")
    reader = load_reader(encoder) if request.reader else None
    found, line = find_calibration(request.index, encoder, reader=request.reader)
    learned = [] if found is None else found.reading
    if request.evidence is not None:
        return Threshold(request.evidence, "given with --evidence", reader, learned)
    if found is None:
        return Threshold(0.0, line, reader)
    return Threshold(found.floor, line, reader if found.measure == READER else None, learned)


def describe(calibration: Calibration) -> str:
    """Describe the calibration in one line: its source and its promise."""
    return (
        f"{calibration.source}: on questions like those it was set with, at most "
        f"{calibration.promised_rate:.0%} false answers (95 % confidence)"
    )


def _read(path: Path) -> Calibration | None:
    try:
        return Calibration.model_validate(files.read_json(path))
    except (pydantic.ValidationError, BadInput):
        return None


EVIDENCE_HITS = 10  # hits to search for, whatever number of them is offered to the writer
_READ_HITS = 5  # whose sentences are read
Features = tuple[float, ...]
COEFFICIENTS: dict[int, Features] = {RULES: (4.41, 2.48, 0.62), READER: (3.69, 2.04, 0.56, 0.39)}
INTERCEPT = {RULES: -4.23, READER: -3.26}
_NO_ANSWER = 7.0  # score of "none of these sentences", by area under the curve of sets left out
_LEAST = -8.0  # logarithm of a probability


def measure_evidence(
    question: str, hits: Sequence[Hit], encoder: Encoder, reader: Reader | None = None
) -> float:
    """Return the strength of the evidence in `hits`, 0 without any.

    Args:
        question: the question.
        hits: text passages, best first; the first `EVIDENCE_HITS` are looked at.
        encoder: the full encoder (for a static index, its rescorer).
        reader: the trained reader, if it reads along.
    """
    if not hits:
        return 0.0
    kind = RULES if reader is None else READER
    features = find_features(question, readable(hits), encoder, reader)
    logit = INTERCEPT[kind] + sum(
        weight * value for weight, value in zip(COEFFICIENTS[kind], features, strict=True)
    )
    return 1.0 / (1.0 + math.exp(-logit))


def measure_all(
    kinds: Sequence[Sequence[str]],
    find: Callable[[str], SearchResult],
    encoder: Encoder,
    monitor: Monitor,
) -> list[list[float]]:
    """Return the evidence for the questions of each kind."""
    monitor.start("measuring evidence", sum(map(len, kinds)))
    reader = load_reader(encoder)
    scores: list[list[float]] = []
    for questions in kinds:
        scores.append([])
        for question in questions:
            scores[-1].append(measure_evidence(question, find(question).hits, encoder, reader))
            monitor.advance()
    return scores


def find_features(
    question: str, hits: Sequence[Hit], encoder: Encoder, reader: Reader | None = None
) -> Features:
    """Return cosine of the nearest sentence, share of words found, and lead of one sentence.

    With the trained reader, also the logarithm of the largest probability that a passage answers.
    """
    answers: Features = ()
    if reader is not None:
        found = reader.read(question, [(hit.heading, hit.text) for hit in hits[:_READ_HITS]])
        shares = (one.share(0, len(hit.text)) for one, hit in zip(found, hits, strict=False))
        answers = (max(_LEAST, *shares),)
    whole = [  # words divided at the ends of lines are one word to the encoder
        replace(hit, text=text) if text != hit.text else hit
        for hit, text in ((hit, DIVIDED.sub(joined, hit.text)) for hit in hits)
    ]
    sources = [Source(number, hit) for number, hit in enumerate(whole[:_READ_HITS], 1)]
    sentences = reading.list_sentences(sources)
    if not sentences:
        return 0.0, 0.0, -_NO_ANSWER, *answers
    _, seen, _ = reading.find_features(question, sentences, encoder)
    scores = seen @ np.array(reading.WEIGHTS)
    best = int(np.argmax(scores))
    others = np.logaddexp.reduce([_NO_ANSWER, *np.delete(scores, best)])
    held = _words_held(question, whole)
    return float(seen[:, :2].max()), held, float(scores[best] - others), *answers


def _words_held(question: str, hits: Sequence[Hit]) -> float:
    requested = content_stems(question)
    stems = [content_stems(f"{hit.heading} {hit.text}") for hit in hits[:EVIDENCE_HITS]]
    weights = rarity(stems)
    return max(covered(requested, found, weights) for found in stems)


_LATIN = 0x24F  # the last letter
_OTHER_SCRIPT = (
    "encoder and threshold are for English: in this script the evidence rests on shared words, and "
    "no rate of false answers is promised; graft calibrate sets a threshold for your questions"
)


def _is_other(question: str) -> bool:
    """Whether most letters are not Latin."""
    letters = [ord(letter) for letter in question if letter.isalpha()]
    return sum(letter > _LATIN for letter in letters) * 2 > len(letters)


class Stopwatch:
    """Wall time per step, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Add the block's time to `step`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True, slots=True)
class Asker:
    """Configuration shared by all questions.

    Attributes:
        find: gives text passages for a question, best first; at least `k` where there are.
        reader: the full encoder, which compares sentences.
        writer: who writes.
        threshold: of the evidence, below which a question is not answered.
        k: passages offered to the writer; 0 for the bare question.
        budget: tokens that a prompt may have.
        show_prompt: whether the answer holds the prompt.
    """

    find: Callable[[str], SearchResult]
    reader: Encoder
    writer: Writer
    threshold: Threshold
    k: int
    budget: int
    show_prompt: bool = False

    def ask(self, question: str, monitor: Monitor, watch: Stopwatch) -> Answer:
        """Search, abstain or prompt and write, check."""
        require_room(question, self.budget, self.writer.count_tokens)
        limit = self.threshold
        hits: Sequence[Hit] = ()
        notes: list[str] = []
        evidence = 0.0
        if self.k:
            with watch.time("search"):
                found = self.find(question)
            hits, notes = found.hits, [*found.notes]
            with watch.time("evidence"):
                evidence = measure_evidence(question, hits, self.reader, limit.reader)
        if "English" in limit.line and _is_other(question):
            notes.append(_OTHER_SCRIPT)
        for note in notes:
            monitor.note(note)
        answer = Answer(
            question=question,
            writer=self.writer.name,
            extractive=self.writer.extractive,
            evidence=evidence,
            evidence_floor=limit.floor,
            calibration=limit.line,
            hits=list(hits[: self.k]),
            seconds=watch.seconds,
            notes=notes,
        )
        if self.k and (not hits or evidence < limit.floor):
            with watch.time("check"):
                nearest = nearest_sentences(question, answer.hits, self.reader, self._learned)
            return answer.model_copy(update={"nearest": nearest})
        return answer.model_copy(update=self._write(question, answer.hits, monitor, watch))

    @property
    def _learned(self) -> Reader | None:
        """The reader with the coefficients that the index has learned."""
        if isinstance(self.writer, ExtractiveWriter):
            return self.writer.reader
        return self.threshold.reader

    def _write(
        self, question: str, hits: Sequence[Hit], monitor: Monitor, watch: Stopwatch
    ) -> dict[str, object]:
        """Return the fields of an answer that was generated and checked."""
        with watch.time("prompt"):
            context = RetrievedContext(tuple(readable(hits)), self.budget, self.writer.count_tokens)
            prompt, dropped = build_prompt(question, context)
        citations = KnownCitations(source.number for source in prompt.sources)
        pieces = []
        with watch.time("write"):
            for piece in clean_reply(self.writer.write(prompt), citations):
                monitor.stream(piece)
                pieces.append(piece)
        text = "".join(pieces).strip()
        if not text and not self.writer.extractive:
            raise WriterFailed(
                f"{self.writer.name} wrote nothing, which says nothing about the documents.",
                "Ask again, raise --max-tokens, or name another writer.",
            )
        if text.strip("\"'. ").casefold() == NOT_IN_DOCUMENTS:
            text = ""
        with watch.time("check"):
            claims = find_claims(text)
            checked = check_citations(claims, prompt.sources, self.reader)
            found = attribute(claims, prompt.sources, self.reader)
            known = (prompt.sources, self.reader, self._learned)
            rated = rate_answers(question, [*checked, *found], *known)
            rated = as_in_files(rated, hits)
        return {
            "answer": text,
            "abstained": not text,
            "citations": rated[: len(checked)],
            "attributions": rated[len(checked) :],
            "not_in_passages": details_not_in(claims, question, prompt.sources)
            if prompt.sources
            else [],
            "removed_citations": citations.removed,
            "uncited": sum(not claim.cites for claim in claims),
            "dropped": list(dropped),
            "prompt": prompt.text if self.show_prompt else None,
            "prompt_tokens": self.writer.count_tokens(prompt.text),
            "seconds": watch.seconds,
        }
