"""`graft fit --task generate|write`: requests, reports, refusals."""

import subprocess
import sys

import pytest
from PIL import Image
from tests.networks import write_language_model

import graftwerk
from graftwerk.cli.finetune import lora_lines
from graftwerk.commands.fit import run_fit
from graftwerk.errors import BadFile, BadInput
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (16, 16), (200, 90 * number, 0)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def ask(text_pipeline, data, tmp_path):
    def request(**changes):
        given = {"data": str(data), "model": str(text_pipeline), "how": "lora", "task": "generate"}
        more = {"out": tmp_path / "lora", "steps": 10, "caption": "a red cube", "rank": 2}
        return graftwerk.Fit(**(given | more | changes))

    return request


def test_images_taught_are_drawn_with(ask, text_pipeline, tmp_path):
    report = run_fit(ask(learning_rate=5e-3), Silent())
    assert (report.items, report.steps, report.layers) == (2, 10, 48)
    assert [one.name for one in report.left_out] == ["broken.png"]
    assert report.gain_low < report.gain < report.gain_high
    assert report.loss_before - report.loss_after == pytest.approx(report.gain)
    lines = "\n".join(lora_lines(report))
    assert "left out: broken.png" in lines
    assert f"--lora {report.out}" in lines
    sampled = graftwerk.run(
        graftwerk.Generate(
            prompt="a red cube",
            model=str(text_pipeline),
            lora=[report.out],
            steps=2,
            out=tmp_path / "drawn",
        )
    )
    assert len(sampled.pictures) == 4


def test_a_text_taught_tells_its_perplexity(ask, tmp_path):
    model = write_language_model(tmp_path / "writer")
    (tmp_path / "text.txt").write_text("a b c d " * 100)
    given = {"task": "write", "model": str(model), "caption": None, "learning_rate": 1e-2}
    request = ask(**given, data=str(tmp_path / "text.txt"))
    request = graftwerk.Fit(**request.model_dump(exclude_unset=True, exclude={"caption"}))
    report = run_fit(request, Silent())
    assert report.perplexity_after < report.perplexity_before
    assert "perplexity" in "\n".join(lora_lines(report))


def test_what_does_not_belong_is_refused(ask):
    with pytest.raises(BadInput, match="`how` full"):
        run_fit(ask(how="full"), Silent())
    with pytest.raises(BadInput, match="`test_share` is not looked at"):
        run_fit(ask(test_share=0.5), Silent())
    with pytest.raises(BadInput, match="`caption` is not looked at with `task` write"):
        run_fit(ask(task="write"), Silent())


def test_a_language_model_must_be_named(ask):
    request = ask(task="write").model_dump(exclude_unset=True, exclude={"caption", "model"})
    with pytest.raises(BadInput, match="no language model is named"):
        run_fit(graftwerk.Fit(**request), Silent())


def test_a_pipeline_that_is_none(ask, data):
    with pytest.raises(BadFile, match="not a diffusion pipeline"):
        run_fit(ask(model=str(data)), Silent())


def test_what_cannot_be_is_refused_before_pytorch_is_loaded(tmp_path):
    (tmp_path / "text.txt").write_text("some words")
    code = f"""
import sys
from graftwerk import GraftError, LoraTrain
from graftwerk.commands.fit import run_lora_train as run
from graftwerk.types import Silent
folder, text = {str(tmp_path)!r}, {str(tmp_path / "text.txt")!r}
for given, words in (
    (dict(data=text, task="generate"), "is not a folder"),
    (dict(data=folder, task="generate", model="builtin/minilm"), "not 'diffusion pipeline'"),
    (dict(data=folder, task="generate", model="nope"), "neither a built-in name nor a folder"),
    (dict(data=folder, task="write", model="nope"), "is not a file"),
    (dict(data=text, task="write", model="builtin/minilm"), "not 'language model'"),
    (dict(data=text, task="write"), "no language model is named"),
):
    try:
        run(LoraTrain(out=folder + "/out", **given), Silent())
    except GraftError as error:
        assert words in str(error), error
        continue
    raise SystemExit(f"{{given}} was let through")
heavy = {{"torch", "diffusers", "transformers", "numba"}} & sys.modules.keys()
raise SystemExit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
