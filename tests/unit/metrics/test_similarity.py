"""Reading pairs and correlating them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftwerk import limits
from graftwerk.data.benchmarks import Pair, read_pairs
from graftwerk.errors import BadFile, BadInput, LimitExceeded
from graftwerk.metrics.retrieval import correlations


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "pairs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("start", ["", "first,second,score\n", "\ufeff", "\ufeffa,b,c\r\n", "\n"])
def test_with_and_without_header(write, start):
    path = write(start + 'A dog.,"A cat, or two.",1.5\n"a ""b""\nc",d,5\n\n')
    assert read_pairs(path).rows == [
        Pair("A dog.", "A cat, or two.", 1.5),
        Pair('a "b"\nc', "d", 5.0),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,1\nc,d\n", "line 2 .*has 2 cells, but there are 3"),
        ("a,b,1\nc,d,2,e\n", "line 2 .*has 4 cells, but there are 3"),
        ('a,"b\nb",1\nc,d,high\n', "line 3 .*has the score 'high'"),
        ("a,b,1\nc,d,nan\n", "line 2 .*'nan'.*finite"),
        ("a,b,inf\nc,d,1\n", "line 1 .*'inf'.*finite"),
        ("a,b,1\n", "holds 1 pair."),
        ("", "holds 0 pairs"),
        (b"a,b,1\n\xff,d,2\n", "not UTF-8"),
        ('a,b,1\n"c,d,2\n', "not CSV"),
    ],
)
def test_malformed_files(write, content, message):
    with pytest.raises(BadFile, match=message):
        read_pairs(write(content))


def test_a_cell_may_have_any_length(write):
    pairs = read_pairs(write("a,b,1\n" + "c" * 200_000 + ",d,2\n"))
    assert pairs.rows[1] == Pair("c" * 200_000, "d", 2.0)


def test_other_dialects(write, tmp_path):
    path = write("sentence1;sentence2;score\nA dog, a cat.;B;4,25\nC;D;1,5\nE;F;3\n")
    assert [pair.score for pair in read_pairs(path).rows] == [4.25, 1.5, 3.0]
    (tmp_path / "p.tsv").write_text('"A dog\tb\t1\nc\t"d\t2\n')
    assert read_pairs(tmp_path / "p.tsv").rows == [Pair('"A dog', "b", 1.0), Pair("c", '"d', 2.0)]


def test_no_file(tmp_path):
    with pytest.raises(BadFile, match="not a file"):
        read_pairs(tmp_path)


def test_the_limit(write, monkeypatch):
    path = write("a,b,1\nc,d,2\n")
    monkeypatch.setattr(limits, "TEXT_FILE", 12)
    assert len(read_pairs(path).rows) == 2
    monkeypatch.setattr(limits, "TEXT_FILE", 11)
    with pytest.raises(LimitExceeded, match="table"):
        read_pairs(path)


def test_known_correlations():
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    assert correlations(scores**3, scores) == (
        pytest.approx(1),
        pytest.approx(104 / np.sqrt(5 * 2390)),
    )
    assert correlations(-scores, scores) == (pytest.approx(-1), pytest.approx(-1))
    ranks = correlations(np.array([2.0, 1.0, 4.0, 3.0]), scores)
    assert ranks[0] == pytest.approx(1 - 6 * 4 / (4 * 15))


@given(
    st.lists(st.floats(-1, 1, width=16), min_size=3, max_size=30, unique=True), st.integers(0, 99)
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_order_of_pairs_does_not_matter(cosines, seed):
    random = np.random.default_rng(seed)
    scores = random.standard_normal(len(cosines))
    locations = random.permutation(len(cosines))
    one = correlations(np.array(cosines), scores)
    two = correlations(np.array(cosines)[locations], scores[locations])
    assert one == pytest.approx(two, abs=1e-9)


@pytest.mark.parametrize("constant", ["scores", "cosines"])
def test_no_order_to_compare(constant):
    values = {"scores": np.array([1.0, 2.0]), "cosines": np.array([0.1, 0.2])}
    values[constant] = np.array([0.5, 0.5])
    with pytest.raises(BadInput, match=f"all {constant} are 0.5"):
        correlations(values["cosines"], values["scores"])
