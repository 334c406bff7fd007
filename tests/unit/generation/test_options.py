"""Options that would do nothing are refused, and what is not possible is said in plain words."""

import json
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests import pipelines

import graftwerk as gw
from graftwerk.adapters import manifest
from graftwerk.cli.main import main
from graftwerk.conditions.fidelity import looks_finished
from graftwerk.controlnet.spec import parse_control
from graftwerk.errors import BadInput, BadValue
from graftwerk.generation.spec import parse_lora, parse_region
from graftwerk.requests.base import require_effect
from graftwerk.requests.generate import NEEDS

SHORT = {"n": 1, "steps": 2}
OTHER = {  # values that are not the default
    "negative": "snow", "cfg_interval": "0.3:3", "cfg_rescale": 0.7, "pag_layers": ["up"],
    "guide_interval": "0.3:3", "guide_plain": True, "guide_model": "imagenet",
    "guide_labels": ["cat"], "guide_encoder": "clip", "hold": 0.5, "paste": False,
    "control_mode": "prompt", "reuse": 2,
}  # fmt: skip
ACTING = {"cfg": 2.0, "pag": 1.0, "guide": ["class=cone:8"], "source": "a cone", "init": "m.png",
          "control": ["canny=a.png"], "autoguide": ["weak"]}  # fmt: skip


@pytest.mark.parametrize("name", NEEDS)
def test_an_option_without_effect_is_refused_and_acts_with_each_of_its_others(name) -> None:
    request = gw.Generate(cfg=1.0, **{name: OTHER[name]})
    with pytest.raises(BadValue, match=f"{name} .* acts only with `"):
        require_effect(request, NEEDS, {name})
    require_effect(request, NEEDS, set())  # of a record
    require_effect(gw.Generate(cfg=1.0), NEEDS, {name})  # its default
    for other in NEEDS[name]:
        given = {"cfg": 1.0, name: OTHER[name], other: ACTING[other]}
        require_effect(gw.Generate(**given), NEEDS, {name})
        require_effect(request, NEEDS, {name}, {other} - {"cfg"}) if other != "cfg" else None


def test_a_pipeline_refuses_them_too(text_pipeline, tmp_path) -> None:
    pipe = gw.Pipeline(text_pipeline, device="cpu")
    for options in ({"reuse": 2}, {"control_mode": "prompt"}, {"cfg": 1.0, "cfg_rescale": 0.5}):
        with pytest.raises(BadValue, match="acts only with"):
            pipe.generate("a cube", **SHORT, **options)
    with pytest.raises(BadValue, match="pag_layers"):
        pipe.denoiser("a cube", pag_layers=["mid"] * 2)
    same = pipe.with_(gw.Autoguide(text_pipeline, 0.5))
    with pytest.raises(BadInput, match="is the one that generates"):
        same.generate("a cube", **SHORT)
    unet = pipelines.tiny_unet(block_out_channels=(16, 16), attention_head_dim=4)
    weak = pipelines.write_text_pipeline(tmp_path / "weak", unet=unet)
    weaker = pipe.with_(gw.Autoguide(weak, 0.5))
    assert len(weaker.generate("a cube", cfg=1.0, cfg_rescale=0.5, **SHORT)) == 1
    look = Image.radial_gradient("L").resize((16, 16)).convert("RGB")
    options = {"init": look, "mask": look, "paste": False}
    assert len(pipe.generate("a cube", **SHORT, **options)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hold", "0.5"], "--hold 0.5 is not valid: it acts only with --source"),
        (["--pag-layers", "up"], "it acts only with --pag"),
        (["--cfg", "1", "--cfg-rescale", "0.7"], "--cfg other than 1 or --pag or --autoguide"),
        (["--grid", "hold=0.1,0.5"], "--hold"),
        (
            ["--pag", "nan"],
            "--pag nan is not valid: it must be a finite number. See: graft generate",
        ),
        (["--strength", "inf"], "--strength inf is not valid: it must be a finite number"),
        (["--grid", "pag=1,nan"], "a finite number. See: graft generate --help"),
        (["--autoguide", "builtin/blocks:x"], "has the scale 'x'. Give a number"),
        (["--control", "canny=:soft"], "names no image"),
        (["--guide", "text=a cone:3", "--guide-labels", "a"], "acts only with --guide class=NAME"),
        (["--guide", "class=cone:3", "--guide-encoder", "x"], "--guide text=SENTENCE or --guide"),
        (["--model", "builtin/bloks"], "Did you mean builtin/blocks? Allowed: builtin/blocks."),
        (["--model", "builtin/minilm"], "is of the kind 'text encoder', not 'diffusion pipeline'"),
        (["--model", "none.safetensors"], "'none.safetensors' does not exist. Check the path"),
    ],
)
def test_the_command_line_says_it(capsys, tmp_path, arguments, said) -> None:
    assert main(["generate", "a cube", "--out", str(tmp_path), *arguments]) == 2
    text = capsys.readouterr().err
    assert said in text and "help(graftwerk" not in text


def test_an_ablation_of_rendered_scenes_takes_no_captions(capsys, tmp_path) -> None:
    arguments = ["control", "ablation", "--caption", "a cube", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "--caption 'a cube' is not valid: it acts only with DATA" in capsys.readouterr().err


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_of_every_request_are_finite(value) -> None:
    for kind, field in ((gw.Generate, "cfg"), (gw.ControlTrain, "learning_rate"),
                        (gw.Invert, "rate"), (gw.Search, "min_score")):  # fmt: skip
        if field in kind.model_fields:
            needed = {"data": "a", "condition": "canny", "out": "b", "to": "c", "query": "d"}
            given = {name: needed[name] for name in needed if name in kind.model_fields}
            with pytest.raises(BadValue, match="a finite number"):
                kind(**given, **{field: value})


def test_a_scale_that_is_no_number_and_a_colon_in_a_name(tmp_path) -> None:
    (tmp_path / "style").mkdir()
    with pytest.raises(BadInput, match="'strong'"):
        parse_lora(f"{tmp_path}/style:strong")
    assert parse_lora("C:style").folder.name == "C:style"
    with pytest.raises(BadInput, match="names no image"):
        parse_control("canny=:0.5")


def test_a_finished_map_is_noticed(tmp_path, text_pipeline) -> None:
    lines = Image.new("L", (64, 64))
    ImageDraw.Draw(lines).rectangle((10, 10, 50, 50), outline=255, width=2)
    shape = Image.new("L", (64, 64))
    ImageDraw.Draw(shape).rectangle((20, 20, 40, 40), fill=255)
    scene = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    found = [looks_finished(np.asarray(one.convert("RGB"))) for one in (lines, shape, scene)]
    assert found == [True, False, False]
    edges = gw.conditions.of_scene("canny", 3, size=64)
    assert looks_finished(np.asarray(edges))


def test_a_lora_of_something_else_is_named(text_pipeline, tmp_path) -> None:
    (tmp_path / "adapted").mkdir()
    (tmp_path / "adapted" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    manifest.write_bundle(tmp_path / "adapted", "policy", "builtin/policy", "0" * 64, {})
    with pytest.raises(BadInput, match="It holds a fitted robot policy"):
        gw.Pipeline(text_pipeline, device="cpu").with_(gw.Lora(tmp_path / "adapted"))


def test_the_mask_of_a_region_may_have_a_number_sign_in_its_name(tmp_path):
    (tmp_path / "left#1.png").write_bytes(b"")
    assert parse_region(f"a cube#{tmp_path}/left#1.png") == ("a cube", f"{tmp_path}/left#1.png")
    assert parse_region("a cube #2#left.png") == ("a cube #2", "left.png")
