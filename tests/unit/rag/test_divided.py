"""Words that line ends divide are evidence, as parts and as a whole."""

import pytest

from graftwerk.models.language.sentences import content_stems, stem
from graftwerk.rag.evidence import find_features
from graftwerk.search.results import Hit


@pytest.mark.parametrize("hyphen", ["-", "\u2010", "\xad"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n  "])
def test_stems_of_both_forms(hyphen, end):
    stems = content_stems(f"pay the moor{hyphen}{end}age now")
    assert {stem("moorage"), stem("moor")} <= stems
    assert stem("moorage") not in content_stems("pay the moor - age now")


def test_a_divided_sentence_is_as_near_as_a_whole_one(words_encoder):
    def features(text):
        return find_features(
            "Is navigation forbidden?", [Hit("/a", "text", text, 0, 9, score=1.0)], words_encoder
        )

    assert features("Navi-\ngation is forbid-\nden.") == features("Navigation is forbidden.")
