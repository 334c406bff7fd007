import numpy as np

from graftwerk.blocks.captions import caption_of, parse
from graftwerk.blocks.sampling import sample_scene
from graftwerk.recipes.cached import captions_of_rows
from graftwerk.recipes.scenes import open_scenes
from graftwerk.types import Silent


def test_captions_depend_on_the_item_alone(cache):
    rows = open_scenes("pictures", 5, 12, 16, Silent()).rows(np.arange(12))
    whole = captions_of_rows(rows, 100, 0, dropped=0.0)
    assert whole == [caption_of(sample_scene(5, number)) for number in range(12)]
    some = captions_of_rows(rows, 100, 0, dropped=0.5)
    assert captions_of_rows(rows[4:9], 104, 0, dropped=0.5) == some[4:9]
    assert captions_of_rows(rows, 100, 1, dropped=0.5) != some
    assert 1 <= sum(a != b for a, b in zip(whole, some, strict=True)) <= 11
    for text in captions_of_rows(rows, 0, 0, dropped=1.0):
        parse(text)
    assert not set(captions_of_rows(rows, 0, 0, dropped=1.0)) & set(whole)
