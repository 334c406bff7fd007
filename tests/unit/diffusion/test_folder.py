"""What is refused in a pipeline's folder, and how it is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from graftwerk.diffusion.checkpoint import open_pipeline
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, Damaged, GraftError

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(text_pipeline, tmp_path):
    return shutil.copytree(text_pipeline, tmp_path / "pipeline")


def change(file, **changes) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))


def test_no_folder(tmp_path) -> None:
    with pytest.raises(BadFile, match=r"no model_index\.json"):
        open_pipeline(tmp_path)
    with pytest.raises(BadFile, match="neither a built-in name nor a folder"):
        load_diffusion(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "LTXPipeline"}, "class 'LTXPipeline'"),
        ({"_class_name": ["pipeline", "Mine"]}, "class"),
        ({"_class_name": "absent"}, "class None"),
        ({"unet": ["my_code", "UNet"]}, r"asks for my_code\.UNet as unet"),
        ({"unet": ["diffusers", "FluxTransformer2DModel"]}, "FluxTransformer2DModel as unet"),
        ({"unet": ["diffusers", "UNet2DModel"]}, "UNet2DModel, not a UNet2DConditionModel"),
        ({"vae": ["diffusers", "AsymmetricAutoencoderKL"]}, "AsymmetricAutoencoderKL as vae"),
        ({"scheduler": ["my_scheduler", "Mine"]}, r"my_scheduler\.Mine as scheduler"),
        ({"extra": ["diffusers", "UNet2DModel"]}, "as extra"),
        ({"safety_checker": ["my_checker", "Mine"]}, "as safety_checker"),
        ({"vae": [None, None]}, "names no vae"),
        ({"vae": [["diffusers"], {}]}, r"asks for \['diffusers'\]\.\{\} as vae"),
        ({"scheduler": [[[]]]}, "as scheduler"),
        ({"text_encoder": "absent"}, "names no text_encoder"),
    ],
)
def test_an_index_that_asks_for_something_else(folder, changes, message) -> None:
    change(folder / "model_index.json", **changes)
    with pytest.raises(BadFile, match=message):
        open_pipeline(folder)


def test_a_safety_checker_of_the_library_is_left_out(folder) -> None:
    change(
        folder / "model_index.json",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
    )
    assert open_pipeline(folder).layout.latent


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_a_missing_part(folder, part) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(BadFile, match=f"lacks its part '{part}'"):
        load_diffusion(str(folder))


@pytest.mark.parametrize(
    "file",
    [
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        UNET,
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
    ],
)
def test_a_missing_or_cut_file(folder, file) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraftError, match=file.split("/")[0]) as cut:
        load_diffusion(str(folder), "cpu")
    assert type(cut.value) is (Damaged if file.endswith("safetensors") else BadFile)
    (folder / file).unlink()
    with pytest.raises(BadFile, match=file.split("/")[0]):
        load_diffusion(str(folder), "cpu")


def test_pickled_weights_are_not_read(folder) -> None:
    (folder / UNET).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BadFile, match="only safetensors are read"):
        load_diffusion(str(folder), "cpu")


def test_remote_code_in_a_part(folder) -> None:
    change(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "code.Model"})
    with pytest.raises(BadFile, match="code of its own"):
        load_diffusion(str(folder), "cpu")


@pytest.mark.parametrize("part", ["unet", "tokenizer/tokenizer_config"])
def test_remote_code_elsewhere(folder, part) -> None:
    file = folder / (part + ".json" if "/" in part else f"{part}/config.json")
    change(file, auto_map={"AutoModel": "code.Model"})
    with pytest.raises(BadFile, match="code of its own"):
        load_diffusion(str(folder), "cpu")


def test_weights_of_another_shape(folder) -> None:
    change(folder / "unet" / "config.json", block_out_channels=[16, 48])
    with pytest.raises(BadFile, match=r"unet do not fit its config\.json"):
        load_diffusion(str(folder), "cpu")


def test_a_missing_tensor(folder) -> None:
    state = load_file(folder / UNET)
    del state["conv_in.bias"]
    save_file(state, folder / UNET)
    with pytest.raises(BadFile, match=r"conv_in\.bias"):
        load_diffusion(str(folder), "cpu")


def test_parts_that_do_not_belong_together(folder, xl_pipeline) -> None:
    shutil.rmtree(folder / "unet")
    shutil.copytree(xl_pipeline / "unet", folder / "unet")
    with pytest.raises(BadFile, match="do not fit"):
        load_diffusion(str(folder), "cpu")


def test_a_tokenizer_that_knows_more_than_the_encoder(folder) -> None:
    from tests.pipelines import tiny_text_encoder

    tiny_text_encoder(30).save_pretrained(folder / "text_encoder")
    with pytest.raises(BadFile, match=r"knows \d+ tokens, the encoder 30"):
        load_diffusion(str(folder), "cpu")


def test_a_tokenizer_of_two_files(folder) -> None:
    """The layout of older folders: the same tokens."""
    content = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    expected = load_diffusion(str(folder), "cpu").reader.read(["a red cube"])
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(content["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in content["merges"])
    (folder / "tokenizer" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    found = load_diffusion(str(folder), "cpu").reader.read(["a red cube"])
    assert torch.equal(found.states, expected.states)


@pytest.mark.parametrize(
    ("key", "value"),
    [("class_embed_type", "timestep"), ("time_cond_proj_dim", 8), ("in_channels", 9)],
)
def test_a_unet_that_wants_more(folder, key, value) -> None:
    from tests.pipelines import tiny_unet

    tiny_unet(**{key: value}).save_pretrained(folder / "unet")
    with pytest.raises(BadFile, match=key):
        load_diffusion(str(folder), "cpu")


def test_half_precision_and_pieces_are_read(folder) -> None:
    """Both ways in which large models come give the same network, up to rounding."""
    state = load_file(folder / UNET)
    parts = {key: value.half() for key, value in state.items()}
    (folder / UNET).unlink()
    names = sorted(parts)
    pieces = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in pieces.items():
        save_file({key: parts[key] for key in keys}, folder / "unet" / file)
    index = {"weight_map": {key: file for file, keys in pieces.items() for key in keys}}
    index_file = folder / f"{UNET}.index.json"
    index_file.write_text(json.dumps(index))
    model = load_diffusion(str(folder), "cpu")
    for key, value in model.unet.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, parts[key].float())
    (folder / "unet" / "b.safetensors").unlink()
    with pytest.raises(BadFile, match=r"lacks its weights b\.safetensors"):
        load_diffusion(str(folder), "cpu")


def test_names_of_former_years(folder) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    expected = load_diffusion(str(folder), "cpu").decoder.state_dict()
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in load_file(file).items():
        for present, past in former.items():
            key = key.replace(f".{present}.", f".{past}.")
        state[key] = value
    assert any(".proj_attn." in key for key in state)
    save_file(state, file)
    found = load_diffusion(str(folder), "cpu").decoder.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_the_fingerprint_sees_weights_scheduler_and_tokenizer(folder) -> None:
    first = open_pipeline(folder).fingerprint()
    assert open_pipeline(folder).fingerprint() == first
    seen = {first}
    change(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    seen.add(open_pipeline(folder).fingerprint())
    state = load_file(folder / UNET)
    state["conv_in.bias"][0] += 1
    save_file(state, folder / UNET)
    seen.add(open_pipeline(folder).fingerprint())
    change(folder / "tokenizer" / "tokenizer_config.json", model_max_length=12)
    seen.add(open_pipeline(folder).fingerprint())
    assert len(seen) == 4


def test_a_cached_pipeline_of_the_hub_is_taken_from_the_cache(text_pipeline, monkeypatch) -> None:
    import huggingface_hub

    requested = []

    def snapshot(repository, *, local_files_only, **options):
        requested.append(local_files_only)
        return str(text_pipeline)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load_diffusion("owner/pipeline@main", "cpu").size == (16, 16)
    assert requested == [True]


@pytest.mark.parametrize("length", [-1, 1, 2])
def test_a_tokenizer_without_room_for_a_token(folder, length) -> None:
    change(folder / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(BadFile, match=rf"tokenizer reads at most {length} tokens"):
        load_diffusion(str(folder))
