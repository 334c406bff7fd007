"""Reports of embedding spaces, retrieval, similarity and answers."""

from pydantic import Field

from ..results import OODCount, ReadingNotes, Report, Skipped


class Recall(Report):
    """How often what belongs together finds itself."""

    recall_at_1: float = Field(description="share of queries whose own answer is the nearest")
    recall_at_5: float = Field(description="share with it among the 5 nearest")
    recall_at_10: float = Field(description="share with it among the 10 nearest")
    chance_at_1: float = Field(description="recall_at_1 of a random order")
    median_rank: float = Field(description="rank of the own answer, in the middle of all queries")
    queries: int = Field(description="number of queries")
    answers: int = Field(description="number of answers to choose from")


class Hubness(Report):
    """Whether a few things come up for nearly every query."""

    skewness: float = Field(
        description="skewness of how often each is among the k nearest; 0: all equally, above 1: "
        "few hubs for many queries"
    )
    antihubs: float = Field(description="share that is among the k nearest of no query")
    largest: float = Field(description="share of queries that the greatest hub comes up for")


class Purity(Report):
    """Whether neighbors share an attribute."""

    shared: float = Field(
        description="share of an attribute's values that each and its k nearest have in common; "
        "for one value each: the share of neighbors with the same"
    )
    chance: float = Field(description="the same for any two: what neighbors must exceed")
    values: int = Field(description="different values")


class Half(Report):
    """How images alone, or texts alone, are laid out."""

    count: int = Field(description="number of vectors")
    anisotropy: float = Field(
        description="mean cosine of two different ones; 0: all directions in use, 1: all the same"
    )
    hubness: Hubness = Field(description="hubs among the k nearest neighbors")
    purity: dict[str, Purity] = Field(description="what neighbors share, by attribute")


class Across(Report):
    """How images and captions lie to each other."""

    text_to_image: Recall = Field(description="each different caption finds an image of it")
    image_to_text: Recall = Field(description="each image finds its caption")
    matching_cosine: float = Field(description="mean cosine of an image and its caption")
    other_cosine: float = Field(description="mean cosine of an image and the captions of others")
    modality_gap: float = Field(
        description="distance between the mean image and the mean caption, 0 to 2"
    )
    hubness: Hubness = Field(description="images that come up for many captions")


class AlignmentEvaluation(Report):
    """What `eval alignment` measured."""

    encoder: str = Field(description="name of the encoder")
    k: int = Field(description="neighbors that were looked at")
    across: Across | None = Field(
        description="images and captions; null where the encoder or the data lack one of them"
    )
    pictures: Half | None = Field(description="the images among themselves")
    texts: Half | None = Field(description="the different captions or texts among themselves")
    unfamiliar: OODCount
    skipped: list[Skipped] = Field(description="images left out, with reasons")
    tables: list[str] = Field(default=[], description="how each table is written")
    notes: ReadingNotes = Field(default=[])
    seconds: float = Field(description="wall time, the model's loading included")


class RetrievalFigures(Report):
    """Figures of one search mode."""

    recall_at_1: float = Field(description="share of questions whose paragraph is first")
    recall_at_5: float = Field(description="share with the paragraph among the first 5")
    recall_at_10: float = Field(description="share with the paragraph among the first 10")
    mrr: float = Field(description="mean reciprocal rank")
    ndcg_at_10: float = Field(description="normalized discounted cumulative gain at 10")


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
    spearman: float = Field(description="rank correlation of cosine and judgment, -1 to 1")
    pearson: float = Field(description="linear correlation, -1 to 1")
    tables: list[str] = Field(default=[], description="how each table is written")
    notes: ReadingNotes = Field(default=[])
    seconds: float = Field(description="wall time")


class Share(Report):
    """A share of questions with the ends of its 95 % interval (Wilson)."""

    share: float = Field(description="share of the questions")
    low: float = Field(description="lower end of the interval")
    high: float = Field(description="upper end")


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
    right_first: Share = Field(
        description="answerable questions whose first quoted sentence, or answer, is right"
    )
    right_in_three: Share = Field(description="with a right one among the first three")
    wrong: Share = Field(description="answered with nothing that is right")
    silent: Share = Field(description="answerable questions not answered")
    nearest_right: Share = Field(description="not answered, a right one among the nearest shown")
    false: Share = Field(description="unanswerable questions answered")
    plain_first: Share = Field(
        description="the same of a plain baseline that never abstains: right_first of the sentence "
        "with the largest cosine among the same passages"
    )
    plain_in_three: Share = Field(description="right_in_three of the plain baseline")
    chance_first: float = Field(description="right_first of a sentence chosen at random from them")
    span_f1: float = Field(
        description="mean token F1 of the likeliest words of the quotes, 0 where it was silent"
    )
    seconds: float = Field(description="wall time")
