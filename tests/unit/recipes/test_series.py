"""The forecaster's recipe: made-up series, a run that can be gone on with, a model that opens."""

import numpy as np
import pytest
import torch

import graftwerk as gw
from graftwerk.commands.blocks import run_recipe_run
from graftwerk.forecast.candidates import LEADS, NAMES
from graftwerk.forecast.forecasters import open_forecaster
from graftwerk.forecast.network import QUANTILES, pinball, spaced
from graftwerk.forecast.synthetic import synthetic_series
from graftwerk.recipes import series
from graftwerk.recipes.registry import HELD_OUT_WORLD, TRAINING_WORLD, Setting
from graftwerk.types import Silent


def test_series_are_functions_of_their_seed_and_all_different():
    made = [synthetic_series(np.random.default_rng(n), 64, 400) for n in range(200)]
    again = synthetic_series(np.random.default_rng(3), 64, 400)
    assert np.array_equal(again.values, made[3].values)
    assert all(np.isfinite(one.values).all() and len(one.values) >= 72 for one in made)
    assert {one.season for one in made} > {1, 12, 24}
    assert sum(one.second > 1 for one in made) > 10


def test_a_season_shows_in_what_is_made():
    def at_season(one):
        flat = np.diff(one.values)
        return np.corrcoef(flat[: -one.season], flat[one.season :])[0, 1]

    made = [synthetic_series(np.random.default_rng(n), 64, 600) for n in range(300)]
    seasonal = [at_season(one) for one in made if 4 < one.season < 60]
    assert np.median(seasonal) > 0.3


def test_held_out_series_are_others():
    trained, _, _ = series.item(0, TRAINING_WORLD, 5)
    held, _, _ = series.item(0, HELD_OUT_WORLD, 5)
    assert not np.array_equal(trained.past, held.past)
    again, target, _ = series.item(0, TRAINING_WORLD, 5)
    assert np.array_equal(trained.past, again.past)
    assert target.shape == (LEADS,) and trained.ahead.shape == (len(NAMES), LEADS)


def test_learning_lowers_the_loss():
    work = series.prepare(series.TINY, Setting(0, "cpu", {}, Silent()))
    batch = work.batch(0, 16)
    optimizer = torch.optim.Adam(work.parameters().values(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss, _ = work.loss(batch, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_quantiles_are_spaced_around_the_median():
    found = spaced(torch.tensor([2.0]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert found.tolist() == [[-1.0, 0.0, 2.0, 5.0, 9.0]]
    target = torch.tensor([[1.0]])
    loss = pinball(torch.tensor([[[0.0, 1.0, 3.0]]]), target, (0.1, 0.5, 0.9))
    assert loss.item() == pytest.approx(2 * (0.1 + 0.0 + 0.2) / 3)


def test_the_recipe_makes_a_forecaster(tmp_path):
    request = gw.RecipeRun(name="series", out=tmp_path / "run", tiny=True, device="cpu")
    result = run_recipe_run(request, Silent())
    assert result.finished
    assert set(result.figures) == {"mase_percent", "coverage_of_80"}
    model = open_forecaster(str(tmp_path / "run" / "model"), "cpu")
    assert model.levels == QUANTILES
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "made-up series" in card and "A model that forecasts" in card
