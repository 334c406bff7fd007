import pytest

from graftwerk import limits
from graftwerk.data.documents.tables import read_csv, read_jsonl
from graftwerk.errors import BadFile, LimitExceeded


def read(read_file, tmp_path, text):
    path = tmp_path / "table"
    path.write_bytes(text.encode())
    document = read_file(str(path), path.read_bytes())
    assert all(b.alone for b in document.blocks)
    return [(b.line, document.text[b.start : b.end]) for b in document.blocks]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_rows_of_columns(tmp_path, separator):
    text = "name,age,\nAnn,31,x\n\nBob,,\n".replace(",", separator)
    assert read(read_csv, tmp_path, text) == [
        (2, "name: Ann\nage: 31\ncolumn 3: x"),
        (4, "name: Bob"),
    ]


def test_quoted_cells_and_their_lines(tmp_path):
    text = 'a,b\r\n"x\r\ny","say ""hi"", you"\r\n1,2,3\r\n'
    assert read(read_csv, tmp_path, text) == [
        (2, 'a: x\r\ny\nb: say "hi", you'),
        (4, "a: 1\nb: 2\ncolumn 3: 3"),
    ]


@pytest.mark.parametrize("first", ["a dog,a cat,4.5", "x,x,y", "long " * 30 + ",b"])
def test_a_first_row_of_data_is_not_lost(tmp_path, first):
    rows = read(read_csv, tmp_path, f"{first}\nq,r\n")
    assert rows[0] == (1, "\n".join(cell.strip() for cell in first.split(",")))
    assert rows[1] == (2, "q\nr")


def test_a_quote_without_end(tmp_path):
    with pytest.raises(BadFile, match="line 2 opens a quote that is never closed"):
        read(read_csv, tmp_path, 'a,b\n"' + "x" * 200_000)


def test_empty(tmp_path):
    assert read(read_csv, tmp_path, "\n \n") == []
    assert read(read_jsonl, tmp_path, "\n \n") == []


def test_json_lines(tmp_path):
    text = '{"a": "x", "b": {"c": 1, "d": null}, "e": [1, true, "y"], "f": [{"g": 2}]}\n\n"z"\n[]\n'
    assert read(read_jsonl, tmp_path, text) == [
        (1, "a: x\nb.c: 1\ne: 1, true, y\nf.g: 2"),
        (3, "z"),
    ]


@pytest.mark.parametrize("line", ["{", "no", "[" * 100_000, "1" * 5_000, '{"a" 1}'])
def test_a_line_that_is_no_json_is_named(tmp_path, line):
    with pytest.raises(BadFile, match="line 2: no JSON"):
        read(read_jsonl, tmp_path, f"1\n{line}\n")


def test_lone_surrogates_and_nul_are_replaced(tmp_path):
    assert read(read_jsonl, tmp_path, '"a\\ud800b\\u0000c"') == [(1, "a\ufffdb\ufffdc")]


def test_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "TEXT_FILE", 20)
    assert read(read_csv, tmp_path, "name\nab\n")
    with pytest.raises(LimitExceeded, match="characters of text"):
        read(read_csv, tmp_path, "name\nab\nab\nab\n")
