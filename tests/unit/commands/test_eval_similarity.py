"""`eval similarity` from file to report."""

import pytest

import graftwerk
from graftwerk.commands import evaluate
from graftwerk.errors import BadFile
from graftwerk.types import Silent


def test_obvious_pairs_are_in_order(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "first,second,score\n"
        "A man plays a guitar.,A man is playing the guitar.,5\n"
        "A man plays a guitar.,A man plays an instrument.,4\n"
        "A man plays a guitar.,A woman sings a song.,2\n"
        "A man plays a guitar.,The tax office is closed.,0\n"
    )
    report = evaluate.run_eval_similarity(graftwerk.EvalSimilarity(file=path), Silent())
    assert report.pairs == 4 and report.encoder == "builtin/minilm"
    assert report.spearman == pytest.approx(1)
    assert 0.9 < report.pearson <= 1


def test_a_malformed_file_is_refused_before_the_encoder_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "load_encoder", lambda *a, **k: pytest.fail("loaded"))
    (tmp_path / "pairs.csv").write_text("a,b,1\na,b\n")
    with pytest.raises(BadFile, match="line 2"):
        evaluate.run_eval_similarity(
            graftwerk.EvalSimilarity(file=tmp_path / "pairs.csv"), Silent()
        )
