"""Fitting to a series: what changes, what stays, and what is saved."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.unit.forecast.conftest import wave

import graftwerk as gw
from graftwerk.errors import BadFile, BadInput, WrongBase

METHODS = ("linear", "lora", "full")


def weights(forecaster):
    named = forecaster.network.network.state_dict()
    return {name: one.clone() for name, one in named.items() if "lora" not in name}


@pytest.mark.parametrize("method", METHODS)
def test_a_series_is_learned_saved_and_opened(series_folder, tmp_path, method):
    # every second season is turned over: repeating the last one is always wrong
    time = np.arange(600)
    series = np.sin(2 * np.pi * time / 12) * np.where(time // 12 % 2, -3.0, 3.0)
    options = {"season": 12, "device": "cpu"}
    frozen = gw.Forecaster(str(series_folder), **options)
    before = frozen.predict(series[:480], 24).median
    forecaster = gw.Forecaster(str(series_folder), method=method, steps=60, **options)
    retained = weights(forecaster)
    forecaster.fit(series[:480], 24)
    after = forecaster.predict(series[:480], 24)
    actual = series[480:504]
    assert np.abs(after.median - actual).mean() < np.abs(before - actual).mean()
    changed = {
        n for n, one in weights(forecaster).items() if not torch.equal(one, retained.get(n, one))
    }
    if method == "linear":
        assert changed == {"head.weight", "head.bias"}
    elif method == "full":
        assert len(changed) > 10
    else:
        assert not changed
    forecaster.save(tmp_path / "fitted")
    files = {path.name for path in (tmp_path / "fitted").iterdir()}
    assert ("learned.safetensors" in files) == (method != "lora")
    opened = gw.Forecaster(str(tmp_path / "fitted"), season=12, device="cpu")
    assert opened.method == method
    assert np.array_equal(opened.predict(series[:480], 24).quantiles, after.quantiles)


class Dated(list):
    """A series whose dates descend, as of pandas."""

    class index:  # noqa: N801
        freqstr, is_monotonic_increasing = None, False


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1e200, 2e200] * 20, "not finite, the first is number 1"),
        (np.array([1, 2] * 20) + 1j, "it is complex"),
        (Dated([1, 2] * 20), "not in order"),
    ],
)
def test_series_that_no_forecast_is_made_of(series_folder, values, words):
    with pytest.raises(BadInput, match=words):
        gw.Forecaster(str(series_folder), device="cpu").predict(values, horizon=2)


def test_an_unfitted_method_forecasts_nothing(series_folder):
    forecaster = gw.Forecaster(str(series_folder), method="linear", device="cpu")
    with pytest.raises(BadInput, match="not fitted yet"):
        forecaster.predict([1, 2] * 20, horizon=2)


def test_a_head_holds_no_frozen_weight(series_folder, tmp_path):
    from safetensors.numpy import load_file

    forecaster = gw.Forecaster(str(series_folder), method="linear", steps=2, season=12)
    forecaster.fit(wave(300, 12), 12).save(tmp_path / "fitted")
    assert set(load_file(tmp_path / "fitted" / "learned.safetensors")) == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_help_is_not_used(series_folder, method, monkeypatch):
    from graftwerk.adapters import tuned

    def destroy(task, *_):
        found = {name: one.detach() * float("nan") for name, one in task.parameters().items()}
        return SimpleNamespace(average=found)

    monkeypatch.setattr(tuned, "train", destroy)
    series = wave(400, 12, noise=0.01)
    frozen = gw.Forecaster(str(series_folder), season=12, device="cpu")
    forecaster = gw.Forecaster(
        str(series_folder), method=method, steps=12, season=12, device="cpu"
    ).fit(series, 12)
    assert "with 0% of what was learned" in forecaster.fitted
    assert np.array_equal(
        forecaster.predict(series, 12).quantiles, frozen.predict(series, 12).quantiles
    )


@pytest.mark.parametrize("kind", ["patchtst", "timesfm", "timesfm2_5"])
@pytest.mark.parametrize("method", METHODS)
def test_models_of_the_library_are_fitted_too(library_folder, tmp_path, kind, method):
    folder = library_folder(kind)
    series = wave(300, 8, noise=0.01)
    frozen = gw.Forecaster(str(folder), season=8, device="cpu", calibrate=False)
    frozen = frozen.predict(series[:260], 8)
    forecaster = gw.Forecaster(
        str(folder), method=method, steps=40, season=8, device="cpu", calibrate=False
    ).fit(series[:260], 8)
    assert forecaster._tuned.after < forecaster._tuned.before
    after = forecaster.predict(series[:260], 8)
    assert not np.array_equal(after.quantiles, frozen.quantiles)
    forecaster.save(tmp_path / "fitted")
    opened = gw.Forecaster(str(tmp_path / "fitted"), season=8, device="cpu", calibrate=False)
    assert np.array_equal(opened.predict(series[:260], 8).quantiles, after.quantiles)


def test_another_base_is_refused_by_name(series_folder, tmp_path):
    forecaster = gw.Forecaster(str(series_folder), method="linear", steps=2, season=12)
    forecaster.fit(wave(300, 12), 12).save(tmp_path / "fitted")
    config = (series_folder / "config.json").read_text()
    (series_folder / "config.json").write_text(config.replace("{", '{"other": 1,', 1))
    with pytest.raises(WrongBase, match=r"was made on .*series-model with fingerprint"):
        gw.Forecaster(str(tmp_path / "fitted"))


def test_a_folder_of_something_else_is_not_written_over(series_folder, tmp_path):
    forecaster = gw.Forecaster(str(series_folder), method="linear", steps=2, season=12)
    with pytest.raises(BadInput, match="nothing was fitted"):
        forecaster.save(tmp_path / "fitted")
    forecaster.fit(wave(300, 12), 12)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(BadFile):
        forecaster.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_history_that_is_too_short_to_fit(series_folder):
    with pytest.raises(BadInput, match="too few to fit 24 values ahead"):
        gw.Forecaster(str(series_folder), method="full").fit(wave(50), 24)
