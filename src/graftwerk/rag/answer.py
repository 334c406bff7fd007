"""One answer: search, abstain below the answerability threshold, prompt, write, check."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import WriterFailed
from ..models.language.markup import readable
from ..models.language.reader import Reader
from ..models.language.reading import ExtractiveWriter
from ..search.results import Hit, SearchResult
from ..types import Encoder, Monitor, Writer
from .citations import (
    as_in_files,
    attribute,
    check_citations,
    details_not_in,
    find_claims,
    nearest_sentence,
    rate_answers,
)
from .evidence import MEASURE, measure_evidence
from .prompt import (
    NOT_IN_DOCUMENTS,
    KnownCitations,
    RetrievedContext,
    build_prompt,
    clean_reply,
    require_room,
)
from .results import Answer

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
        floor: evidence below which a question is not answered.
        calibration: where the floor comes from.
        k: passages offered to the writer; 0 for the bare question.
        budget: tokens that a prompt may have.
        show_prompt: whether the answer holds the prompt.
        measure: version of the evidence that the floor was set with.
    """

    find: Callable[[str], SearchResult]
    reader: Encoder
    writer: Writer
    floor: float
    calibration: str
    k: int
    budget: int
    show_prompt: bool = False
    measure: int = MEASURE

    def ask(self, question: str, monitor: Monitor, watch: Stopwatch) -> Answer:
        """Search, abstain or prompt and write, check."""
        require_room(question, self.budget, self.writer.count_tokens)
        hits: Sequence[Hit] = ()
        notes: list[str] = []
        evidence = 0.0
        if self.k:
            with watch.time("search"):
                found = self.find(question)
            hits, notes = found.hits, [*found.notes]
            with watch.time("evidence"):
                evidence = measure_evidence(question, hits, self.reader, self.measure)
        if "English" in self.calibration and _is_other(question):
            notes.append(_OTHER_SCRIPT)
        for note in notes:
            monitor.note(note)
        answer = Answer(
            question=question,
            answer="",
            abstained=True,
            writer=self.writer.name,
            extractive=self.writer.extractive,
            evidence=evidence,
            evidence_floor=self.floor,
            calibration=self.calibration,
            citations=[],
            removed_citations=0,
            uncited=0,
            hits=list(hits[: self.k]),
            dropped=[],
            prompt=None,
            prompt_tokens=0,
            seconds=watch.seconds,
            notes=notes,
        )
        if self.k and (not hits or evidence < self.floor):
            with watch.time("check"):
                nearest = nearest_sentence(question, answer.hits, self.reader, self._trained)
            return answer.model_copy(update={"nearest": nearest})
        return answer.model_copy(update=self._write(question, answer.hits, monitor, watch))

    @property
    def _trained(self) -> Reader | None:
        return self.writer.reader if isinstance(self.writer, ExtractiveWriter) else None

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
            known = (prompt.sources, self.reader, self._trained)
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
