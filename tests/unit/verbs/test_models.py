"""`models list` and `models info`."""

import graftwerk
from graftwerk.contracts import Silent
from graftwerk.verbs import models_info, models_list


def test_every_listed_encoder_can_be_looked_at():
    models = models_list.run(graftwerk.ModelsList(), Silent()).models
    assert [model["name"] for model in models] == ["builtin/minilm", "static", "extractive"]
    for model in models:
        assert set(model) == {"name", "kind", "about"}
        if "encoder" in model["kind"]:
            card = models_info.run(graftwerk.ModelsInfo(name=model["name"]), Silent())
            assert card.kind == model["kind"] and card.reads == ["text"]


def test_the_card_of_the_built_in_encoder():
    card = models_info.run(graftwerk.ModelsInfo(name="builtin/minilm"), Silent())
    assert (card.dimension, card.parameters) == (384, 22_713_216)
    assert card.bytes > 4 * card.parameters
    assert card.details["pooling"] == "mean" and card.details["longest_input"] == 256
    assert card.details["licence"] == "apache-2.0"
    assert card.details["runs_with"] == "onnxruntime"


def test_the_card_of_the_static_encoder():
    card = models_info.run(graftwerk.ModelsInfo(name="static"), Silent())
    assert card.details["rescorer"] == "builtin/minilm"
    assert card.parameters == 30_522 * 384
