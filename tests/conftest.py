"""Fakes that several folders of tests use."""

import hashlib

import numpy as np
import pytest

from graftwerk.frozen.words import content_stems


class WordsEncoder:
    """A frozen text encoder without weights: texts that share words are near each other."""

    def __init__(self, name="fake/words", salt="", dimension=64):
        self.name = name
        self.dimension = dimension
        self.reads = frozenset({"text"})
        self.rescorer = None
        self.salt = salt
        self.encoded = []

    @property
    def fingerprint(self):
        return hashlib.sha256(f"words {self.salt} {self.dimension}".encode()).hexdigest()

    def encode_texts(self, texts, role="document", advance=None):
        self.encoded.extend(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in content_stems(text) or {""}:
                digest = hashlib.sha256(f"{self.salt}{word}".encode()).digest()
                values = np.frombuffer(digest * (self.dimension // 32), dtype=np.uint8)
                vectors[row] += values.astype(np.float32) - 127.5
        if advance is not None:
            advance(len(texts))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_images(self, images, advance=None):
        raise NotImplementedError

    def count_tokens(self, text):
        return len(text.split())


@pytest.fixture
def words_encoder():
    return WordsEncoder()


@pytest.fixture
def make_words_encoder():
    return WordsEncoder
