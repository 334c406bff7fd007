"""Requests that fit a pre-trained model to labeled data, or forecast a series."""

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
    Batch,
    Data,
    EncoderName,
    Layer,
    LowRank,
    Minutes,
    NewFolder,
    OptionalPath,
    OptionalPathText,
    Output,
    PathField,
    PathText,
    R_co,
    Rate,
    Request,
    Steps,
    TableRequest,
    Training,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.finetune.results
    import graftwerk.forecast.results
    import graftwerk.policy.results  # noqa: F401  named in brackets below

Target = Annotated[
    str | None,
    Field(
        description=(
            "column of the labels, or several 0/1 columns separated by commas; default: the "
            "column named label, target, class, ..."
        )
    ),
]
_CONTENT = "column to read; repeatable; default: all that suit the model"
_OUT = "output folder; new, empty, or an earlier result"
_FIT = "folder written by `graft fit`"
_MOVED = "folder of the frozen model, if it was moved"
Caption = Data[
    Annotated[
        str | None,
        Field(
            max_length=limits.PROMPT_CHARACTERS,
            description="caption for all images (generate); default: metadata.jsonl or NAME.txt "
            "next to each",
        ),
    ]
]
Rank = LowRank[
    Annotated[int, Field(ge=1, le=4096, description="rank of LoRA's update of each matrix")]
]
Alpha = LowRank[
    Annotated[float, Field(gt=0, le=65_536, description="LoRA's scale is alpha / rank")]
]
Dropout = LowRank[
    Annotated[float, Field(ge=0, lt=1, description="dropout on LoRA's input during training")]
]
LoraTargets = LowRank[
    Annotated[
        list[str],
        Field(
            description="suffix of the names of layers that get LoRA; repeatable; default: "
            "attention and MLP projections"
        ),
    ]
]
TaskName = Annotated[
    Literal["auto", "class", "labels", "number"],
    Field(
        description=(
            "predict one class, any number of labels, or a number; auto: decided from the values"
        )
    ),
]


MissingLabels = Annotated[
    Literal["ask", "drop", "learn"],
    Field(
        description=(
            "what to do with labels NA, N/A, null, None and - in a table: ask (stop with an "
            "error that counts them), drop these rows, or learn them as a class"
        )
    ),
]


class _Fitting(TableRequest[R_co]):
    """What `fit` and `compare` share."""

    data: PathText = Field(
        description="folder with one folder per class, a zip of one, a table (.csv .tsv .jsonl "
        ".xlsx .parquet), or a folder written by datasets.save_to_disk; `fit` takes episodes of a "
        "robot in LeRobot's layout too, to adapt builtin/policy (then the default) or the policy "
        "--model; such a fit reads --batch, --rank, --alpha and what names it",
        json_schema_extra=POSITIONAL,
    )
    model: EncoderName = path_field(DEFAULT_ENCODER)
    target: Data[Target] = Field(default=None)
    content: Data[list[str]] = Field(default=[], description=_CONTENT)
    task: TaskName = "auto"
    missing: Data[MissingLabels] = "ask"
    test: Data[OptionalPathText] = path_field(
        default=None, description="test data, in the same format as DATA; default: a share of DATA"
    )
    test_share: Data[float] = Field(
        default=0.2, gt=0, le=0.9, description="share of DATA to test on, without --test"
    )
    validation_share: Data[float] = Field(
        default=0.15,
        gt=0,
        le=0.9,
        description="share of the rest for early stopping and model selection",
    )
    balance: Data[bool] = Field(
        default=False, description="give rare classes as much weight as common ones"
    )
    layer: Layer = None
    rank: Rank = 8
    alpha: Alpha = 16.0
    dropout: Dropout = 0.0
    lora_plus: LowRank[float] = Field(
        default=1.0,
        ge=1,
        le=1_000,
        description="ratio of the learning rates of LoRA's B and A (LoRA+)",
    )
    targets: LoraTargets = Field(default=[])
    top: Training[int | None] = Field(
        default=None,
        ge=1,
        le=limits.FOLDER_DEPTH,
        description="train only this many of the last layers; the output of those below is "
        "computed once",
    )
    epochs: Training[float] = Field(
        default=6.0, gt=0, le=10_000, description="passes over the data at most"
    )
    batch: Batch = Field(default=32, description="batch size")
    learning_rate: Training[float | None] = Field(
        default=None,
        gt=0,
        le=1,
        description="peak learning rate; default: 5e-4 for LoRA, 5e-5 for full; for episodes of a "
        "robot 5e-3 for LoRA, 3e-3 for linear and full",
    )
    rates: Training[int] = Field(
        default=1,
        ge=1,
        le=9,
        description="number of learning rates at which compare and auto try LoRA and full "
        "fine-tuning, a factor of three apart, and LoRA+; the best on validation examples is "
        "selected",
    )
    patience: Training[int] = Field(
        default=4,
        ge=1,
        le=1_000,
        description="validations without improvement before training stops",
    )


