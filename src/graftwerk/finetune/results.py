"""Reports of fits to labeled data, and of LoRA on a model's own task."""

from typing import Annotated

from pydantic import Field

from ..results import Converted, LeftOut, ReadingNotes, Report


class Score(Report):
    """One score with its 95 % interval: Wilson's for accuracy, bootstrap for the others."""

    name: str = Field(description="accuracy, micro F1 or R2")
    value: float = Field(description="the score, at best 1")
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")
    baseline: float = Field(
        description="score of always predicting the most frequent class, or the mean"
    )
    count: int = Field(description="examples that it was measured on")
    figures: dict[str, float] = Field(default={}, description="other figures by name")


class ClassScore(Report):
    """Evaluation of one class or label against the others."""

    label: str = Field(description="the class or label")
    count: int = Field(description="examples that have it")
    share: float = Field(description="of all examples: its precision and recall by chance")
    predicted: int = Field(description="examples that it was predicted for")
    precision: float | None = Field(description="share of these that have it; None: of none")
    recall: float | None = Field(description="share of those that have it, predicted so")
    f1: float | None = Field(description="harmonic mean of precision and recall")


class Mistake(Report):
    """An example whose prediction is wrong."""

    input: str = Field(description="the example")
    label: str = Field(description="what it has")
    predicted: str = Field(description="what was predicted")
    probability: float | None = Field(description="of the predicted class; None of labels")


class Answered(Report):
    """Effect of a probability threshold below which no answer is given."""

    threshold: float = Field(description="least probability of an answer")
    answered: float = Field(description="share of the examples that get one")
    accuracy: float | None = Field(description="among these; None: there is none")


class ScoreDetails(Report):
    """Details of a score, for classes and labels."""

    classes: list[ClassScore] = Field(description="each class, in the order of the matrix")
    confusion: list[list[int]] = Field(
        description="examples by their class (rows) and the predicted one (columns); empty for "
        "labels, and for more than 100 classes"
    )
    mistakes: list[Mistake] = Field(description="the most confident wrong predictions, at most 100")
    wrong: int = Field(description="wrong predictions in all")
    thresholds: list[Answered] = Field(description="answers by the least probability of one")


Details = Annotated[
    ScoreDetails | None,
    Field(description="of the score: each class, confusions, mistakes; None of numbers"),
]


class Baseline(Report):
    """Another method on the same examples, for comparison only."""

    name: str = Field(description="what was fitted, on which columns")
    score: Score = Field(description="on the same test examples")


class Trial(Report):
    """One setting that was tried."""

    name: str = Field(description="what was tried")
    score: float = Field(description="score on validation data or held-out folds")
    seconds: float = Field(description="time spent on it")
    kept: bool = Field(default=False, description="whether it is the one that was kept")


class DataFacts(Report):
    """Description of the data and their split."""

    task: str = Field(description="class, labels or number")
    train: int = Field(description="examples learned from")
    validation: int = Field(description="examples that stop a training and choose")
    test: int = Field(description="examples that are only measured on")
    classes: dict[str, int] = Field(description="examples of each class or label, most first")
    imbalance: float | None = Field(description="commonest class over rarest")
    copies: int = Field(description="rows whose content was there before; kept on one side")
    contradictions: int = Field(description="of these, rows with another label")
    leaked: int = Field(description="rows to learn from that are among the --test data; dropped")
    left_out: list[LeftOut] = Field(description="rows and files that could not be used")
    tables: list[str] = Field(default=[], description="how each table is written")
    notes: ReadingNotes = Field(default=[])
    converted: Converted = Field(default_factory=dict)
    unlearned: dict[str, int] = Field(
        default={},
        description="test examples of each class that the data to learn from lack; not scored",
    )


class FitResult(Report):
    """Result of `fit`."""

    out: str = Field(description="folder that was written")
    how: str = Field(description="linear, lora or full")
    model: str = Field(description="the frozen model")
    data: DataFacts = Field(description="the data")
    score: Score = Field(description="on the test examples")
    details: Details = None
    baselines: list[Baseline] = Field(
        default=[], description="of a table of numbers: other methods, which are not saved"
    )
    tried: list[Trial] = Field(description="settings tried, best last where one was chosen")
    others: list[str] = Field(
        default=[], description="what each method that was not tried would probably give and cost"
    )
    parameters: int = Field(description="numbers that were learned")
    bytes: int = Field(description="size of the folder beside the frozen model")
    seconds: float = Field(description="wall time")


class FitExported(Report):
    """Result of `fit export`."""

    out: str = Field(description="the ONNX file")
    fit: str = Field(description="folder of the fit")
    model: str = Field(description="the frozen model, whose features the graph reads")
    task: str = Field(description="class, labels or number")
    labels: list[str] = Field(description="names of the classes or labels, in the graph's order")
    features: int = Field(description="numbers that the graph reads for each item")
    bytes: int = Field(description="size of the file")


