"""`eval alignment`: images with captions, images alone, texts alone."""

import json

import numpy as np
import pytest
from tests.pictures import COLOURS, colour_encoder, paint, serve_encoder
from tests.support import HashEncoder, Recorder

from graftwerk.blocks.map_images import write_dataset
from graftwerk.commands import evaluate
from graftwerk.errors import BadFile, BadInput, Cancelled
from graftwerk.models.ood import measure_familiar
from graftwerk.requests.models import EvalAlignment
from graftwerk.types import Silent

NAMES = ["red", "green", "blue", "white"]


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    encoder = colour_encoder(tmp_path)
    serve_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture
def captioned(tmp_path):
    """Three images of each of four colors, each slightly different."""
    folder = tmp_path / "captioned"
    generator = np.random.default_rng(0)
    rows = []
    for number in range(12):
        name = NAMES[number % 4]
        mixed = np.array(COLOURS[name]) * 0.9 + generator.integers(0, 20, 3)
        paint(folder / f"{number}.png", tuple(mixed.astype(int).tolist()))
        rows.append(
            {
                "file_name": f"{number}.png",
                "caption": f"something {name}",
                "colour": name,
                "n": number,
            }
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def run(data, monitor=None, **options):
    options = {"encoder": "test/colours", "k": 2} | options
    return evaluate.run_eval_alignment(EvalAlignment(data=data, **options), monitor or Silent())


def test_images_and_captions(captioned, encoder):
    report = run(captioned)
    across = report.across
    assert (across.text_to_image.queries, across.text_to_image.answers) == (4, 12)
    assert (across.image_to_text.queries, across.image_to_text.answers) == (12, 4)
    assert across.text_to_image.recall_at_1 == across.image_to_text.recall_at_1 == 1
    assert across.text_to_image.chance_at_1 == pytest.approx(3 / 12)
    assert across.image_to_text.chance_at_1 == pytest.approx(1 / 4)
    assert across.image_to_text.median_rank == 1
    assert across.matching_cosine > 0.9 > across.other_cosine
    assert 0 <= across.modality_gap < 0.2
    assert report.pictures.count == 12
    assert set(report.pictures.purity) == {"colour"}, "n is different for each"
    colour = report.pictures.purity["colour"]
    assert (colour.shared, colour.values) == (1, 4)
    assert colour.chance == pytest.approx(4 * 3 * 2 / (12 * 11))
    assert report.texts.count == 4
    assert (report.skipped, report.unfamiliar, report.k) == ([], None, 2)


def test_images_that_cannot_be_read_take_their_captions_along(captioned, encoder):
    for number in (1, 5, 9):
        (captioned / f"{number}.png").write_bytes(b"x")
    (captioned / "2.png").unlink()
    report = run(captioned)
    assert len(report.skipped) == 4
    assert report.pictures.count == 8
    assert report.texts.count == 3
    assert report.across.text_to_image.queries == 3


def test_an_encoder_of_images_has_its_half(captioned, tmp_path, monkeypatch):
    serve_encoder(monkeypatch, colour_encoder(tmp_path, joint=False))
    report = run(captioned)
    assert (report.across, report.texts) == (None, None)
    assert report.pictures.purity["colour"].shared == 1


def test_an_encoder_of_texts_has_its_half(captioned, monkeypatch):
    serve_encoder(monkeypatch, HashEncoder(name="test/colours", reads=frozenset({"text"})))
    report = run(captioned)
    assert (report.across, report.pictures) == (None, None)
    assert report.texts.count == 4


def test_class_folders_and_loose_images(tmp_path, encoder):
    for number in range(12):
        name = NAMES[number % 4]
        paint(tmp_path / "classes" / name / f"{number}.png", name)
        paint(tmp_path / "loose" / f"{number}.png", name)
        (tmp_path / "loose" / "notes.txt").write_text("x")
    report = run(tmp_path / "classes")
    assert report.pictures.purity["label"].shared == 1
    assert (report.across, report.texts) == (None, None)
    report = run(tmp_path / "loose")
    assert (report.pictures.count, report.pictures.purity) == (12, {})


def test_some_captions_are_missing(captioned, encoder):
    path = captioned / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[:5]:
        del row["caption"]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = run(captioned)
    assert report.pictures.count == 12
    assert report.across.image_to_text.queries == 7
    assert report.across.text_to_image.answers == 7


def test_blocks_captions_are_taken_apart(tmp_path, monkeypatch, encoder):
    folder = tmp_path / "blocks"
    folder.mkdir()
    assert sum(write_dataset(folder, 3, 24, 16)) == 24
    report = run(folder)
    assert set(report.pictures.purity) == {"colour", "ground", "kind", "time"}
    assert report.pictures.purity["time"].values == 3
    for share in report.pictures.purity.values():
        assert 0 < share.chance < 1
    assert report.pictures.purity["time"].shared > report.pictures.purity["time"].chance
    path = folder / "train" / "metadata.jsonl"
    path.write_text(path.read_text() + '{"file_name": "000000.png", "caption": "my holiday"}\n')
    assert run(folder).pictures.purity == {}


def test_texts_with_labels(tmp_path, encoder):
    path = tmp_path / "texts.csv"
    rows = [f"{name} number {n},{name}" for n in range(3) for name in NAMES]
    path.write_text("\n".join(["text,topic", *rows, rows[0]]))
    report = run(path)
    assert (report.across, report.pictures) == (None, None)
    assert report.texts.count == 12, "the same text counts once"
    assert report.texts.purity["topic"].shared == 1
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"{n} red"}) for n in range(5)))
    assert run(path).texts.anisotropy == pytest.approx(1)


