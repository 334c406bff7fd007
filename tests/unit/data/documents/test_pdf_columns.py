"""Columns of a page are read one after the other, whatever the order in which lines are stored."""

import textwrap

import pytest
from tests.hostile.make import pdf_of

from graftwerk.data.documents.formats import parse

STORIES = [
    "The encoder of the network is copied and trained while the original stays frozen. Each block "
    "adds its output through a convolution whose weights begin at zero, so that the first step "
    "changes nothing. After some thousand steps the model suddenly follows its condition, which "
    "the authors measure with a meter of their own that compares it with the frozen one.",
    "Rain fell on the harbour for three days before the ships could leave. The captain counted "
    "barrels of flour and of salted fish, and found that two of them had been opened by somebody "
    "in the night. Nobody admitted to the theft, but the cook was seen laughing with the "
    "boatswain near the galley as the morning bell rang.",
    "Bread needs flour, water, salt and time. Mix the first two and wait for an hour, so that the "
    "gluten forms without any work. Then add the salt and a little of the leaven, fold the dough "
    "four times in two hours, and let it rest in a cold room until the next morning, when it is "
    "baked in a closed pot that has been heated for long.",
]


def wrapped(count):
    return [textwrap.wrap(story, 84 // count) for story in STORIES[:count]]


def placed(runs):
    """A PDF of one page, with runs of text at their places in this order."""
    shown = [f"1 0 0 1 {x} {y} Tm ({text}) Tj" for x, y, text in runs]
    return pdf_of([f") Tj /F1 8 Tf {' '.join(shown)} ("])


def by_rows(columns, step=0, words=False):
    runs = [(60, 780, "A title over all of them")]
    for number in range(max(map(len, columns))):
        for location, lines in enumerate(columns):
            start, line = 60 + step * location, lines[number] if number < len(lines) else ""
            for word in line.split() if words else filter(None, [line]):
                runs.append((start, 740 - 14 * number, word))
                start += 5.2 * len(word) + 2
    return [*runs, (290, 40, "Page 3 of 7")]


def read(tmp_path, runs):
    path = tmp_path / "a.pdf"
    path.write_bytes(placed(runs))
    document = parse(str(path))
    return " ".join(document.text.split()), document.notes


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_columns_that_are_stored_by_rows(tmp_path, count, words):
    text, notes = read(tmp_path, by_rows(wrapped(count), 480 // count, words))
    stories = " ".join(STORIES[:count])
    assert text == f"A title over all of them {stories} Page 3 of 7"
    assert notes == ("pages whose columns are read one after the other: 1",)


def table(tmp_path, cells):
    runs = [
        (60 + 240 * n, 740 - 14 * row, cell)
        for row, both in enumerate(cells)
        for n, cell in enumerate(both)
    ]
    return runs, " ".join(cell for both in cells for cell in both)


def test_pages_that_stay_as_they_are_stored(tmp_path):
    one = [(60, 740 - 14 * n, line) for n, line in enumerate(wrapped(1)[0])]
    assert read(tmp_path, one) == (STORIES[0], ())
    words = by_rows([textwrap.wrap(" ".join(STORIES), 80)], 0, words=True)
    assert " ".join(STORIES) in read(tmp_path, words)[0]
    left, right = (
        [(60 + 240 * at, 740 - 14 * n, line) for n, line in enumerate(lines)]
        for at, lines in enumerate(wrapped(2))
    )
    assert read(tmp_path, left + right) == (" ".join(STORIES[:2]), ())
    for cells in (  # rows of a table belong together
        [
            (f"The room number {n} has a view", f"It costs {n * 20} euros a night")
            for n in range(12)
        ],
        [(f"room {n}", "clean and quiet, at the lake") for n in range(12)],
        [(f"The room number {n} has a view", "and it is quiet at night") for n in range(7)],
    ):
        runs, text = table(tmp_path, cells)
        assert read(tmp_path, runs) == (text, ())


def test_turned_text_and_odd_matrices_do_not_move(tmp_path):
    huge = f"{10**20} 0 0 {10**20} {10**20} {10**20}"
    odd = f"Draft of May) Tj {f'{huge} cm ' * 16} {huge} Tm (Page 3 of 7"
    runs = [*by_rows(wrapped(2), 240)[:-1], (0, 0, f") Tj 0 1 -1 0 20 400 Tm ({odd}")]
    text, _ = read(tmp_path, runs)
    assert " ".join(STORIES[:2]) in text
    assert text.index("Draft of May") < text.index("The encoder")  # above all lines, not in one
    assert "Page 3 of 7" in text
