"""Tables as spreadsheets and data frames lay them out: titles above, sheets, JSON layouts."""

import csv
import json
import zipfile

import openpyxl
import pytest

from graftwerk.data.columns import ColumnChoice
from graftwerk.data.load import read_examples
from graftwerk.data.tables import Reading, read_table
from graftwerk.errors import BadInput

ROWS = [
    (f"the room number {n} was {'lovely' if n % 2 else 'dirty'}", ["neg", "pos"][n % 2], n + 0.5)
    for n in range(12)
]
HEADER = ("text", "label", "price")


def csv_of(*above, header=HEADER):
    lines = [*above, ",".join(header) if header else None, *(f"{a},{b},{c}" for a, b, c in ROWS)]
    return "\n".join(line for line in lines if line is not None) + "\n"


def fill(sheet, *above, header=HEADER):
    for row in [*above, header, *ROWS]:
        sheet.append(list(row))


def book_of(path, *titles):
    book = openpyxl.Workbook()
    book.active.title = titles[0] if titles else "Sheet"
    for title in titles[1:]:
        book.create_sheet(title)
    return book


@pytest.mark.parametrize(
    ("above", "count"),
    [
        (["# exported by a tool", "# 2026-01-05"], 2),
        (["Quarterly report,,", ",,", "all hotels,,"], 2),
        (["Hotel reviews"], 1),
        ([], 0),
    ],
)
def test_titles_and_comments_above_the_header_are_left_out_and_counted(tmp_path, above, count):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(*above))
    table = read_table(path)
    assert list(table.columns) == list(HEADER)
    assert list(table.column("text")) == [text for text, *_ in ROWS]
    assert table.places[0] == f"line {len(above) + 2}"
    words = "row above the header is" if count == 1 else "rows above the header are"
    assert [note for note in table.notes if "above the header" in note] == (
        [f"{count} {words} left out: {table.notes[0].partition(': ')[2]}"] if count else []
    )
    assert list(read_table(path, Reading(header=False)).columns) == ["1", "2", "3"]


def test_comments_with_commas_are_comments(tmp_path):
    (path := tmp_path / "a.csv").write_text(csv_of("# units: EUR, kg, m", "# by hand, twice"))
    table = read_table(path)
    assert list(table.columns) == list(HEADER)
    assert table.notes[0].startswith("2 rows above the header are left out: # units: EUR; # by")
    path.write_text(csv_of(header=("#id", *HEADER[1:])))  # no comment: it names columns
    assert list(read_table(path).columns) == ["#id", *HEADER[1:]]


LEVELS = [  # rows of names, the names that are read, what the note says
    ([("of", "of", "stay"), HEADER], ["of.text", "of.label", "stay.price"], "joined from 2 rows"),
    ([("of", "", "stay"), HEADER], ["of.text", "of.label", "stay.price"], "joined from 2 rows"),
    (
        [("", "2023", "2023"), ("k", "sold", "cost"), ("", "pieces", "EUR")],
        ["k", "2023.sold.pieces", "2023.cost.EUR"],
        "joined from 3 rows",
    ),
    ([("k", "sold", "cost"), ("", "pieces", "EUR")], ["k", "sold", "cost"], "1 row of units"),
    (
        [("k", "Q1", "Q2"), ("", "How many?", "How much?"), ("", '{"id":1}', '{"id":2}')],
        ["k", "Q1", "Q2"],
        "2 rows of units or descriptions below",
    ),
]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
@pytest.mark.parametrize(("above", "names", "note"), LEVELS)
def test_headers_of_several_rows(tmp_path, kind, above, names, note):
    rows = [(f"room {n}", n * 3, n + 0.5) for n in range(12)] if "k" in names else ROWS
    path = tmp_path / f"a.{kind}"
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for row in [*above, *rows]:
            book.active.append([cell or None for cell in row])
        book.save(path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([*above, *rows])
    table = read_table(path)
    assert list(table.columns) == names
    assert [one for one in table.notes if note in one] == list(table.notes) != []
    assert [str(cell) for cell in table.column(names[0])] == [str(row[0]) for row in rows]
    assert len(read_table(path, Reading(header=True)).places) == len(rows) + len(above) - 1


@pytest.mark.parametrize(
    "first",
    ["the room number 99 was new,new,", "room 99,neg,unknown", "room 99,rare,n/a", "x,pos,99.5"],
)
def test_a_first_row_of_data_is_no_level_of_the_header(tmp_path, first):
    (path := tmp_path / "a.csv").write_text(csv_of().replace("\n", f"\n{first}\n", 1))
    table = read_table(path)
    assert len(table.places) == 13
    assert table.notes == ()


def test_words_beside_a_number_are_a_row_of_data(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "k,sold,cost,n\nroom,few,cheap,7\n"
        + "".join(f"r{n},{n},{n}.5,{n % 9}\n" for n in range(12))
    )
    assert len(read_table(path).places) == 13


def test_a_header_that_repeats_is_left_out_and_counted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of() + csv_of())  # two exports, one after the other
    table = read_table(path)
    assert list(table.column("text")) == 2 * [text for text, *_ in ROWS]
    assert table.places[12] == "line 15"
    assert table.notes == ("1 row that repeats the header is left out",)
    for rows in ("Paris,France\nBerlin,Germany\n", "pos\nneg\n"):  # categories alone
        path.write_text(rows * 6)
        assert len(read_table(path).places) == 12
    twice = "a kind guide,pos,3.5\n"  # a row of data may repeat
    path.write_text(twice + csv_of(header=()) + twice)
    assert len(read_table(path).places) == 14


