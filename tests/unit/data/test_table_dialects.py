"""Tables of known rows, written in every dialect and read back: the same cells, names and lines.

The count of tables that were read is printed at the end (`pytest -s`).
"""

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftwerk.data.tables import Reading, read_table
from graftwerk.data.tables.header import is_date

FEW, MANY = 400, 10_000
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
LABELS = ("pos", "neg", "neutral")
WORDS = (
    *("Mould", "on", "the", "bathroom", "wall", "guide", "was", "kind", "and", "patient", "boat"),
    *(
        "café",
        "naïve",
        "über",
        "5",
        "12",
        "3.5",
        "view;",
        "splendid,",
        "(really)",
        "a|b",
        "o'clock",
    ),
    *("e-mail:", "x@y.org", "50", "%", "\u2013", "\u20ac5", "No.", "it\u2019s", "#1", "NA", "null"),
)
QUOTES = ('"', '5"', '"so', 'called"', '""', '"a"')
ENDINGS = ("\n", "\r\n", "\r")


@dataclass(frozen=True)
class Written:
    """A table before it is written.

    Attributes:
        header: names of the columns; None: there is none.
        rows: cells.
        text: place of the column of texts.
    """

    header: list[str] | None
    rows: list[list[str]]
    text: int


@st.composite
def texts(draw, specials=()):
    """A short text as people write, at times with quotes, separators or line breaks in it."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=3, max_size=8))
    for special in draw(st.lists(st.sampled_from(specials), max_size=2)) if specials else ():
        words.insert(draw(st.integers(0, len(words))), special)
    return " ".join(words)


@st.composite
def tables(draw, specials=()):
    """A text, a label, a number and a date in each row; the number and the date may be missing."""
    count = draw(st.integers(6, 12))
    written = draw(st.lists(texts(specials), min_size=count, max_size=count, unique=True))
    rows = [
        [
            written[n],
            LABELS[n % 3] if n < 6 else draw(st.sampled_from(LABELS)),
            f"{draw(st.integers(0, 10**6)) / 100:.2f}" if n % 4 else "",
            f"2026-{draw(st.integers(1, 12)):02}-{draw(st.integers(1, 28)):02}" if n % 5 else "",
        ]
        for n in range(count)
    ]
    order = draw(st.permutations(range(4)))
    retained = order[: draw(st.integers(2, 4))]
    if 0 not in retained:
        retained[-1] = 0
    if 1 not in retained:
        retained[[location for location in range(len(retained)) if retained[location] != 0][-1]] = 1
    names = ["text", "label", "price", "bought on"]
    header = [names[location] for location in retained] if draw(st.booleans()) else None
    return Written(
        header, [[row[location] for location in retained] for row in rows], retained.index(0)
    )


def write_csv(table, separator, ending, quote_all):
    """The text of a table as RFC 4180 has it; Python's writer leaves some line breaks unquoted."""

    def cell(text):
        special = any(mark in text for mark in (separator, '"', "\r", "\n"))
        return '"' + text.replace('"', '""') + '"' if special or quote_all else text

    rows = [*([table.header] if table.header else []), *table.rows]
    return "".join(separator.join(map(cell, row)) + ending for row in rows)


def write_plain(table, separator, ending):
    """The text of a table without any quoting."""
    rows = [*([table.header] if table.header else []), *table.rows]
    return "".join(separator.join(row) + ending for row in rows)


def require_same(path: Path, table: Written, reading: Reading = Reading()) -> None:  # noqa: B008
    found = read_table(path, reading)
    names = table.header or [str(n + 1) for n in range(len(table.rows[0]))]
    assert list(found.columns) == names, found.dialect
    rows = [list(row) for row in zip(*found.columns.values(), strict=True)]
    assert rows == table.rows, found.dialect
    assert f"{len(table.rows):,} rows" in found.dialect


def repeated(count):
    """The same examples each time, few by default."""
    return hypothesis_settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),  # a failure is shown as it is found
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class Counter:
    """How many tables were read, by dialect."""

    def __init__(self):
        self.counts = {}

    def add(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    def tell(self):
        print(f"\n{sum(self.counts.values()):,} tables: {dict(sorted(self.counts.items()))}")


def check_delimited(folder, count):
    counter = Counter()

    @repeated(count)
    @given(st.data())
    def check(data):
        separator = data.draw(st.sampled_from(sorted(SEPARATORS)))
        ending = data.draw(st.sampled_from(ENDINGS))
        quote_all = data.draw(st.booleans())
        encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
        # a file of tabs has no quoting unless every cell with a quote is quoted as a whole
        specials = (*QUOTES, "two\nlines", "a\r\nb", separator, f"x{separator}y")
        table = data.draw(tables(specials))
        declared = f"sep={separator}{ending}" if data.draw(st.booleans()) else ""
        text = declared + write_csv(table, separator, ending, quote_all)
        path = folder / ("t.tsv" if separator == "\t" and data.draw(st.booleans()) else "t.csv")
        path.write_bytes(text.encode(encoding))
        require_same(path, table)
        counter.add(f"{SEPARATORS[separator]} {encoding}")

    check()
    counter.tell()
    return counter.counts


def check_tabs(folder, count):
    """Files of tabs without quoting: a quote is a character, wherever it stands."""
    counter = Counter()

    @repeated(count)
    @given(st.data())
    def check(data):
        table = data.draw(tables(QUOTES))
        ending = data.draw(st.sampled_from(ENDINGS))
        # one lone quote at least, without which a quoted file looks the same
        rows = [list(row) for row in table.rows]
        rows[0][table.text] = '"' + rows[0][table.text].replace('"', "")
        table = replace(table, rows=rows)
        path = folder / "t.tsv"
        path.write_bytes(write_plain(table, "\t", ending).encode())
        require_same(path, table)
        counter.add("tabs without quoting")

    check()
    counter.tell()
    return counter.counts


def check_typed(folder, count):
    """JSON, Parquet, Arrow folders and Excel hold the same cells."""
    openpyxl = pytest.importorskip("openpyxl")
    counter = Counter()

    @repeated(count)
    @given(st.data())
    def check(data):
        table = data.draw(tables((*QUOTES, "two\nlines", ",", ";")))
        header = table.header or [f"c{n}" for n in range(len(table.rows[0]))]
        table = replace(table, header=header)
        kind = data.draw(st.sampled_from(["jsonl", "json", "parquet", "arrow", "xlsx"]))
        path = folder / f"t.{kind}"
        columns = dict(zip(header, map(list, zip(*table.rows, strict=True)), strict=True))
        objects = [dict(zip(header, row, strict=True)) for row in table.rows]
        if kind == "jsonl":
            path.write_text("\n".join(map(json.dumps, objects)))
        elif kind == "json":
            path.write_text(json.dumps(objects))
        elif kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.table(columns), path)
        elif kind == "arrow":
            write_arrow_folder(path, columns)
        else:
            book = openpyxl.Workbook()
            for row in [header, *table.rows]:
                book.active.append([cell or None for cell in row])
            book.save(path)
        require_same(path, table)
        counter.add(kind)

    check()
    counter.tell()
    return counter.counts


