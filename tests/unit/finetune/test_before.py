"""What a model could do before: a head, or its words, and what a changed network loses of it."""

import math

import numpy as np
import pytest
from PIL import Image
from tests.unit.models.conftest import write_vision  # noqa: F401

from graftwerk.adapters.linear_head import LinearHead
from graftwerk.cli.finetune import comparison_lines
from graftwerk.commands.fit import run_compare
from graftwerk.data.targets import Targets
from graftwerk.errors import BadInput
from graftwerk.finetune import compare
from graftwerk.finetune.base_model import open_base
from graftwerk.requests.finetune import Compare
from graftwerk.types import Silent

TUNED = {"epochs": 2, "batch": 8, "rank": 2, "learning_rate": 1e-2, "device": "cpu"}


@pytest.fixture
def folders(tmp_path):
    """Twelve images each of two classes."""
    generator = np.random.default_rng(0)
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        for number in range(12):
            path = tmp_path / "data" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = generator.integers(0, 50, (16, 16, 3))
            Image.fromarray((noise + colour).astype(np.uint8)).save(path)
    return tmp_path / "data"


def test_score_and_loss_are_those_of_the_head():
    head = LinearHead(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), "class", ("a", "b"), "")
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], dtype=np.float32)
    known = compare.PriorTask(
        "", head, ["w"] * 4, Targets("class", ("a", "b"), np.array([0, 0, 1, 1]))
    )
    score, loss = known.measure(lambda _items, _advance: vectors)
    sure = -math.log(math.e / (math.e + 1))
    assert score == 0.75
    assert loss == pytest.approx((3 * sure + (sure + 1)) / 4, abs=1e-6)


def test_rendered_objects_are_named_by_kind_and_colour(write_vision, monkeypatch):  # noqa: F811
    monkeypatch.setattr(compare, "_SCENES", 12)
    base = open_base(str(write_vision("clip")), None, "cpu")
    known = compare.of_scenes(base)
    assert len(known.items) == len(known.targets.values) == 12
    assert len(known.targets.labels) == 40
    assert known.head.labels[0] == known.targets.labels[0] == "a red sphere"
    norms = np.linalg.norm(known.head.weight, axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-5)  # unit vectors, scaled alike


@pytest.mark.parametrize("named", [False, True], ids=["scenes", "old data"])
def test_a_comparison_tells_what_a_joint_model_forgets(
    write_vision, folders, tmp_path, monkeypatch, named  # noqa: F811
):  # fmt: skip
    monkeypatch.setattr(compare, "_SCENES", 8)
    old_data = str(folders) if named else None
    found = run_compare(
        Compare(
            data=str(folders), model=str(write_vision("clip")), out=tmp_path / "compare",
            old_data=old_data, **TUNED,
        ),
        Silent(),
    )  # fmt: skip
    assert ("2 classes of" if named else "8 rendered objects, 40 classes") in found.before
    linear, full = found.ways[0], found.ways[2]
    assert linear.old_loss == pytest.approx(math.log(2 if named else 40), rel=0.5)
    assert full.old_loss != linear.old_loss
    lines = comparison_lines(found)
    header, row = next((line, lines[n + 1]) for n, line in enumerate(lines) if "its loss" in line)
    assert header.split()[-3:] == ["before", "its", "loss"]
    assert row.split()[-2:] == [f"{linear.old_score:.3f}", f"{linear.old_loss:.3f}"]
    assert any(line.startswith("before: what the frozen model could do") for line in lines)


def test_a_model_without_words_cannot_name(write_vision, folders, tmp_path):  # noqa: F811
    requested = Compare(
        data=str(folders), model=str(write_vision("vit")), out=tmp_path / "compare",
        old_data=str(folders), **TUNED,
    )  # fmt: skip
    with pytest.raises(BadInput, match="reads texts too"):
        run_compare(requested, Silent())
    found = run_compare(requested.model_copy(update={"old_data": None}), Silent())
    assert found.before is None
    assert found.ways[0].old_loss is None