class Fit(
    _Fitting[
        "graftwerk.finetune.results.FitResult | graftwerk.finetune.results.LoraTrainResult | "
        "graftwerk.policy.results.PolicyFit"
    ]
):
    """Fit a pre-trained model to labeled data: a linear head, LoRA, or all weights."""

    task: Literal["auto", "class", "labels", "number", "generate", "write"] = Field(
        # type: ignore[assignment]
        default="auto",
        description="predict one class, any number of labels, or a number (auto: decided from the "
        "values); generate and write, with --how lora: the same as `graft lora train`",
    )
    layer: Advanced[int | Literal["all", "multiscale"] | None] = Field(
        # type: ignore[assignment]
        default=None,
        description="use this hidden layer instead of the last (0: embeddings), all concatenated "
        "(all), or all of an image and of the image at half its size (multiscale, for "
        "convolutional networks); a model of images only uses multiscale where possible, "
        "otherwise all, unless --top is given",
    )
    how: Literal["linear", "lora", "full", "auto"] | None = Field(
        default=None,
        description="linear: a head on frozen features; lora: low-rank updates; full: all "
        "weights; auto: the cheapest method that scores as well as the best, within --minutes; "
        "default: auto of linear and lora, or linear for tables of numbers and few examples; for "
        "episodes of a robot: lora",
    )
    out: Output[NewFolder[PathField]] = Field(description=_OUT)
    sweep: Advanced[bool] = Field(
        default=False,
        description="try every hidden layer and all of them concatenated, and select the best "
        "(linear)",
    )
    minutes: Training[Minutes] = Field(
        default=None, description="time limit of auto in minutes; default: 10, or 2 without --how"
    )
    steps: Steps = Field(
        default=400, description="optimizer steps (generate, write, episodes of a robot)"
    )
    caption: Caption = None


class LoraTrain(Request["graftwerk.finetune.results.LoraTrainResult"]):
    """Train a LoRA on a model's own task: images of a style, or texts in a style."""

    data: PathText = Field(
        description="generate: folder of a few images with captions; write: text file",
        json_schema_extra=POSITIONAL,
    )
    task: Literal["generate", "write"] = Field(
        description="generate: a diffusion model from images; write: a language model from a text"
    )
    model: OptionalPathText = path_field(
        default=None,
        description=f"pipeline or language model; default with generate: {DEFAULT_PIPELINE}",
    )
    caption: Caption = None
    out: Output[NewFolder[PathField]] = Field(description=_OUT)
    steps: Steps = Field(default=400, description="optimizer steps")
    batch: Batch = Field(default=8, description="batch size, in images or text windows")
    learning_rate: Rate = 5e-4
    rank: Rank = 8
    alpha: Alpha = 16.0
    dropout: Dropout = 0.0
    targets: LoraTargets = Field(default=[])


class Compare(_Fitting["graftwerk.finetune.results.FitComparison"]):
    """Measure linear, LoRA and full fine-tuning side by side on the same data, and recommend."""

    out: Output[NewFolder[PathField]] = path_field(
        default=Path("compare"), description="output folder for the plot and the figures"
    )
    old: Data[OptionalPath] = path_field(
        default=None,
        description="linear head fitted earlier on the same model, to measure forgetting; "
        "default: for a joint encoder of images and texts, zero-shot classification of rendered "
        "objects",
    )
    old_data: Data[OptionalPathText] = path_field(
        default=None,
        description="labeled data for the old head; without --old: images for zero-shot "
        "classification by a joint encoder",
    )


