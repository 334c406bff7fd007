"""`eval similarity` from file to report."""

import pytest

import graftwerk
from graftwerk.contracts import Silent
from graftwerk.errors import BadFile
from graftwerk.verbs import eval_similarity


def test_obvious_pairs_are_in_order(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "first,second,score\n"
        "A man plays a guitar.,A man is playing the guitar.,5\n"
        "A man plays a guitar.,A man plays an instrument.,4\n"
        "A man plays a guitar.,A woman sings a song.,2\n"
        "A man plays a guitar.,The tax office is closed.,0\n"
    )
    report = eval_similarity.run(graftwerk.EvalSimilarity(file=path), Silent())
    assert report.pairs == 4 and report.encoder == "builtin/minilm"
    assert report.spearman == pytest.approx(1)
    assert 0.9 < report.pearson <= 1


def test_a_malformed_file_is_refused_before_the_encoder_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(eval_similarity, "load_encoder", lambda *a, **k: pytest.fail("loaded"))
    (tmp_path / "pairs.csv").write_text("a,b,1\na,b\n")
    with pytest.raises(BadFile, match="line 2"):
        eval_similarity.run(graftwerk.EvalSimilarity(file=tmp_path / "pairs.csv"), Silent())
