"""LoRA and full fine-tuning: they begin at the linear solution, and a kill changes no bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support import Recorder
from tests.unit.finetune.conftest import write_csv

from graftwerk.errors import BadInput, Cancelled, Diverged
from graftwerk.finetune.base_model import open_base
from graftwerk.finetune.problem import Source, open_problem
from graftwerk.finetune.run import starting_head, tune
from graftwerk.finetune.scoring import Settings
from graftwerk.finetune.tune import Tuning, encode, inputs_of, load_network
from graftwerk.models.trainable import TruncatedForward
from graftwerk.types import Silent

LORA = Settings("lora", rank=2, epochs=6.0, batch=8, learning_rate=5e-3, patience=9)
FULL = Settings("full", epochs=6.0, batch=8, learning_rate=2e-3, patience=9)


@pytest.fixture
def problem(tiny, texts):
    return open_problem(open_base(str(tiny), None, "cpu"), Source(str(texts)), Silent())


def weights(run):
    return {name: p.detach().numpy().tobytes() for name, p in run.tuning.parameters().items()}


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_it_begins_exactly_where_linear_ends(problem, settings):
    network = load_network(problem.base, "text")
    head = starting_head(problem, Silent())
    tuning = Tuning(problem, network, head, settings)
    locations = problem.split.validation
    linear = head.score(problem.features(Silent())[locations])
    np.testing.assert_allclose(tuning.scores(locations, "float32"), linear, atol=1e-4)


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_the_best_is_kept_and_is_never_below_linear(problem, settings, tmp_path):
    run = tune(problem, settings, tmp_path / "run", Silent(), precision="float32")
    assert run.finished
    assert run.measured.value >= run.start
    history = (tmp_path / "run" / "validations.jsonl").read_text().splitlines()
    assert len(history) > 3


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["lora", "full"])
def test_it_learns_what_linear_cannot(tiny, tmp_path, settings):
    """Whether the first and the last word are the same is no linear function of a mean."""
    generator = np.random.default_rng(0)
    words = ("red", "blue")
    rows = {}
    while len(rows) < 300:
        ends = generator.integers(0, 2, 2)
        inside = " ".join(np.array(["cat", "dog", "sits"])[generator.integers(0, 3, 4)])
        rows[f"{words[ends[0]]} {inside} {words[ends[1]]}"] = "same" if ends[0] == ends[1] else "no"
    path = write_csv(tmp_path / "same.csv", rows.items())
    problem = open_problem(open_base(str(tiny), None, "cpu"), Source(str(path)), Silent())
    longer = Settings(settings.how, rank=8, epochs=30.0, batch=16, learning_rate=1e-2, patience=30)
    run = tune(problem, longer, tmp_path / "run", Silent(), precision="float32")
    assert run.measured.value > run.start + 0.1


def test_a_killed_run_ends_with_the_same_bits(problem, tmp_path):
    whole = tune(problem, LORA, tmp_path / "whole", Silent(), precision="float32")
    for stop in (3, 9, 14):
        with pytest.raises(Cancelled):
            tune(problem, LORA, tmp_path / "cut", Recorder(stop_after=stop), precision="float32")
    resumed = tune(problem, LORA, tmp_path / "cut", Silent(), precision="float32")
    assert weights(resumed) == weights(whole)
    assert resumed.steps == whole.steps
    logs = [(tmp_path / name / "validations.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_finished_run_is_not_trained_on(problem, tmp_path):
    first = tune(problem, LORA, tmp_path / "run", Silent(), precision="float32")
    again = tune(problem, LORA, tmp_path / "run", Silent(), precision="float32")
    assert weights(again) == weights(first)
    assert again.steps == first.steps


def test_it_stops_early_and_says_so(problem, tmp_path):
    settings = Settings("full", epochs=50.0, batch=8, learning_rate=1e-7, patience=2)
    run = tune(problem, settings, tmp_path / "run", Silent(), precision="float32")
    assert run.finished
    assert run.steps < 100


def test_other_settings_are_refused_in_the_same_folder(problem, tmp_path):
    tune(problem, LORA, tmp_path / "run", Silent(), precision="float32")
    other = Settings("lora", rank=3, epochs=12.0, batch=8, learning_rate=5e-3, patience=9)
    with pytest.raises(BadInput, match="rank"):
        tune(problem, other, tmp_path / "run", Silent(), precision="float32")


def test_a_loss_that_is_not_finite_keeps_the_best(problem, tmp_path, monkeypatch):
    loss = Tuning.loss
    steps = []

    def broken(self, batch, generator):
        value, figures = loss(self, batch, generator)
        steps.append(1)
        return (value * float("nan") if len(steps) > 12 else value), figures

    monkeypatch.setattr(Tuning, "loss", broken)
    with pytest.raises(Diverged, match="Lower the learning rate"):
        tune(problem, LORA, tmp_path / "run", Silent(), precision="float32")
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_the_rate_falls_from_block_to_block(problem):
    network = load_network(problem.base, "text")
    tuning = Tuning(problem, network, starting_head(problem, Silent()), FULL)
    shares = tuning.shares()
    by_block = [
        {shares[name] for name in shares if f"layer.{number}." in name} for number in range(3)
    ]
    assert [len(found) for found in by_block] == [1, 1, 1]
    lowest, middle, top = (found.pop() for found in by_block)
    assert lowest < middle < top == 1.0
    assert all(shares[n] < lowest for n in shares if n.startswith("embeddings"))
    assert shares["head.weight"] > 1


def test_b_learns_faster_than_a_where_that_is_asked(problem):
    network = load_network(problem.base, "text")
    faster = replace(LORA, lora_plus=16.0)
    shares = Tuning(problem, network, starting_head(problem, Silent()), faster).shares()
    assert shares
    assert all(".lora_B." in name for name in shares)
    assert set(shares.values()) == {16.0}


def test_nothing_without_a_gradient_is_trained(problem):
    network = load_network(problem.base, "text")
    tuning = Tuning(problem, network, starting_head(problem, Silent()), FULL)
    assert not any("pooler" in name for name in tuning.parameters())
    assert any("embeddings" in name for name in tuning.parameters())


@pytest.mark.parametrize("block", [1, 2])
def test_states_that_are_kept_give_the_same_vectors(problem, block):
    trainable = load_network(problem.base, "text")
    below = TruncatedForward(trainable, block)
    inputs = inputs_of(trainable, problem.examples.items[:5])
    with torch.no_grad():
        expected = trainable.encode(inputs)
        states = below.states(inputs)
        with below.skipped():
            found = below.encode(inputs, states)
            other = below.encode(inputs, torch.zeros_like(states))
        again = trainable.encode(inputs)
    assert torch.equal(found, expected)
    assert not torch.allclose(other, expected)
    assert torch.equal(again, expected)


@pytest.mark.parametrize("how", ["lora", "full"])
def test_with_a_top_the_rest_is_computed_once(problem, tmp_path, how, monkeypatch):
    settings = Settings(how, rank=2, top=1, epochs=4.0, batch=8, learning_rate=3e-3, patience=9)
    calls = []
    states = TruncatedForward.states
    monkeypatch.setattr(TruncatedForward, "states", lambda *a: calls.append(1) or states(*a))
    run = tune(problem, settings, tmp_path / "run", Silent(), precision="float32")
    assert len(calls) == 1 + -(-120 // 32)
    names = [name for name in run.tuning.parameters() if not name.startswith("head")]
    assert names
    assert all("layer.2." in name for name in names)
    # What was learned through kept states is what the whole network computes.
    locations = problem.split.validation
    items = [problem.examples.items[n] for n in locations.tolist()]
    vectors = encode(run.tuning.trainable, items, lambda count: None)
    with run.tuning.running():
        retained = run.tuning.scores(locations, "float32")
    np.testing.assert_allclose(run.tuning.head().score(vectors), retained, atol=1e-4)


def test_a_top_that_is_the_whole_network_is_refused(problem, tmp_path):
    settings = Settings("lora", top=3, epochs=1.0, batch=8)
    with pytest.raises(BadInput, match="Allowed: 1 to 2"):
        tune(problem, settings, tmp_path / "run", Silent())


def test_too_few_to_validate_on(tiny, tmp_path):
    rows = [("red cat", "a"), ("red dog", "a"), ("blue cat", "b"), ("blue dog", "b")]
    path = write_csv(tmp_path / "few.csv", rows)
    problem = open_problem(open_base(str(tiny), None, "cpu"), Source(str(path)), Silent())
    with pytest.raises(BadInput, match="too few examples to validate on"):
        tune(problem, LORA, tmp_path / "run", Silent())
