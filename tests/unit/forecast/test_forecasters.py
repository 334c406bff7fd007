"""Forecasters: the library's own numbers, scales, horizons longer than a network's, baselines."""

import re

import numpy as np
import pytest
import torch
from scipy import stats
from tests.unit.forecast.conftest import wave

from graftwerk.errors import BadInput
from graftwerk.forecast.calibrated import Calibrated, WithCovariates
from graftwerk.forecast.candidates import NAMES, drift, example, seasonal_naive, simple_forecasts
from graftwerk.forecast.forecasters import (
    FORECASTERS,
    Drift,
    History,
    Naive,
    open_forecaster,
)
from graftwerk.forecast.network import QUANTILES
from graftwerk.metrics.calibration import coverage, crps

HISTORIES = [History(wave(60), 24), History(wave(20, seed=1), 4)]


@pytest.mark.parametrize("kind", FORECASTERS)
def test_quantiles_are_those_of_the_library(library_folder, kind):
    import transformers

    folder = library_folder(kind)
    model = open_forecaster(str(folder), "cpu")
    found = model.forecast(HISTORIES, 8)
    theirs = getattr(transformers, FORECASTERS[kind]).from_pretrained(folder).eval()
    rows = [torch.tensor(one.values[-32:], dtype=torch.float32) for one in HISTORIES]
    with torch.no_grad():
        if kind == "patchtst":
            values, seen = torch.zeros(2, 32, 1), torch.zeros(2, 32, 1)
            for number, row in enumerate(rows):
                values[number, 32 - len(row) :, 0] = row
                seen[number, 32 - len(row) :] = 1
            expected = theirs(past_values=values, past_observed_mask=seen).prediction_outputs
            assert model.levels == (0.5,)
        else:
            expected = theirs(past_values=rows).full_predictions[..., 1:]
            assert model.levels == QUANTILES
    expected = expected.double().numpy()
    middle = model.levels.index(0.5)
    expected[..., middle:] = np.maximum.accumulate(expected[..., middle:], axis=-1)
    for column in range(middle - 1, -1, -1):
        expected[..., column] = expected[..., column : column + 2].min(axis=-1)
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("output", ["student_t", "normal"])
def test_a_distribution_gives_quantiles(library_folder, output):
    folder = library_folder("patchtst", loss="nll", distribution_output=output)
    model = open_forecaster(str(folder), "cpu")
    assert model.levels == QUANTILES
    found = model.forecast(HISTORIES[:1], 8)[0]
    batch = model.prepare(HISTORIES[:1], 8)
    with torch.no_grad():
        raw = model.network(**batch.inputs)
        spread = model.network.distribution_output.distribution(
            raw.prediction_outputs, loc=raw.loc, scale=raw.scale
        )
        torch.manual_seed(0)
        sampled = spread.sample((20_000,))[:, 0, :, 0].numpy()
    shares = [(sampled < found[:, column]).mean(axis=0) for column in range(9)]
    assert np.allclose(np.stack(shares, 1), QUANTILES, atol=0.02)


def test_a_model_that_does_not_forecast_is_refused(tmp_path):
    import transformers

    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=8, patch_size=4,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="of type 'vit', which does not forecast"):
        open_forecaster(str(tmp_path), "cpu")


@pytest.mark.parametrize("odd", ['"width": 10000000000', '"layers": 0', '"heads": 3'])
def test_a_configuration_that_no_network_has_is_refused(series_folder, odd):
    config = series_folder / "config.json"
    name = odd.partition(":")[0]
    config.write_text(re.sub(rf"{name}: \d+", odd, config.read_text()))
    with pytest.raises(BadInput, match=r"cannot be built|allowed is"):
        open_forecaster(str(series_folder), "cpu")


