import numpy as np
import pytest

from graftwerk.blocks.captions import Facts, ObjectFacts, caption_of, facts_of, partial, say
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import MOST_OBJECTS
from graftwerk.recipes.cached import LENGTH, caption_words, make_tokenizer

LONGEST = say(
    Facts((ObjectFacts("person", "orange", "arms out"),) * MOST_OBJECTS, "stone", "sunset")
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def pieces(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])[1:-1]


def test_each_word_is_one_token(tokenizer):
    assert len(caption_words()) == 36
    for word in caption_words():
        assert pieces(tokenizer, word) == [f"{word}</w>"]


def test_captions_are_read_word_by_word(tokenizer):
    generator = np.random.default_rng(0)
    for number in range(200):
        scene = sample_scene(9, number)
        for text in (caption_of(scene), say(partial(facts_of(scene), generator))):
            words = text.replace(",", " ,").split()
            assert pieces(tokenizer, text) == [f"{word}</w>" for word in words]


def test_the_longest_caption_fits(tokenizer):
    count = len(tokenizer(LONGEST)["input_ids"])
    assert count == 37 < LENGTH
    assert tokenizer.model_max_length == LENGTH


@pytest.mark.parametrize("text", ["a purple house", "ÖL 日本!", "\x00\x1f", "persons", "cubecone"])
def test_other_words_are_spelled(tokenizer, text):
    found = pieces(tokenizer, text)
    assert found
    marks = {tokenizer.bos_token, tokenizer.eos_token}
    assert not marks & set(found)  # an end mark in the middle would cut the text


def test_it_survives_being_saved(tokenizer, tmp_path):
    from transformers import CLIPTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(str(tmp_path))
    text = LONGEST + " house"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
