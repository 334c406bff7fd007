"""Format reports of fits and of LoRA trainings for the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..results import LeftOut
from ..text_safety import counted, printable
from .format import table

if TYPE_CHECKING:
    from ..finetune import results as reports
    from ..forecast.results import ForecastResult
    from ..policy.results import EpisodesWritten, PolicyEvaluation, PolicyFit
    from ..probing.results import ReadoutResult, Share, Shift

_CLASSES, _LEFT_OUT, _PREDICTIONS = 8, 3, 1_000
_MATRIX, _MISTAKES, _ROWS = 8, 5, 20


def score_line(score: "reports.Score") -> str:
    """Show a score with its interval and its baselines."""
    others = "".join(f", {name} {value:.3g}" for name, value in score.figures.items())
    return (
        f"{score.name} {score.value:z.3f} ({score.low:z.3f} to {score.high:z.3f}) on "
        f"{counted(score.count, 'test example')}; baseline {score.baseline:z.3f}{others}"
    )


def details_lines(details: "reports.ScoreDetails | None") -> list[str]:
    """Precision and recall of each class beside their chance level, confusions, mistakes."""
    if details is None:
        return []
    header = ["class", "precision", "recall", "F1", "chance", "examples"]
    rows = [
        [
            printable(one.label),
            *("-" if v is None else f"{v:.3f}" for v in (one.precision, one.recall, one.f1)),
            f"{one.share:.3f}",
            f"{one.count:,}",
        ]
        for one in details.classes[:_ROWS]
    ]
    lines = table(header, rows)
    if len(details.classes) > _ROWS:
        lines.append(
            f"and {counted(len(details.classes) - _ROWS, 'more class', 'more classes')}; --json "
            "has all"
        )
    if 0 < len(details.confusion) <= _MATRIX:
        names = [printable(one.label) for one in details.classes]
        pairs = zip(names, details.confusion, strict=True)
        counts = [[name, *(f"{n:,}" for n in row)] for name, row in pairs]
        lines += table(["true / predicted", *names], counts)
    if details.mistakes:
        lines.append(f"{details.wrong:,} wrong; the most confident of them:")
    for one in details.mistakes[:_MISTAKES]:
        sure = "" if one.probability is None else f" ({one.probability:.2f})"
        predicted = printable(one.predicted) or "none"
        lines.append(
            f"  {printable(one.input)}: {printable(one.label) or 'none'}, predicted "
            f"{predicted}{sure}"
        )
    return lines


def _threshold_lines(details: "reports.ScoreDetails | None") -> list[str]:
    """What would be answered, and how well, above a threshold."""
    if details is None or not details.thresholds:
        return []
    shown = [
        f"{one.threshold:g}: {one.answered:.0%} at {one.accuracy:.3f}"
        for one in details.thresholds
        if one.accuracy is not None
    ]
    listed = ", ".join(shown)
    return [f"answered above a threshold, and accuracy there: {listed}"] if shown else []


def _unlearned_lines(counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    shown = ", ".join(f"{printable(name)} {count:,}" for name, count in counts.items())
    return [f"not scored, because no example of the class was learned from: {shown}"]


def data_lines(data: "reports.DataFacts") -> list[str]:
    """Show counts of the data."""
    parts = f"{data.train:,} to train, {data.validation:,} to validate, {data.test:,} to test"
    lines = [f"data: {parts}"]
    if data.classes:
        shown = [f"{printable(k)} {v:,}" for k, v in list(data.classes.items())[:_CLASSES]]
        more = len(data.classes) - _CLASSES
        end = f" and {more} more" if more > 0 else ""
        lines.append(f"classes: {', '.join(shown)}{end} (most over least {data.imbalance:.1f})")
    reported = {
        "copies kept on one side of the split": data.copies,
        "with another label than their original": data.contradictions,
        "not learned from because they are tested on": data.leaked,
    }
    odd = [f"{count:,} {words}" for words, count in reported.items() if count]
    rows = [f"rows: {', '.join(odd)}"] if odd else []
    unlearned = _unlearned_lines(data.unlearned)
    return lines + rows + unlearned + _left_out(data.left_out)


def fit_lines(report: "reports.FitResult") -> list[str]:
    """Show the score first, then data, cost and path."""
    lines = [score_line(report.score), *details_lines(report.details)]
    lines += _threshold_lines(report.details)
    lines += [
        f"for comparison, not saved: {one.name}: {one.score.name} {one.score.value:z.3f} "
        f"({one.score.low:z.3f} to {one.score.high:z.3f})"
        for one in report.baselines
    ]
    if report.tried:
        rows = [
            [printable(one.name), f"{one.score:.4f}", f"{one.seconds:.1f}", "kept" * one.kept]
            for one in report.tried
        ]
        lines += table(["tried", "score", "seconds", ""], rows)
    return [
        *lines,
        *data_lines(report.data),
        f"{report.how} on {_model(report.model)}: {report.parameters:,} numbers learned, "
        f"{report.bytes / 1e6:.2f} MB, {report.seconds:.1f} s",
        f"-> {printable(report.out)}",
        *(f"not tried: {line}" for line in report.others),
    ]


def _model(name: str) -> str:
    return "the numbers, no pre-trained model" if name == "none" else printable(name)


def comparison_lines(report: "reports.FitComparison") -> list[str]:
    """Show the recommendation, the table, and the learning curve."""
    before = [printable(report.before)] if report.before is not None else []
    name = report.ways[0].score.name
    header = [
        "method",
        name,
        "95 % interval",
        "learned",
        "MB",
        "train s",
        "s/1,000",
        "peak MB",
        "drift",
    ]
    rows = []
    for method in report.ways:
        row = [
            method.name,
            f"{method.score.value:z.3f}",
            f"{method.score.low:z.3f}-{method.score.high:z.3f}",
            f"{method.parameters:,}",
            f"{method.bytes / 1e6:,.2f}",
            f"{method.train_seconds:,.1f}",
            f"{method.predict_seconds:,.2f}",
            f"{method.peak_bytes / 1e6:,.0f}",
            f"{method.drift:.4f}",
        ]
        if method.old_score is not None and method.old_loss is not None:
            row += [f"{method.old_score:z.3f}", f"{method.old_loss:.3f}"]
        rows.append(row)
    return [
        report.reason,
        "",
        *table(header + ["before", "its loss"] * len(before), rows),
        *(f"  {method.name}: {method.note}" for method in report.ways),
        "drift: how far the features of other data moved; 0: not at all",
        *(f"before: what the frozen model could do, {name}" for name in before),
        "",
        report.more_examples,
        *data_lines(report.data),
        f"{printable(report.model)}, {report.seconds:.1f} s",
        f"-> {printable(report.picture)}",
    ]


def prediction_lines(report: "reports.Predictions") -> list[str]:
    """One line an input, then how good they are where the labels are known."""
    lines = []
    measured = [] if report.score is None else [score_line(report.score)]
    if report.score is not None and report.chance is not None:
        measured.append(f"guessing among the labels: {report.chance:.3f}")
    measured += [*details_lines(report.details), *_threshold_lines(report.details)]
    if report.learned:
        measured.append(
            f"{counted(report.learned, 'labeled row is', 'labeled rows are')} not scored: it "
            "learned from them"
        )
    if report.abstained:
        measured.append(f"{report.abstained:,} inputs are below the threshold and have no label")
    if report.out is not None:
        return [*measured, f"{len(report.predictions):,} predictions -> {printable(report.out)}"]
    for one in report.predictions[:_PREDICTIONS]:
        chance = "" if one.probability is None else f" ({one.probability:.2f})"
        shown = one.input if len(one.input) <= 100 else one.input[:99] + "…"
        lines.append(f"{printable(one.label) or 'none'}{chance}  {printable(shown)}")
    more = len(report.predictions) - _PREDICTIONS
    lines += [f"and {more:,} more; --out FILE.csv writes all"] if more > 0 else []
    return lines + measured


def evaluation_lines(report: "reports.FitEvaluation") -> list[str]:
    """Show the score, each class, and the mistakes."""
    lines = [score_line(report.score), *details_lines(report.details)]
    lines += _unlearned_lines(report.unlearned)
    if report.learned:
        lines.append(f"{counted(report.learned, 'example')} left out: it has learned from them")
    return [
        *lines,
        *_left_out(report.left_out),
        f"{report.how} in {printable(report.fit)}, {report.seconds:.1f} s",
    ]


def _left_out(entries: Sequence[LeftOut]) -> list[str]:
    if not entries:
        return []
    shown = [f"  left out {printable(e.name)}: {printable(e.reason)}" for e in entries[:_LEFT_OUT]]
    more = len(entries) - _LEFT_OUT
    return shown + ([f"  and {more} more"] if more > 0 else [])


def lora_lines(report: "reports.LoraTrainResult") -> list[str]:
    """Show the loss before and after, cost, path, and how to use the result."""
    what = "noise" if report.task == "generate" else "text"
    lines = [
        f"loss on held-out {what}: {report.loss_before:.4f} before, {report.loss_after:.4f} after; "
        f"gain {report.gain:z.4f} ({report.gain_low:z.4f} to {report.gain_high:z.4f})"
    ]
    before, after = report.perplexity_before, report.perplexity_after
    if before is not None and after is not None:
        lines.append(f"perplexity: {before:.2f} before, {after:.2f} after")
    for name, text in (
        ("prompt", report.prompt),
        ("before", report.text_before),
        ("after", report.text_after),
    ):
        if text is not None:
            lines.append(f"  {name}: {printable(' '.join(text.split()))}")
    items = "images" if report.task == "generate" else "tokens"
    lines.append(
        f"{report.items:,} {items}, {counted(report.steps, 'step')}, {report.seconds:.0f} s; "
        f"{counted(report.parameters, 'parameter')} in {counted(report.layers, 'layer')}, "
        f"{report.bytes / 1e6:.2f} MB"
    )
    lines += [
        f"left out: {printable(one.name)}: {printable(one.reason)}" for one in report.left_out
    ]
    location = printable(report.out)
    if report.task == "generate":
        return [*lines, f"-> {location}; generate with it: graft generate ... --lora {location}"]
    return [*lines, f"-> {location}"]


_WITH_INTERVALS = 7  # columns at most that a terminal has room for


def readout_lines(report: "ReadoutResult") -> list[str]:
    """Show R2 next to its baselines, then what changed along each direction."""
    header = ["R2", "model", "95 %", "shuffled", "95 %", "random weights", "95 %"]
    rows = [
        [printable(one.name), *_cells(one.model), *_cells(one.shuffled), *_cells(one.random)]
        for one in report.read
    ]
    where = report.at if report.sigma is None else f"{report.at} at noise level {report.sigma:g}"
    lines = [
        *table(header, rows),
        f"{report.dimension:,} values of {where}, {counted(report.train, 'image')} to learn from, "
        f"{report.test:,} to measure on, {report.left_out:,} of other scenes left out",
    ]
    if report.moved:
        names = list(report.moved[0].shifts)
        say = _shift if len(names) <= _WITH_INTERVALS else _short
        rows = [
            [f"asked: {printable(one.name)}", *(say(one.shifts[name]) for name in names)]
            for one in report.moved
        ]
        agreed = ", ".join(f"{name} {value:.2f}" for name, value in report.agreement.items())
        lines += [
            "",
            *table(["moved by one standard deviation", *names], rows),
            f"measured by {report.measure}; its R2 with the truth: {agreed or 'not known'}",
            *(f"{printable(one.name)}, -2 to 2: {printable(one.picture)}" for one in report.moved),
        ]
    model = f"{printable(report.model)}, {report.fingerprint[:12]}"
    return [*lines, f"{report.seconds:.1f} s ({model})"]


def _cells(share: "Share") -> list[str]:
    return [f"{share.r2:z.3f}", f"{share.low:z.3f} to {share.high:z.3f}"]


def _shift(shift: "Shift") -> str:
    return f"{shift.value:+z.2f} ({shift.low:+z.2f} to {shift.high:+z.2f})"


def _short(shift: "Shift") -> str:
    return f"{shift.value:+z.2f}"


_FORECAST_ROWS = 12


def forecast_lines(report: "ForecastResult") -> list[str]:
    """What was read, the first values, the backtest."""
    season = "no season" if report.season == 1 else f"season of {report.season:,} steps"
    longer = "" if report.second_season == 1 else f" and {report.second_season:,}"
    low, high = (report.quantiles.get(level) for level in ("0.1", "0.9"))
    rows = []
    for number, (time, median) in enumerate(zip(report.times, report.median, strict=True)):
        if number == _FORECAST_ROWS:
            break
        interval = (
            [] if low is None or high is None else [f"{low[number]:.6g}", f"{high[number]:.6g}"]
        )
        rows.append([time, f"{median:.6g}", *interval])
    more = len(report.times) - _FORECAST_ROWS
    lines = [
        f"{printable(report.target)}: {report.history:,} values, {report.step} apart, "
        f"{season}{longer}",
        *([] if not report.fitted else [report.fitted]),
        *table(["time", "median", *(["10 %", "90 %"] if low and high else [])], rows),
        *([f"and {more:,} more" + "; --out FILE.csv writes all" * (not report.out)] * (more > 0)),
    ]
    if report.backtest:
        lines += ["", *_backtest(report)]
    lines += [
        f"{printable(report.model)}, {report.how}, {report.seconds:.1f} s",
        *(f"-> {printable(one)}" for one in (report.out, report.plot, report.saved) if one),
    ]
    return lines


def policy_lines(report: "PolicyEvaluation") -> list[str]:
    """Success of the policy and of what it is compared with."""
    rows = [
        [
            printable(one.name),
            f"{one.success:.2f}",
            f"{one.low:.2f} to {one.high:.2f}",
            f"{one.distance:.2f}",
        ]
        for one in report.rows
    ]
    return [
        f"{printable(report.task)}, camera {report.camera}: {report.episodes:,} held-out starts; "
        f"success: within {report.tolerance:g} of the goal after {counted(report.frames, 'frame')}",
        *table(["policy", "success", "95 % interval", "median distance"], rows),
        *([f"-> {printable(report.out)}"] if report.out else []),
    ]


def episodes_lines(report: "EpisodesWritten") -> list[str]:
    """What was recorded."""
    return [
        f"{printable(report.task)}, camera {report.camera}: {counted(report.episodes, 'episode')} "
        f"of the expert, {counted(report.frames, 'frame')} at {report.fps} a second, "
        f"{report.seconds:.1f} s",
        f"-> {printable(report.folder)}, {report.bytes / 1e6:.1f} MB",
    ]


def policy_fit_lines(report: "PolicyFit") -> list[str]:
    """What was learned, and the error of held-out actions."""
    return [
        f"{printable(report.task)}: {counted(report.episodes, 'episode')} "
        f"({counted(report.frames, 'frame')}) learned from, {report.held_out:,} held out",
        f"{report.how} on {printable(report.model)}: {report.parameters:,} numbers, "
        f"{report.share:.0%} of what was learned is applied",
        f"mean error of held-out actions: {report.error_before:.3f} before, "
        f"{report.error_after:.3f} after; {report.error_of_mean:.3f} by always taking the mean",
        f"-> {printable(report.out)}, {report.bytes / 1e3:,.0f} kB, {report.seconds:.1f} s",
    ]


def _backtest(report: "ForecastResult") -> list[str]:
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
