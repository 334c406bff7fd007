"""`classify`: labels of images, calibrated probabilities, and what goes wrong."""

import json

import numpy as np
import pytest
from tests.pictures import COLOURS, colour_encoder, paint, serve_encoder
from tests.support import HashEncoder, Recorder

from graftwerk import limits
from graftwerk.commands import classify
from graftwerk.errors import BadFile, BadInput, Cancelled, LimitExceeded, WrongBase
from graftwerk.models import zero_shot as temperature
from graftwerk.models.ood import measure_familiar
from graftwerk.models.zero_shot import save_templates
from graftwerk.requests.models import Classify
from graftwerk.types import Silent

ENCODER = "test/colours"
LABELS = ["red", "green", "blue"]


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    encoder = colour_encoder(tmp_path / "model")
    serve_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture
def pictures(tmp_path, encoder):
    folder = tmp_path / "pictures"
    for name in LABELS:
        paint(folder / f"{name}.png", name)
    return folder


def run(*paths, monitor=None, **options):
    options = {"labels": ["red,green,blue"], "encoder": ENCODER} | options
    request = Classify(pictures=[str(path) for path in paths], **options)
    return classify.run_classify(request, monitor or Silent())


def test_each_image_gets_its_colour(pictures):
    report = run(pictures / "blue.png", pictures / "red.png")
    assert [(p.path, p.label) for p in report.pictures] == [
        (str(pictures / "blue.png"), "blue"),
        (str(pictures / "red.png"), "red"),
    ]
    for image in report.pictures:
        assert image.labels[0].label == image.label
        assert sum(one.probability for one in image.labels) == pytest.approx(1)
        assert image.probability == image.labels[0].probability
        assert image.labels[0].cosine == pytest.approx(1, abs=1e-5)
        assert image.familiarity is None
    assert (report.labels, report.temperature, report.unfamiliar) == (3, 1, None)
    assert report.calibration.startswith("not calibrated")
    assert (report.skipped, report.fit) == ([], None)


def test_probabilities_are_the_softmax_at_the_models_scale(pictures, encoder):
    (image,) = run(pictures / "red.png").pictures
    cosines = np.array([one.cosine for one in image.labels])
    powers = np.exp(encoder.logit_scale * cosines)
    expected = powers / powers.sum()
    np.testing.assert_allclose([one.probability for one in image.labels], expected, rtol=1e-5)


def test_a_folder_is_taken_whole(pictures):
    (pictures / "notes.txt").write_text("not an image")
    (pictures / "odd.xyz").write_text("neither")
    paint(pictures / "deep" / "white.png", "white")
    report = run(pictures)
    assert len(report.pictures) == 4
    assert report.skipped == []


def test_k_labels_are_told(pictures):
    assert [len(p.labels) for p in run(pictures, k=1).pictures] == [1, 1, 1]
    assert [len(p.labels) for p in run(pictures, k=1000).pictures] == [3, 3, 3]


def test_what_cannot_be_read_is_named_and_counted(pictures):
    (pictures / "bad.png").write_bytes(b"no picture")
    (pictures / "cut.png").write_bytes((pictures / "red.png").read_bytes()[:40])
    (pictures / "notes.txt").write_text("x")
    (pictures / "odd.xyz").write_text("x")
    report = run(pictures, pictures / "notes.txt", pictures / "odd.xyz")
    assert len(report.pictures) == 3
    reasons = {entry.path.rpartition("/")[2]: entry.reason for entry in report.skipped}
    assert set(reasons) == {"bad.png", "cut.png", "notes.txt", "odd.xyz"}
    assert "not a readable image" in reasons["bad.png"]
    assert "not an image" in reasons["notes.txt"]


def test_more_images_than_are_held_in_memory(pictures, monkeypatch):
    expected = [image.label for image in run(pictures).pictures]
    monkeypatch.setattr("graftwerk.models.encoders._BATCH", 2)
    monkeypatch.setattr(classify, "_CELLS", 4)
    assert [image.label for image in run(pictures).pictures] == expected


def test_labels_from_a_file(pictures, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffred\n\n green, or  not \nblue\n")
    report = run(pictures, labels=[], labels_file=path)
    assert report.labels == 3
    names = {one.label for image in report.pictures for one in image.labels}
    assert names == {"red", "green, or not", "blue"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no labels"),
        ([""], "no labels"),
        (["red"], "'red' is the only label"),
        (["red,Red"], "labels 1 and 2 are the same: 'Red'"),
        (["red, blue", " red "], "labels 1 and 3 are the same"),
        (["red,,blue"], "label 2 of 3 is empty"),
        (["red,blue,"], "label 3 of 3 is empty"),
    ],
)
def test_labels_that_cannot_be(pictures, labels, message):
    with pytest.raises(BadInput, match=message):
        run(pictures, labels=labels)


