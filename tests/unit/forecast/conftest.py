"""Small series, and tiny random forecasters in folders."""

import csv
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from tests.unit.models.conftest import random_network

from graftwerk.forecast.network import MODEL_TYPE, SeriesForecaster
from graftwerk.recipes.result import save_own
from graftwerk.training.state import generator_for, initialise


@pytest.fixture
def write_table(tmp_path):
    """Rows under a header, as a CSV file."""

    def write(header, rows, name="t.csv"):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return tmp_path / name

    return write


def hours(count, start="2026-01-01 00:00"):
    first = datetime.fromisoformat(start)
    return [(first + timedelta(hours=n)).isoformat(sep=" ") for n in range(count)]


def wave(count, season=24, noise=0.1, seed=0):
    """A season, a slow trend and noise."""
    time = np.arange(count)
    rough = np.random.default_rng(seed).normal(size=count) * noise
    return 10 + 0.01 * time + 3 * np.sin(2 * np.pi * time / season) + rough


@pytest.fixture
def series_folder(tmp_path):
    """An untrained network of the built-in kind, which nearly repeats the last season."""
    config = {"model_type": MODEL_TYPE, "width": 16, "heads": 2, "layers": 1}
    network = SeriesForecaster(config)
    initialise(network, generator_for(0, 0, "cpu"))
    network.start()
    folder = tmp_path / "series-model"
    folder.mkdir()
    save_own(folder, config, dict(network.state_dict()))
    return folder


@pytest.fixture
def library_folder(tmp_path):
    """A tiny random network of transformers that forecasts."""

    def write(kind, **more):
        import transformers as library

        attention = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 16}
        timesfm = {"patch_length": 4, "context_length": 32, "horizon_length": 8, "head_dim": 8}
        if kind == "patchtst":
            config = library.PatchTSTConfig(
                context_length=32, patch_length=4, patch_stride=4, d_model=16, ffn_dim=32,
                num_attention_heads=2, num_hidden_layers=2, num_input_channels=1,
                prediction_length=8, **more,
            )  # fmt: skip
            make = lambda: library.PatchTSTForPrediction(config)  # noqa: E731
        elif kind == "timesfm":
            config = library.TimesFmConfig(intermediate_size=16, **timesfm, **attention)
            make = lambda: library.TimesFmModelForPrediction(config)  # noqa: E731
        else:
            config = library.TimesFm2_5Config(
                intermediate_size=16, num_key_value_heads=2, output_quantile_len=8, **timesfm,
                **attention,
            )  # fmt: skip
            make = lambda: library.TimesFm2_5ModelForPrediction(config)  # noqa: E731
        with torch.random.fork_rng():
            random_network(make).save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return write
