"""Reports of forecasts."""

from pydantic import Field

from ..results import Report


class BacktestRow(Report):
    """Errors of one forecasting method on the end of the history."""

    name: str = Field(description="model or baseline")
    mase: float | None = Field(
        description="mean absolute error over that of the seasonal naive forecast inside the "
        "history before; null where that is 0"
    )
    mae: float = Field(description="mean absolute error, in the units of the series")
    crps: float = Field(
        description="continuous ranked probability score by quantiles, in the units of the "
        "series; of one value a lead its absolute error"
    )
    coverage: float | None = Field(
        description="share of values in the 80 % interval; null where there is none"
    )


class ForecastResult(Report):
    """Result of `forecast`."""

    target: str = Field(description="column that was forecast")
    model: str = Field(description="the model")
    how: str = Field(description="zero-shot, or how it was fitted to the series")
    history: int = Field(description="values that were read")
    step: str = Field(description="between two values")
    season: int = Field(description="steps of a season; 1: none")
    second_season: int = Field(description="steps of a longer season; 1: none")
    times: list[str] = Field(description="of each forecast value")
    median: list[float] = Field(description="the forecast")
    quantiles: dict[str, list[float]] = Field(description="by their level")
    backtest: list[BacktestRow] = Field(
        description="the model and the baselines, forecasting the end of the history"
    )
    origins: int = Field(description="moments that the backtest forecast from")
    covariates: list[str] = Field(description="columns that were used beside")
    fitted: str = Field(description="what fitting came to; empty: nothing was fitted")
    out: str | None = Field(description="table that was written")
    plot: str | None = Field(description="image that was written")
    saved: str | None = Field(description="folder of the fitted model")
    tables: list[str] = Field(description="how the table was read")
    notes: list[str] = Field(description="what should be known of the data")
    seconds: float = Field(description="wall time")
