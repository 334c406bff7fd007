"""The request that forecasts a time series."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from .. import limits
from .base import (
    POSITIONAL,
    Data,
    LowRank,
    OptionalPath,
    Output,
    PathField,
    PathText,
    TableRequest,
    Training,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.forecast.results  # noqa: F401  named in brackets below

DEFAULT_FORECASTER = "builtin/series"


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
        default=200, ge=1, le=limits.TRAINING_STEPS, description="of the optimizer, where it fits"
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
