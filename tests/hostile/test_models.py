"""Model folders that would hang or fill the memory are refused before a library opens them."""

import os
import shutil

import pytest

from graftwerk.errors import BadFile, LimitExceeded
from graftwerk.files import sha256_of_file
from graftwerk.models import checkpoint
from graftwerk.models.checkpoint import check_safetensors
from graftwerk.models.hub import builtin_folder, locate
from graftwerk.models.zero_shot import FILE_NAME, templates_of


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(builtin_folder("builtin/blocks-clip"), tmp_path / "model")


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, device])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "vocab.txt", "part/merges.txt"]
)
def test_what_never_ends_is_not_opened(folder, make, name):
    (folder / name).parent.mkdir(exist_ok=True)
    make(folder / name)
    with pytest.raises(BadFile, match="not a regular file"):
        locate(str(folder))


@pytest.mark.parametrize("make", [fifo, device])
@pytest.mark.parametrize("read", [sha256_of_file, check_safetensors])
def test_nor_where_it_is_read(tmp_path, make, read):
    make(tmp_path / "model.safetensors")
    with pytest.raises(BadFile, match="not a regular file"):
        read(tmp_path / "model.safetensors")


def test_a_tokenizer_larger_than_any_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoint.limits, "MODEL_TEXT", 100)
    with pytest.raises(LimitExceeded, match="model file"):
        locate(str(folder))


def test_a_link_to_nothing_is_no_file(folder):
    (folder / "extra.json").symlink_to(folder / "gone")
    assert locate(str(folder)) == folder


@pytest.mark.parametrize("template", ["{}" * 9, "{}" + "x" * 1000])
def test_a_template_that_unfolds_is_refused(tmp_path, template):
    import json

    (tmp_path / FILE_NAME).write_text(json.dumps({"templates": [template]}))
    with pytest.raises(LimitExceeded, match="template"):
        templates_of(tmp_path)
