"""What `ask`, `calibrate` and `eval answers` share: an opened library, and one answer from it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..models.encoders import Remembering
from ..requests.base import Mode
from ..search.index import Index
from ..search.opening import open_for_search
from ..search.query import search
from ..types import Encoder, Hit, Monitor, Prompt, Writer
from .citations import check_citations, find_claims
from .evidence import EVIDENCE_HITS, measure_evidence
from .prompt import (
    NOT_IN_DOCUMENTS,
    KnownCitations,
    RetrievedContext,
    build_prompt,
    clean_reply,
    require_room,
)
from .results import CitationReport, Dropped


class Stopwatch:
    """Wall time by step, in seconds."""

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
class Library:
    """An index with the encoders that read it; no text is embedded twice while it is open.

    Attributes:
        index: the index.
        finder: the encoder that made it.
        reader: the full encoder, which compares sentences: the finder's rescorer or itself.
    """

    index: Index
    finder: Encoder
    reader: Encoder

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()

    def find(
        self, question: str, k: int = 0, mode: Mode = "hybrid", where: Sequence[str] = ()
    ) -> tuple[Hit, ...]:
        """Text passages for a question: `k` or `EVIDENCE_HITS`, whichever is more."""
        if "image" in self.finder.reads:
            where = [*where, "kind = text"]
        return search(
            self.index,
            self.finder,
            question,
            k=max(k, EVIDENCE_HITS),
            mode=mode,
            where=where,
            rescorer=None if self.reader is self.finder else self.reader,
        ).hits

    def weigh(self, question: str, hits: Sequence[Hit]) -> float:
        """How strongly `hits` speak for an answer being in the documents, 0 to 1."""
        return measure_evidence(question, hits, self.reader)


def open_library(folder: Path, device: str) -> Library:
    """Open an index for questions."""
    index, encoder, rescorer = open_for_search(folder, "hybrid", device)
    if encoder is None:
        raise TypeError("an index was opened for vectors and came without its encoder")
    finder = Remembering(encoder)
    return Library(index, finder, finder if rescorer is None else Remembering(rescorer))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was written and checked.

    Attributes:
        text: the answer; empty where the writer found none in the documents.
        prompt: what the writer got.
        dropped: passages that did not fit, whole or in part.
        citations: every citation, judged.
        removed: citations of what was not sent.
        uncited: sentences without a citation.
    """

    text: str
    prompt: Prompt
    dropped: tuple[Dropped, ...]
    citations: list[CitationReport]
    removed: int
    uncited: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a question.

    Attributes:
        hits: the passages that were offered to the writer.
        evidence: how strongly the passages found speak for an answer.
        reply: None where the evidence was below the floor.
    """

    hits: tuple[Hit, ...]
    evidence: float
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Asker:
    """Everything that is the same for one question and the next.

    Attributes:
        library: where passages come from.
        writer: who writes.
        floor: evidence below which a question is not answered.
        k: passages offered to the writer; 0 for the bare question.
        budget: tokens that a prompt may have.
        mode: how passages are found.
        where: conditions on them.
    """

    library: Library
    writer: Writer
    floor: float
    k: int
    budget: int
    mode: Mode = "hybrid"
    where: Sequence[str] = ()

    def ask(self, question: str, monitor: Monitor, watch: Stopwatch) -> Outcome:
        """Search, abstain or prompt and write, check.

        Raises:
            BadInput: the question does not fit the budget, or there is nothing to quote.
            WriterFailed: the writer gave no whole answer.
        """
        require_room(question, self.budget, self.writer.count_tokens)
        hits: tuple[Hit, ...] = ()
        evidence = 0.0
        if self.k:
            with watch.time("search"):
                hits = self.library.find(question, self.k, self.mode, self.where)
            with watch.time("evidence"):
                evidence = self.library.weigh(question, hits)
            if not hits or evidence < self.floor:
                return Outcome(hits[: self.k], evidence, None)
        context = RetrievedContext(
            passages=tuple(hit.passage for hit in hits[: self.k]),
            budget=self.budget,
            count_tokens=self.writer.count_tokens,
            base=self.library.index.fingerprint,
        )
        reply = self._write(question, context, monitor, watch)
        return Outcome(hits[: self.k], evidence, reply)

    def _write(
        self, question: str, context: RetrievedContext, monitor: Monitor, watch: Stopwatch
    ) -> Reply:
        with watch.time("prompt"):
            prompt, dropped = build_prompt(question, context)
        citations = KnownCitations(source.number for source in prompt.sources)
        pieces = []
        with watch.time("write"):
            for piece in clean_reply(self.writer.write(prompt), citations):
                monitor.stream(piece)
                pieces.append(piece)
        text = "".join(pieces).strip()
        if text.strip("\"'. ").casefold() == NOT_IN_DOCUMENTS:
            text = ""
        with watch.time("check"):
            claims = find_claims(text)
            checked = check_citations(claims, prompt.sources, self.library.reader)
        uncited = sum(not claim.cites for claim in claims)
        return Reply(text, prompt, dropped, checked, citations.removed, uncited)