class Predict(TableRequest["graftwerk.finetune.results.Predictions"]):
    """Predict with a model that `graft fit` saved."""

    fit: PathField = Field(description=_FIT, json_schema_extra=POSITIONAL)
    inputs: list[str] = Field(
        min_length=1,
        description="texts, text or image files, folders of them, or a table; - reads lines from "
        "standard input",
        json_schema_extra=POSITIONAL,
    )
    model: OptionalPathText = path_field(default=None, description=_MOVED)
    target: Target = Field(default=None)
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="abstain below this probability; for several labels: predict those above it "
        "(default: the most probable class, or labels above 0.5)",
    )
    out: OptionalPath = path_field(
        default=None,
        description="output file with the table's columns and every class's probability: .csv, "
        ".jsonl or .parquet",
    )


class FitExport(Request["graftwerk.finetune.results.FitExported"]):
    """Export the head of a fit as an ONNX graph, which other runtimes read."""

    fit: PathField = Field(description=_FIT, json_schema_extra=POSITIONAL)
    out: PathField = Field(description="output file (.onnx)")
    model: OptionalPathText = path_field(default=None, description=_MOVED)


class EvalFit(TableRequest["graftwerk.finetune.results.FitEvaluation"]):
    """Evaluate a fit on labeled data; rows it was trained on are left out."""

    fit: PathField = Field(description=_FIT, json_schema_extra=POSITIONAL)
    data: PathText = Field(
        description="labeled data, as for `graft fit`", json_schema_extra=POSITIONAL
    )
    target: Target = Field(default=None)
    content: list[str] = Field(default=[], description=_CONTENT)
    missing: MissingLabels = "ask"
    model: OptionalPathText = path_field(default=None, description=_MOVED)


class Forecast(TableRequest["graftwerk.forecast.results.ForecastResult"]):
    """Forecast a time series with quantiles, and backtest on the end of its history."""

    table: PathField = Field(
        description="table with one row per time step: .csv .tsv .jsonl .xlsx .parquet",
        json_schema_extra=POSITIONAL,
    )
    target: Data[str | None] = Field(
        default=None, description="column to forecast; default: the only numeric column"
    )
    horizon: int = Field(
        default=24, ge=1, le=limits.FORECAST, description="number of steps to forecast"
    )
    model: PathText = path_field(
        DEFAULT_FORECASTER,
        description="builtin/series, a folder of PatchTST or TimesFM (2.0, 2.5), a hub id "
        "NAME@REVISION, or a folder written with --save",
    )
    season: Data[int | None] = Field(
        default=None,
        ge=1,
        le=limits.SEASON,
        description="length of a season in steps; 1: the series has none; default: estimated from "
        "the series",
    )
    covariates: Data[list[str]] = Field(
        default=[],
        description="column whose future values are known; repeatable; give them in rows with an "
        "empty target",
    )
    time: Data[str | None] = Field(
        default=None, description="column of timestamps; default: detected"
    )
    gaps: Data[Literal["refuse", "fill"]] = Field(
        default="refuse",
        description="missing times or values: refuse, or fill by linear interpolation",
    )
    calibrate: bool = Field(
        default=True,
        description="scale the intervals by the model's errors earlier in the same series",
    )
    how: Literal["zero-shot", "linear", "lora", "full"] = Field(
        default="zero-shot",
        description="zero-shot: the model as it is; linear, lora, full: first fit its last layer, "
        "low-rank updates, or all weights to the series",
    )
    origins: int = Field(
        default=5,
        ge=0,
        le=1_000,
        description="number of forecast origins in the backtest at the end of the history; 0: no "
        "backtest",
    )
    steps: Steps = Field(default=200, description="optimizer steps for fitting")
    rank: Rank = 8
    out: Output[OptionalPath] = path_field(
        default=None, description="output file for the forecast: .csv or .json"
    )
    plot: Output[OptionalPath] = path_field(
        default=None, description="output file for the plot (PNG)"
    )
    save: Output[NewFolder[OptionalPath]] = path_field(
        default=None, description="output folder for the fitted model, to be named with --model"
    )
