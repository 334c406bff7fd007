"""How the one reader of tables decides: quotes, separators, headers, numbers, encodings."""

import io
import json
import zipfile

import pytest

from graftwerk import limits
from graftwerk.data.tables import Reading, read_table
from graftwerk.errors import BadFile, BadInput, LimitExceeded

ROWS = "text,label\nA good boat,pos\nA bad wall,neg\nA fine day,pos\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows_of(table):
    return [list(row) for row in zip(*table.columns.values(), strict=True)]


# ---- quotes


def test_a_lone_quote_swallows_no_row(write):
    text = 'text\tlabel\n"Great boat\tpos\nA bad wall\tneg\n"Nice" view\tpos\nA 5" pipe\tneg\n'
    table = read_table(write(text, "t.tsv"))
    assert table.columns["text"] == ['"Great boat', "A bad wall", '"Nice" view', 'A 5" pipe']
    assert "quotes are ordinary characters" in table.dialect


def test_two_lone_quotes_of_a_tsv_are_not_one_cell(write):
    text = 'text\tlabel\n"Great boat\tpos\nA wall\tneg\n"\tpos\nA view\tneg\nA day\tpos\n'
    assert len(read_table(write(text, "t.tsv")).places) == 5


@pytest.mark.parametrize("header", ["text\tlabel\n", ""])
def test_lone_quotes_in_the_first_and_the_last_row_do_not_make_one_cell(write, header):
    text = header + '"#1 boat\tpos\nA wall\tneg\nA view\tpos\nmany " and "\tneg\n'
    table = read_table(write(text, "t.tsv"), Reading(header=bool(header)))
    assert next(iter(table.columns.values())) == ['"#1 boat', "A wall", "A view", 'many " and "']


def test_a_tsv_whose_every_quote_is_a_cells_has_quoting(write):
    table = read_table(write('text\tlabel\n"a ""b""\tc"\tpos\nd\tneg\n"e\nf"\tpos\n', "t.tsv"))
    assert table.columns["text"] == ['a "b"\tc', "d", "e\nf"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_an_unclosed_quote_names_its_line(write, ending):
    text = ROWS.replace("A bad", '"A bad').replace("\n", ending)
    with pytest.raises(BadFile, match="line 3 opens a quote that is never closed"):
        read_table(write(text))


def test_two_unclosed_quotes_that_swallow_rows_are_told(write):
    text = ROWS + '"No boat,pos\nA view,neg\nA day",pos\nThe wall,neg\n'
    with pytest.raises(BadFile, match="line 5 opens a quote that ends on line 7"):
        read_table(write(text))


def test_a_cell_of_any_length(write):
    assert (
        len(read_table(write(f"text,label\n{'x' * 300_000},pos\nb,neg\n")).columns["text"][0])
        == 300_000
    )


# ---- separators


def test_separators_inside_of_quotes_do_not_count(write):
    text = '"a; b; c","label"\n"d; e; f","pos"\n"g; h; i","neg"\n'
    assert "comma" in read_table(write(text)).dialect


def test_a_comma_in_every_text_of_a_semicolon_file(write):
    text = "text;label\nGood, really;pos\nBad, really;neg\nFine, thanks;pos\n"
    assert rows_of(read_table(write(text)))[0] == ["Good, really", "pos"]


def test_the_line_of_excel_that_names_the_separator(write):
    table = read_table(write("sep=|\ntext|label\na,b|pos\nc,d|neg\n"))
    assert rows_of(table) == [["a,b", "pos"], ["c,d", "neg"]]
    assert table.places[0] == "line 3"


def test_a_separator_that_was_named_wins(write):
    table = read_table(write("a;b,c;d\n1;2,3;4\n"), Reading(separator=";"))
    assert list(table.columns) == ["a", "b,c", "d"]


# ---- header


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A good boat,pos\nA bad wall,neg\nA fine day,pos\nA long way,neg\n", ["1", "2"]),
        (ROWS, ["text", "label"]),
        ("year,2019,2020\na,1.5,2.5\nb,3.5,4.5\n", ["year", "2019", "2020"]),
        ("2019,2020\n1.5,2.5\n3.5,4.5\n", ["2019", "2020"]),
        ("1.5,2.5\n3.5,4.5\n5.5,6.5\n", ["1", "2"]),
        (",text\n0,a b c\n1,d e f\n2,g h i\n", ["column 1", "text"]),
        ("text,label,label\na b c,x,x\nd e f,y,y\ng h i,x,y\n", ["text", "label", "label.1"]),
    ],
)
def test_header_or_not(write, text, names):
    assert list(read_table(write(text)).columns) == names


