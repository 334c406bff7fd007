"""The list of `tests.mutants` fits the code: each fault can be put in, at one place."""

import pytest
from tests.mutants import MUTANTS, ROOT, SOURCE


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_put_in(mutant):
    text = (SOURCE / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert all((ROOT / path).exists() for path in mutant.tests.split())


def test_the_documentation_names_how_many_there_are():
    text = " ".join((ROOT / "docs" / "security.md").read_text("utf-8").split())
    assert f"inserts {len(MUTANTS)} faults" in text
