"""Captions as tokens: each telling is a caption of its scene, and an item's is its number's."""

import numpy as np
import torch

from graftwerk.blocks.captions import parse
from graftwerk.recipes.cached import (
    CAPTIONS,
    LENGTH,
    captions_of_rows,
    make_tokenizer,
    open_captions,
    tokens_of,
    until_end,
    vocabulary,
)
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent

COUNT, UNSAID = 12, 0.5
NUMBERS = np.array([5, 0, 11, 5, 5, 5, 5])


def told(cache):
    scenes = open_scenes("pictures", 5, COUNT, 16, Silent())
    return scenes, open_captions(scenes, UNSAID, Silent()).of(NUMBERS, 2)


def test_each_item_is_told_by_its_number(cache):
    scenes, tokens = told(cache)
    assert tokens.shape == (len(NUMBERS), LENGTH) and tokens.dtype == torch.int64
    tokenizer = make_tokenizer()
    for location, number in enumerate(NUMBERS):
        rows = scenes.rows(np.arange(COUNT))
        caption = captions_of_rows(rows, 0, (2 + location) % CAPTIONS, UNSAID)[number]
        assert torch.equal(tokens[location], tokens_of(tokenizer, [caption])["tokens"][0])
        parse(tokenizer.decode(tokens[location], skip_special_tokens=True).replace(" ,", ","))
    assert len({tuple(row.tolist()) for row in tokens[3:]}) > 1  # one scene, several captions


def test_half_precision_holds_every_token():
    assert len(vocabulary()[0]) <= 2_048


def test_the_mask_ends_with_the_text(cache):
    _, tokens = told(cache)
    tokenizer = make_tokenizer()
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    mask = tokens_of(tokenizer, texts)["mask"]
    assert torch.equal(until_end(tokens, tokenizer.eos_token_id), mask)
