"""Search with images: the sheet of hits, and whether the query is familiar."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from tests.pictures import colour_encoder, paint, serve_encoder

from graftwerk.commands import search
from graftwerk.commands import search as index
from graftwerk.errors import BadFile, NoRoom, UnknownName
from graftwerk.models.ood import measure_familiar
from graftwerk.requests.search import IndexAdd, Search
from graftwerk.search.results import Hit
from graftwerk.types import Silent


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    encoder = colour_encoder(tmp_path)
    serve_encoder(monkeypatch, encoder)
    return encoder


@pytest.fixture
def folder(tmp_path, encoder):
    for name, size in (("red", 8), ("green", 300), ("blue", 8)):
        paint(tmp_path / "pictures" / f"{name}.png", name, size)
    Image.new("RGB", (40, 4), "red").save(tmp_path / "pictures" / "wide.png")
    request = IndexAdd(
        paths=[str(tmp_path / "pictures")], index=tmp_path / "index", encoder=encoder.name
    )
    report = index.run_index_add(request, Silent())
    assert (report.added, report.unfamiliar) == (4, None)
    return tmp_path / "index"


def find(folder, query, **options):
    return search.run_search(Search(query=query, index=folder, **options), Silent())


def test_texts_find_images_and_images_find_images(folder):
    report = find(folder, "something red", k=2)
    assert {hit.path.rpartition("/")[2] for hit in report.hits} == {"red.png", "wide.png"}
    assert (report.searched, report.pictures, report.familiarity) == (4, 4, None)
    report = find(folder, str(folder.parent / "pictures" / "green.png"), k=1)
    assert report.hits[0].path.endswith("green.png")
    assert report.hits[0].similarity == pytest.approx(1)


def test_the_sheet_shows_every_image(folder, tmp_path):
    out = tmp_path / "new" / "hits.png"
    report = find(folder, "green", sheet=out)
    assert report.sheet == str(out)
    with Image.open(out) as sheet:
        colours = {colour for count, colour in sheet.getcolors(1 << 20) if count > 2_000}
        assert sheet.size == (408, 448)
    assert {(255, 0, 0), (0, 128, 0), (0, 255, 0), (0, 0, 255)} & colours == {
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    }


def test_an_image_that_is_gone_is_grey(folder, tmp_path):
    (tmp_path / "pictures" / "blue.png").unlink()
    (tmp_path / "pictures" / "green.png").write_bytes(b"x")
    find(folder, "blue", sheet=tmp_path / "hits.png", k=2)
    with Image.open(tmp_path / "hits.png") as sheet:
        assert (224, 224, 224) in {colour for count, colour in sheet.getcolors(1 << 20)}


def test_a_sheet_shows_nothing_but_what_was_indexed(folder, tmp_path):
    """Another image in its place: changed since, or of an index that was made elsewhere."""
    paint(tmp_path / "pictures" / "green.png", "magenta", 300)
    find(folder, "green", sheet=tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as sheet:
        colours = {colour for count, colour in sheet.getcolors(1 << 20)}
    assert (224, 224, 224) in colours and (255, 0, 0) in colours
    assert (255, 0, 255) not in colours


def test_no_sheet_without_images(folder, tmp_path):
    report = find(folder, "red", where=["name = none.png"], sheet=tmp_path / "hits.png")
    assert report.sheet is None
    assert not (tmp_path / "hits.png").exists()


def test_a_sheet_that_cannot_be_written(folder, tmp_path):
    with pytest.raises(UnknownName, match=r"ending of the sheet '\.jpg'"):
        find(folder, "red", sheet=tmp_path / "hits.jpg")
    for location in ("/proc/hits.png", tmp_path / "pictures" / "red.png" / "hits.png"):
        with pytest.raises(NoRoom, match=r"cannot write .*hits\.png"):
            find(folder, "red", sheet=location)


def test_an_image_that_is_not_there(folder):
    with pytest.raises(BadFile, match=r"image 'missing\.png' does not exist.*`mode` text"):
        find(folder, "missing.png")
    assert find(folder, "show me an image.png", k=1).hits
    assert find(folder, "missing.png", mode="text").hits == []


def test_a_foreign_query_is_told(folder, tmp_path, monkeypatch):
    plain = colour_encoder(tmp_path)
    generator = np.random.default_rng(0)
    reds = [
        Image.new("RGB", (8, 8), (255, *generator.integers(0, 40, 2).tolist())) for _ in range(400)
    ]
    familiar = measure_familiar(plain.examine(reds).states, "colours", 0.01)
    serve_encoder(monkeypatch, colour_encoder(tmp_path, familiar=familiar))
    own = paint(tmp_path / "own.png", (255, 20, 10))
    other = paint(tmp_path / "other.png", "green")
    assert not find(folder, str(own)).familiarity.unfamiliar
    assert find(folder, str(other)).familiarity.unfamiliar
    assert find(folder, str(other), k=0).familiarity is None
    assert find(folder, "red").familiarity is None
    paint(tmp_path / "pictures" / "new1.png", (200, 200, 255))
    paint(tmp_path / "pictures" / "new2.png", (255, 11, 12))
    (tmp_path / "pictures" / "words.txt").write_text("red words")
    request = IndexAdd(paths=[str(tmp_path / "pictures")], index=folder)
    assert index.run_index_add(request, Silent()).unfamiliar == 1
    assert index.run_index_add(request, Silent()).unfamiliar is None, "nothing was embedded"


def test_labels_are_number_cosine_and_the_beginning_of_a_long_name() -> None:
    hit = Hit("/a/a very long name of a photograph.png", "image", "", 0, 0, "", score=1.0)
    known = dataclasses.replace(hit, path="/a/b.png", similarity=0.25)
    assert search._label(3, hit) == "3  a very long name of…"
    assert search._label(4, known) == "4  0.250  b.png"