def test_what_the_user_says_of_the_header_holds(write):
    assert list(read_table(write(ROWS), Reading(header=False)).columns) == ["1", "2"]
    text = "a b c,pos\nd e f,pos\n"
    assert list(read_table(write(text), Reading(header=True)).columns) == ["a b c", "pos"]


def test_columns_that_are_known_make_a_header(write):
    path = write("pos,neg\nA good boat,pos\nA bad wall,neg\n")
    assert len(read_table(path, known=("pos", "neg")).places) == 2
    assert len(read_table(path, known=("1",)).places) != 2


# ---- numbers


@pytest.mark.parametrize(
    ("values", "separator", "numbers"),
    [
        (["3,5", "1.250,00", "-0,25"], ";", [3.5, 1250.0, -0.25]),
        (["1,250.00", "3.5", "1,000,000.25"], ";", [1250.0, 3.5, 1000000.25]),
        (["$1,250.00", "$3.50", "($4.25)"], ";", [1250.0, 3.5, -4.25]),
        (["1.250,00 €", "3,50 €"], ";", [1250.0, 3.5]),
        (["1 250,5", "3,5"], ";", [1250.5, 3.5]),
        (["$ 1,250.00", "$ (3.50)", "-$4.25"], ";", [1250.0, -3.5, -4.25]),
        (["1.250,50-", "3,50"], ";", [-1250.5, 3.5]),
        (["CHF 1'250.50", "CHF 3.50"], ",", [1250.5, 3.5]),
        (["1.5", "2.25"], ";", [1.5, 2.25]),
        (["1,250", "2,500"], ";", [1.25, 2.5]),
        (["1.250", "2.375", "3,5"], ";", [1250.0, 2375.0, 3.5]),
    ],
)
def test_numbers_as_people_write_them(write, values, separator, numbers):
    lines = [f"x{separator}n"] + [f"a{n}{separator}{value}" for n, value in enumerate(values)]
    table = read_table(write("\n".join(lines)))
    assert [float(value) for value in table.numbers("n")] == numbers
    assert list(table.columns["n"]) == values


def test_a_mark_of_decimals_that_was_named_wins(write):
    path = write("x;n\na;1.250\nb;2.375\n")
    assert list(map(float, read_table(path, Reading(decimal=".")).numbers("n"))) == [1.25, 2.375]
    assert list(map(float, read_table(path, Reading(decimal=",")).numbers("n"))) == [1250, 2375]


# ---- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings(write, encoding):
    text = ROWS.replace("fine", "naïve \u2013 café")
    table = read_table(write(text.encode(encoding)))
    assert table.columns["text"][2] == "A naïve \u2013 café day"


def test_japanese_in_seven_bits_is_no_ascii(write):
    text = "\u6587,label\n" + "\u90e8\u5c4b\u306f\u9759\u304b,a\n" * 3
    table = read_table(write(text.encode("iso2022_jp")))
    assert table.columns["\u6587"] == ["\u90e8\u5c4b\u306f\u9759\u304b"] * 3


