"""A tiny random text encoder and data whose labels its features separate."""

import csv
import itertools
import shutil

import numpy as np
import pytest
from tests.unit.models.conftest import WORDS, random_network, write_tokenizer

from graftwerk.settings import settings


@pytest.fixture(autouse=True)
def own_cache(tmp_path, tmp_path_factory, monkeypatch):
    """Empty but for the graphs that earlier tests exported, which takes seconds each."""
    cache, retained = tmp_path / "cache", tmp_path_factory.getbasetemp() / "graphs"
    if retained.is_dir():
        shutil.copytree(retained, cache / "graphs")
    monkeypatch.setenv("GRAFTWERK_CACHE", str(cache))
    settings.cache_clear()
    yield cache
    monkeypatch.undo()
    settings.cache_clear()
    if (cache / "graphs").is_dir():
        shutil.copytree(cache / "graphs", retained, dirs_exist_ok=True)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Tiny networks."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of a BERT with 3 layers of width 16."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    config = BertConfig(
        vocab_size=write_tokenizer(folder, 20),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    random_network(lambda: BertModel(config)).save_pretrained(folder)
    return folder


def sentences(count, seed=0):
    """Different texts of the tokenizer's words, each with the class of its first and last word.

    Those of seed 0 are shorter than all others, so that none is among both.
    """
    shortest, longest = (3, 9) if seed == 0 else (9, 13)
    generator = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        words = [
            WORDS[n]
            for n in generator.integers(0, len(WORDS), generator.integers(shortest, longest))
        ]
        kind = int(generator.integers(2))
        words[0] = ("red", "blue")[kind]
        words[-1] = words[0]
        found[" ".join(words)] = ("warm", "cold")[kind]
    return list(found.items())


def write_csv(path, rows, header=("text", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(itertools.chain([header], rows))
    return path


@pytest.fixture
def texts(tmp_path):
    """120 texts of two classes."""
    return write_csv(tmp_path / "texts.csv", sentences(120))
