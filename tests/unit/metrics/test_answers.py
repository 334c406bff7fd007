import pytest

from graftwerk.metrics.retrieval import contains_answer, exact_match, normalise, token_f1


def test_the_rules_of_squad():
    assert normalise("The  Denver-Broncos, an A.F.C. team!") == ["denverbroncos", "afc", "team"]


@pytest.mark.parametrize(
    ("answer", "references", "exact", "contains", "f1"),
    [
        ("the Broncos.", ["Broncos"], True, True, 1.0),
        ("Denver Broncos", ["Broncos", "Denver Panthers"], False, True, 2 / 3),
        ("It was the Broncos who won", ["Broncos"], False, True, 2 / 6),
        ("Panthers", ["Broncos"], False, False, 0.0),
        ("", ["Broncos"], False, False, 0.0),
        ("a b b", ["b b c"], False, False, 4 / 5),
        ("forty-two", ["two"], False, False, 0.0),
    ],
)
def test_figures_against_the_best_reference(answer, references, exact, contains, f1):
    assert exact_match(answer, references) is exact
    assert contains_answer(answer, references) is contains
    assert token_f1(answer, references) == pytest.approx(f1)
