"""Reports of answers from an index."""

from typing import Literal

from pydantic import Field, FiniteFloat

from ..models.language.markup import MASK, without_markup
from ..results import Report, with_position
from ..search.results import Hit
from ..text_safety import as_html, html_table, shortened


class CitationReport(Report):
    """One citation `[n]` of an answer."""

    number: int = Field(description="n")
    path: str = Field(description="file cited")
    start: int = Field(description="first character of the cited span in the document's text")
    end: int = Field(description="one past the last")
    line: int | None = Field(description="first line of the cited span, from 1")
    page: int | None = Field(description="page, from 1")
    claim: str = Field(description="the sentence of the answer that cites")
    quote: str = Field(description="the text of the source that is nearest to the claim")
    verdict: Literal["verbatim", "paraphrase", "unsupported"] = Field(
        description="how the claim relates to the cited text"
    )
    similarity: float = Field(description="cosine between claim and quote")
    answers: float | None = Field(
        default=None, description="probability that the quote answers the question"
    )
    answer_start: int | None = Field(
        default=None,
        description="first character of the likeliest answer in the quote, in the document's text",
    )
    answer_end: int | None = Field(default=None, description="one past its last")

    @property
    def span(self) -> str:
        """Return the most likely answer in the quote; empty without one."""
        if self.answer_start is None or self.answer_end is None:
            return ""
        span = self.quote[self.answer_start - self.start : self.answer_end - self.start]
        return without_markup(span, self.path, self.answer_start).replace(MASK, "")

    @property
    def location(self) -> str:
        """Return the path with line or page."""
        return with_position(self.path, self.line, self.page)


def answers_text(citation: CitationReport) -> str:
    """How probably a citation answers, as two decimals; empty where there was no question of it."""
    return "" if citation.answers is None else f"{citation.answers:.2f}"


class Dropped(Report):
    """Passage that was retrieved but did not reach the writer whole."""

    path: str = Field(description="file")
    start: int = Field(description="first character left out, in the document's text")
    end: int = Field(description="one past the last")
    tokens: int = Field(description="tokens left out")
    reason: Literal["dropped", "cut"] = Field(description="left out whole, or cut at the end")


class Answer(Report):
    """What `ask` answered."""

    question: str = Field(description="the question")
    asked: str | None = Field(
        default=None,
        description="the question that was really asked, where one of a conversation was made to "
        "stand alone; null where it is the question itself",
    )
    answer: str = Field(default="", description="the answer; empty when abstained")
    abstained: bool = Field(
        default=True,
        description="true when the evidence was below the floor, or the writer found no answer",
    )
    writer: str = Field(description="who wrote the answer")
    extractive: bool = Field(description="true when the answer only quotes")
    evidence: float = Field(description="strength of the evidence found, 0 to 1")
    evidence_floor: float = Field(description="below it, no answer is given")
    calibration: str = Field(description="where the floor comes from and what it promises")
    citations: list[CitationReport] = Field(default=[], description="checked citations")
    removed_citations: int = Field(
        default=0, description="citations of numbers that were not sent, removed"
    )
    uncited: int = Field(default=0, description="sentences of the answer that cite nothing")
    attributions: list[CitationReport] = Field(
        default=[],
        description="for each sentence that cites nothing, where the passages say it, or come "
        "nearest to it; found here, not cited by the writer",
    )
    not_in_passages: list[str] = Field(
        default=[],
        description="numbers, dates and names of the answer that stand neither in a passage sent "
        "nor in the question",
    )
    nearest: list[CitationReport] = Field(
        default=[],
        description="when abstained: up to three sentences likeliest to answer, best first",
    )
    hits: list[Hit] = Field(description="the passages found")
    dropped: list[Dropped] = Field(default=[], description="what did not fit the token budget")
    prompt: str | None = Field(default=None, description="the prompt as sent, with --show-prompt")
    prompt_tokens: int = Field(default=0, description="tokens of the prompt")
    seconds: dict[str, float] = Field(description="wall time of each step")
    notes: list[str] = Field(default=[], description="how the question was read")

    @property
    def text(self) -> str:
        """Return the answer; empty after an abstention."""
        return self.answer

    def __repr__(self) -> str:
        if self.abstained:
            return f"<Answer: abstained, evidence {self.evidence:.2f}>"
        return (
            f"<Answer {shortened(self.answer)!r}, {len(self.citations)} citations, "
            f"evidence {self.evidence:.2f}>"
        )

    def _repr_html_(self) -> str:
        shown = "<em>abstained</em>" if self.abstained else as_html(self.answer)
        kinds = {"[{}]": self.citations, "not cited": self.attributions, "nearest": self.nearest}
        rows = [
            [mark.format(one.number), one.location, answers_text(one), one.verdict, one.quote]
            for mark, found in kinds.items()
            for one in found
        ]
        header = ["", "where", "answers the question", "verdict", "quote"]
        table = html_table(header, rows) if rows else ""
        missing = ", ".join(self.not_in_passages)
        remark = f"<p>not in the passages: {as_html(missing)}</p>" if missing else ""
        return f"<p>{shown}</p>{table}{remark}"


class ChatResult(Report):
    """What `chat` answered."""

    turns: list[Answer] = Field(description="the answer of each turn, in order")


class Calibration(Report):
    """An answerability threshold and what it promises."""

    floor: FiniteFloat = Field(description="answerability threshold")
    encoder: str = Field(description="name of the encoder it holds for")
    fingerprint: str = Field(description="hash of the encoder it holds for")
    answerable: int = Field(description="answerable questions used")
    unanswerable: int = Field(description="unanswerable questions used")
    share_answered: float = Field(description="share of answerable questions above the floor")
    false_answer_rate: float = Field(
        description="share of unanswerable questions above the floor, measured"
    )
    promised_rate: float = Field(
        description="upper end of the 95 % confidence interval of false_answer_rate"
    )
    auc: float = Field(description="chance that an answerable question has the stronger evidence")
    source: str = Field(description="where it comes from")
    measure: int = Field(
        ge=2, le=3, description="kind of the evidence it was set with; 3: with the trained reader"
    )
    reading: list[FiniteFloat] = Field(
        default_factory=list,
        max_length=64,
        description="coefficients of the extractive writer, learned from the sentences of the "
        "questions; empty: the shipped ones are used",
    )
    read: int = Field(
        default=0, description="answerable questions whose sentence was given and found"
    )
    first_before: float | None = Field(
        default=None, description="share of these with the right sentence first, as shipped"
    )
    first_after: float | None = Field(
        default=None, description="the same, learned from the other questions"
    )
