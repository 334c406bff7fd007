"""An ablation on a tiny pipeline: what it makes, what it does not make again, what it says."""

import pytest
from PIL import Image

from graftwerk.commands import condition
from graftwerk.commands.condition import findings
from graftwerk.errors import BadInput
from graftwerk.generation.control_ablation import conflicting
from graftwerk.metrics.intervals import student
from graftwerk.requests.control import ControlAblation
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


class Counts(Silent):
    """What was begun, in its order."""

    def __init__(self):
        self.begun = []

    def start(self, task, total=None):
        self.begun.append(task)


@pytest.fixture(scope="module")
def pictures(captioned_images):
    return captioned_images


def request(images, pipeline, out, **changes):
    settings = {
        "data": images,
        "model": str(pipeline),
        "condition": "canny",
        "out": out,
        "seeds": 2,
        "steps": 2,
        "batch": 2,
        "count": 4,
        "drawing_steps": 1,
        "device": "cpu",
    }
    return ControlAblation(**(settings | changes))


def test_it_measures_every_branch_and_prompt_and_goes_on(tmp_path, pictures, text_pipeline):
    out, monitor = tmp_path / "a", Counts()
    report = condition.run_control_ablation(request(pictures, text_pipeline, out), monitor)
    branches, prompts = ("alone", "zero", "gaussian", "light"), 4
    assert len(report.rows) == len(branches) * prompts
    assert {row.branch for row in report.rows} == set(branches)
    assert [(one.branch, one.seed) for one in report.trainings] == [
        (branch, seed) for seed in range(2) for branch in branches[1:]
    ]
    assert monitor.begun.count("training") == 6
    assert all(row.fidelity_margin is not None and row.judge is not None for row in report.rows)
    reported = [row.prompt for row in report.rows if row.obeyed is not None]
    assert reported == ["conflicting"] * 4
    assert len(report.findings) == 2 * prompts and (report.pairs, report.count) == (4, 4)
    assert "| light | perfect |" in (out / "table.md").read_text()
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 4 * 3 * 96
    assert not list(out.rglob("checkpoints"))

    (out / "light-1" / "trial.json").unlink()
    (out / "light-1" / "figures.json").unlink()
    monitor = Counts()
    again = condition.run_control_ablation(request(pictures, text_pipeline, out), monitor)
    assert monitor.begun.count("training") == 1  # what was finished is kept
    assert [task for task in monitor.begun if task.startswith("generating")] == ["generating light"]
    assert again.rows == report.rows


def test_a_folder_of_another_ablation_is_refused(tmp_path, pictures, text_pipeline):
    out = tmp_path / "a"
    condition.run_control_ablation(request(pictures, text_pipeline, out, seeds=1), Silent())
    with pytest.raises(BadInput, match="holds a training with steps 2, not 3"):
        condition.run_control_ablation(
            request(pictures, text_pipeline, out, seeds=1, steps=3), Silent()
        )


def test_an_encoder_that_reads_no_images_is_refused(tmp_path, pictures, text_pipeline):
    with pytest.raises(BadInput, match="reads no images"):
        condition.run_control_ablation(
            request(pictures, text_pipeline, tmp_path / "a", encoder="builtin/minilm"), Silent()
        )


def test_conflicting_prompts_say_something_else():
    assert conflicting(["a", "a", "b"]) == ["b", "b", "a"]
    with pytest.raises(BadInput, match="have one caption: 'a'"):
        conflicting(["a", "a"])


def test_margins_are_those_of_student():
    mean, margin = student([1.0, 2.0, 3.0])
    assert mean == 2 and margin == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    assert student([1.0]) == (1.0, None)


def test_findings_pair_the_seeds():
    zero = [{"fidelity": 0.5}, {"fidelity": 0.7}, {"fidelity": 0.9}]
    gaussian = [{"fidelity": 0.4}, {"fidelity": 0.6}, {"fidelity": 0.8001}]
    light = [{"fidelity": 0.4}, {"fidelity": 0.8}, {"fidelity": 0.9}]
    lines = findings(
        {("zero", "none"): zero, ("gaussian", "none"): gaussian, ("light", "none"): light}
    )
    assert "zero is ahead" in lines[0] and "no difference" in lines[1]
