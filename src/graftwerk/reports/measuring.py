"""Reports of measurements."""

from pydantic import Field

from .base import Report


class RetrievalFigures(Report):
    """Figures of one search mode."""

    recall_at_1: float = Field(description="share of questions whose paragraph is first")
    recall_at_5: float = Field(description="share with the paragraph among the first 5")
    recall_at_10: float = Field(description="share with the paragraph among the first 10")
    mrr: float = Field(description="mean reciprocal rank")
    ndcg_at_10: float = Field(description="normalised discounted cumulative gain at 10")


class RetrievalEvaluation(Report):
    """What `eval retrieval` measured."""

    encoder: str = Field(description="name of the encoder")
    documents: int = Field(description="paragraphs")
    questions: int = Field(description="questions")
    modes: dict[str, RetrievalFigures] = Field(description="figures by mode")
    documents_per_second: float = Field(description="paragraphs embedded per second")
    seconds: float = Field(description="wall time")


class SimilarityEvaluation(Report):
    """What `eval similarity` measured."""

    encoder: str = Field(description="name of the encoder")
    pairs: int = Field(description="pairs")
    spearman: float = Field(description="rank correlation of cosine and judgement, -1 to 1")
    pearson: float = Field(description="linear correlation, -1 to 1")
    seconds: float = Field(description="wall time")


class AnswersEvaluation(Report):
    """What `eval answers` measured."""

    encoder: str = Field(description="name of the encoder")
    writer: str = Field(description="who wrote the answers")
    answerable: int = Field(description="questions whose paragraph was in the index")
    unanswerable: int = Field(description="questions whose paragraph was left out")
    share_answered: float = Field(description="share of answerable questions not abstained from")
    exact_match: float = Field(description="share of answers equal to a reference, SQuAD rules")
    f1: float = Field(description="mean token F1 against the best reference, SQuAD rules")
    contains_answer: float = Field(description="share of answers that contain a reference")
    false_answer_rate: float = Field(description="share of unanswerable questions answered")
    evidence_floor: float = Field(description="floor used")
    seconds: float = Field(description="wall time")
