"""Batches by token budget; tokenizers whose patterns came with a model."""

import sys

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftwerk import limits
from graftwerk.cli import main
from graftwerk.errors import BadFile
from graftwerk.models.text_encoder import TokenReader, batches


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 600))
@hypothesis_settings(max_examples=100, deadline=None)
def test_every_item_once_and_within_the_budget(lengths, budget):
    found = batches(lengths, budget)
    assert sorted(location for batch in found for location in batch) == list(range(len(lengths)))
    for batch in found:
        width = max(lengths[location] for location in batch)
        assert len(batch) == 1 or width * len(batch) <= budget


def test_similar_lengths_go_together():
    assert batches([3, 30, 3, 30, 3], 60) == [[1, 3], [0, 2, 4]]
    assert batches([], 60) == []


def reader_with(pattern):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return TokenReader(tokenizer.to_str(), 16)


@pytest.mark.parametrize("read", [TokenReader.read, TokenReader.read_whole])
def test_a_pattern_that_grows_without_end_is_given_up(read, capfd):
    reader = reader_with("(a+)+$")
    assert read(reader, ["aab"]) == [[0]] or read(reader, ["a"]) == [[1]]
    with pytest.raises(BadFile, match=r"tokenizer fails: .*retry-limit.*"):
        read(reader, ["a" * 40 + "b"])
    with pytest.raises(BadFile, match="tokenizer fails"):
        reader.count("a" * 40 + "b")


def test_a_slow_pattern_has_a_deadline(monkeypatch):
    monkeypatch.setattr(limits, "TOKENIZER_SECONDS", 0.01)
    monkeypatch.setattr(limits, "CHARACTER_SECONDS", 0.0)
    with pytest.raises(BadFile, match="tokenizer takes more than"):
        reader_with("(?:[ab]*[ab]*[ab]*)(?<=z)").read(["a" * 150])


def test_a_panic_of_a_library_is_said_in_a_sentence(monkeypatch, capsys):
    class PanicException(BaseException):
        pass

    def panics(*_):
        raise PanicException("over")

    monkeypatch.setattr(sys.modules["graftwerk.cli.main"], "build_app", panics)
    assert main(["models", "list"]) == 1
    assert capsys.readouterr().err.startswith("graft: ")