def test_windows_1252_is_told_and_other_code_pages_are_not_taken_for_it(write):
    assert any(
        "Windows-1252" in n for n in read_table(write("text,n\ncafé,1\n".encode("cp1252"))).notes
    )
    russian = "text,label\nОчень хорошо,да\nПлохо,нет\n".encode("cp1251")  # noqa: RUF001
    with pytest.raises(BadFile, match=r"not UTF-8.*`encoding`"):
        read_table(write(russian))
    assert read_table(write(russian), Reading(encoding="cp1251")).columns["text"][1] == "Плохо"
    with pytest.raises(BadFile, match="'klingon' is not an encoding"):
        read_table(write(ROWS), Reading(encoding="klingon"))


# ---- rows


def test_short_rows_are_counted_and_long_ones_refused(write):
    table = read_table(write("a,b,c\n1,2,3\n4,5\n6,7,8\n"))
    assert "1 row has fewer cells" in table.notes[0]
    with pytest.raises(BadFile, match=r"line 3 of 't\.csv' has 4 cells, but there are 3"):
        read_table(write("a,b,c\n1,2,3\n4,5,6,7\n6,7,8\n"))


# ---- Excel


def write_workbook(path, *sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook(tmp_path):
    import datetime

    rows = [["text", "n", "day"], ["a b c", 1.0, datetime.date(2026, 5, 1)], ["d", 2.5, None]]
    path = write_workbook(tmp_path / "t.xlsx", ("first", rows), ("notes", [["x"], ["y"]]))
    table = read_table(path)
    assert rows_of(table) == [["a b c", 1, "2026-05-01"], ["d", 2.5, ""]]
    assert any("left out: 'notes'" in note for note in table.notes)


def test_formulas_without_a_value_are_counted(tmp_path):
    path = write_workbook(tmp_path / "t.xlsx", ("s", [["n", "twice"], [1, "=A2*2"], [2, "=A3*2"]]))
    assert any("2 formulas have no stored value" in note for note in read_table(path).notes)


def test_a_workbook_that_is_none_or_unpacks_to_too_much(write, monkeypatch):
    with pytest.raises(BadFile, match="not an Excel workbook"):
        read_table(write("x", "t.xlsx"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", " " * 10_000)
    monkeypatch.setattr(limits, "ZIP_UNPACKED", 9_999)
    with pytest.raises(LimitExceeded, match="unpacks to 10,000 bytes"):
        read_table(write(buffer.getvalue(), "t.xlsx"))


def test_a_workbook_without_openpyxl_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(BadFile, match=r"pip install 'graftwerk\[tables\]'"):
        read_table(write("x", "t.xlsx"))


# ---- Arrow


def test_a_folder_of_several_splits_names_them(tmp_path):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(BadInput, match=r"the splits train, test.*Name one of them"):
        read_table(tmp_path)


def test_an_arrow_folder_may_not_name_files_outside_of_it(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "x.arrow").write_bytes(b"somebody's own")
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
    with pytest.raises(BadFile, match="which is not there"):
        read_table(tmp_path / "set")


def test_classes_of_datasets_have_their_names_and_minus_1_is_none(tmp_path):
    import pyarrow
    import pyarrow.parquet

    feature = {"_type": "ClassLabel", "names": ["neg", "pos"]}
    known = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    table = pyarrow.table({"text": list("abc"), "label": [1, -1, 0]}).replace_schema_metadata(known)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").columns["label"] == ["pos", None, "neg"]


def test_a_small_parquet_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x" * 1_000] * 10_000}), path)
    monkeypatch.setattr(limits, "DATA_UNPACKED", 9_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(LimitExceeded, match="unpacks to more than"):
        read_table(path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.xlsx", "t.parquet"])
def test_a_fifo_is_not_opened(tmp_path, name):
    import os

    os.mkfifo(tmp_path / name)
    with pytest.raises(BadFile, match="not a regular file"):
        read_table(tmp_path / name)


def test_a_novel_is_for_a_language_model(tmp_path):
    (tmp_path / "novel.txt").write_text("Once upon a time.")
    with pytest.raises(BadFile, match=r"is not a table.*novel\.txt --task write --model MODEL"):
        read_table(tmp_path / "novel.txt")
