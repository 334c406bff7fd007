"""`embed`: texts, images, standard input; to npy, parquet or the report."""

import io
import sys

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import graftwerk
from graftwerk.commands import embed
from graftwerk.data.inputs import list_inputs
from graftwerk.errors import BadFile, BadInput, NoRoom, UnknownName
from graftwerk.models import encoders
from graftwerk.types import Silent

REAL = encoders.load_encoder


class TextsAndImages:
    name, fingerprint, dimension, rescorer = "fake", "f", 3, None
    reads = frozenset({"text", "image"})

    def encode_texts(self, texts, role="document", advance=None):
        advance(len(texts))
        return np.array([[len(text), role == "query", 0] for text in texts], dtype=np.float32)

    def encode_images(self, images, advance=None):
        advance(len(images))
        return np.array([[*image.size, 9] for image in images], dtype=np.float32)

    def count_tokens(self, text):
        return len(text)


class Counting(Silent):
    def __init__(self):
        self.total, self.done = None, 0

    def start(self, task, total=None):
        self.total = total

    def advance(self, count=1):
        self.done += count


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    monkeypatch.setattr(encoders, "load_encoder", lambda name, **options: TextsAndImages())


def picture(tmp_path, name="a.png"):
    path = tmp_path / name
    Image.new("RGB", (5, 4)).save(path)
    return str(path)


def test_to_the_report_in_order(tmp_path):
    monitor = Counting()
    request = graftwerk.Embed(inputs=["four", picture(tmp_path), "sixsix"], role="query")
    report = embed.run_embed(request, monitor)
    assert report.vectors == [[4, 1, 0], [5, 4, 9], [6, 1, 0]]
    assert (report.count, report.dimension, report.out) == (3, 3, None)
    assert (monitor.total, monitor.done) == (3, 3)


def test_npy(tmp_path):
    out = tmp_path / "new" / "vectors.npy"
    report = embed.run_embed(graftwerk.Embed(inputs=["a", "bb"], out=out), Silent())
    assert report.vectors is None and report.out == str(out)
    found = np.load(out, allow_pickle=False)
    assert found.dtype == np.float32 and found[:, 0].tolist() == [1, 2]


def test_parquet(tmp_path):
    out = tmp_path / "vectors.parquet"
    inputs = ["a", "caf\udce9", picture(tmp_path)]
    embed.run_embed(graftwerk.Embed(inputs=inputs, out=out), Silent())
    table = pyarrow.parquet.read_table(out)
    assert table.column_names == ["input", "vector"]
    assert table["input"].to_pylist() == ["a", "caf?", inputs[2]]
    assert table["vector"].to_pylist() == [[1, 0, 0], [4, 0, 0], [5, 4, 9]]


@pytest.mark.parametrize("name", ["vectors.csv", "vectors", "vectors.npz", "vectors.pkl"])
def test_another_ending_is_refused_before_the_work(tmp_path, monkeypatch, name):
    monkeypatch.setattr(encoders, "load_encoder", lambda *a, **k: pytest.fail("worked already"))
    with pytest.raises(UnknownName, match=r"Allowed: \.npy, \.parquet"):
        embed.run_embed(graftwerk.Embed(inputs=["a"], out=tmp_path / name), Silent())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "vectors.npy"
    out.write_bytes(b"old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "x")))
    with pytest.raises(NoRoom):
        embed.run_embed(graftwerk.Embed(inputs=["a"], out=out), Silent())
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]


