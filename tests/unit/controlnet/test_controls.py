"""Reading `--control`, and what cannot be followed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support import Recorder

import graftwerk
from graftwerk.cli.images import retained_lines
from graftwerk.commands import generate
from graftwerk.controlnet.branch import Shape, make_branch
from graftwerk.controlnet.checkpoint import open_branch, write_controlnet
from graftwerk.controlnet.inputs import levels_of, load_branch, mask_of
from graftwerk.controlnet.spec import ControlSpec, NamedImage, branch_folders, parse_control
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.requests.generate import Generate
from graftwerk.types import Silent


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("canny=a.jpg", ControlSpec("canny", Path("a.jpg"), False)),
        ("canny-map=a.jpg:0.5", ControlSpec("canny", Path("a.jpg"), True, 0.5)),
        (
            "depth=d.png:0.6@0-0.7#mask.png",
            ControlSpec("depth", Path("d.png"), False, 0.6, 0.0, 0.7, (Path("mask.png"),)),
        ),
        (
            "depth=d.png#a.png#b.png",
            ControlSpec("depth", Path("d.png"), False, masks=(Path("a.png"), Path("b.png"))),
        ),
        ("canny=a.jpg:soft", ControlSpec("canny", Path("a.jpg"), False, blocks="soft")),
        (
            "canny=a.jpg:1,.5,0@0-.5",
            ControlSpec("canny", Path("a.jpg"), False, last=0.5, blocks=(1.0, 0.5, 0.0)),
        ),
        ("pose=a:b.png@0.2-1", ControlSpec("pose", Path("a:b.png"), False, 1.0, 0.2, 1.0)),
    ],
)
def test_entries(entry, asked):
    assert parse_control(entry) == asked


def test_a_file_whose_name_looks_like_options(tmp_path):
    path = tmp_path / "x:0.5#y.png"
    path.write_bytes(b"")
    assert parse_control(f"canny={path}").file == path


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a.jpg", "cannot be read"),
        ("canny=a.jpg:99", "weight 99"),
        ("canny=a.jpg:-1", "weight -1"),
        ("canny=a.jpg:nan", "weight nan"),
        ("canny=a.jpg:1,99", "weight 99"),
        ("canny=a.jpg:abc", "has something that is not a number"),
        ("canny=a.jpg@0.8-0.2", "acts from 0.8 to 0.2"),
    ],
)
def test_entries_that_make_no_sense(entry, message):
    with pytest.raises(BadInput, match=message):
        parse_control(entry)


def test_an_unknown_kind_is_told_its_neighbours():
    with pytest.raises(UnknownName, match="canny"):
        parse_control("cany=a.jpg")


def test_steps_within_an_interval():
    sigmas = [10.0, 5.0, 2.0, 1.0, 0.0]
    assert levels_of(0.0, 1.0, sigmas) == (1.0, 10.0)
    assert levels_of(0.0, 0.5, sigmas) == (5.0, 10.0)
    assert levels_of(0.25, 0.8, sigmas) == (2.0, 5.0)
    with pytest.raises(BadInput, match="no whole step"):
        levels_of(0.3, 0.4, sigmas)


def test_a_control_without_a_branch_says_how_to_name_one(tmp_path, text_pipeline):
    image = tmp_path / "p.png"
    Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8)).save(image)
    with pytest.raises(BadInput, match="`branch` depth=FOLDER"):
        request = Generate(
            model=str(text_pipeline), control=[f"depth={image}"], out=tmp_path / "o", device="cpu"
        )
        generate.run_generate(request, Silent())
    with pytest.raises(BadInput, match="`best_of`"):
        request = Generate(
            model=str(text_pipeline), best_of=2, steps=1, out=tmp_path / "o", device="cpu"
        )
        generate.run_generate(request, Silent())


def test_what_no_control_uses_is_refused(tmp_path, text_pipeline):
    common = {"model": str(text_pipeline), "out": tmp_path / "o", "device": "cpu"}
    with pytest.raises(BadInput, match="`branch` depth=x has no control to follow"):
        generate.run_generate(Generate(branch=["depth=x"], **common), Silent())
    with pytest.raises(BadInput, match=r"reuse 3 .* it acts only with `control`"):
        generate.run_generate(Generate(reuse=3, **common), Silent())


def test_a_built_in_branch_is_found_by_its_name():
    named = Generate(control=["depth=a.png"], branch=["depth=builtin/blocks-depth"])
    assert branch_folders(named, {"depth"}) == branch_folders(Generate(), {"depth"})


def test_masks_that_leave_no_region():
    left, right = np.zeros((2, 16, 16), dtype=np.uint8)
    left[:, :8], right[:, 8:] = 255, 255
    masks = {
        name: NamedImage(f"{name}.png", Image.fromarray(mask))
        for name, mask in (("left", left), ("right", right), ("all", np.full_like(left, 255)))
    }
    both = mask_of([masks["left"], masks["all"]], (16, 16), "cpu")
    assert both[0, 0, :, :8].all() and not both[0, 0, :, 8:].any()
    assert mask_of([], (16, 16), "cpu") is None
    with pytest.raises(BadInput, match=r"left\.png and .*right\.png leave no region"):
        mask_of([masks["left"], masks["right"]], (16, 16), "cpu")


@pytest.fixture
def branch(tmp_path, text_pipeline):
    """The folder of a branch that changes images."""
    folder = tmp_path / "branch"
    model = load_diffusion(str(text_pipeline), "cpu")
    made = make_branch(model.unet, Shape(model.factor), torch.Generator().manual_seed(0))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weights in made.parameters():
            if not weights.any():  # of the hint and the joins
                weights.normal_(0, 0.3, generator=generator)
    folder.mkdir()
    write_controlnet(folder, made, model.unet)
    return folder


def test_two_controls_of_a_kind_are_measured_each(
    tmp_path, captioned_images, text_pipeline, branch
):
    files = [captioned_images / "0.png", captioned_images / "1.png"]

    def measured(*files):
        request = Generate(
            model=str(text_pipeline),
            control=[f"canny={file}" for file in files],
            branch=[f"canny={branch}"],
            count=2,
            steps=3,
            out=tmp_path / "out",
            device="cpu",
        )
        return generate.run_generate(request, Silent())

    report = measured(*files)
    first, second = report.controls
    assert (first.kind, second.kind) == ("canny", "canny")
    assert (first.value, first.chance) != (second.value, second.chance)
    assert set(report.pictures[0].kept) == {"canny", "canny 2"}
    lines = retained_lines(report)
    assert [Path(line.split(" of ")[1].split(" (weight")[0]).name for line in lines] == [
        "0.png", "1.png",
    ]  # fmt: skip
    turned = measured(*reversed(files)).controls  # their outputs are added, in any order
    assert [one.value for one in turned] == pytest.approx([second.value, first.value], abs=0.05)


@pytest.mark.parametrize(("kind", "noted"), [("canny", False), ("scribble", True)])
def test_a_branch_of_another_condition_is_noted(tmp_path, captioned_images, kind, noted):
    monitor = Recorder()
    request = Generate(
        control=[f"{kind}={captioned_images / '0.png'}"],
        branch=[f"{kind}=builtin/blocks-canny"],
        steps=1,
        check=False,
        out=tmp_path / "out",
        device="cpu",
    )
    generate.run_generate(request, monitor)
    said = f"the branch of the {kind} control was trained on canny conditions"
    assert (said in monitor.notes) == noted


def test_a_condition_that_is_no_word_is_not_read(tmp_path, text_pipeline, branch):
    copied = shutil.copytree(branch, tmp_path / "copied")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"condition": ["canny"]}))
    assert load_branch(copied, load_diffusion(str(text_pipeline), "cpu")).condition is None


def test_the_folder_of_a_training_is_not_its_branch(tmp_path, text_pipeline, branch):
    with pytest.raises(BadFile, match=r"contains no control branch\. It holds one in .*branch"):
        open_branch(branch.parent, load_diffusion(str(text_pipeline), "cpu"))


def test_reuse_says_what_it_costs(tmp_path, captioned_images, text_pipeline, branch):
    def drawn(reuse, check=True):
        request = Generate(
            model=str(text_pipeline),
            control=[f"canny={captioned_images / '0.png'}"],
            branch=[f"canny={branch}"],
            count=6,
            steps=4,
            reuse=reuse,
            check=check,
            out=tmp_path / f"out-{reuse}",
            device="cpu",
        )
        return generate.run_generate(request, Silent())

    again, twice = drawn(1), drawn(4)
    assert again.controls[0].anew is None and again.controls[0].reused is None
    first = [image.kept["canny"] for image in again.pictures[:4]]
    assert twice.controls[0].anew == pytest.approx(sum(first) / 4, abs=1e-6)
    few = [image.kept["canny"] for image in twice.pictures[:4]]
    assert twice.controls[0].reused == pytest.approx(sum(few) / 4)
    assert "reuse costs" in "\n".join(retained_lines(twice))
    assert drawn(4, check=False).controls[0].anew is None


def test_a_custom_branch_reads_any_image_as_it_is(
    tmp_path, captioned_images, text_pipeline, branch
):
    """The same branch draws the same image from a map, named by its condition or as custom."""
    pixels = np.asarray(Image.open(captioned_images / "0.png").convert("RGB"))
    edges = tmp_path / "edges.png"
    graftwerk.conditions.canny(pixels).save(edges)

    def drawn(kind, file, **more):
        request = Generate(
            model=str(text_pipeline),
            control=[f"{kind}={file}"],
            branch=[f"{kind.removesuffix('-map')}={branch}"],
            count=1,
            steps=2,
            out=tmp_path / "out",
            device="cpu",
            **more,
        )
        return generate.run_generate(request, Silent())

    named, custom = drawn("canny-map", edges), drawn("custom", edges)
    images = [np.asarray(Image.open(one.pictures[0].path)) for one in (named, custom)]
    assert np.array_equal(*images)
    assert custom.controls[0].value is None and custom.pictures[0].kept == {}
    assert "fidelity to custom (weight 1): not measured" in "\n".join(retained_lines(custom))
    photo = drawn("custom", captioned_images / "0.png")
    assert not np.array_equal(np.asarray(Image.open(photo.pictures[0].path)), images[0])
    with pytest.raises(BadInput, match="`best_of`"):
        drawn("custom", edges, best_of=2)


def test_a_grid_of_weights(tmp_path, captioned_images, text_pipeline, branch):
    def drawn(options, **more):
        request = Generate(
            model=str(text_pipeline),
            control=[f"canny={captioned_images / '0.png'}{options}"],
            branch=[f"canny={branch}"],
            count=1,
            steps=4,
            out=tmp_path / "out",
            device="cpu",
            **more,
        )
        report = generate.run_generate(request, Silent())
        return [Image.open(one.path).tobytes() for one in report.pictures]

    cells = drawn("@0-.5", grid=["control-weight=0|.5|soft"])
    assert len(set(cells)) == 3
    assert cells == [drawn(f":{weight}@0-.5")[0] for weight in ("0", ".5", "soft")]
    with pytest.raises(BadInput, match="weight 99"):
        drawn("", grid=["control-weight=1,99"])


def test_a_custom_branch_from_python(text_pipeline, branch, captioned_images):
    with pytest.raises(BadInput, match="'custom' for none of these"):
        graftwerk.ControlNet(branch)
    pipe = graftwerk.Pipeline(str(text_pipeline), device="cpu")
    control = graftwerk.ControlNet(branch, "custom")(captioned_images / "0.png")
    steered = pipe.with_(control).generate("", n=1, steps=2, seed=0)
    free = pipe.generate("", n=1, steps=2, seed=0)
    assert not np.array_equal(np.asarray(steered.images[0]), np.asarray(free.images[0]))
