"""`compare` and `probe` from Python give what the commands report."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.pipelines import tiny_vae
from tests.unit.finetune.conftest import *  # noqa: F403

import graftwerk as gw
from graftwerk.blocks.map_images import write_dataset
from graftwerk.commands.evaluate import run_readout
from graftwerk.commands.fit import run_compare
from graftwerk.errors import BadInput
from graftwerk.types import Silent

FAST = {"epochs": 1, "batch": 16, "rank": 2, "device": "cpu"}
# a log of times is among the bytes
TIMES = {"bytes", "seconds", "train_seconds", "predict_seconds", "peak_bytes", "out", "picture"}


def without_times(report):
    if isinstance(report, dict):
        return {key: without_times(value) for key, value in report.items() if key not in TIMES}
    return [without_times(one) for one in report] if isinstance(report, list) else report


def test_compare_is_what_the_command_reports(texts, tiny, tmp_path):
    found = gw.compare(texts, "label", model=tiny, **FAST)
    assert (found.report.out, found.report.picture) == ("", "")
    assert isinstance(found.plot, Image.Image)
    assert found.plot.size == (1200, 520)
    assert found._repr_png_().startswith(b"\x89PNG")
    assert [row["method"] for row in found.table] == ["linear", "lora", "full", "wise-ft"]
    assert found.table[0]["score"] == found.methods[0].score.value
    assert found.recommended in found.reason
    assert repr(found) == f"Comparison(recommended={found.recommended!r}, methods=4)"
    request = gw.Compare(
        data=str(texts), target="label", model=str(tiny), out=tmp_path / "compare", **FAST
    )
    reported = run_compare(request, Silent())
    assert without_times(reported.model_dump()) == without_times(found.report.model_dump())
    written = json.loads((tmp_path / "compare" / "compare.json").read_text())
    assert written == reported.model_dump()
    image = np.asarray(Image.open(tmp_path / "compare" / "compare.png"))
    assert image.shape == np.asarray(found.plot).shape
    clf = gw.load(tmp_path / "compare" / "linear")
    assert clf.predict(["red cat red"]).tolist() == ["warm"]


def test_compare_refuses_by_name(texts, tiny):
    with pytest.raises(BadInput, match=r"rank 0 is not valid: it must be at least 1"):
        gw.compare(texts, model=tiny, rank=0)
    with pytest.raises(BadInput, match=r"ranks 2 is not valid: there is no such field"):
        gw.compare(texts, model=tiny, ranks=2)


def test_probe_is_what_the_command_reports(tmp_path):
    scenes, autoencoder = tmp_path / "scenes", tmp_path / "autoencoder"
    scenes.mkdir()
    list(write_dataset(scenes, 5, 160, 16))
    tiny_vae().save_pretrained(autoencoder)
    found = gw.probe(scenes, model=autoencoder, moved=4)
    assert [row["name"] for row in found.table] == ["horizontal", "vertical"]
    assert found.table[0]["r2"] == found.report.read[0].model.r2
    assert "horizontal=" in repr(found)
    assert found.report.moved
    assert set(found.images) == {one.name for one in found.report.moved}
    request = gw.Readout(data=scenes, model=str(autoencoder), out=tmp_path / "out", moved=4)
    reported = run_readout(request, Silent())
    assert without_times(reported.model_dump()) == without_times(found.report.model_dump())
    for one in reported.moved:
        image = found.images[one.name]
        assert np.array_equal(np.asarray(Image.open(one.picture)), np.asarray(image))
    with pytest.raises(BadInput, match=r"at 'head' is not valid"):
        gw.probe(scenes, at="head")
