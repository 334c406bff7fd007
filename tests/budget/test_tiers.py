"""Every line of tests/long.txt names a file of tests, or a test in one."""

import re
from pathlib import Path

from tests.conftest import LONG

TESTS = Path(__file__).parents[1]


def test_what_is_listed_as_long_exists() -> None:
    assert len(LONG) > 100
    for line in LONG:
        name, _, test = line.partition("::")
        source = (TESTS / name).read_text("utf-8")
        function = test.partition("[")[0]
        assert re.search(rf"def {function}\(", source) if test else "def test_" in source, line
