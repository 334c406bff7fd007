"""The page of formats names every ending that is read, where it is read, and no other."""

import re
from pathlib import Path

import pytest
from tests.unit.data.test_table_dialects import MANY

from graftwerk import limits
from graftwerk.data import load
from graftwerk.data.documents import formats
from graftwerk.data.images import FORMATS
from graftwerk.data.labels import stands_for_none
from graftwerk.data.tables import SUFFIXES, Reading

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| `.")]
ENDINGS = {ending: row for row in ROWS for ending in re.findall(r"`(\.\w+)`", row[0])}


def test_every_ending_has_one_row():
    assert set(ENDINGS) == {*formats.SUFFIXES, *SUFFIXES, *load.TEXTS}
    assert len(ENDINGS) == sum(len(re.findall(r"`(\.\w+)`", row[0])) for row in ROWS)


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_where_each_is_read(ending):
    row = ENDINGS[ending]
    if ending in formats.IMAGES:
        return
    assert ("index" in row[1]) == (ending in formats.SUFFIXES)
    alone = f"`{ending}` also data" in row[1]
    assert (alone or ("data" in row[1] and "also" not in row[1])) == (
        ending in {*SUFFIXES, *load.TEXTS}
    )


def test_what_is_not_read_is_not():
    for ending in re.findall(r"`(\.\w+)`", PAGE.partition("## Not read")[2]):
        assert ending not in {*formats.SUFFIXES, *SUFFIXES} or ending == ".txt"


def test_figures_and_words_of_the_page():
    assert f"more than {limits.IMAGE_PIXELS // 10**6} million pixels" in PAGE
    assert limits.DATA_UNPACKED == 1 << 30
    assert {"png", "jpeg", "webp", "gif", "bmp", "tiff"} == {name.lower() for name in FORMATS}
    assert all(map(stands_for_none, ("NA", "N/A", "null", "None", "\\N", "-")))
    for option in ("header", "separator", "decimal", "encoding"):
        assert hasattr(Reading(), option)
        assert f"`--{option}`" in PAGE


def test_the_count_of_round_trips_is_that_of_the_check():
    assert f"{MANY:,} round trips" in PAGE
    assert "`python -m bench formats`" in PAGE