def test_a_labels_file_that_cannot_be(pictures, tmp_path):
    path = tmp_path / "labels.txt"
    with pytest.raises(BadFile, match="not a file"):
        run(pictures, labels=[], labels_file=path)
    path.write_text(" \n\n")
    with pytest.raises(BadInput, match="no labels"):
        run(pictures, labels=[], labels_file=path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(BadFile, match="not UTF-8"):
        run(pictures, labels=[], labels_file=path)
    with pytest.raises(BadInput, match="both given"):
        run(pictures, labels_file=path)


def test_ten_thousand_labels_and_one_more(pictures):
    labels = ["red", *(f"word{n}" for n in range(limits.LABELS - 1))]
    report = run(pictures / "red.png", labels=[",".join(labels)])
    assert report.labels == 10_000
    assert report.pictures[0].label == "red"
    with pytest.raises(LimitExceeded, match="10,001 labels; at most 10,000"):
        run(pictures, labels=[*labels, "blue"])
    with pytest.raises(LimitExceeded, match="label 2 has 1,001 characters"):
        run(pictures, labels=["red", "b" * 1_001])


def test_images_that_cannot_be(pictures, tmp_path):
    with pytest.raises(BadInput, match="no image was named"):
        run()
    with pytest.raises(BadFile, match=r"'.*none\.png' cannot be read: No such file"):
        run(tmp_path / "none.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no readable image in .*empty"):
        run(tmp_path / "empty")
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"no readable image.*bad\.png.*not a readable image"):
        run(tmp_path / "bad.png")


def test_encoders_that_read_one_kind(pictures, tmp_path, monkeypatch):
    serve_encoder(
        monkeypatch,
        HashEncoder(name="text", reads=frozenset({"text"})),
        colour_encoder(tmp_path, name="image", joint=False),
    )
    for name, kind in (("text", "texts"), ("image", "images")):
        with pytest.raises(BadInput, match=f"'{name}' reads only {kind}"):
            run(pictures, encoder=name)
    with pytest.raises(BadFile, match="'none'"):
        run(pictures, encoder="none")


def test_templates(pictures, encoder):
    report = run(pictures / "red.png")
    assert report.templates[0] == "{}" and "a photo of {}" in report.templates
    assert run(pictures, templates=["{} and white"]).templates == ["{} and white"]
    encoder.folder.mkdir()
    save_templates(encoder.folder, ["{} things"])
    assert run(pictures).templates == ["{} things"]
    with pytest.raises(BadInput, match=r"'red' has no \{\}"):
        run(pictures, templates=["{}", "red"])


def test_cut_labels_are_noted(pictures):
    monitor = Recorder()
    run(pictures, labels=["red,blue", "green " * 9], monitor=monitor)
    (note,) = monitor.notes
    assert note.startswith("1 label is longer") and "8 tokens" in note


def test_progress_and_stop(pictures):
    monitor = Recorder()
    run(pictures, monitor=monitor, templates=["{}"])
    assert monitor.stages == [("reading labels", 3), ("embedding images", 3)]
    assert monitor.counts == [3, 3]
    with pytest.raises(Cancelled):
        run(pictures, monitor=Recorder(stop_after=1))


def test_unfamiliar_images_are_told(pictures, tmp_path, monkeypatch):
    plain = colour_encoder(tmp_path)
    generator = np.random.default_rng(0)
    reddish = [
        paint(tmp_path / "reds" / f"{n}.png", (255, *generator.integers(0, 60, 2).tolist()))
        for n in range(300)
    ]
    from graftwerk.data.images import read_image

    seen = plain.examine([read_image(str(path)) for path in reddish])
    familiar = measure_familiar(seen.states, "colours", 0.01)
    serve_encoder(monkeypatch, colour_encoder(tmp_path, familiar=familiar))
    paint(pictures / "red.png", (255, 20, 30))
    report = run(pictures)
    reported = {image.label: image.familiarity.unfamiliar for image in report.pictures}
    assert reported == {"red": False, "green": True, "blue": True}
    assert report.unfamiliar == 2
    for image in report.pictures:
        assert image.familiarity.unfamiliar == (image.familiarity.distance > 1)
        assert image.familiarity.false_alarm_rate == 0.01


# calibration


@pytest.fixture
def labelled(tmp_path, encoder):
    """Images that are mostly of the color of their folder, and sometimes are not."""
    generator = np.random.default_rng(1)
    folder = tmp_path / "labelled"
    for number in range(90):
        colour = LABELS[number % 3]
        shown = LABELS[(number + 1) % 3] if number % 10 == 0 else colour
        mixed = np.array(COLOURS[shown]) * 0.7 + generator.integers(0, 70, 3)
        paint(folder / colour / f"{number}.png", tuple(mixed.astype(int).tolist()))
    return folder