def test_a_row_of_totals_is_read_and_noted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of() + "Total:,,99\n")
    table = read_table(path)
    assert len(table.places) == 13
    assert table.notes == ("the last row begins with 'Total:' and is read like the others",)


@pytest.mark.parametrize(
    ("named", "last", "left_out"),
    [
        ("Total", "60,6.5", True),
        ("Grand total:", "60,", True),
        ("合計", "60,6.5", True),
        ("Summe", "60,6.4", False),
        ("Average", "20,2.1667", False),
        ("Berlin", "60,6.5", False),
    ],
)
def test_a_last_row_of_sums_is_left_out(tmp_path, named, last, left_out):
    path = tmp_path / "a.csv"
    rows = "town,people,area\nParis,10,1.5\nRome,20,2\nOslo,30,3\n"
    path.write_text(rows + f"{named},{last}\n")
    table = read_table(path)
    assert len(table.places) == len(table.column("people")) == (3 if left_out else 4)
    said = " ".join(table.notes)
    assert (f"{named!r}, holds the sums of those above and is left out" in said) == left_out
    assert ("read like the others" in said) == (named in {"Summe", "Average"})


def test_totals_with_decimal_commas_and_between_subtotals(tmp_path):
    path = tmp_path / "a.csv"
    rows = "Ort;Umsatz\nParis;1.250,50\nRom;749,50\nOslo;0,25\n"
    path.write_text(rows + "Summe;2.000,25\n")
    assert list(read_table(path).numbers("Umsatz")) == ["1250.50", "749.50", "0.25"]
    path.write_text("a,b\nx,1\ny,2\nSubtotal,3\nz,4\nw,1\nTotal,8\n")
    table = read_table(path)
    assert len(table.places) == 6
    assert table.notes == ("2 rows begin with 'Subtotal', 'Total' and are read like the others",)


def test_a_title_above_a_header_of_several_rows_is_left_out(tmp_path):
    path = tmp_path / "a.csv"
    rows = ",stay,,food,\ntown,nights,price,meals,cost\n"
    rows += "".join(f"t{n},{n},{n}.5,{n + 2},{n}.25\n" for n in range(8))
    path.write_text(rows)
    names = ["town", "stay.nights", "stay.price", "food.meals", "food.cost"]
    assert list(read_table(path).columns) == names
    path.write_text("Trips in 2024,,,,\n" + rows)
    table = read_table(path)
    assert list(table.columns) == names and len(table.places) == 8
    assert table.notes[0] == "1 row above the header is left out: Trips in 2024"


