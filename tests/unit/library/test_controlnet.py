"""`train_controlnet`: a pipeline and a folder in, a ControlNet and its convergence out."""

import pytest
import torch
from PIL import Image
from tests import networks
from tests.pipelines import control_request

import graftwerk as gw
from graftwerk.errors import BadInput, UnknownName

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {
    "steps": 4, "batch": 2, "held_out": 4, "measurements": 2, "precision": "float32",
}  # fmt: skip


@pytest.fixture
def pipe(text_pipeline):
    return gw.Pipeline(text_pipeline, device="cpu")


def branch(folder):
    from safetensors.torch import load_file

    return load_file(folder / "branch" / "diffusion_pytorch_model.safetensors")


def test_it_trains_what_the_command_trains(pipe, captioned_images, text_pipeline, tmp_path):
    weights = networks.hash_of(pipe.steered.frozen.unet)
    run = gw.train_controlnet(
        pipe, captioned_images, condition="canny", out=tmp_path / "a", **SETTINGS
    )
    assert networks.hash_of(pipe.steered.frozen.unet) == weights
    report = gw.run(control_request(captioned_images, text_pipeline, tmp_path / "b"))
    mine, theirs = branch(tmp_path / "a"), branch(tmp_path / "b")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert (run.verdict, run.converged_at) == (report.verdict, report.converged_at)
    assert run.report.gap == report.gap
    assert [one.step for one in run.measurements] == [0, 2, 4]
    assert isinstance(run.plot(), Image.Image) and run.plot().width > 100
    assert run._repr_html_().startswith("<img")
    assert repr(run) == f"ControlNetTraining('canny', 4 of 4 steps, {run.verdict})"
    steered = pipe.with_(run.controlnet(Image.linear_gradient("L").resize((16, 16))))
    assert len(steered.generate("a red cube", n=1, steps=2)) == 1


def test_the_folder_is_named_by_the_condition(
    pipe, captioned_images, tmp_path, monkeypatch, listener
):
    monkeypatch.chdir(tmp_path)
    settings = SETTINGS | {"steps": 1, "held_out": 400}
    run = gw.train_controlnet(
        pipe, captioned_images, condition="lineart", monitor=listener, **settings
    )
    assert run.folder == tmp_path / "controlnet-lineart"
    assert any("--held-out 400: at most half" in note for note in listener.notes)


def test_unlocking_leaves_the_pipeline_as_it_was(pipe, captioned_images, tmp_path):
    before = networks.hash_of(pipe.steered.frozen.unet)
    run = gw.train_controlnet(
        pipe, captioned_images, condition="canny", out=tmp_path / "out", unlock=True, **SETTINGS
    )
    assert networks.hash_of(pipe.steered.frozen.unet) == before
    assert gw.Pipeline(run.folder / "model", device="cpu").fingerprint != pipe.fingerprint


def test_what_is_refused(pipe, captioned_images, tmp_path):
    def train(pipe=pipe, condition="canny", **options):
        gw.train_controlnet(
            pipe, captioned_images, condition=condition, out=tmp_path / "out", **options
        )

    with pytest.raises(UnknownName, match="cany"):
        train(condition="cany")
    with pytest.raises(BadInput, match="steps"):
        train(steps=0)
    with pytest.raises(BadInput, match="model is not an option"):
        train(model="builtin/blocks")
    guide = gw.Guide(lambda x, sigma: x.sum(dim=(1, 2, 3)), 0.0)
    with pytest.raises(BadInput, match="Pass pipe"):
        train(pipe=pipe.with_(guide))
    assert not (tmp_path / "out").exists()
