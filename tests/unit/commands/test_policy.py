"""`blocks episodes`, `blocks replay`, `eval policy` and `fit` on episodes, as they are called."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.unit.policy.conftest import demos, policy_folder, recorded  # noqa: F401  fixtures

import graftwerk as gw
from graftwerk.cli.finetune import policy_fit_lines, policy_lines
from graftwerk.commands.fit import run_fit
from graftwerk.commands.models import run_models_info
from graftwerk.commands.policy import run_blocks_episodes, run_blocks_replay, run_eval_policy
from graftwerk.errors import BadFile, BadInput, BadValue, UnknownName
from graftwerk.policy.episodes import read_episodes
from graftwerk.types import Silent


def test_episodes_are_recorded_and_shown(tmp_path):
    request = gw.BlocksEpisodes(
        count=3, target="green cone", camera="high", size=32, seed=5, out=tmp_path / "demos"
    )
    result = run_blocks_episodes(request, Silent())
    data = read_episodes(tmp_path / "demos")
    assert (result.episodes, result.frames) == (3, len(data.states)) and data.count == 3
    assert result.task == "reach the green cone" == data.tasks[0] and data.camera == "high"
    frames = int((data.episode == 1).sum())
    for name in ("one.png", "one.gif"):
        out = tmp_path / name
        shown = run_blocks_replay(
            gw.BlocksReplay(data=tmp_path / "demos", episode=1, out=out), Silent()
        )
        assert (shown.frames, shown.episodes) == (frames, 3)
        with Image.open(out) as image:
            assert getattr(image, "n_frames", 1) == (frames if name.endswith("gif") else 1)
            assert min(image.size) > 128
    with pytest.raises(BadFile, match="holds episodes of a robot, not to be replaced"):
        run_blocks_episodes(request, Silent())


def test_an_episode_that_there_is_not(recorded, tmp_path):  # noqa: F811
    with pytest.raises(BadValue, match="episode 6 is not valid: it must be 0 to 5"):
        run_blocks_replay(gw.BlocksReplay(data=recorded, episode=6), Silent())
    with pytest.raises(UnknownName, match=r"\.png, \.gif"):
        run_blocks_replay(gw.BlocksReplay(data=recorded, out=tmp_path / "x.mp4"), Silent())
    with pytest.raises(BadValue, match="target"):
        run_blocks_episodes(gw.BlocksEpisodes(target="a dog", out=tmp_path / "d"), Silent())


def test_a_policy_is_adapted_and_evaluated(policy_folder, recorded, tmp_path):  # noqa: F811
    out, film = tmp_path / "adapted", tmp_path / "film.gif"
    request = gw.Fit(
        data=str(recorded), model=str(policy_folder), how="linear", steps=20, out=out, device="cpu"
    )
    fitted = run_fit(request, Silent())
    assert (fitted.how, fitted.episodes, fitted.held_out) == ("linear", 5, 1)
    assert fitted.error_after <= fitted.error_before and fitted.error_of_mean > 0
    assert fitted.parameters == 8 * 3 + 3 and fitted.bytes < 20_000
    assert "mean error of held-out actions" in "\n".join(policy_fit_lines(fitted))
    result = run_eval_policy(
        gw.EvalPolicy(model=str(out), count=3, out=film, device="cpu"), Silent()
    )
    assert (result.task, result.camera) == ("reach the blue sphere", "left")
    assert [row.name for row in result.rows][1:] == [
        "its base",
        "the same without seeing",
        "random",
        "expert",
    ]
    assert result.rows[-1].success == 1 and result.rows[-1].low > 0.4
    shown = "\n".join(policy_lines(result))
    assert "3 held-out starts" in shown and "0.44 to 1.00" in shown
    with Image.open(film) as image:
        assert image.n_frames == result.frames
    again = run_fit(request, Silent())  # an earlier result is replaced
    assert np.isclose(again.error_after, fitted.error_after)


def test_options_that_are_not_for_episodes(policy_folder, recorded, tmp_path):  # noqa: F811
    for name, value in (("target", "x"), ("test_share", 0.5), ("balance", True)):
        given = {"data": str(recorded), "out": tmp_path / "out", name: value}
        with pytest.raises(BadInput, match="is not for episodes of a robot"):
            run_fit(gw.Fit(**given), Silent())
    with pytest.raises(BadInput, match="how 'auto' is not valid: episodes take linear"):
        run_fit(gw.Fit(data=str(recorded), how="auto", out=tmp_path / "out"), Silent())
    with pytest.raises(BadInput, match="of the kind 'forecaster'"):
        run_fit(gw.Fit(data=str(recorded), model="builtin/series", out=tmp_path / "out"), Silent())


def test_damaged_episodes_are_refused_before_anything_is_written(demos, policy_folder, tmp_path):  # noqa: F811
    info = json.loads((demos / "meta/info.json").read_text())
    (demos / "meta/info.json").write_text(json.dumps(info | {"fps": 10}))
    request = gw.Fit(data=str(demos), model=str(policy_folder), out=tmp_path / "out")
    with pytest.raises(BadFile, match="10 frames a second"):
        run_fit(request, Silent())
    assert not (tmp_path / "out").exists()


def test_what_a_policy_is(policy_folder):  # noqa: F811
    card = run_models_info(gw.ModelsInfo(name=str(policy_folder)), Silent())
    assert card.kind == "robot policy" and card.reads == ["image"]
    assert card.details["task"] == "reach the red cube, camera front"
    assert card.details["actions"] == "x, y, z, 5 times a second"


def test_a_fit_worse_than_the_mean(policy_folder, recorded, tmp_path, monkeypatch):  # noqa: F811
    notes = []

    class Noting(Silent):
        def note(self, text):
            notes.append(text)

    given = {"data": str(recorded), "model": str(policy_folder), "device": "cpu"}
    found = run_fit(gw.Fit(**given, how="full", steps=60, out=tmp_path / "more"), Noting())
    assert found.error_after < found.error_of_mean
    assert not any("no better than" in note for note in notes)
    notes.clear()
    data = read_episodes(recorded)  # always the same action, which the mean predicts exactly
    still = replace(data, actions=data.actions * 0 + 0.1)
    monkeypatch.setattr("graftwerk.commands.policy.read_episodes", lambda _: still)
    few = gw.Fit(**given, how="linear", steps=1, rank=4, out=tmp_path / "few")
    found = run_fit(few, Noting())
    assert found.error_after > found.error_of_mean
    assert "no effect with --how linear: --rank" in notes
    assert any("no better than always taking the mean" in note for note in notes)


def test_a_wrong_folder_says_its_kind(policy_folder, recorded, tmp_path):  # noqa: F811
    """Every command that is given a wrong folder says what is in it."""
    adapted = tmp_path / "adapted"
    gw.Policy(str(policy_folder), method="linear", steps=1, device="cpu").fit(recorded).save(
        adapted
    )
    data, made = str(recorded), str(adapted)
    episodes, fitted = "episodes of a robot, which is for `graft fit`", "`graft eval policy`"
    gone = tmp_path / "x"
    calls = [
        (lambda: gw.run(gw.Compare(data=data, out=gone)), episodes),
        (lambda: gw.run(gw.ModelsInfo(name=data)), episodes),
        (lambda: gw.run(gw.EvalPolicy(model=data)), episodes),
        (lambda: gw.run(gw.Predict(fit=data, inputs=["a"])), episodes),
        (lambda: gw.run(gw.Forecast(table=data)), episodes),
        (lambda: gw.run(gw.Search(query="a", index=data)), episodes),
        (lambda: gw.load(data), episodes),
        (lambda: gw.run(gw.ModelsInfo(name=made)), fitted),
        (lambda: gw.run(gw.Predict(fit=made, inputs=["a"])), fitted),
        (lambda: gw.run(gw.Embed(inputs=["a"], encoder=made)), fitted),
        (lambda: gw.run(gw.BlocksReplay(data=made)), fitted),
        (lambda: gw.Pipeline(made), fitted),
        (lambda: gw.Forecaster(made), fitted),
        (lambda: gw.Policy("builtin/minilm"), "'text encoder', not 'robot policy'. Name builtin/"),
        (lambda: gw.Policy("nosuch"), "Name builtin/policy, an existing folder"),
        (lambda: gw.Forecaster("builtin/policy"), "'robot policy', not 'forecaster'"),
    ]
    for number, (call, expected) in enumerate(calls):
        with pytest.raises(BadInput) as refused:
            call()
        assert expected in str(refused.value), number
