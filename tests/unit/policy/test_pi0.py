"""PI0 of transformers: chunks of actions equal to the library's own, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from tests.unit.policy.conftest import recorded  # noqa: F401  fixture

import graftwerk as gw
from graftwerk.errors import BadFile, BadInput

SIDE, CHUNK, STATE = 28, 5, 4
STATISTICS = {
    "state_mean": [0.1, -0.2, 0.3],
    "state_std": [1.0, 2.0, 0.5],
    "actions_mean": [1.0, 0.0],
    "actions_std": [3.0, 0.1],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PI0Config, PI0ForConditionalGeneration, PreTrainedTokenizerFast

    text = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "head_dim": 16}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "model_type": "gemma"}
    eyes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "patch_size": 14}
    eyes |= {"num_attention_heads": 2, "image_size": SIDE, "vision_use_head": False}
    config = PI0Config(
        vlm_config={
            "model_type": "paligemma",
            "text_config": text | {"vocab_size": 16},
            "vision_config": eyes | {"model_type": "siglip_vision_model"},
            "projection_dim": 32,
            "image_token_id": 15,
        },
        dit_config=text | {"hidden_size": 24},
        chunk_size=CHUNK,
        max_state_dim=STATE,
        max_action_dim=3,
        num_inference_steps=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = PI0ForConditionalGeneration(config)
    folder = tmp_path_factory.mktemp("pi0") / "pi0"
    network.save_pretrained(folder)
    words = ["<pad>", "<bos>", "<unk>", "pick", "up", "the", "red", "cube"]
    spelled = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    spelled.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=spelled, pad_token="<pad>", bos_token="<bos>", unk_token="<unk>"
    ).save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(STATISTICS))
    return folder


@pytest.fixture
def given():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2, 2, SIDE, SIDE, 3), dtype=np.uint8)
    states, noise = generator.normal(size=(2, 3)), generator.normal(size=(2, CHUNK, 3))
    return images, states.astype(np.float32), noise.astype(np.float32)


def theirs(folder, images, states, noise, ids):
    """Transformers' own sampling, with the padding of its processor."""
    from transformers import PI0ForConditionalGeneration

    network = PI0ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = torch.from_numpy(images).permute(0, 1, 4, 2, 3).float() / 255
    ids = torch.tensor([ids + [0] * 6] * len(images))
    mask = torch.ones_like(ids)
    mask[:, -6:] = 0
    scaled = (states - STATISTICS["state_mean"]) / (np.array(STATISTICS["state_std"]) + 1e-8)
    found = network.sample_actions(
        state=torch.nn.functional.pad(torch.from_numpy(scaled).float(), (0, STATE - 3)),
        input_ids=ids,
        attention_mask=mask,
        pixel_values=(pixels - 0.5) / 0.5,
        pixel_attention_mask=torch.ones(images.shape[:2], dtype=torch.bool),
        noise=torch.from_numpy(noise),
    ).numpy()[..., :2]
    return found * (np.array(STATISTICS["actions_std"]) + 1e-8) + STATISTICS["actions_mean"]


@pytest.mark.parametrize("cameras", [1, 2])
def test_chunks_are_those_of_the_library(folder, given, cameras):
    images, states, noise = given
    policy = gw.Policy(str(folder), device="cpu")
    views = images[:, 0] if cameras == 1 else [list(one) for one in images]
    found = policy.predict(views, states, prompt="pick up the red cube", noise=noise)
    assert found.shape == (2, CHUNK, 2) and found.dtype == np.float32
    ids = [15] * (4 * cameras) + [1, 3, 4, 5, 6, 7]
    expected = theirs(folder, images[:, :cameras], states, noise, ids)
    assert np.abs(found - expected).max() < 1e-5
    other = policy.predict(views, states, prompt="the cube", noise=noise)
    assert np.abs(other - found).max() > 1e-5  # the instruction is read
    again = gw.load(folder, device="cpu").predict(views, states, prompt="the cube", noise=noise)
    assert np.array_equal(again, other)


def test_noise_comes_from_the_seed_and_images_are_fitted(folder, given):
    images, states, _ = given
    call = {"images": images[:, 0], "states": states, "prompt": "the cube"}
    first = gw.Policy(str(folder), seed=1, device="cpu").predict(**call)
    assert np.array_equal(gw.Policy(str(folder), seed=1, device="cpu").predict(**call), first)
    assert not np.allclose(gw.Policy(str(folder), seed=2, device="cpu").predict(**call), first)
    wide = np.zeros((2, 20, 60, 3), np.uint8)
    assert gw.Policy(str(folder), device="cpu").predict(wide, states).shape == (2, CHUNK, 2)


def test_what_it_is_and_what_it_does_not_do(folder, given, recorded, tmp_path):  # noqa: F811
    images, states, noise = given
    card = gw.run(gw.ModelsInfo(name=str(folder)))
    assert card.kind == "robot policy" and "chunks of 5" in card.details["actions"]
    policy = gw.Policy(str(folder), device="cpu")
    refused = "is PI0 of transformers, a vision-language-action model"
    for call in (lambda: policy.fit(recorded), policy.success, lambda: setattr(policy, "scale", 0)):
        with pytest.raises(BadInput, match=refused):
            call()
    with pytest.raises(BadInput, match=refused):
        gw.run(gw.Fit(data=str(recorded), model=str(folder), out=tmp_path / "out"))
    for wrong, match in (
        ({"states": states[:, :2]}, "3 numbers"),
        ({"states": states[:1]}, "2 observations"),
        ({"states": states * np.nan}, "not finite"),
        ({"noise": noise[:, :2]}, "noise of the shape"),
        ({"images": [[images[0, 0]], []]}, "same number of cameras"),
        ({"prompt": "cube " * 300}, "prompt has"),
    ):
        call = {"images": images[:, 0], "states": states, "prompt": "cube", "noise": noise} | wrong
        with pytest.raises(BadInput, match=match):
            policy.predict(**call)
    with pytest.raises(BadInput, match="takes no prompt"):
        gw.Policy(device="cpu").predict(np.zeros((1, 64, 64, 3), np.uint8), [[0, 0, 0]], prompt="a")


def test_a_damaged_folder(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "a")
    (broken / "processor_config.json").write_text(json.dumps(STATISTICS | {"state_std": [1.0]}))
    with pytest.raises(BadFile, match="lists of numbers that fit"):
        gw.Policy(str(broken))
    (broken / "processor_config.json").unlink()
    assert gw.Policy(str(broken), device="cpu").predict(
        np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros((1, 4))
    ).shape == (1, CHUNK, 3)
    for path in broken.glob("token*"):
        path.unlink()
    with pytest.raises(BadFile, match="tokenizer"):
        gw.Policy(str(broken))
