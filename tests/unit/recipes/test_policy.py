"""The policy's recipe: recorded once, learned from, measured, opened."""

import dataclasses

import pytest
import torch

import graftwerk as gw
from graftwerk.commands.blocks import run_recipe_run
from graftwerk.models.hub import builtin_folder
from graftwerk.policy.network import ENCODER
from graftwerk.recipes import policy
from graftwerk.recipes.registry import Setting
from graftwerk.settings import settings
from graftwerk.types import Silent


@pytest.fixture
def own_cache(cache, monkeypatch):
    own = dataclasses.replace(settings(), cache=cache, threads=1)
    monkeypatch.setattr(policy, "settings", lambda: own)
    return cache


@pytest.fixture
def setting(own_cache):
    return Setting(0, "cpu", {"perception": builtin_folder(ENCODER)}, Silent(), 32)


def test_learning_lowers_the_loss(setting, own_cache):
    work = policy.prepare(policy.TINY, setting)
    batch = work.batch(0, 16)
    optimizer = torch.optim.Adam(work.parameters().values(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss, _ = work.loss(batch, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    [recorded] = (own_cache / "policy").glob("episodes-*")
    before = (recorded / "meta/info.json").stat().st_mtime_ns
    policy.prepare(policy.TINY, setting)
    assert (recorded / "meta/info.json").stat().st_mtime_ns == before


def test_a_run_makes_a_policy_that_opens(own_cache, tmp_path):
    request = gw.RecipeRun(name="policy", out=tmp_path / "run", tiny=True, device="cpu")
    result = run_recipe_run(request, Silent())
    assert result.figures["success_of_expert"] == 1 > result.figures["success"]
    assert result.figures["success_of_random"] <= 0.25
    opened = gw.Policy(str(tmp_path / "run"), device="cpu")
    assert (
        opened.task.words == "reach the red cube"
        and opened.kernel.network.config["encoder"]["name"] == ENCODER
    )
    assert (
        "that moves a gripper above the red cube" in (tmp_path / "run/model/README.md").read_text()
    )
