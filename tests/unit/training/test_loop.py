import dataclasses
import json
import math

import pytest
import torch
from tests.train_toys import PLAN, Toy, run_toy, weights_of

from graftwerk.errors import BadInput, Busy, Cancelled, Damaged, Diverged, NoRoom
from graftwerk.training.loop import Log
from graftwerk.training.state import load_newest
from graftwerk.types import Silent

SHORT = dataclasses.replace(PLAN, steps=12)


class StopAt(Silent):
    """A user who presses Ctrl-C in a step."""

    def __init__(self, step):
        self.left, self.notes = step, []

    def advance(self, count=1):
        self.left -= count
        if self.left <= 0:
            raise Cancelled("stopped by Ctrl-C.")

    def note(self, text):
        self.notes.append(text)


class Notes(Silent):
    def __init__(self):
        self.notes, self.total, self.done = [], None, 0

    def start(self, task, total=None):
        self.total = total

    def advance(self, count=1):
        self.done += count

    def note(self, text):
        self.notes.append(text)


def entries(folder):
    return Log(folder / "log.jsonl").read()


def test_it_learns_and_writes_everything(tmp_path):
    monitor = Notes()
    outcome = run_toy(tmp_path, monitor=monitor)
    losses = [entry["loss"] for entry in entries(tmp_path)]
    assert outcome.finished and outcome.step == len(losses) == PLAN.steps
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert set(entries(tmp_path)[0]) >= {"step", "loss", "learning_rate", "seconds", "error"}
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert monitor.done == monitor.total == PLAN.steps
    assert any("loss" in note for note in monitor.notes)


def test_the_same_again(tmp_path):
    first = weights_of(run_toy(tmp_path / "a", SHORT))
    torch.manual_seed(99)  # what the global generator does has no part in it
    torch.rand(5)
    assert weights_of(run_toy(tmp_path / "b", SHORT)) == first
    assert weights_of(run_toy(tmp_path / "c", SHORT, seed=1)) != first


def test_frequent_checkpoints_change_nothing(tmp_path):
    often = run_toy(tmp_path / "often", SHORT, save_seconds=0.0)
    assert weights_of(often) == weights_of(run_toy(tmp_path / "never", SHORT))


def test_ctrl_c_keeps_the_step_and_the_next_run_goes_on(tmp_path):
    whole = weights_of(run_toy(tmp_path / "whole", SHORT))
    with pytest.raises(Cancelled, match="5 of 12 steps are kept"):
        run_toy(tmp_path / "cut", SHORT, monitor=StopAt(5))
    monitor = Notes()
    outcome = run_toy(tmp_path / "cut", SHORT, monitor=monitor)
    assert weights_of(outcome) == whole
    assert [entry["step"] for entry in entries(tmp_path / "cut")] == list(range(1, 13))
    assert any("after step 5 of 12" in note for note in monitor.notes)


def test_going_on_with_a_parameter_that_is_not_contiguous(tmp_path):
    """A head that is solved for comes transposed in memory, and the optimizer walks raw memory."""

    def transposed():
        toy = Toy()
        for layer in (toy.network[0], toy.network[2]):
            layer.weight.data = layer.weight.data.T.contiguous().T
        return toy

    assert not transposed().network[0].weight.is_contiguous()
    whole = weights_of(run_toy(tmp_path / "whole", SHORT, transposed()))
    with pytest.raises(Cancelled):
        run_toy(tmp_path / "cut", SHORT, transposed(), monitor=StopAt(5))
    assert weights_of(run_toy(tmp_path / "cut", SHORT, transposed())) == whole


def test_the_time_is_up(tmp_path):
    outcome = run_toy(tmp_path, SHORT, minutes=1e-9)
    assert (outcome.step, outcome.finished) == (1, False)
    assert run_toy(tmp_path, SHORT).finished


def test_more_steps_than_at_first(tmp_path):
    run_toy(tmp_path, SHORT)
    longer = dataclasses.replace(SHORT, steps=15)
    assert run_toy(tmp_path, longer).step == 15
    again = run_toy(tmp_path, longer)
    assert (again.step, again.items_per_second) == (15, 0.0)


def test_another_configuration_is_refused_by_name(tmp_path):
    run_toy(tmp_path, SHORT, configuration={"width": 3, "same": [1]})
    with pytest.raises(BadInput, match=r"width 3, not 4.*`out`"):
        run_toy(tmp_path, SHORT, configuration={"width": 4, "same": [1]})


def test_accumulation_is_a_larger_batch(tmp_path):
    parts = dataclasses.replace(SHORT, accumulate=4)
    whole = run_toy(tmp_path / "a", SHORT, Toy(noise=0.0))
    shared = run_toy(tmp_path / "b", parts, Toy(noise=0.0))
    for name, tensor in whole.average.items():
        torch.testing.assert_close(shared.average[name], tensor, rtol=1e-4, atol=1e-5)


def test_accumulated_gradients_have_the_size_of_one_batch(tmp_path):
    # AdamW and the clipped norm hide the size from the weights; the log does not
    logged = []
    for accumulate in (1, 4):
        folder = tmp_path / str(accumulate)
        run_toy(folder, dataclasses.replace(SHORT, accumulate=accumulate), Toy(noise=0.0))
        entries = Log(folder / "log.jsonl").read()
        logged.append([(entry["loss"], entry["gradient_norm"]) for entry in entries])
    assert len(logged[0]) == SHORT.steps
    assert logged[1] == [(pytest.approx(a, 1e-3), pytest.approx(b, 1e-3)) for a, b in logged[0]]