def test_a_first_row_without_its_label_is_not_a_title(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("the room number 99 was noisy,\n" + "".join(f"{a},{b}\n" for a, b, _ in ROWS))
    table = read_table(path)
    assert len(table.places) == 13
    assert table.notes == ()


def test_a_named_column_finds_the_header_below_other_rows_and_the_sheet(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of("part,of,things", "one,two,three"))
    assert list(read_table(path, known=("label",)).columns) == list(HEADER)
    book = book_of(path, "Export Summary", "Sheet 1 - Table 1")
    book["Export Summary"].append(["Sheet", "Table"])
    book["Export Summary"].append(["Sheet 1", "Table 1"])
    fill(book["Sheet 1 - Table 1"], ["Table 1"])
    book.save(tmp_path / "a.xlsx")
    table = read_table(tmp_path / "a.xlsx", known=("label",))
    assert list(table.column("label")) == [label for _, label, _ in ROWS]
    assert table.notes == (
        "1 row above the header is left out: Table 1",
        "reading the sheet 'Sheet 1 - Table 1'; left out: 'Export Summary'",
    )


def test_what_a_workbook_hides_or_draws_is_counted(tmp_path):
    path = tmp_path / "a.xlsx"
    book = book_of(path, "Data", "Secret")
    fill(book["Data"])
    fill(book["Secret"])
    book["Secret"].sheet_state = "hidden"
    book["Data"].row_dimensions[3].hidden = True
    book["Data"].column_dimensions["C"].hidden = True
    book["Data"]["B2"] = "#N/A"
    book["Data"]["B2"].data_type = "e"
    book["Data"]["A2"] = "two_x000D_\nlines"
    chart = openpyxl.chart.BarChart()
    chart.add_data(openpyxl.chart.Reference(book["Data"], min_col=3, min_row=1, max_row=9))
    book["Data"].add_chart(chart, "F2")
    book["Data"]["A3"].comment = openpyxl.comments.Comment("check", "me")
    book.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/media/image1.png", b"png")
        archive.writestr("xl/drawings/drawing9.xml", "<a><xdr:txBody/><xdr:txBody/></a>")
    table = read_table(path)
    assert table.column("text")[0] == "two\r\nlines"
    assert table.column("label")[0] == ""
    assert set(table.notes) == {
        "cells with an error are read as empty: #N/A (1)",
        "1 hidden sheet left out: 'Secret'",
        "hidden rows are read too: 1",
        "hidden columns are read too: 1",
        "images left out: 1",
        "charts left out: 1",
        "text boxes left out: 2",
        "comments left out: 1",
    }


def _frame(layout):
    objects = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    columns = {name: [row[name] for row in objects] for name in HEADER}
    keyed = {
        name: {str(n): cell for n, cell in enumerate(cells)} for name, cells in columns.items()
    }
    return {
        "records": objects,
        "list": columns,
        "columns": keyed,
        "columns of names": {
            name: {f"room {n}": cell for n, cell in cells.items()} for name, cells in keyed.items()
        },
        "index": {str(n): row for n, row in enumerate(objects)},
        "index of names": {f"room {n}": row for n, row in enumerate(objects)},
        "split": {"columns": HEADER, "index": list(range(12)), "data": ROWS},
        "wrapped": {"version": "1", "data": objects},
        "nested": [
            {"text": row["text"], "of": {"label": row["label"], "price": row["price"]}}
            for row in objects
        ],
    }[layout]


@pytest.mark.parametrize(
    "layout",
    [
        "records",
        "list",
        "columns",
        "columns of names",
        "index",
        "index of names",
        "split",
        "wrapped",
        "nested",
    ],
)
def test_json_layouts_of_data_frames(tmp_path, layout):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(_frame(layout), indent=1))
    table = read_table(path)
    prefix = "of." if layout == "nested" else ""
    cells = [table.column(name) for name in ("text", f"{prefix}label", f"{prefix}price")]
    assert list(zip(*cells, strict=True)) == ROWS
    notes = {
        "wrapped": ("rows are read from 'data'; left out: version",),
        "nested": ("values inside others are columns named outer.inner",),
    }
    assert table.notes == notes.get(layout, ())


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_key_that_an_object_has_twice_is_refused(tmp_path, kind):
    row = '{"id": 1, "label": "pos", "of": {"id": 2, "id": 3}}'  # as a join of tables writes it
    (path := tmp_path / f"a.{kind}").write_text(f"[{row}]" if kind == "json" else f"{row}\n")
    with pytest.raises(BadInput, match="has the key 'id' twice"):
        read_table(path)


def test_json_that_is_nested_very_deeply(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"a": ' * 400 + "1" + "}]" * 400)
    assert list(read_table(path).columns) == ["a"]
    path.write_text('[{"b": ' + '{"a": ' * 900 + "1" + "}" * 900 + "}]")
    try:
        assert len(read_table(path).columns) == 1
    except BadInput as error:
        assert "JSON" in error.message


def test_missing_numbers_as_r_and_databases_write_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "x,y,label\n"
        + "".join(f"{'NA' if n == 3 else n},{n * 2},{'ab'[n % 2]}\n" for n in range(9))
    )
    found = read_examples(path, ColumnChoice(frozenset({"row"})))
    assert len(found) == 9
    assert "the mean stands for 1 missing numbers" in " ".join(found.notes)
    path.write_text(
        "text,label\n"
        + "".join(f"row {n},{chr(92) + 'N' if n == 3 else 'ab'[n % 2]}\n" for n in range(9))
    )
    with pytest.raises(BadInput, match="may stand for no label"):
        read_examples(path, ColumnChoice(frozenset({"text"})))


def test_indian_digit_groups_are_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,n\n" + "".join(f'row {n},"{n + 1},23,456.5"\n' for n in range(9)))
    assert read_table(path).numbers("n")[0] == "123456.5"
