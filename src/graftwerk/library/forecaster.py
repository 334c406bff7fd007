"""Forecast time series with a frozen pre-trained model, zero-shot or fine-tuned.

forecaster = Forecaster("builtin/series")
forecaster.predict(values, horizon=48).median
forecaster.backtest(values, horizon=48)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from ..adapters.lora import Rank
from ..adapters.manifest import holds
from ..adapters.tuned import Method, Tuned, open_tuned, save_tuned
from ..errors import BadInput
from ..forecast.backtest import Origins, backtest, choose_origins
from ..forecast.calibrated import Calibrated, Nonnegative, WithCovariates, without_effect
from ..forecast.candidates import find_seasons
from ..forecast.forecasters import KIND, History, NetworkForecaster, open_forecaster, tune
from ..forecast.forecasters import Forecaster as Kernel
from ..forecast.results import BacktestRow
from ..models.hub import named_by_user
from ..requests.base import DEFAULT_FORECASTER, Device, checked, given_path
from ..requests.finetune import Forecast
from ..text_safety import counted
from ..types import Monitor, Silent

Covariates = Mapping[str, Any]
_SHARED = ("model", "season", "calibrate", "steps", "rank", "seed", "device")  # with `Forecast`
_LEAST = 3  # minimum number of values of a history


@dataclass(frozen=True)
class ForecastValues:
    """A forecast; created by `Forecaster.predict`.

    >>> import graftwerk as gw
    >>> gw.Forecaster("builtin/series").predict([5.0] * 20, horizon=3).quantile(0.9).tolist()
    [5.0, 5.0, 5.0]

    Attributes:
        median: median of each value ahead, [h].
        quantiles: [h q]; only the median if the model gives one value.
        levels: levels of the quantiles.
        season: assumed length of a season in steps; 1 for none.
        second_season: assumed length of a second, longer season; 1 for none.
    """

    median: Float[np.ndarray, " h"]
    quantiles: Float[np.ndarray, "h q"]
    levels: tuple[float, ...]
    season: int
    second_season: int

    def __repr__(self) -> str:
        first, last = float(self.median[0]), float(self.median[-1])
        return f"<Forecast of {counted(len(self.median), 'value')}: {first:.6g} ... {last:.6g}>"

    def quantile(self, level: float) -> Float[np.ndarray, " h"]:
        """Return one quantile.

        Raises:
            BadInput: it is not one of `levels`.
        """
        if level not in self.levels:
            allowed = ", ".join(f"{one:g}" for one in self.levels)
            raise BadInput(f"the quantile {level!r} was not forecast.", f"There are: {allowed}.")
        return self.quantiles[:, self.levels.index(level)]


@dataclass
class Forecaster:
    """A frozen forecasting model, which can be fine-tuned on a series.

    >>> import graftwerk as gw
    >>> forecaster = gw.Forecaster("builtin/series", season=4)
    >>> forecaster.predict([1, 2, 3, 4] * 6, horizon=4).median.round(1).tolist()
    [1.0, 2.0, 3.0, 4.0]

    Args:
        model: `builtin/series`, a folder of PatchTST or TimesFM (2.0, 2.5), a hub id
            `owner/name@revision`, or a folder written by `save`.
        method: `zero-shot`, or what `fit` trains: `linear` (the last layer), `lora`, `full`.
        season: length of a season in steps, 1 for none; None to detect it in each series.
        calibrate: whether to scale intervals by the model's errors earlier in the same series.
        steps: number of optimizer steps.
        rank: rank of LoRA's update of each matrix.
        seed: random seed.
        device: `auto`, `cpu`, `cuda` or `mps`.
        suggested: seasons suggested by the length of a step, such as (24, 168) for hours; with
            these, no others are searched for.

    Attributes:
        network: the loaded model.

    Raises:
        BadInput: the name, folder, device or a number cannot be used.
        Damaged: a weight file is truncated.
    """

    model: str = DEFAULT_FORECASTER
    method: str = "zero-shot"
    season: int | None = None
    calibrate: bool = True
    steps: int = 200
    rank: int = 8
    seed: int = 0
    device: Device = "auto"
    suggested: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self.model = str(self.model)
        checked(
            Forecast,
            hint="See: help(graftwerk.Forecaster)",
            names={"how": "method"},
            table="series",
            how=self.method,
            **{name: getattr(self, name) for name in _SHARED},
        )
        self._tuned: Tuned | None = None
        with named_by_user([self.model]):
            if holds(self.model, KIND):
                self.network, tuned, _ = open_tuned(self.model, KIND, self._open)
                self.method = tuned.method
            else:
                self.network = self._open(self.model)

    def _open(self, name: str) -> NetworkForecaster:
        return open_forecaster(name, self.device)

    @property
    def fitted(self) -> str:
        """Description of the result of `fit`; empty if nothing was fitted."""
        return self._tuned.describe() if self._tuned is not None else ""

    def fit(
        self, series: Any, horizon: int = 48, *, monitor: Monitor | None = None
    ) -> "Forecaster":
        """Fit the model to a series by `method`; `zero-shot` fits nothing.

        Args:
            series: numbers in order of time, all of which may be used for training.
            horizon: number of values ahead to fit for.
            monitor: informed about progress; may stop the work by raising.

        Raises:
            BadInput: the series is too short or cannot be used.
            Diverged: the loss is no longer finite.
        """
        values = _values(series)
        if self.method == "zero-shot":
            return self
        if self._tuned is not None:  # start from the frozen model again
            self.network = self._open(self.model)
        history = History(values, *self.seasons(values))
        rank = Rank(self.rank, 2.0 * self.rank)
        options = (cast("Method", self.method), horizon, self.steps, rank, self.seed)
        self._tuned = tune(self.network, history, *options, monitor or Silent())
        return self

    def seasons(self, series: Any, covariates: Covariates | None = None) -> tuple[int, int]:
        """Return the length of the season and of a longer one, in steps; 1 for none.

        With covariates, it is that of what remains without their linear effect.

        Raises:
            BadInput: the series cannot be used, or is shorter than the season that was given.
        """
        values = _values(series)
        if self.season is not None:
            if self.season > len(values):
                raise BadInput(
                    f"a season of {self.season:,} steps is longer than the history of "
                    f"{len(values):,} values.",
                    "Give a shorter season, or none, to have it found.",
                )
            return self.season, 1
        if covariates:
            columns = [_values(column, name) for name, column in covariates.items()]
            if min(map(len, columns)) >= len(values):  # otherwise refused by `WithCovariates`
                values = without_effect(values, columns)
        return find_seasons(values, self.suggested)

    def origins(self, series: Any, horizon: int, count: int = 5) -> tuple[int, ...]:
        """Return the number of values before each origin of `backtest`; may be empty."""
        values = _values(series)
        if np.ptp(values) == 0:
            return ()
        return choose_origins(len(values), horizon, count, self.seasons(values)[0]).starts

    def predict(
        self, series: Any, horizon: int, *, covariates: Covariates | None = None
    ) -> ForecastValues:
        """Forecast the next values of a series.

        Args:
            series: numbers in order of time, evenly spaced.
            horizon: number of values ahead, at most as many as the series has.
            covariates: by name: one value for each value of the series, and `horizon` more that are
                known in advance.

        Raises:
            BadInput: the series cannot be used, or a covariate is not known in advance.
        """
        if self.method != "zero-shot" and self._tuned is None and not holds(self.model, KIND):
            raise BadInput(
                "this Forecaster is not fitted yet.", "Call fit(values), or leave method out."
            )
        values = _values(series)
        _require_horizon(horizon, len(values))
        seasons = self.seasons(values, covariates)
        kernel = self._kernel(self.network, covariates)
        if np.ptp(values) == 0:  # a constant series has no scale, and needs no model
            found = np.full((horizon, len(kernel.levels)), values[-1])
        else:
            found = kernel.forecast([History(values, *seasons)], horizon)[0]
        median = found[:, kernel.levels.index(0.5)]
        return ForecastValues(median, found, tuple(kernel.levels), *seasons)

    def backtest(
        self, series: Any, horizon: int, *, origins: int = 5, covariates: Covariates | None = None
    ) -> list[BacktestRow]:
        """Forecast the end of a series from earlier origins, and compare simple baselines.

        The test of a fitted model is only fair on values that it was not fitted to, as `graft
        forecast` does it; the frozen model is included in the comparison.

        Args:
            series: as for `predict`.
            horizon: number of values of each forecast.
            origins: maximum number of moments to forecast from.
            covariates: as for `predict`; a row without them is included.

        Raises:
            BadInput: the series cannot be used, or is too short to leave a horizon out.
        """
        values = _values(series)
        _require_horizon(horizon, len(values))
        seasons = self.seasons(values, covariates)
        places = self.origins(values, horizon, origins)
        if np.ptp(values) == 0:
            raise BadInput("all values are the same.", "There is nothing to test.")
        if not places:
            raise BadInput(
                f"a history of {len(values):,} values is too short to test forecasts of "
                f"{horizon:,}.",
                "Ask for a shorter horizon, or leave the backtest out.",
            )
        how = f", {self.method}" if self._tuned is not None else ""
        kernels = {f"{self.model}{how}": self._kernel(self.network, None)}
        if covariates:
            beside = f"{self.model}{how} + {', '.join(covariates)}"
            kernels = {beside: self._kernel(self.network, covariates), **kernels}
        if self._tuned is not None:
            frozen = self._open(self.model)
            kernels[f"{self.model}, zero-shot"] = self._kernel(frozen, None)
        rows = backtest(values, seasons, Origins(places, horizon), list(kernels.values()))
        names = [*kernels, *(row.name for row in rows[len(kernels) :])]
        return [
            row.model_copy(update={"name": name}) for name, row in zip(names, rows, strict=True)
        ]

    def save(self, path: str | Path) -> None:
        """Save what was fitted to a folder for `Forecaster` and `graft forecast --model`.

        Raises:
            BadInput: nothing was fitted.
            BadFile, NoRoom: the folder contains something else, or cannot be written.
        """
        if self._tuned is None:
            raise BadInput("nothing was fitted here to save.", "Call fit(series) with a method.")
        folder = given_path(path).absolute()
        save_tuned(folder, KIND, self.network, self._tuned, {})

    def _kernel(self, network: NetworkForecaster, covariates: Covariates | None) -> Kernel:
        kernel: Kernel = network
        if covariates:
            columns = {name: _values(column, name) for name, column in covariates.items()}
            kernel = WithCovariates(kernel, columns)
        return Nonnegative(Calibrated(kernel) if self.calibrate else kernel)


def _values(series: Any, name: str = "series") -> Float[np.ndarray, " n"]:
    """Convert a series to an array and check it."""
    index = getattr(series, "index", None)
    if hasattr(index, "freqstr") and not getattr(index, "is_monotonic_increasing", True):
        raise BadInput(f"the dates of the {name} are not in order.", "Sort it: .sort_index().")
    try:
        if np.iscomplexobj(series):
            raise TypeError("it is complex")
        values = np.asarray(series, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"the {name} holds something that is not a number: {error}.", _FORM
        ) from error
    if values.ndim != 1:
        raise BadInput(f"the {name} has the shape {values.shape}.", _FORM)
    odd = np.flatnonzero(~(np.abs(values) <= _LARGEST))
    if len(odd):
        raise BadInput(
            f"the {name} has {counted(len(odd), 'value that is', 'values that are')} missing or "
            f"not finite, the first is number {int(odd[0]) + 1:,}.",
            "Fill them in or cut them off.",
        )
    if len(values) < _LEAST:
        count = counted(len(values), "value")
        raise BadInput(f"the {name} has {count} only.", f"A forecast needs at least {_LEAST}.")
    return values


_LARGEST = 1e100  # of a value that counts as finite: squares of larger ones overflow
_FORM = "Pass one series: a list or array of numbers in the order of time."


def _require_horizon(horizon: int, count: int) -> None:
    checked(Forecast, hint="See: help(graftwerk.Forecaster)", table="series", horizon=horizon)
    if horizon > count:
        raise BadInput(
            f"a horizon of {horizon:,} is longer than the history of {count:,} values.",
            f"Ask for at most {count:,}, or give a longer history.",
        )