def test_a_batch_that_cannot_be_shared_out(tmp_path):
    with pytest.raises(BadInput, match="batch of 8"):
        run_toy(tmp_path, dataclasses.replace(SHORT, accumulate=3))


def test_a_bad_batch_is_skipped_and_logged(tmp_path):
    toy = Toy(bad=frozenset({8 * 3, 8 * 4, 8 * 6}))
    outcome = run_toy(tmp_path, SHORT, toy)
    assert outcome.skipped == 3
    for tensors in load_newest(tmp_path / "checkpoints", pytest.fail)[0].values():
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    bad = [entry["step"] for entry in entries(tmp_path) if math.isnan(entry["loss"])]
    assert bad == [4, 5, 7]
    assert all(entry["skipped"] for entry in entries(tmp_path) if entry["step"] in bad)


def test_a_bad_gradient_of_a_finite_loss_is_skipped(tmp_path):
    class Kinked(Toy):
        def loss(self, batch, generator):
            loss, figures = super().loss(batch, generator)
            zero = (self.network[0].weight * 0).sum()
            return loss + zero.abs().sqrt(), figures  # the slope of a root at 0

    with pytest.raises(Diverged):
        run_toy(tmp_path, SHORT, Kinked())
    assert len(entries(tmp_path)) == 3


def test_three_bad_in_a_row_stop_it_also_across_a_resume(tmp_path):
    toy = Toy(bad=frozenset({8 * 5, 8 * 6, 8 * 7}))
    with pytest.raises(Cancelled):
        run_toy(tmp_path, SHORT, toy, monitor=StopAt(7))
    with pytest.raises(Diverged, match="up to step 8") as caught:
        run_toy(tmp_path, SHORT, toy)
    assert "learning rate" in caught.value.hint


def newest(folder):
    return max((folder / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("part", ["parameters", "average", "optimizer", "manifest", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, part):
    whole = weights_of(run_toy(tmp_path / "whole", SHORT))
    with pytest.raises(Cancelled):
        run_toy(tmp_path / "cut", SHORT, monitor=StopAt(6), save_seconds=0.0)
    path = newest(tmp_path / "cut")
    file = path / ("manifest.json" if part == "manifest" else f"{part}.safetensors")
    if part == "missing":
        (path / "average.safetensors").unlink()
    else:
        content = bytearray(file.read_bytes())
        content[content.index(b'"step": 6') + 8 if part == "manifest" else -3] ^= 1
        file.write_bytes(content)
    monitor = Notes()
    outcome = run_toy(tmp_path / "cut", SHORT, monitor=monitor)
    assert weights_of(outcome) == whole
    assert any("step-00000006" in note and "step-00000005" in note for note in monitor.notes)


def test_no_checkpoint_is_whole(tmp_path):
    run_toy(tmp_path, SHORT, save_seconds=0.0)
    for file in tmp_path.rglob("average.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Damaged, match="no checkpoint"):
        run_toy(tmp_path, SHORT)


def test_what_a_kill_leaves_behind_is_tidied(tmp_path):
    run_toy(tmp_path, SHORT, save_seconds=0.0)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / ".step-00000009.77.tmp").mkdir()
    (checkpoints / "step-00000011").mkdir(exist_ok=True)
    (checkpoints / "step-00000011" / "manifest.json").unlink(missing_ok=True)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 13, "lo')
    run_toy(tmp_path, dataclasses.replace(SHORT, steps=14), save_seconds=0.0)
    assert {path.name for path in checkpoints.iterdir()} >= {"step-00000014", "step-00000013"}
    assert ".step-00000009.77.tmp" not in {path.name for path in checkpoints.iterdir()}
    assert [entry["step"] for entry in entries(tmp_path)] == list(range(1, 15))


def test_two_newest_and_the_best_are_kept(tmp_path):
    run_toy(tmp_path, save_seconds=0.0)
    losses = {entry["step"]: entry["loss"] for entry in entries(tmp_path)}
    best = min(losses, key=lambda step: losses[step])
    retained = {int(path.name[5:]) for path in (tmp_path / "checkpoints").glob("step-*")}
    assert retained == {best, PLAN.steps - 1, PLAN.steps}


def test_one_at_a_time(tmp_path):
    class Again(Silent):
        def start(self, task, total=None):
            with pytest.raises(Busy, match="another process trains"):
                run_toy(tmp_path, SHORT)
            self.tried = True

    monitor = Again()
    run_toy(tmp_path, SHORT, monitor=monitor)
    assert monitor.tried


def test_a_full_disk_leaves_the_checkpoints_whole(tmp_path, monkeypatch):
    whole = weights_of(run_toy(tmp_path / "whole", SHORT))
    with pytest.raises(Cancelled):
        run_toy(tmp_path / "cut", SHORT, monitor=StopAt(5))
    from graftwerk import files

    plain, written = files.write_plain, []

    def fail(path, content):
        written.append(path)
        if path.name == "optimizer.safetensors":
            raise OSError(28, "No space left on device", str(path))
        plain(path, content)

    monkeypatch.setattr(files, "write_plain", fail)
    with pytest.raises(NoRoom, match="step-00000006"):
        run_toy(tmp_path / "cut", SHORT, save_seconds=0.0)
    monkeypatch.undo()
    assert written
    assert weights_of(run_toy(tmp_path / "cut", SHORT)) == whole


def test_the_log_is_json_lines(tmp_path):
    run_toy(tmp_path, SHORT)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert seconds == sorted(seconds)