def give_stdin(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input(monkeypatch):
    give_stdin(monkeypatch, b"\xef\xbb\xbfone\r\n\nthree\n")
    report = embed.run_embed(graftwerk.Embed(inputs=["first", "-"]), Silent())
    assert [int(vector[0]) for vector in report.vectors] == [5, 3, 0, 5]


def test_standard_input_that_is_empty_or_not_utf8(monkeypatch):
    give_stdin(monkeypatch, b"")
    with pytest.raises(BadInput, match="no line"):
        embed.run_embed(graftwerk.Embed(inputs=["-"]), Silent())
    give_stdin(monkeypatch, b"ab\xff")
    with pytest.raises(BadInput, match=r"standard input.*not UTF-8.*position 2"):
        embed.run_embed(graftwerk.Embed(inputs=["-"]), Silent())


def test_lines_of_standard_input_are_cut_at_line_ends_only(monkeypatch):
    give_stdin(monkeypatch, "a\u2028b\x0cc\r\nde\n".encode("utf-16"))
    assert len(embed.run_embed(graftwerk.Embed(inputs=["-"]), Silent()).vectors) == 2


@pytest.mark.parametrize("word", ["prices", "img/prices", "données"])
def test_a_word_that_may_be_a_file_name_is_reported(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = embed.run_embed(graftwerk.Embed(inputs=[word, "nice view", "図書館"]), Silent())
    assert report.notes == [f"{word!r} is read as text: no file or folder has that name"]


def test_a_missing_image_is_no_text():
    with pytest.raises(BadFile, match=r"'no/such\.png' does not exist"):
        embed.run_embed(graftwerk.Embed(inputs=["no/such.png"]), Silent())


def test_a_sentence_that_ends_like_an_image_is_a_text():
    report = embed.run_embed(graftwerk.Embed(inputs=["I lost my cat.png"]), Silent())
    assert report.vectors == [[17, 0, 0]]


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadFile, match=r"a\.png"):
        embed.run_embed(graftwerk.Embed(inputs=[str(tmp_path / "a.png")]), Silent())


def test_a_folder_is_all_that_is_read_in_it(tmp_path, listener):
    (tmp_path / "inner").mkdir()
    picture(tmp_path, "b.png"), picture(tmp_path / "inner", "a.png")
    (tmp_path / "a.txt").write_text("four")
    (tmp_path / "table.csv").write_text("x\n1\n")
    (tmp_path / ".hidden.png").write_bytes(b"")
    made = embed.run_embed(graftwerk.Embed(inputs=[str(tmp_path)]), listener)
    assert made.vectors == [[4, 0, 0], [5, 4, 9], [5, 4, 9]]
    assert listener.notes == [f"{tmp_path}: 1 file of other kinds left out"]


def test_damaged_files_of_a_folder_are_left_out_and_named(tmp_path, listener):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "empty.txt").write_text(" ")
    made = embed.run_embed(graftwerk.Embed(inputs=[str(tmp_path)]), listener)
    assert made.count == 1
    assert any("left out" in note and "empty.txt" in note for note in listener.notes)
    (tmp_path / "good.txt").unlink()
    with pytest.raises(BadInput, match=r"empty\.txt"):
        embed.run_embed(graftwerk.Embed(inputs=[str(tmp_path)]), Silent())


def test_a_folder_counts_as_what_most_of_its_files_are(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    (tmp_path / "note.txt").write_text("a note")
    images = [str(tmp_path / name) for name in ("a.png", "b.png")]
    assert list_inputs([str(tmp_path), "x"]) == [*images, "x"]
    (tmp_path / "other.txt").write_text("another")
    (tmp_path / "third.txt").write_text("a third")
    assert list_inputs([str(tmp_path)]) == [
        str(tmp_path / n) for n in ("note.txt", "other.txt", "third.txt")
    ]


def test_what_ends_in_a_slash_is_a_folder(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        embed.run_embed(graftwerk.Embed(inputs=["photoz/"]), Silent())


def test_a_folder_without_what_is_read(photographs, tmp_path, monkeypatch, listener):
    monkeypatch.setattr(encoders, "load_encoder", REAL)
    (tmp_path / "empty").mkdir()
    folders = ((photographs, "--encoder imagenet"), (tmp_path / "empty", "folder of them"))
    for folder, hint in folders:
        with pytest.raises(BadInput, match=r"reads texts, and the folder .* holds none") as raised:
            embed.run_embed(
                graftwerk.Embed(inputs=[str(folder)], encoder="builtin/minilm"), listener
            )
        assert hint in raised.value.hint


def test_photographs_without_a_named_encoder(photographs, monkeypatch, listener):
    monkeypatch.setattr(encoders, "load_encoder", REAL)
    paths = [str(photographs / "warm" / "0.png"), str(photographs / "cold" / "1.png")]
    made = embed.run_embed(graftwerk.Embed(inputs=paths, device="cpu"), listener)
    assert (made.encoder, made.count, len(listener.notes)) == ("imagenet", 2, 1)
    assert embed.run_embed(graftwerk.Embed(inputs=["red"]), listener).encoder == "builtin/minilm"
    assert embed.run_embed(graftwerk.Embed(inputs=[str(photographs)]), listener).count == 24
    with pytest.raises(BadInput, match=r"builtin/minilm reads texts.*`encoder` imagenet"):
        embed.run_embed(graftwerk.Embed(inputs=paths, encoder="builtin/minilm"), listener)
    assert sum("imagenet" in note for note in listener.notes) == 2
