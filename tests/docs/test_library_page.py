"""The Python on README and docs/library.md runs as it stands there, with smaller sizes."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.finetune.conftest import *  # noqa: F403

import graftwerk as gw
from graftwerk.blocks.map_images import write_dataset
from graftwerk.examples import HANDBOOK

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
# what is long on the page -> what the test runs instead
SMALLER = {
    'gw.compare("texts.csv", target="topic")': 'gw.compare("texts.csv", target="topic", '
    'model="tiny", epochs=1, batch=16, rank=2, rates=1)',
    'condition="canny", steps=900)': 'condition="canny", steps=2, batch=2, held_out=4, '
    "measurements=2)",
    'label="red cube", steps=100)': 'label="red cube", steps=2)',
    "n=4, seed=7)": "n=1, steps=3, seed=7)",
    "pipe.noise(4, seed=0), pipe.sigmas(25)": "pipe.noise(1, seed=0), pipe.sigmas(3)",
}


def python_of(page: str) -> str:
    return "\n".join(BLOCK.findall((ROOT / page).read_text("utf-8")))


def write_style(folder: Path) -> None:
    """A LoRA that has learned something, on the built-in pipeline."""
    import torch

    from graftwerk.adapters.lora import Rank, install

    model = gw.Pipeline("builtin/blocks", device="cpu").steered.frozen
    generator = torch.Generator().manual_seed(4)
    lora = install(model.unet, Rank(2), generator, model.fingerprint)
    with torch.no_grad():
        for weight in lora.parameters().values():
            weight.add_(0.01 * torch.randn(weight.shape, generator=generator))
    lora.save(folder, model.name, {}, part="unet")


@pytest.fixture
def folder(tmp_path, texts, tiny):
    """Everything that the page names."""
    shutil.copytree(HANDBOOK, tmp_path / "handbook")
    shutil.copytree(tiny, tmp_path / "tiny")
    with texts.open(newline="") as file:
        rows = list(csv.reader(file))
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [[name.replace("label", "topic") for name in rows[0]], *rows[1:]]
        )
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 2, (64, 1))
    ramp[16:48, 16:48] = 255
    Image.fromarray(ramp).save(tmp_path / "photo.jpg")
    (tmp_path / "pairs").mkdir()
    for _ in write_dataset(tmp_path / "pairs", 1, 8, 64):
        pass
    write_style(tmp_path / "style")
    return tmp_path


def test_the_snippets_run(folder):
    code = python_of("docs/library.md")
    for long, short in SMALLER.items():
        assert long in code, f"the page no longer has {long}"
        code = code.replace(long, short)
    shown = ["report.model_dump_json()", "clf", "answer", "steered", "stages", "run", "found"]
    code += f"\nprint(*map(repr, ({', '.join(shown)})), sep=chr(10))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:graftwerk", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    *_, report, clf, answer, steered, stages, run, found = done.stdout.splitlines()
    assert len(json.loads(eval(report))["hits"]) == 3
    assert clf.startswith("Classifier(") and answer.startswith("<Answer ")
    assert steered.startswith("Pipeline('builtin/blocks', Lora('style', scale=0.8), Control(")
    assert stages.startswith("CannyStages(64 x 64") and run.startswith("ControlNetTraining(")
    assert found.startswith("InvertedImages(1, latent to 'class=red cube'")


def test_the_snippet_of_the_readme_runs(folder):
    code = python_of("README.md")
    assert "n=4, seed=7)" in code
    code = code.replace("n=4, seed=7)", "n=1, steps=2, seed=7)")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "lunch" in done.stdout


def test_the_snippets_are_typed(tmp_path):
    """One file for README and one for each page; a snippet of diffusers is not ours to type."""
    files = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = BLOCK.findall(page.read_text("utf-8"))
        ours = [block for block in blocks if "from diffusers" not in block]
        if ours:
            files.append(tmp_path / f"{page.stem.replace('-', '_').lower()}_page.py")
            files[-1].write_text("\n".join(ours))
    assert len(files) >= 4
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"),
         *map(str, files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MYPYPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


PRIVATE = re.compile(r"^\s*(from graftwerk\.|import graftwerk\.)", re.MULTILINE)


def test_pages_import_public_names_only():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        code = "\n".join(BLOCK.findall(page.read_text("utf-8")))
        assert not PRIVATE.search(code), f"{page.name} imports {PRIVATE.search(code)}"
        for name in re.findall(r"\b(?:gw|graftwerk)\.([A-Za-z_]+)", code):
            assert name in gw.__all__, f"{page.name}: {name} is not public"
        for names in re.findall(r"from graftwerk import ([\w, ]+)", code):
            for name in names.split(","):
                assert name.strip() in gw.__all__, f"{page.name}: {name} is not public"


def test_a_private_import_is_found():
    assert PRIVATE.search("import os\nfrom graftwerk.diffusion import pipeline\n")
    assert not PRIVATE.search("import graftwerk as gw\nfrom graftwerk import Index\n")