def grouped(value, group, decimal, indian=False):
    """A number of two decimals as it is written in a country."""
    whole, fraction = f"{abs(value):.2f}".split(".")
    parts = [whole[-3:]] if len(whole) > 3 else [whole]
    rest, width = whole[: -len(parts[0])], 2 if indian else 3
    while rest:
        parts.insert(0, rest[-width:])
        rest = rest[:-width]
    return ("-" if value < 0 else "") + group.join(parts) + decimal + fraction


# separator, thousands, decimal, form of amounts, form of dates, encoding
LOCALES = {
    "United States": (",", ",", ".", "${}", "%m/%d/%Y", "utf-8"),
    "India": (",", ",", ".", "{}", "%d-%m-%Y", "utf-8"),
    "Britain": (",", ",", ".", "\u00a3{}", "%d/%m/%Y", "cp1252"),
    "Germany": (";", ".", ",", "{} \u20ac", "%d.%m.%Y", "cp1252"),
    "France": (";", "\u202f", ",", "{}\xa0\u20ac", "%d/%m/%Y", "utf-8-sig"),
    "Switzerland": (";", "\u2019", ".", "CHF {}", "%d.%m.%Y", "utf-16"),
    "Sweden": (";", "\xa0", ",", "{} kr", "%Y-%m-%d", "cp1252"),
    "Poland": (";", " ", ",", "{} z\u0142", "%d.%m.%Y", "utf-16-le"),
    "Japan": ("\t", ",", ".", "\xa5{}", "%Y/%m/%d", "utf-8"),
    "Brazil": (";", ".", ",", "R${}", "%d/%m/%Y", "utf-8"),
    "percent": (";", "", ",", "{} %", "%d %b %Y", "utf-32"),
}


def check_locales(folder, count):
    """Numbers, amounts and dates as spreadsheets of several countries write them, below a title."""
    counter = Counter()

    @repeated(count)
    @given(st.data())
    def check(data):
        name = data.draw(st.sampled_from(sorted(LOCALES)))
        separator, group, decimal, amount, dates, encoding = LOCALES[name]
        size = data.draw(st.integers(6, 12))
        known = data.draw(
            st.lists(st.integers(-(10**9), 10**9), min_size=size, max_size=size, unique=True)
        )
        days = data.draw(st.lists(st.integers(0, 9_999), min_size=size, max_size=size))
        rows = [
            [
                f"the room number {n} was {LABELS[n % 3]}",
                grouped(value / 100, group, decimal, name == "India"),
                amount.format(grouped(abs(value) / 100, group, decimal, name == "India")),
                (date(2000, 1, 1) + timedelta(day)).strftime(dates),
            ]
            for n, (value, day) in enumerate(zip(known, days, strict=True))
        ]
        header = ["text", "change", "amount", "day"]
        ending = data.draw(st.sampled_from(ENDINGS))
        above = data.draw(st.sampled_from(["", "Report of the hotels", "# exported"]))
        text = write_csv(Written(header, rows, 0), separator, ending, data.draw(st.booleans()))
        path = folder / "t.csv"
        path.write_bytes((above + ending * bool(above) + text).encode(encoding))
        table = read_table(path)
        assert list(table.columns) == header, table.dialect
        assert list(map(list, zip(*table.columns.values(), strict=True))) == rows
        assert [round(float(v) * 100) for v in table.numbers("change")] == known
        assert [round(float(v) * 100) for v in table.numbers("amount")] == [*map(abs, known)]
        assert is_date("day", table.column("day"))
        notes = [note for note in table.notes if "above the header" in note]
        assert bool(notes) == bool(above)
        counter.add(name)

    check()
    counter.tell()
    return counter.counts


def write_arrow_folder(folder, columns):
    """What `datasets.save_to_disk` writes."""
    folder.mkdir(exist_ok=True)
    content = pyarrow.table(columns)
    with (
        pyarrow.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pyarrow.ipc.new_stream(sink, content.schema) as writer,
    ):
        writer.write_table(content)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))


CHECKS = [check_delimited, check_tabs, check_typed, check_locales]


@pytest.mark.parametrize("check", CHECKS)
def test_tables_are_read_back(tmp_path, check):
    assert sum(check(tmp_path, FEW // 4).values()) >= FEW // 4


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_many_tables_are_read_back(tmp_path, check):
    assert sum(check(tmp_path, MANY // 4).values()) >= MANY // 4