class Method(Report):
    """One fitting method and its evaluation."""

    name: str = Field(description="linear, lora, full or wise-ft")
    score: Score = Field(description="on the test examples")
    parameters: int = Field(description="numbers that were learned")
    bytes: int = Field(description="to store beside the frozen model")
    train_seconds: float = Field(
        description="wall time; features and states in the cache count what they took"
    )
    predict_seconds: float = Field(description="for 1,000 items")
    peak_bytes: int = Field(description="most memory of the process meanwhile, libraries counted")
    drift: float = Field(description="1 less the mean cosine of other data's features to before")
    old_score: float | None = Field(
        description="of what the model could do before, see `before`; None without it"
    )
    old_loss: float | None = Field(
        description="its mean loss: nats, or the square error of numbers"
    )
    note: str = Field(description="how it was made")


class CurvePoint(Report):
    """One point of a learning curve."""

    examples: int = Field(description="learned from")
    score: float = Field(description="of the linear head, on the test examples")
    spread: float = Field(description="standard deviation over draws of that size")


class FitComparison(Report):
    """Result of `compare`."""

    out: str = Field(description="folder with the image and the fits")
    picture: str = Field(description="PNG of scores, costs and learning curve")
    model: str = Field(description="the frozen model")
    data: DataFacts = Field(description="the data")
    ways: list[Method] = Field(description="one row a method")
    before: str | None = Field(
        description="what the model could do before: the old head, or zero-shot; None: unknown"
    )
    curve: list[CurvePoint] = Field(description="learning curve of the linear head")
    more_examples: str = Field(description="whether more examples would help")
    recommended: str = Field(description="the recommended method")
    reason: str = Field(description="why, in one sentence")
    seconds: float = Field(description="wall time")


class Prediction(Report):
    """Prediction for one input."""

    input: str = Field(description="the input")
    label: str = Field(description="class, labels or number")
    probability: float | None = Field(description="of the class; None where there is none")
    scores: dict[str, float] = Field(description="probability of each of the first ten labels")
    abstained: bool = Field(
        default=False, description="whether all are below --threshold, so that no label is given"
    )


class Predictions(Report):
    """Result of `predict`."""

    out: str | None = Field(description="file that was written")
    predictions: list[Prediction] = Field(description="one per input")
    score: Score | None = Field(
        default=None,
        description="where a table has the labels: on its rows that were not learned from",
    )
    details: Details = None
    learned: int = Field(default=0, description="labeled rows that it has learned from")
    chance: float | None = Field(
        default=None, description="share that guessing among the labels gets right (classify)"
    )
    abstained: int = Field(default=0, description="inputs without a label, see --threshold")
    tables: list[str] = Field(default=[], description="how each table is written")
    notes: ReadingNotes = Field(default=[])
    seconds: float = Field(description="wall time")


class FitEvaluation(Report):
    """Result of `eval fit`."""

    fit: str = Field(description="folder of the fit")
    how: str = Field(description="linear, lora or full")
    score: Score = Field(description="on the examples that it has not learned from")
    per_class: dict[str, float] = Field(description="share of each class that was recognized")
    confusions: list[str] = Field(description="most frequent mistakes")
    details: Details = None
    unlearned: dict[str, int] = Field(
        default={}, description="examples of each class that the fit does not know; not scored"
    )
    learned: int = Field(description="examples left out because it has learned from them")
    left_out: list[LeftOut] = Field(description="rows and files that could not be used")
    tables: list[str] = Field(default=[], description="how each table is written")
    notes: ReadingNotes = Field(default=[])
    seconds: float = Field(description="wall time")


class LoraTrainResult(Report):
    """Result of `lora train`, and of `fit --task generate` and `fit --task write`."""

    out: str = Field(description="folder of the LoRA; peft and diffusers open it as it is")
    task: str = Field(description="generate or write")
    model: str = Field(description="the frozen model")
    items: int = Field(description="images or tokens that were learned from")
    left_out: list[LeftOut] = Field(description="images that could not be read")
    loss_before: float = Field(description="of the frozen model on held-out noise or text")
    loss_after: float = Field(description="with the LoRA, on the same noise or text")
    gain: float = Field(description="mean of before minus after")
    gain_low: float = Field(description="lower end of the 95 % interval of the gain")
    gain_high: float = Field(description="upper end of the 95 % interval of the gain")
    perplexity_before: float | None = Field(description="of held-out text (write)")
    perplexity_after: float | None = Field(description="of held-out text with the LoRA (write)")
    prompt: str | None = Field(default=None, description="start of the held-out text (write)")
    text_before: str | None = Field(default=None, description="how the frozen model goes on")
    text_after: str | None = Field(default=None, description="how it goes on with the LoRA")
    parameters: int = Field(description="numbers that were learned")
    layers: int = Field(description="layers that they change")
    steps: int = Field(description="steps of the optimizer")
    bytes: int = Field(description="of the folder")
    seconds: float = Field(description="time taken")