def test_an_untrained_network_begins_at_the_last_season(series_folder):
    model = open_forecaster(str(series_folder), "cpu")
    history = History(wave(200, noise=0.0), 24)
    median = model.forecast([history], 24)[0, :, 4]
    naive = seasonal_naive(history.values, 24, 24)
    far = np.abs(drift(history.values, 24) - naive).mean()
    assert np.abs(median - naive).mean() < 0.3 * far


def test_quantiles_never_cross_and_follow_the_scale(series_folder):
    model = open_forecaster(str(series_folder), "cpu")
    found = model.forecast(HISTORIES, 40)
    assert found.shape == (2, 40, 9)
    assert (np.diff(found, axis=2) >= 0).all()
    larger = [History(1000 * one.values, one.season) for one in HISTORIES]
    assert np.allclose(model.forecast(larger, 40), 1000 * found, rtol=1e-3)


def test_a_batch_changes_nothing(series_folder):
    model = open_forecaster(str(series_folder), "cpu")
    together = model.forecast(HISTORIES, 16)
    alone = np.concatenate([model.forecast([one], 16) for one in HISTORIES])
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["series", "timesfm"])
def test_beyond_its_leads_a_network_goes_on_from_its_median(series_folder, library_folder, kind):
    folder = series_folder if kind == "series" else library_folder(kind)
    model = open_forecaster(str(folder), "cpu")
    history = History(wave(400), 24)
    found = model.forecast([history], model.most + 8)[0]
    first = model.forecast([history], model.most)[0]
    assert np.allclose(found[: model.most], first, atol=1e-5)
    longer = History(np.concatenate([history.values, first[:, 4]]), 24)
    rest = model.forecast([longer], 8)[0]
    assert np.allclose(found[model.most :, 4], rest[:, 4], atol=1e-4)
    width, alone = ((one[:, -1] - one[:, 0]).mean() for one in (found[model.most :], rest))
    assert width > 1.05 * alone


def test_baselines_by_hand():
    values = np.array([1.0, 5.0, 2.0, 7.0])
    naive = Naive().forecast([History(values, 2)], 3)[0]
    assert naive[:, 4].tolist() == [2.0, 7.0, 2.0]
    deviation = np.sqrt((1 + 4) / 2)  # of changes over a season
    assert np.allclose(naive[0, -1], 2 + stats.norm.ppf(0.9) * deviation)
    assert np.allclose(naive[2, -1], 2 + stats.norm.ppf(0.9) * deviation * np.sqrt(2))
    line = Drift().forecast([History(values)], 2)[0]
    assert line[:, 4].tolist() == [9.0, 11.0]


def test_the_season_of_a_short_history_is_its_last_value():
    assert seasonal_naive(np.array([1.0, 4.0]), 12, 2).tolist() == [4.0, 4.0]
    assert simple_forecasts(np.array([1.0, 4.0]), 12, 1, 3).shape == (len(NAMES), 3)


@pytest.mark.parametrize("values", [np.arange(5.0), np.full(9, 3.0), np.zeros(4), 1e12 + wave(30)])
def test_what_the_network_reads_is_finite(values):
    reported = example(values, 4)
    assert all(np.isfinite(one).all() for one in (reported.past, reported.ahead, reported.facts))
    assert reported.scale > 0


class Fixed:
    """Says what it was told, with an interval of +-1."""

    name, levels = "fixed", (0.1, 0.5, 0.9)

    def forecast(self, histories, leads):
        around = np.array([-1.0, 0.0, 1.0])
        return np.stack([np.full((leads, 3), one.values[-1]) + around for one in histories])


def test_intervals_are_scaled_by_earlier_errors():
    rough = np.random.default_rng(0).normal(size=400).cumsum() * 5
    wide = Calibrated(Fixed()).forecast([History(rough)], 10)[0]
    assert (wide[:, 2] - wide[:, 0] > 4).all()
    assert np.array_equal(wide[:, 1], np.full(10, rough[-1]))
    narrow = Calibrated(Fixed()).forecast([History(np.sin(np.arange(400)) / 50)], 10)[0]
    assert (narrow[:, 2] - narrow[:, 0] < 1.5).all()
    short = Calibrated(Fixed()).forecast([History(rough[:14])], 10)[0]
    assert np.allclose(short[:, 2] - short[:, 0], 2)


