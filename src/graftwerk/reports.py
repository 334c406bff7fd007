"""One frozen report per verb: the `--json` object, the HTTP body, and what `--help` documents.

Every field has a description; the help text of a command lists its report's keys from here.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Report(BaseModel):
    """What a verb answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Skipped(Report):
    """A file that was left out."""

    path: str = Field(description="the file")
    reason: str = Field(description="why it was left out and what to do")


class IndexChange(Report):
    """What `index add` and `index remove` did."""

    added: int = Field(description="files stored for the first time")
    changed: int = Field(description="files whose content was stored anew")
    unchanged: int = Field(description="files that were stored already")
    removed: int = Field(description="files taken out")
    skipped: list[Skipped] = Field(description="files left out, with reasons")
    passages: int = Field(description="passages in the index now")
    embedded: int = Field(description="passages embedded in this run")
    reused: int = Field(description="passages whose vector was known by content")
    encoder: str = Field(description="the index's encoder")
    seconds: float = Field(description="wall time")


class IndexState(Report):
    """What an index holds."""

    index: str = Field(description="its folder")
    files: int = Field(description="files stored")
    passages: int = Field(description="passages stored")
    pictures: int = Field(description="passages that are pictures")
    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    dimension: int = Field(description="length of a vector")
    format_version: int = Field(description="version of the index format")
    bytes: int = Field(description="size on disk")
    sealed: bool = Field(description="whether the last write ended well and left its checksums")
    calibrated: str = Field(description="where the evidence floor comes from")


class Damage(Report):
    """One thing that is wrong in an index."""

    where: str = Field(description="file and block, or passage and path")
    what: str = Field(description="what does not match")
    repaired: bool = Field(description="whether it was mended")


class IndexCheck(Report):
    """What `index verify` found."""

    passages: int = Field(description="passages checked")
    sound: bool = Field(description="true when nothing is wrong, or everything was mended")
    sealed: bool = Field(description="whether block checksums were there to check")
    recall_at_10: float | None = Field(
        description="share of the exact 10 nearest found by the approximate search"
    )
    damages: list[Damage] = Field(description="everything that is wrong")
    seconds: float = Field(description="wall time")


class HitReport(Report):
    """One hit."""

    path: str = Field(description="file")
    kind: Literal["text", "image"] = Field(description="text passage or picture")
    heading: str = Field(description="headings above the passage")
    line: int | None = Field(description="first line, from 1")
    page: int | None = Field(description="page, from 1")
    start: int = Field(description="first character in the document's text")
    end: int = Field(description="one past the last character")
    score: float = Field(description="what the hits are ordered by")
    similarity: float | None = Field(description="cosine between query and passage")
    vector_rank: int | None = Field(description="rank by meaning")
    text_rank: int | None = Field(description="rank by words")
    text: str = Field(description="the passage")
    marks: list[tuple[int, int]] = Field(description="spans of text that match words of the query")


class SearchResult(Report):
    """What `search` found."""

    query: str = Field(description="the query")
    mode: str = Field(description="hybrid, vector or text")
    hits: list[HitReport] = Field(description="best first")
    searched: int = Field(description="passages that could have been found")
    seconds: float = Field(description="wall time of the search, the encoder's loading included")


class Embedding(Report):
    """What `embed` made."""

    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    dimension: int = Field(description="length of a vector")
    count: int = Field(description="number of vectors")
    out: str | None = Field(description="file written")
    vectors: list[list[float]] | None = Field(description="the vectors, when no file was named")


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


class Dropped(Report):
    """A passage that was found but did not reach the writer whole."""

    path: str = Field(description="file")
    start: int = Field(description="first character left out, in the document's text")
    end: int = Field(description="one past the last")
    tokens: int = Field(description="tokens left out")
    reason: Literal["dropped", "cut"] = Field(description="left out whole, or cut at the end")


class Answer(Report):
    """What `ask` answered."""

    question: str = Field(description="the question")
    answer: str = Field(description="the answer; empty when abstained")
    abstained: bool = Field(
        description="true when the evidence was below the floor, or the writer found no answer"
    )
    writer: str = Field(description="who wrote the answer")
    extractive: bool = Field(description="true when the answer only quotes")
    evidence: float = Field(description="strength of the evidence found, 0 to 1")
    evidence_floor: float = Field(description="below it the answer is `not in these documents`")
    calibration: str = Field(description="where the floor comes from and what it promises")
    citations: list[CitationReport] = Field(description="checked citations")
    removed_citations: int = Field(description="citations of numbers that were not sent, removed")
    uncited: int = Field(description="sentences of the answer that cite nothing")
    hits: list[HitReport] = Field(description="the passages found")
    dropped: list[Dropped] = Field(description="what did not fit the token budget")
    prompt: str | None = Field(description="the prompt as sent, with --show-prompt")
    prompt_tokens: int = Field(description="tokens of the prompt")
    seconds: dict[str, float] = Field(description="wall time of each step")


