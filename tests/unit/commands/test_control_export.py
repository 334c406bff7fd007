"""A compact branch as a whole `ControlNetModel`, which answers as the branch does."""

import pytest
import torch

from graftwerk.commands import condition
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.checkpoint import read_branch, write_own
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, BadInput
from graftwerk.requests.control import ControlExport
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


def write(pipeline, folder, **shape):
    model = load_diffusion(str(pipeline), "cpu")
    branch = make_branch(model.unet, Shape(model.factor, **shape), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in (*branch.joins.parameters(), *branch.hint_encoder.parameters()):
            weight.normal_(0, 0.2, generator=generator)
    folder.mkdir()
    write_own(folder, branch, {"name": model.name, "fingerprint": model.fingerprint}, "canny")
    return model, branch


def export(pipeline, branch, out):
    request = ControlExport(branch=str(branch), model=str(pipeline), out=out)
    return condition.run_control_export(request, Silent())


def test_diffusers_gets_what_the_branch_gives(tmp_path, text_pipeline):
    from diffusers import ControlNetModel

    model, branch = write(text_pipeline, tmp_path / "own", learned="convolutions")
    report = export(text_pipeline, tmp_path / "own", tmp_path / "theirs")
    theirs = ControlNetModel.from_pretrained(tmp_path / "theirs")
    assert report.parameters == sum(weight.numel() for weight in theirs.parameters())
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    image = torch.rand(2, 3, 16, 16, generator=generator)
    states = torch.randn(2, 16, 32, generator=generator)
    times = torch.tensor([3.0, 700.0])
    with torch.no_grad():
        mine = branch(x, times, branch.read(image), {"encoder_hidden_states": states})
        skips, middle = theirs(x, times, states, image, return_dict=False)
    for one, other in zip((*mine.skips, mine.middle), (*skips, middle), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    back = read_branch(tmp_path / "theirs", model.unet, model.factor, model.name, *model.bases)
    assert torch.equal(back.joins[0].weight, branch.joins[0].weight)


def test_what_cannot_be_exported_says_why(tmp_path, text_pipeline):
    write(text_pipeline, tmp_path / "light", body="light")
    with pytest.raises(BadFile, match="it is light"):
        export(text_pipeline, tmp_path / "light", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    with pytest.raises(BadInput, match="neither a folder nor a built-in branch"):
        export(text_pipeline, "cany", tmp_path / "theirs")
