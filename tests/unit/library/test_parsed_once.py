"""A request with one control and one guide is parsed, opened, decoded and hashed once."""

from collections import Counter

import pytest
from PIL import Image

import graftwerk
from graftwerk import files
from graftwerk.adapters import manifest
from graftwerk.commands.generate import run_generate
from graftwerk.controlnet import inputs, spec
from graftwerk.data import image_inputs, images
from graftwerk.diffusion import checkpoint, pipeline
from graftwerk.generation import spec as parsed
from graftwerk.generation import validate
from graftwerk.models import checkpoint as models
from graftwerk.models import integrity
from graftwerk.types import Silent


@pytest.fixture
def count(monkeypatch):
    """Counts calls by the function's name and its first argument."""
    calls = Counter()

    def counted(name, *modules):
        function = getattr(modules[0], name)

        def call(*arguments, **options):
            calls[name, str(arguments[0])] += 1
            return function(*arguments, **options)

        for module in modules:
            if getattr(module, name, None) is function:
                monkeypatch.setattr(module, name, call)

    counted("parse_control", spec, validate)
    counted("parse_guide", parsed)
    counted("branch_folders", spec, validate)
    counted("open_pipeline", checkpoint, validate, pipeline)
    counted("open_image", images, image_inputs, parsed)
    counted("open_branch", inputs)
    counted("sha256_of_file", files, models, manifest)
    integrity._hash.cache_clear()  # what other tests have hashed
    return calls


@pytest.mark.parametrize("guide", ["class=cube:10", "image=HERE:10"])
def test_once(count, tmp_path, guide):
    control, here, init, mask = (tmp_path / f"{name}.png" for name in "abcd")
    for path in (control, here, init, mask):
        Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(path)
    request = graftwerk.Generate(
        prompt="a red cube", control=[f"canny={control}"], guide=[guide.replace("HERE", str(here))],
        init=init, inpaint=mask, count=1, steps=2, out=tmp_path / "out", device="cpu",
    )  # fmt: skip
    run_generate(request, Silent())
    names = {name for name, _ in count}
    assert {"parse_control", "parse_guide", "open_pipeline", "open_image", "open_branch"} <= names
    assert "sha256_of_file" in names
    again = {call: times for call, times in count.items() if times > 1}
    assert again == {}
