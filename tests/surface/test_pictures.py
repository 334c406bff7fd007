"""A person with a folder of images and a CLIP: index, search, classify, measure."""

import json
from pathlib import Path

import pytest
from PIL import Image

LABELS = "a red cube,a blue cone,a person in green"


@pytest.fixture(scope="module")
def workplace(commands, tmp_path_factory) -> Path:
    """A tiny CLIP, hardly trained, and rendered scenes; made by the command line once."""
    folder = tmp_path_factory.mktemp("pictures")
    for arguments in (
        ["recipe", "run", "clip", "--tiny", "--out", "clip"],
        ["blocks", "render", "--count", "24", "--size", "16", "--out", "blocks"],
        ["index", "add", "blocks/train", "--encoder", "clip/model"],
    ):
        done = commands(*arguments, "--quiet", cwd=folder)
        assert done.code == 0, done.err
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


def test_images_and_texts_live_in_one_index(graft, workplace) -> None:
    state = graft("index", "status", "--json", cwd=workplace).json
    assert (state["files"], state["pictures"]) == (24, 24)
    done = graft("search", "blocks/train/000003.png", "-k", "3", "--json", cwd=workplace)
    hits = done.json["hits"]
    assert Path(hits[0]["path"]).name == "000003.png"
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-5)
    done = graft("search", "a red cube", "-k", "4", "--sheet", "hits.png", cwd=workplace)
    assert done.code == 0, done.err
    assert done.out.count("   image, score ") == 4
    assert "4 of 24 images, hybrid" in done.out
    assert "images side by side -> hits.png" in done.out
    with Image.open(workplace / "hits.png") as sheet:
        assert sheet.size == (408, 448)
    missing = graft("search", "missing.png", cwd=workplace)
    assert missing.code == 2 and "does not exist" in missing.err


def test_classify(graft, workplace) -> None:
    done = graft(
        "classify", "blocks/train", "bad.png", "--labels", LABELS, "--encoder", "clip/model",
        "--json", cwd=workplace,
    )  # fmt: skip
    assert done.code == 0, done.err
    report = done.json
    assert len(report["pictures"]) == 24
    assert [Path(entry["path"]).name for entry in report["skipped"]] == ["bad.png"]
    for image in report["pictures"]:
        assert image["label"] in LABELS.split(",")
        assert sum(label["probability"] for label in image["labels"]) == pytest.approx(1)
    for_people = graft(
        "classify", "blocks/train/000001.png", "bad.png", "--labels", LABELS, "--encoder",
        "clip/model", cwd=workplace,
    )  # fmt: skip
    assert "blocks/train/000001.png\n  label" in for_people.out
    assert "skipped bad.png: 'bad.png' is not a readable image" in for_people.out
    assert "1 image, 1 skipped, 3 labels in 13 templates" in for_people.out
    assert "not calibrated" in for_people.out


def test_calibrate_keep_and_use(graft, workplace) -> None:
    rows = [{"file_name": f"{n:06d}.png", "label": LABELS.split(",")[n % 3]} for n in range(24)]
    table = workplace / "blocks" / "train" / "labelled.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    common = ("--labels", LABELS, "--encoder", "clip/model")
    done = graft(
        "classify", *common, "--calibrate", "blocks/train/labelled.jsonl", "--calibration",
        "kept.json", cwd=workplace,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "fitted on 24 labeled images (0 left out)" in done.out
    assert "calibration error (ECE)" in done.out
    used = graft(
        "classify", "blocks/train/000000.png", *common, "--calibration", "kept.json", "--json",
        cwd=workplace,
    ).json  # fmt: skip
    retained = json.loads((workplace / "kept.json").read_text())
    assert used["temperature"] == retained["temperature"]
    assert "fitted on 24 images of blocks/train/labelled.jsonl" in used["calibration"]


def test_eval_alignment(graft, workplace) -> None:
    done = graft("eval", "alignment", "blocks", "--encoder", "clip/model", "-k", "3", cwd=workplace)
    assert done.code == 0, done.err
    for words in ("text to image", "image to text", "modality gap", "24 images: anisotropy",
                  "shared with 3 nearest", "ground", "kind", "colour", "time"):  # fmt: skip
        assert words in done.out
    texts = graft(
        "eval", "alignment", "blocks", "--encoder", "builtin/minilm", "-k", "3", "--json",
        cwd=workplace,
    ).json  # fmt: skip
    assert texts["pictures"] is None and texts["across"] is None
    assert (
        texts["texts"]["purity"]["ground"]["shared"] > texts["texts"]["purity"]["ground"]["chance"]
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["classify", "a.png"], "no labels"),
        (["classify", "a.png", "--labels", "a red cube"], "only label"),
        (["classify", "a.png", "--labels", "a,,b"], "label 2 of 3 is empty"),
        (["classify", "a.png", "--labels", "a,b,a"], "labels 1 and 3 are the same"),
        (["classify", "--labels", "a,b"], "no image was named"),
        (["classify", "none.png", "--labels", "a,b"], "cannot be read"),
        (["classify", "a.png", "--labels", "a,b", "--templates", "c"], "has no {}"),
        (["classify", "a.png", "--labels", "a,b", "-k", "0"], "at least 1"),
        (
            ["classify", "a.png", "--labels", "a,b", "--encoder", "builtin/minilm"],
            "reads only texts",
        ),
        (["eval", "alignment", "nowhere"], "does not exist"),
        (["eval", "alignment", "a.png"], "neither a folder nor a table"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input(arguments, expected, capsys, tmp_path, monkeypatch) -> None:
    from graftwerk.cli.main import main

    monkeypatch.chdir(tmp_path)
    # the models that this machine has fetched decide no test
    monkeypatch.setattr("graftwerk.models.encoders.is_fetched", lambda name: False)
    Image.new("RGB", (4, 4)).save("a.png")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert expected in captured.err
    assert captured.err.startswith("graft: ") and captured.err.count("\n") == 1