@pytest.mark.parametrize(("origins", "level"), [(1, 1.0), (2, 0.9)])
def test_few_errors_are_a_finite_sample(origins, level):
    """A higher quantile of few errors than the nominal one: 0.8 (1 + 1 / (4 origins))."""
    steps = np.concatenate([9 * n + np.arange(10.0) for n in range(origins)])
    history = np.concatenate([np.zeros({1: 12, 2: 20}[origins]), steps])
    found = Calibrated(Fixed()).forecast([History(history)], 10)[0]
    errors = np.tile(np.arange(10), origins)
    scale = np.quantile(errors, level) ** (origins / (origins + 2))
    assert np.allclose(found[:, 2] - found[:, 1], scale)


class WithLine(Fixed):
    """Also knows the line through the last two values, and a constant that is far off."""

    def simple(self, history, leads):
        last, before = history.values[-1], history.values[-2]
        ahead = np.arange(1, leads + 1)
        return np.stack([last + (last - before) * ahead, np.full(leads, 1e6)])


@pytest.mark.parametrize("count", [8, 40])
def test_the_median_follows_the_simple_forecast_that_was_right_before(count):
    values = 3 * np.arange(float(count))
    found = Calibrated(WithLine()).forecast([History(values)], 4)[0]
    assert found[:, 1] == pytest.approx(3 * (count + np.arange(4.0)), rel=1e-3)
    assert (found[:, 2] > found[:, 1]).all() and (found[:, 0] < found[:, 1]).all()
    flat = np.random.default_rng(0).normal(size=count)  # where the last value is the better one
    left = Calibrated(WithLine()).forecast([History(flat)], 4)[0]
    assert left[:, 1] == pytest.approx(np.full(4, flat[-1]), abs=0.5)
    short = Calibrated(WithLine()).forecast([History(values[:6])], 4)[0]  # no earlier origin
    assert np.array_equal(short[:, 1], np.full(4, values[5]))


def test_intervals_are_measured_by_weights_from_other_origins():
    """One origin alone chooses the weights, so its own error would flatter the intervals."""
    values = np.concatenate([np.zeros(12), np.arange(1.0, 11.0)])
    made = Calibrated(WithLine()).forecast([History(values)], 10)[0]
    model = Calibrated(Fixed()).forecast([History(values)], 10)[0]
    assert np.allclose(made[:, 2] - made[:, 1], model[:, 2] - model[:, 1])


def test_a_covariate_that_makes_the_series_helps():
    beside = np.random.default_rng(0).normal(size=220).cumsum()
    values = 4 * beside[:200] + 0.01 * wave(200)
    after = 4 * beside[200:] + values[-1] - 4 * beside[199]
    found = WithCovariates(Naive(), {"x": beside}).forecast([History(values)], 20)[0, :, 4]
    alone = Naive().forecast([History(values)], 20)[0, :, 4]
    assert np.abs(found - after).mean() < 0.2 * np.abs(alone - after).mean()


def test_crps_and_coverage():
    levels = np.arange(1, 100) / 100
    quantiles = np.tile(stats.norm.ppf(levels), (1, 1))
    at_zero = (np.sqrt(2) - 1) / np.sqrt(np.pi)  # Gneiting and Raftery 2007
    assert crps(quantiles, np.zeros(1), levels.tolist()) == pytest.approx(at_zero, abs=0.01)
    rows = np.array([[0.0, 1.0, 2.0]] * 4)
    assert coverage(rows, np.array([-1.0, 0.5, 1.5, 3.0]), [0.1, 0.5, 0.9]) == 0.5
    assert coverage(rows[:, :1], np.zeros(4), [0.5]) is None
