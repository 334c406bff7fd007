"""What is refused of a request for images before a network is loaded, and what it leaves."""

import subprocess
import sys

import pytest
from PIL import Image

import graftwerk
from graftwerk.commands import generate
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.models.hub import CONTROLS
from graftwerk.types import Silent

NOT_POSSIBLE = [
    ({"control": ["canny=missing.png"]}, BadFile, "missing.png"),
    ({"control": ["canny=HERE#missing.png"]}, BadFile, "missing.png"),
    ({"control": ["foo=HERE"]}, UnknownName, "condition 'foo' is not known"),
    ({"control": ["canny-map=HERE"]}, BadInput, "not a canny map"),
    ({"control": ["canny=HERE"], "branch": ["canny"]}, BadInput, "KIND=FOLDER"),
    ({"region": ["a cube#BLACK"]}, BadInput, "black all over"),
    ({"eta": 0.5, "sampler": "euler"}, BadInput, "Use `sampler` ddim or tcd"),
    ({"guide": ["class=dragon:10"]}, UnknownName, "class 'dragon' is not known"),
    ({"guide": ["class=red cube"]}, BadInput, "with a finite scale"),
    ({"guide": ["image=missing.png:3"]}, BadFile, "missing.png"),
    (
        {"guide": ["class=dragon:3"], "guide_model": "builtin/blocks-clip"},
        UnknownName,
        "Allowed: red sphere",
    ),
    ({"width": 100}, BadInput, "multiples of 16, for example 96"),
    ({"sampler": "foo"}, BadInput, "sampler 'foo' is not valid"),
    ({"cfg_interval": "5:1"}, BadInput, "interval '5:1'"),
    ({"guide_interval": "5:1"}, BadInput, "interval '5:1'"),
    ({"best_of": 2}, BadInput, "`best_of`"),
    ({"lora": ["missing"]}, BadFile, "there is no LoRA 'missing'"),
    ({"lora": ["HERE"]}, BadFile, "is not a LoRA"),
    ({"lora": ["missing:1e9"]}, BadInput, "from -100 to 100"),
    ({"region": ["a cube=left.png"]}, BadInput, "not PROMPT#MASK"),
    ({"grid": ["strength=.2,.5"]}, BadInput, "Add `init` IMAGE"),
    ({"control": ["canny=HERE"], "branch": ["canny=missing"]}, BadFile, "no control branch"),
    ({"control": ["depth=HERE"], "estimator": ["depth=missing"]}, BadFile, "Name blazepose, hed"),
    ({"from_": "HERE"}, BadFile, "has no request|contains no request"),
]


@pytest.fixture
def no_network(monkeypatch):
    """Loading any diffusion model is a failure of the test."""

    def load(*arguments):
        raise AssertionError("a network was loaded")

    # in this order, for the first imports what the second replaces
    monkeypatch.setattr("graftwerk.library.adapters.load_diffusion", load)
    monkeypatch.setattr("graftwerk.diffusion.pipeline.load_diffusion", load)


@pytest.mark.parametrize(("changes", "error", "message"), NOT_POSSIBLE)
def test_what_is_refused_at_once(no_network, tmp_path, changes, error, message):
    here = tmp_path / "here.png"
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(here)
    black = tmp_path / "black.png"
    Image.new("L", (64, 64)).save(black)
    written = {
        name: here
        if value == "HERE"
        else [entry.replace("HERE", str(here)).replace("BLACK", str(black)) for entry in value]
        if isinstance(value, list)
        else value
        for name, value in changes.items()
    }
    with pytest.raises(error, match=message):
        request = graftwerk.Generate(prompt="x", out=tmp_path / "a" / "out", **written)
        generate.run_generate(request, Silent())
    assert sorted(tmp_path.iterdir()) == [black, here]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"to": "class=dragon"}, "dragon"),
        ({"to": "image=x"}, "target 'image'"),
        ({"to": "missing.png"}, "missing.png"),
        ({"to": "red cube"}, 'Write "class=red cube", "text=red cube", or the path of an image'),
        ({"to": "text=x", "guide_model": "imagenet"}, "acts only with `to` class=NAME"),
        ({"to": "text=x", "start": "missing.png"}, "missing.png"),
        ({"to": "text=x", "start": "x.png", "space": "noise"}, "begins from noise"),
    ],
)
def test_what_invert_refuses_at_once(no_network, tmp_path, changes, message):
    with pytest.raises(BadInput, match=message):
        generate.run_invert(graftwerk.Invert(out=tmp_path / "out", **changes), Silent())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ["missing.png"]}, "missing.png"),
        ({"class_": "dragon"}, "dragon"),
        ({"real": "HERE"}, "1 image; 40 are needed"),
    ],
)
def test_what_guide_check_refuses_at_once(no_network, tmp_path, changes, message):
    Image.linear_gradient("L").save(tmp_path / "here.png")
    request = {"images": [str(tmp_path / "here.png")], **changes}
    if "real" in changes:
        request["real"] = tmp_path
    with pytest.raises(BadInput, match=message):
        generate.run_guide_check(graftwerk.GuideCheck(**request), Silent())


def test_a_folder_that_was_there_stays(no_network, tmp_path):
    with pytest.raises(BadInput):
        generate.run_generate(graftwerk.Generate(eta=0.5, out=tmp_path), Silent())
    assert tmp_path.is_dir()


def test_names_are_checked_without_pytorch(tmp_path):
    code = f"""
import sys
from graftwerk import Generate
from graftwerk.types import Silent
from graftwerk.errors import BadInput
from graftwerk.commands.generate import run_generate as run
for bad in (
    dict(guide=["class=dragon:1"]), dict(control=["canny=missing.png"]), dict(width=100),
    dict(sampler="foo"), dict(cfg_interval="5:1"), dict(control=["foo=x"]),
    dict(lora=["missing"]), dict(lora=["x:1e9"]), dict(region=["a cube=left.png"]),
    dict(grid=["strength=.2"]),
):
    try:
        run(Generate(out={str(tmp_path / "out")!r}, **bad), Silent())
    except BadInput:
        continue
    raise SystemExit(f"{{bad}} was let through")
heavy = {{"torch", "diffusers", "transformers", "scipy"}} & sys.modules.keys()
raise SystemExit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_kinds_of_control_are_the_conditions():
    assert tuple(CONTROLS) == tuple(CONDITIONS)
