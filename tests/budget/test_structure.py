"""The figures that `python -m bench structure` prints stay below their ceilings."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_IN_FOLDER = 16
# folders above it, with today's number; a number may only fall
CROWDED: dict[str, int] = {}


@pytest.fixture(scope="module")
def structure():
    spec = importlib.util.spec_from_file_location("structure", ROOT / "bench" / "structure.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["structure"] = module  # as dataclasses want it
    spec.loader.exec_module(module)
    yield module
    del sys.modules["structure"]


@pytest.fixture(scope="module")
def figures(structure):
    return structure.cheap()


def test_every_figure_has_a_ceiling(structure, figures):
    assert figures.keys() == structure.LIMITS.keys()
    assert all(limit.aim <= limit.ceiling for limit in structure.LIMITS.values())


def test_figures_stay_below_their_ceilings(structure, figures):
    over = {
        name: (figure, structure.LIMITS[name].ceiling)
        for name, figure in figures.items()
        if figure > structure.LIMITS[name].ceiling
    }
    assert not over, "figure and ceiling; see python -m bench structure"


def test_files_in_a_folder(structure):
    counts = structure.folders()
    over = {name: n for name, n in counts.items() if n > CROWDED.get(name, MOST_IN_FOLDER)}
    assert not over, f"at most {MOST_IN_FOLDER} files in a folder"
    done = [name for name in CROWDED if counts[name] <= MOST_IN_FOLDER]
    assert not done, "these are small enough now: remove them from CROWDED"


def test_the_source_is_what_is_measured(structure, figures):
    assert figures["lines in src"] > 20_000
    assert len(structure.sources()) > 100
    assert figures["longest function"] >= 60


def test_help_is_measured_where_it_loads_something(structure):
    loaded = structure.modules_of_help()
    assert "graftwerk.cli.main" in loaded and "graftwerk.commands" in loaded
    assert structure.requests_of_help(["graftwerk.requests.search", "graftwerk.requests.base"]) == [
        "graftwerk.requests.search"
    ]
    assert structure.heavy_of_help(["torch", "torchless"]) == ["torch"]


def test_words_are_found_in_names_of_any_style(structure, tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text(
        "class KeptPictures: ...\nwanted_size = 1  # a pictured lesson\n"
    )
    monkeypatch.setattr(structure, "SOURCE", tmp_path)
    found = structure.words_left()
    assert found == Counter(["kept", "pictures", "wanted", "lesson"])
    assert structure.unallowed(found) == Counter(["wanted", "lesson"])


def test_files_are_counted_up_to_the_arithmetic(structure):
    from graftwerk.metrics import intervals
    from graftwerk.metrics.plots import Scale

    def work():
        Scale.over([1.0, 2.0])
        intervals.wilson(1, 2)
        Scale.over([1.0, 2.0])

    found = structure.entered(work, "metrics/intervals.py", "wilson")
    assert found == ["metrics/plots.py", "metrics/intervals.py"]
    assert structure.entered(work, "metrics/plots.py", "over") == ["metrics/plots.py"]
    with pytest.raises(LookupError, match="was never called"):
        structure.entered(work, "metrics/plots.py", "wilson")