def test_unfamiliar_images_are_counted(captioned, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    states = generator.standard_normal((400, 3)).astype(np.float32) / 100 + 3
    familiar = measure_familiar(states, "colours", 0.01)
    serve_encoder(monkeypatch, colour_encoder(tmp_path, familiar=familiar))
    assert run(captioned).unfamiliar == 12


def test_too_few(captioned, tmp_path, encoder):
    assert run(captioned, k=11).pictures.count == 12
    with pytest.raises(BadInput, match=r"12 different images or texts.*no.* 12 .*-k 11"):
        run(captioned, k=12)
    report = run(captioned, k=4)
    assert report.texts is None and report.across is not None
    paint(tmp_path / "one" / "a.png", "red")
    with pytest.raises(BadInput, match="holds 1 different"):
        run(tmp_path / "one", k=1)


def test_what_cannot_be_measured(tmp_path, encoder, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    with pytest.raises(BadInput, match=r"no readable image in .*texts"):
        run(tmp_path / "texts")
    paint(tmp_path / "bad" / "a.png", "red").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"no readable image in .*a\.png"):
        run(tmp_path / "bad")
    with pytest.raises(BadFile, match="does not exist"):
        run(tmp_path / "none")
    (tmp_path / "t.csv").write_text("text\na\nb\n")
    serve_encoder(monkeypatch, colour_encoder(tmp_path, joint=False))
    with pytest.raises(BadInput, match=r"reads only image, and .* nothing of that kind"):
        run(tmp_path / "t.csv")
    serve_encoder(monkeypatch, HashEncoder(name="test/colours", reads=frozenset({"text"})))
    paint(tmp_path / "loose" / "a.png", "red")
    with pytest.raises(BadInput, match=r"reads only text, and .* nothing of that kind"):
        run(tmp_path / "loose")


def test_it_can_be_stopped(captioned, encoder):
    with pytest.raises(Cancelled):
        run(captioned, monitor=Recorder(stop_after=0))


def test_photographs_without_a_named_encoder(photographs, listener):
    request = EvalAlignment(data=photographs, k=2, device="cpu")
    found = evaluate.run_eval_alignment(request, listener)
    assert (found.encoder, found.pictures.count, found.texts) == ("imagenet", 24, None)
    assert [note.startswith("no model was named: imagenet") for note in listener.notes] == [True]


def test_a_flat_folder_says_which_layout_is_measured(tmp_path, encoder, listener):
    for number, name in enumerate(NAMES):
        paint(tmp_path / "flat" / f"{number}.png", name)
    run(tmp_path / "flat", monitor=listener)
    assert len(listener.notes) == 1
    assert "metadata.jsonl (file_name, caption), or with a folder for each" in listener.notes[0]


def test_labelled_images_need_no_word_on_their_layout(captioned, encoder, listener):
    run(captioned, monitor=listener)
    assert not listener.notes
