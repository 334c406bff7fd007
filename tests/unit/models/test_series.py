"""Series encoders: padding changes nothing, and a fit on shapes works."""

import csv
import json

import numpy as np
import pytest
import torch
from tests.unit.models.conftest import random_network

from graftwerk.commands import fit
from graftwerk.commands import fit as eval_fit
from graftwerk.errors import BadInput
from graftwerk.models.checkpoint import SERIES_MODELS, open_folder
from graftwerk.models.torch_text import SeriesNetwork
from graftwerk.requests.finetune import EvalFit, Fit
from graftwerk.types import Silent


@pytest.fixture
def write_series(tmp_path):
    """A tiny random network of a type of `series.SERIES_MODELS`."""

    def write(kind):
        import transformers as library

        attention = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 16}
        make = {
            "patchtst": lambda: library.PatchTSTModel(
                library.PatchTSTConfig(
                    context_length=24, patch_length=4, patch_stride=4, d_model=16,
                    num_attention_heads=2, num_hidden_layers=2, ffn_dim=32, num_input_channels=1,
                )
            ),
            "timesfm": lambda: library.TimesFmModelForPrediction(
                library.TimesFmConfig(
                    patch_length=4, context_length=32, horizon_length=4, intermediate_size=16,
                    head_dim=8, **attention,
                )
            ),
            "timesfm2_5": lambda: library.TimesFm2_5ModelForPrediction(
                library.TimesFm2_5Config(
                    patch_length=4, context_length=32, horizon_length=4, intermediate_size=16,
                    head_dim=8, num_key_value_heads=2, **attention,
                )
            ),
        }[kind]  # fmt: skip
        random_network(make).save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return write


def test_every_type_is_asked():
    assert set(SERIES_MODELS) == {"patchtst", "timesfm", "timesfm2_5"}


@pytest.mark.parametrize("kind", SERIES_MODELS)
def test_vectors_are_unit_and_do_not_depend_on_the_batch(write_series, kind):
    network = SeriesNetwork(open_folder(write_series(kind)))
    generator = np.random.default_rng(0)
    long, short = (generator.standard_normal(n).astype(np.float32) for n in (24, 20))
    with torch.no_grad():
        together = network(**network.prepare([long, short]))
        alone = network(**network.prepare([long]))
    assert torch.allclose(together.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_a_patchtst_of_several_channels_reads_one_series(write_series):
    folder = write_series("patchtst")
    series = [np.random.default_rng(0).standard_normal(24).astype(np.float32)]

    def encoded():
        network = SeriesNetwork(open_folder(folder))
        with torch.no_grad():
            return network(**network.prepare(series))

    one = encoded()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_input_channels": 3}))
    assert torch.equal(encoded(), one)


def test_a_patchtst_with_an_embedding_for_each_channel_is_refused(tmp_path):
    import transformers

    config = transformers.PatchTSTConfig(
        context_length=24, patch_length=4, d_model=16, num_attention_heads=2, num_hidden_layers=1,
        ffn_dim=32, num_input_channels=3, share_embedding=False,
    )  # fmt: skip
    random_network(lambda: transformers.PatchTSTModel(config)).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="reads 3 series at once"):
        SeriesNetwork(open_folder(tmp_path))


def test_a_series_that_is_too_long_is_refused(write_series):
    network = SeriesNetwork(open_folder(write_series("patchtst")))
    with pytest.raises(BadInput, match="25 values; this PatchTST takes 24"):
        network.prepare([np.zeros(25, dtype=np.float32)])


@pytest.mark.parametrize("kind", SERIES_MODELS)
@pytest.mark.parametrize("how", ["linear", "lora"])
def test_shapes_are_learned(write_series, tmp_path, kind, how):
    generator = np.random.default_rng(1)
    times = np.arange(24)
    rows = []
    for number in range(240):
        rate, label = ((0.3, "slow"), (2.8, "fast"))[number % 2]
        wave = np.sin(rate * times + generator.uniform(0, 2)) + 0.1 * generator.standard_normal(24)
        rows.append([*wave.round(4), label])
    with (tmp_path / "s.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*(f"t{n}" for n in times), "label"], *rows])
    request = Fit(
        data=str(tmp_path / "s.csv"), model=str(write_series(kind)), how=how, out=tmp_path / "fit",
        epochs=3, batch=16, rank=2, device="cpu",
    )  # fmt: skip
    made = fit.run_fit(request, Silent())
    assert made.score.value > 0.8
    again = eval_fit.run_eval_fit(
        EvalFit(fit=tmp_path / "fit", data=str(tmp_path / "s.csv")), Silent()
    )
    assert again.score.value == made.score.value