def test_a_temperature_is_fitted_kept_and_used(pictures, labelled, tmp_path):
    path = tmp_path / "kept.json"
    report = run(pictures, calibrate=labelled, calibration=path)
    fit = report.fit
    assert (fit.pictures, fit.left_out, fit.labels) == (90, 0, 3)
    assert fit.accuracy == pytest.approx(0.9)
    assert report.temperature == fit.temperature != 1
    assert fit.nll_after < fit.nll_before
    assert 0 < fit.ece_before < 1 and 0 < fit.ece_after < 1
    assert json.loads(path.read_text()) == fit.model_dump()
    again = run(pictures, calibration=path)
    assert again.fit is None
    assert again.pictures == report.pictures
    assert "temperature" in again.calibration and "90 images" in again.calibration
    assert "other labels" not in again.calibration
    assert (
        run(pictures, calibration=path, labels=["blue,green,red"]).calibration == again.calibration
    )
    other = run(pictures, calibration=path, labels=["red,green,blue,white"])
    assert "with 3 other labels" in other.calibration
    plain = run(pictures)
    for one, two in zip(plain.pictures, report.pictures, strict=True):
        assert one.label == two.label and one.probability != two.probability


def test_no_images_are_needed_to_calibrate(labelled, tmp_path):
    report = run(calibrate=labelled)
    assert (report.pictures, report.skipped) == ([], [])
    assert report.fit.pictures == 90
    assert not list(tmp_path.glob("*.json"))


def test_labels_from_captions(tmp_path, encoder):
    folder = tmp_path / "captioned"
    rows = []
    for number in range(30):
        colour = LABELS[number % 2]
        paint(folder / f"{number}.png", colour)
        rows.append({"file_name": f"{number}.png", "caption": f"A thing in {colour.title()} here"})
    for number, caption in enumerate(["red and blue", "infrared", "", "red, red"]):
        paint(folder / f"more{number}.png", "red")
        rows.append({"file_name": f"more{number}.png", "caption": caption})
    rows += [{"file_name": "gone.png", "label": "red"}, {"file_name": "x.png", "label": ["a", "b"]}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fit = run(calibrate=folder).fit
    assert (fit.pictures, fit.left_out) == (31, 5)  # "red, red" is one label
    assert fit.accuracy == 1
    assert fit.temperature == 1, "all right, and sure enough: nothing to fix"


def test_underscores_of_folders_are_spaces(tmp_path, encoder):
    for number in range(20):
        paint(tmp_path / "l" / "Red_things" / f"{number}.png", "red")
        paint(tmp_path / "l" / "blue" / f"{number}.png", "blue")
    assert run(calibrate=tmp_path / "l", labels=["red things,blue"]).fit.pictures == 40


def test_too_little_to_calibrate_with(tmp_path, encoder, labelled):
    with pytest.raises(BadInput, match=r"30 readable images .* of 1 different .* 60 others"):
        run(calibrate=labelled, labels=["red,yellow"])
    for number in range(temperature.LEAST_IMAGES - 1):
        paint(tmp_path / "few" / LABELS[number % 2] / f"{number}.png", LABELS[number % 2])
    with pytest.raises(BadInput, match="has 19 readable images"):
        run(calibrate=tmp_path / "few")
    with pytest.raises(BadFile, match="does not exist"):
        run(calibrate=tmp_path / "none")


def test_the_limit_of_a_fit(labelled, monkeypatch):
    monkeypatch.setattr(limits, "LOGITS", 270)
    assert run(calibrate=labelled).fit.pictures == 90
    monkeypatch.setattr(limits, "LOGITS", 269)
    with pytest.raises(LimitExceeded, match="at most 89 images"):
        run(calibrate=labelled)


def test_a_calibration_of_something_else(pictures, labelled, tmp_path, encoder):
    path = tmp_path / "kept.json"
    with pytest.raises(BadFile, match="not a file"):
        run(pictures, calibration=path)
    run(calibrate=labelled, calibration=path, templates=["{} things"])
    assert run(pictures, calibration=path).templates == ["{} things"]
    with pytest.raises(BadInput, match=r"fitted with the templates '{} things'"):
        run(pictures, calibration=path, templates=["{}"])
    content = json.loads(path.read_text())
    for change, error, message in (
        ({"fingerprint": "other"}, WrongBase, "Fit it again"),
        ({"temperature": 0.0}, BadFile, "temperature 0.0"),
        ({"temperature": float("nan")}, BadFile, "temperature nan"),
        ({"temperature": "warm"}, BadFile, "not a calibration of"),
        ({"more": 1}, BadFile, "not a calibration of"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(error, match=message):
            run(pictures, calibration=path)
    path.write_text("{")
    with pytest.raises(BadFile, match="not JSON"):
        run(pictures, calibration=path)


def test_photographs_without_labels(photographs, scenes):
    request = Classify(pictures=[str(photographs / "warm" / "0.png")], device="cpu")
    monitor = Recorder()
    found = classify.run_classify(request, monitor)
    assert (found.encoder, found.labels) == ("imagenet", 3)
    assert [note.startswith("no model was named: imagenet") for note in monitor.notes] == [True]
    labelled = request.model_copy(update={"labels": ["red,green"]})
    assert classify.run_classify(labelled, monitor).encoder == "builtin/blocks-clip"
    with pytest.raises(BadInput, match=r"no labels.*`encoder` imagenet has 1,000 classes"):
        classify.run_classify(Classify(pictures=[str(scenes)], device="cpu"), monitor)
    assert len(monitor.notes) == 1
