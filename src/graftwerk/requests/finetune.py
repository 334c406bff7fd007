"""Requests that fit a pre-trained model to labelled data, or forecast a series."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_ENCODER,
    DEFAULT_FORECASTER,
    DEFAULT_PIPELINE,
    POSITIONAL,
    Advanced,
    Data,
    EncoderName,
    Layer,
    LowRank,
    OptionalPath,
    OptionalPathText,
    Output,
    PathField,
    PathText,
    R_co,
    Request,
    TableRequest,
    Training,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.finetune.results
    import graftwerk.forecast.results  # noqa: F401  named in brackets below

Target = Annotated[
    str | None,
    Field(
        description="column of the labels, or several 0/1 columns separated by commas; default: "
        "one called label, target, class, ..."
    ),
]
_CONTENT = "column that is read, may be given again; default: all that fit the model"
TaskName = Annotated[
    Literal["auto", "class", "labels", "number"],
    Field(description="one class, any number of labels, or a number; auto: what they look like"),
]


MissingLabels = Annotated[
    Literal["ask", "drop", "learn"],
    Field(
        description="labels written NA, N/A, null, None, - in a table: ask (an error that counts "
        "them), drop these rows, or learn them as a class"
    ),
]


class _Fitting(TableRequest[R_co]):
    """What `fit` and `compare` share."""

    data: PathText = Field(
        description="a folder of class folders, a zip of one, or a table: .csv .tsv .jsonl .xlsx "
        ".parquet, or a folder that datasets.save_to_disk wrote",
        json_schema_extra=POSITIONAL,
    )
    model: EncoderName = path_field(DEFAULT_ENCODER)
    target: Data[Target] = Field(default=None)
    content: Data[list[str]] = Field(default=[], description=_CONTENT)
    task: TaskName = "auto"
    missing: Data[MissingLabels] = "ask"
    test: Data[OptionalPathText] = path_field(
        default=None, description="data to test on, in the form of DATA; default: a share of DATA"
    )
    test_share: Data[float] = Field(
        default=0.2, gt=0, le=0.9, description="of DATA, where --test names none"
    )
    validation_share: Data[float] = Field(
        default=0.15, gt=0, le=0.9, description="of the rest, to stop a training and to choose"
    )
    balance: Data[bool] = Field(
        default=False, description="let rare classes weigh as much as common ones"
    )
    layer: Layer = None
    rank: LowRank[int] = Field(
        default=8, ge=1, le=4096, description="of LoRA's update of each matrix"
    )
    alpha: LowRank[float] = Field(
        default=16.0, gt=0, le=65_536, description="LoRA's scale is alpha / rank"
    )
    dropout: LowRank[float] = Field(
        default=0.0, ge=0, lt=1, description="of LoRA's input, in training"
    )
    lora_plus: LowRank[float] = Field(
        default=1.0,
        ge=1,
        le=1_000,
        description="times that LoRA's B learns faster than its A (LoRA+)",
    )
    targets: LowRank[list[str]] = Field(
        default=[],
        description="end of the name of a layer that gets LoRA, may be given again; default: "
        "attention and MLP projections",
    )
    top: Training[int | None] = Field(
        default=None,
        ge=1,
        le=limits.FOLDER_DEPTH,
        description="train only so many of the last layers; what lies below is computed once",
    )
    epochs: Training[float] = Field(
        default=6.0, gt=0, le=10_000, description="passes over the data at most"
    )
    batch: Training[int] = Field(default=32, ge=1, le=limits.BATCH, description="examples per step")
    learning_rate: Training[float | None] = Field(
        default=None,
        gt=0,
        le=1,
        description="peak learning rate; default: 5e-4 for LoRA, 5e-5 for full",
    )
    rates: Training[int] = Field(
        default=1,
        ge=1,
        le=9,
        description="learning rates that compare and auto try LoRA and full at, each three times "
        "the next one, around the highest, and LoRA+; the best on validation examples is kept",
    )
    patience: Training[int] = Field(
        default=4, ge=1, le=1_000, description="validations without a better score before it stops"
    )


class Fit(
    _Fitting["graftwerk.finetune.results.FitResult | graftwerk.finetune.results.LoraTrainResult"]
):
    """Fit a pre-trained model to labelled data: a linear head, LoRA, or all weights."""

    task: Literal["auto", "class", "labels", "number", "generate", "write"] = Field(
        # type: ignore[assignment]
        default="auto",
        description="of labelled data: one class, any number of labels, or a number (auto: what "
        "they look like); generate and write, with --how lora: the same as `graft lora train`",
    )
    layer: Advanced[int | Literal["all"] | None] = Field(
        # type: ignore[assignment]
        default=None,
        description="take this hidden layer instead of the last (0: embeddings), or all, joined "
        "(all: with --how linear)",
    )
    how: Literal["linear", "lora", "full", "auto"] | None = Field(
        default=None,
        description="linear: a head on frozen features; lora: small updates; full: all weights; "
        "auto: the cheapest that is as good as the best within --minutes; default: auto of linear "
        "and lora, and linear for numbers of a table and where examples are few",
    )
    out: Output[PathField] = Field(description="folder to write; new, empty, or a former result")
    sweep: Advanced[bool] = Field(
        default=False,
        description="try every hidden layer, and all joined, and keep the best (linear)",
    )
    minutes: Training[float | None] = Field(
        default=None,
        gt=0,
        le=limits.TRAINING_MINUTES,
        description="time that auto may spend; default: 10, and 2 without --how",
    )
    steps: Training[int] = Field(
        default=400,
        ge=1,
        le=limits.TRAINING_STEPS,
        description="of the optimizer (generate, write)",
    )
    caption: Data[str | None] = Field(
        default=None,
        max_length=limits.PROMPT_CHARACTERS,
        description="of all images (generate); default: metadata.jsonl or NAME.txt beside each",
    )


class LoraTrain(Request["graftwerk.finetune.results.LoraTrainResult"]):
    """Train a LoRA on the task that a model was made for: images of a style, texts of a manner."""

    data: PathText = Field(
        description="generate: folder of a handful of images with captions; write: text file",
        json_schema_extra=POSITIONAL,
    )
    task: Literal["generate", "write"] = Field(
        description="generate: a diffusion model from images; write: a language model from a text"
    )
    model: OptionalPathText = path_field(
        default=None,
        description=f"pipeline or language model; default with generate: {DEFAULT_PIPELINE}",
    )
    caption: Data[str | None] = Field(
        default=None,
        max_length=limits.PROMPT_CHARACTERS,
        description="of all images (generate); default: metadata.jsonl or NAME.txt beside each",
    )
    out: Output[PathField] = Field(description="folder to write; new, empty, or a former result")
    steps: Training[int] = Field(
        default=400, ge=1, le=limits.TRAINING_STEPS, description="of the optimizer"
    )
    batch: Training[int] = Field(
        default=8, ge=1, le=limits.BATCH, description="images or windows per step"
    )
    learning_rate: Training[float] = Field(
        default=5e-4, gt=0, le=1, description="peak learning rate"
    )
    rank: LowRank[int] = Field(default=8, ge=1, le=4096, description="of the update of each matrix")
    alpha: LowRank[float] = Field(
        default=16.0, gt=0, le=65_536, description="the scale is alpha / rank"
    )
    dropout: LowRank[float] = Field(
        default=0.0, ge=0, lt=1, description="of LoRA's input, in training"
    )
    targets: LowRank[list[str]] = Field(
        default=[],
        description="end of the name of a layer that gets LoRA, may be given again; default: "
        "attention and MLP projections",
    )


class Compare(_Fitting["graftwerk.finetune.results.FitComparison"]):
    """Measure linear, LoRA and full fine-tuning side by side on the same data, and recommend."""

    out: Output[PathField] = path_field(
        default=Path("compare"), description="folder for the image and the figures"
    )
    old: Data[OptionalPath] = path_field(
        default=None,
        description="a linear head fitted before on the same model: what may be forgotten; "
        "default: of a model of images and texts, zero-shot of rendered objects",
    )
    old_data: Data[OptionalPathText] = path_field(
        default=None,
        description="labelled data for the old head; alone: images that a model of images and "
        "texts names by their labels (zero-shot)",
    )


class Predict(TableRequest["graftwerk.finetune.results.Predictions"]):
    """Predict with a model that `graft fit` saved."""

    fit: PathField = Field(
        description="folder that `graft fit` wrote", json_schema_extra=POSITIONAL
    )
    inputs: list[str] = Field(
        min_length=1,
        description="texts, files of texts or images, or a table; - reads lines from stdin",
        json_schema_extra=POSITIONAL,
    )
    model: OptionalPathText = path_field(
        default=None, description="folder of the frozen model, if it has moved"
    )
    target: Target = Field(default=None)
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="abstain below this probability; for labels: predict those above it "
        "(default: the most probable class, labels above 0.5)",
    )
    out: OptionalPath = path_field(
        default=None,
        description="file to write, with the columns of the table and every class's probability: "
        ".csv, .jsonl or .parquet",
    )


class FitExport(Request["graftwerk.finetune.results.FitExported"]):
    """Write the head of a fit as an ONNX graph, which other runtimes read."""

    fit: PathField = Field(
        description="folder that `graft fit` wrote", json_schema_extra=POSITIONAL
    )
    out: PathField = Field(description="file to write: .onnx")
    model: OptionalPathText = path_field(
        default=None, description="folder of the frozen model, if it has moved"
    )


class EvalFit(TableRequest["graftwerk.finetune.results.FitEvaluation"]):
    """Measure what `graft fit` made on labelled data; what it has learned from is left out."""

    fit: PathField = Field(
        description="folder that `graft fit` wrote", json_schema_extra=POSITIONAL
    )
    data: PathText = Field(description="labelled data as for fit", json_schema_extra=POSITIONAL)
    target: Target = Field(default=None)
    content: list[str] = Field(default=[], description=_CONTENT)
    missing: MissingLabels = "ask"
    model: OptionalPathText = path_field(
        default=None, description="folder of the frozen model, if it has moved"
    )


class Forecast(TableRequest["graftwerk.forecast.results.ForecastResult"]):
    """Forecast a time series, with quantiles, and measure it on the end of its history."""

    table: PathField = Field(
        description="a table with a row for each time: .csv .tsv .jsonl .xlsx .parquet",
        json_schema_extra=POSITIONAL,
    )
    target: Data[str | None] = Field(
        default=None, description="column to forecast; default: the only one of numbers"
    )
    horizon: int = Field(
        default=24, ge=1, le=limits.FORECAST, description="values to forecast, steps of the table"
    )
    model: PathText = path_field(
        DEFAULT_FORECASTER,
        description="builtin/series, a folder of PatchTST or TimesFM (2.0, 2.5), a hub id "
        "NAME@REVISION, or what --save wrote",
    )
    season: Data[int | None] = Field(
        default=None,
        ge=1,
        le=limits.SEASON,
        description="steps of a season, 1 for none; default: found from the series",
    )
    covariates: Data[list[str]] = Field(
        default=[],
        description="column that is known ahead too, may be given again; its coming values stand "
        "in rows with an empty target",
    )
    time: Data[str | None] = Field(
        default=None, description="column of times; default: found by what the columns hold"
    )
    gaps: Data[Literal["refuse", "fill"]] = Field(
        default="refuse", description="missing times or values: refuse, or fill by straight lines"
    )
    calibrate: bool = Field(
        default=True,
        description="scale intervals by the model's errors earlier in the same series",
    )
    how: Literal["zero-shot", "linear", "lora", "full"] = Field(
        default="zero-shot",
        description="zero-shot: the model as it is; linear, lora, full: first fit its last layer, "
        "small updates or all weights to the series",
    )
    origins: int = Field(
        default=5,
        ge=0,
        le=1_000,
        description="moments at the end of the history that the backtest forecasts from; 0: none",
    )
    steps: Training[int] = Field(
        default=200, ge=1, le=limits.TRAINING_STEPS, description="optimizer steps of fitting"
    )
    rank: LowRank[int] = Field(
        default=8, ge=1, le=4096, description="of LoRA's update of each matrix"
    )
    out: Output[OptionalPath] = path_field(
        default=None, description="table to write: .csv or .json"
    )
    plot: Output[OptionalPath] = path_field(default=None, description="PNG file of the forecast")
    save: Output[OptionalPath] = path_field(
        default=None, description="folder for what was fitted; --model reads it"
    )