class Calibration(Report):
    """An evidence floor and what it promises."""

    floor: float = Field(description="evidence floor")
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


class ModelCard(Report):
    """A model."""

    name: str = Field(description="its name")
    kind: str = Field(description="what it does")
    reads: list[str] = Field(description="text, image, or both")
    dimension: int | None = Field(description="length of a vector")
    parameters: int = Field(description="number of weights")
    bytes: int = Field(description="size of the weight files")
    fingerprint: str = Field(description="hash of weights and configuration")
    path: str = Field(description="folder")
    details: dict[str, Any] = Field(description="pooling, longest input, licence and the like")


class ModelList(Report):
    """The built-in models."""

    models: list[dict[str, str]] = Field(description="name, kind and a line about each")


class BlocksData(Report):
    """What `blocks render` wrote."""

    folder: str = Field(description="the data set folder, in Hugging Face's ImageFolder form")
    scenes: int = Field(description="scenes rendered")
    size: int = Field(description="side of the pictures in pixels")
    seed: int = Field(description="seed of their world")
    bytes: int = Field(description="size of all files")
    per_second: float = Field(description="scenes a second")
    seconds: float = Field(description="wall time")


class BlocksSheet(Report):
    """What `blocks show` drew."""

    caption: str = Field(description="the scene in words, objects from left to right")
    out: str = Field(description="the picture of the scene and its maps")
    scene: dict[str, Any] = Field(description="camera, sun, ground, time and objects")
    milliseconds: float = Field(description="time to render the picture alone, after compilation")


class RecipeList(Report):
    """The recipes."""

    recipes: list[dict[str, Any]] = Field(
        description="name, what it makes, in which layout, what it needs, what it aims at"
    )


class RecipeResult(Report):
    """What `recipe run` came to."""

    recipe: str = Field(description="name of the recipe")
    model: str = Field(description="folder of the model, with its card")
    steps: int = Field(description="steps done, over all runs")
    planned: int = Field(description="steps in all")
    finished: bool = Field(description="whether these are all; if not, run it again to go on")
    loss: float = Field(description="mean loss over the last stretch")
    skipped: int = Field(description="steps left out because their gradients were not finite")
    items_per_second: float = Field(description="items trained on per second in this run")
    figures: dict[str, float] = Field(description="measured on held-out scenes")
    seconds: float = Field(description="time spent on steps, over all runs")


class RecipeEvaluation(Report):
    """What `recipe eval` measured."""

    recipe: str = Field(description="name of the recipe")
    model: str = Field(description="folder of the model")
    count: int = Field(description="held-out scenes")
    figures: dict[str, float] = Field(description="what was measured")
    aims: dict[str, float] = Field(description="what the recipe aims at, by figure")
    reached: dict[str, bool] = Field(description="whether it does, by figure")
    seconds: float = Field(description="wall time")


class PictureReport(Report):
    """One picture that was drawn."""

    path: str = Field(description="PNG file; its metadata hold the request")
    number: int = Field(description="its number within the request, from 0")
    seed: int = Field(description="seed of its own noise, made of --seed and its number")


class Generation(Report):
    """What `generate` drew."""

    prompt: str = Field(description="the prompt")
    cut: str = Field(description="end of the prompt that the model does not read")
    pictures: list[PictureReport] = Field(description="the pictures, in their order")
    sheet: str | None = Field(description="all of them side by side, where there are several")
    model: str = Field(description="name of the model")
    fingerprint: str = Field(description="hash of the model's weights and configuration")
    sampler: str = Field(description="name of the sampler")
    steps: int = Field(description="steps that it took")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    steps_per_second: float = Field(description="steps of single pictures per second of drawing")
    seconds: float = Field(description="wall time, the model's loading included")


class TourResult(Report):
    """What `tour` wrote."""

    page: str = Field(description="the page to open")
    chapters: list[str] = Field(description="what it shows")
    seconds: float = Field(description="wall time")
