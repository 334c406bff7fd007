import numpy as np

from graftwerk.models.encoders import CachingEncoder


def test_no_text_is_embedded_twice(words_encoder):
    encoder = CachingEncoder(words_encoder)
    first = encoder.encode_texts(["a cat", "a dog", "a cat"])
    second = encoder.encode_texts(["a dog", "a cow"])
    assert words_encoder.encoded == ["a cat", "a dog", "a cow"]
    assert np.array_equal(first[1], second[0])
    assert np.array_equal(first[0], first[2])
    expected = words_encoder.encode_texts(["a dog", "a cow"])
    assert np.array_equal(second, expected)


def test_queries_and_documents_are_kept_apart(words_encoder):
    encoder = CachingEncoder(words_encoder)
    encoder.encode_texts(["a cat"])
    encoder.encode_texts(["a cat"], role="query")
    assert words_encoder.encoded == ["a cat", "a cat"]


def test_it_is_the_encoder_that_it_wraps(words_encoder):
    encoder = CachingEncoder(words_encoder)
    assert encoder.fingerprint == words_encoder.fingerprint
    assert encoder.encode_texts([]).shape == (0, words_encoder.dimension)
    assert encoder.count_tokens("two words") == 2
