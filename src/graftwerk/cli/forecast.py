"""How the terminal shows forecasts."""

from ..forecast.results import ForecastResult
from ..text_safety import printable
from .format import table, table_lines

_ROWS = 12


def forecast_lines(report: ForecastResult) -> list[str]:
    """What was read, the first values, the backtest."""
    season = "no season" if report.season == 1 else f"season of {report.season:,} steps"
    longer = "" if report.second_season == 1 else f" and {report.second_season:,}"
    low, high = (report.quantiles.get(level) for level in ("0.1", "0.9"))
    rows = []
    for number, (time, median) in enumerate(zip(report.times, report.median, strict=True)):
        if number == _ROWS:
            break
        interval = (
            [] if low is None or high is None else [f"{low[number]:.6g}", f"{high[number]:.6g}"]
        )
        rows.append([time, f"{median:.6g}", *interval])
    more = len(report.times) - _ROWS
    lines = [
        f"{printable(report.target)}: {report.history:,} values, {report.step} apart, "
        f"{season}{longer}",
        *([] if not report.fitted else [report.fitted]),
        *table(["time", "median", *(["10 %", "90 %"] if low and high else [])], rows),
        *([f"and {more:,} more; --out FILE.csv writes all"] if more > 0 else []),
    ]
    if report.backtest:
        lines += ["", *_backtest(report)]
    lines += [
        f"{printable(report.model)}, {report.how}, {report.seconds:.1f} s",
        *(f"-> {printable(one)}" for one in (report.out, report.plot, report.saved) if one),
    ]
    return lines + table_lines(report.tables)


def _backtest(report: ForecastResult) -> list[str]:
    rows = [
        [
            printable(row.name),
            "-" if row.mase is None else f"{row.mase:.3f}",
            f"{row.mae:.4g}",
            f"{row.crps:.4g}",
            "-" if row.coverage is None else f"{row.coverage:.0%}",
        ]
        for row in report.backtest
    ]
    count = "1 forecast" if report.origins == 1 else f"{report.origins} forecasts"
    return [
        f"backtest: {count} of {len(report.times):,} values at the end of the history",
        *table(["", "MASE", "MAE", "CRPS", "in the 80 % interval"], rows),
    ]
