"""Every form in which LoRAs come gives what peft or diffusers computes with it."""

import json
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from graftwerk.adapters.lora import make_low_rank
from graftwerk.adapters.lora_files import read_lora
from graftwerk.adapters.lora_location import lora_file
from graftwerk.adapters.peft_format import settle
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.errors import BadFile, Damaged

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]
NEAR = 1e-5
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def unet_of(pipeline):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(pipeline / "unet")


def run_unet(unet):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    states = torch.randn(2, 5, 32, generator=generator)
    with torch.inference_mode():
        return unet(x, torch.tensor([20.0, 700.0]), encoder_hidden_states=states).sample


def run_text(encoder):
    with torch.inference_mode():
        return encoder(torch.tensor([[1, 2, 3, 4]])).last_hidden_state


def ours(model, lora):
    """The networks with a LoRA, by part."""
    networks = dict(model.networks)
    for part, adapter in read_lora(lora, networks, model.name).items():
        steer = make_low_rank(networks[part], settle(adapter, networks[part]))
        networks[part] = steer.apply(networks[part])
    return networks


@pytest.fixture(scope="module")
def model(text_pipeline):
    return load_diffusion(str(text_pipeline), "cpu")


def fill(tensors, seed=5):
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        tensor.data.copy_(0.3 * torch.randn(tensor.shape, generator=generator))


def write_peft(pipeline, folder, **options):
    """A trained adapter of peft; returns what peft computes with it once it is loaded again."""
    given = {"r": 4, "lora_alpha": 3, "target_modules": ATTENTION}
    torch.manual_seed(0)
    tuned = get_peft_model(unet_of(pipeline), LoraConfig(**(given | options)))
    fill([p for n, p in tuned.named_parameters() if "lora_A" in n or "lora_B" in n])
    for name, parameter in tuned.named_parameters():
        if "magnitude" in name:
            parameter.data.mul_(1.3)
    tuned.save_pretrained(folder)
    return run_unet(PeftModel.from_pretrained(unet_of(pipeline), folder).base_model.model)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha_pattern": {r"down_blocks\..*\.attn1\.to_q": 32}, "rank_pattern": {r".*to_k": 2}},
        {"alpha_pattern": {"attn1.to_q": 32, "to_q": 8, "to_v": 64}},
        {"alpha_pattern": {r"^down_blocks\.0\.attentions\.0\..*": 20}},
        {"use_rslora": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora", "use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"use_dora": True},
        {"use_dora": True, "target_modules": ["conv1", "to_q"]},
        {"target_modules": ["conv1", "conv2", "proj_in"], "rank_pattern": {"conv1": 2}},
    ],
)
def test_folders_of_peft(model, text_pipeline, tmp_path, options) -> None:
    expected = write_peft(text_pipeline, tmp_path / "lora", **options)
    found = run_unet(ours(model, tmp_path / "lora")["unet"])
    assert (found - expected).abs().max() < NEAR
    assert (found - run_unet(model.unet)).abs().max() > 1000 * NEAR


@pytest.mark.parametrize("start", ["pissa_niter_4", "corda", "loftq", "lora_ga", "new"])
def test_starts_that_cannot_be_made_again(model, text_pipeline, tmp_path, start) -> None:
    write_peft(text_pipeline, tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": start}))
    with pytest.raises(BadFile, match=f"init_lora_weights='{start}'"):
        ours(model, tmp_path / "lora")


@pytest.mark.parametrize(
    ("pattern", "message"), [("(a+)+b", "for ever"), ("q" * 501, "for ever"), ("(", "be read")]
)
def test_patterns_that_are_refused(model, text_pipeline, tmp_path, pattern, message) -> None:
    write_peft(text_pipeline, tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"alpha_pattern": {pattern: 2}}))
    with pytest.raises(BadFile, match=message):
        ours(model, tmp_path / "lora")


def pairs_of(network, ends, rank=3, seed=9):
    """`A` and `B` of the layers whose paths end so."""
    generator = torch.Generator().manual_seed(seed)
    for path, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if path.endswith(tuple(ends)) and weight is not None and weight.ndim > 1:
            down = 0.3 * torch.randn(rank, *weight.shape[1:], generator=generator)
            up = 0.3 * torch.randn(len(weight), rank, generator=generator)
            yield path, down, up.view(*up.shape, *(1,) * (weight.ndim - 2))


def kohya(model, ends=ATTENTION, text=True, alphas=(2,)):
    state = {}
    parts = [("lora_unet_", model.unet, ends)]
    if text:
        parts.append(("lora_te_text_model_", model.networks["text_encoder"], ["_proj", ".fc1"]))
    for prefix, network, chosen in parts:
        for path, down, up in pairs_of(network, chosen):
            name = prefix + path.removeprefix("text_model.").replace(".", "_")
            state |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
            state[f"{name}.alpha"] = torch.tensor(float(alphas[len(state) % len(alphas)]))
    return state


def theirs(pipeline, file):
    """U-Net and text encoder of diffusers' pipeline with a LoRA."""
    from diffusers import StableDiffusionPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionPipeline.from_pretrained(pipeline)
        pipe.load_lora_weights(file.parent, weight_name=file.name)
    return run_unet(pipe.unet), run_text(pipe.text_encoder)


def require_same(model, pipeline, file):
    found = ours(model, file)
    expected = theirs(pipeline, file)
    assert (run_unet(found["unet"]) - expected[0]).abs().max() < NEAR
    assert (run_text(found["text_encoder"]) - expected[1]).abs().max() < NEAR
    assert (run_unet(model.unet) - expected[0]).abs().max() > 1000 * NEAR
    return expected


@pytest.mark.parametrize("ends", [ATTENTION, [*ATTENTION, "conv1", "conv2", "proj_in", "proj"]])
def test_files_of_kohya_and_locon(model, text_pipeline, tmp_path, ends) -> None:
    save_file(kohya(model, ends), tmp_path / "style.safetensors")
    expected = require_same(model, text_pipeline, tmp_path / "style.safetensors")
    assert not torch.equal(run_text(model.networks["text_encoder"]), expected[1])


def test_each_layer_has_its_own_alpha(model, tmp_path) -> None:
    """Diffusers 0.42 gives most of them the commonest one, so the file itself is the reference."""
    state = kohya(model, alphas=(1, 2, 3, 4))
    save_file(state, tmp_path / "style.safetensors")
    for part, adapter in read_lora(tmp_path / "style.safetensors", model.networks, "x").items():
        prefix = "lora_unet_" if part == "unet" else "lora_te_text_model_"
        for path, scaling in adapter.scalings.items():
            name = prefix + path.removeprefix("text_model.").replace(".", "_")
            assert scaling == float(state[f"{name}.alpha"]) / 3
        assert len(set(adapter.scalings.values())) == 4


def test_the_only_file_of_a_folder_is_taken(model, tmp_path) -> None:
    save_file(kohya(model), tmp_path / "style.safetensors")
    assert lora_file(tmp_path) == tmp_path / "style.safetensors"
    save_file(kohya(model), tmp_path / "other.safetensors")
    with pytest.raises(BadFile, match="holds 2 safetensors"):
        lora_file(tmp_path)


@pytest.mark.parametrize("years", [2023, 2024, 2026])
def test_files_of_diffusers(model, text_pipeline, tmp_path, years) -> None:
    state = {}
    for path, down, up in pairs_of(model.unet, ATTENTION):
        if years == 2023:
            parent, _, name = path.removesuffix(".0").rpartition(".")
            name, halves = f"{parent}.processor.{name}_lora", ("down", "up")
        else:
            name, halves = path, ("lora.down", "lora.up") if years == 2024 else ("lora_A", "lora_B")
        for half, tensor in zip(halves, (down, up), strict=True):
            state[f"unet.{name}.{half}.weight"] = tensor
    file = tmp_path / "pytorch_lora_weights.safetensors"
    config = {"unet.r": 3, "unet.lora_alpha": 12, "unet.target_modules": ATTENTION}
    metadata = {"lora_adapter_metadata": json.dumps(config)} if years == 2026 else None
    save_file(state, file, metadata)
    require_same(model, text_pipeline, file)


def test_dora_of_lycoris(model, tmp_path) -> None:
    """Diffusers leaves `dora_scale` out with a warning; it is the length of an output's row."""
    state = kohya(model, ["attn1.to_q"], text=False)
    expected = {}
    for path, down, up in pairs_of(model.unet, ["attn1.to_q"]):
        name = f"lora_unet_{path.replace('.', '_')}"
        weight = model.unet.get_submodule(path).weight
        scale = torch.linspace(0.5, 2, len(weight))[:, None]
        state[f"{name}.dora_scale"] = scale
        changed = weight + float(state[f"{name}.alpha"]) / 3 * up @ down
        expected[path] = changed / changed.norm(dim=1, keepdim=True) * scale
    save_file(state, tmp_path / "dora.safetensors")
    unet = ours(model, tmp_path / "dora.safetensors")["unet"]
    for path, weight in expected.items():
        values = torch.randn(4, weight.shape[1], generator=torch.Generator().manual_seed(1))
        layer = unet.get_submodule(path)
        assert (layer(values) - values @ weight.T).abs().max() < NEAR


def test_names_of_sgm(xl_pipeline, tmp_path) -> None:
    """SDXL's files often number the blocks as its first code did."""
    model = load_diffusion(str(xl_pipeline), "cpu")
    there = {
        "down_blocks_0_attentions_0": "input_blocks_1_1",
        "mid_block_attentions_0": "middle_block_1",
        "up_blocks_1_attentions_1": "output_blocks_3_1",
        "up_blocks_1_resnets_0_conv1": "output_blocks_2_0_in_layers_2",
    }
    plain, sgm = {}, {}
    for path, down, up in pairs_of(model.unet, [*ATTENTION, "up_blocks.1.resnets.0.conv1"]):
        name = path.replace(".", "_")
        other = next((name.replace(a, b) for a, b in there.items() if name.startswith(a)), None)
        if other is not None:
            for target, key in ((plain, name), (sgm, other)):
                target[f"lora_unet_{key}.lora_down.weight"] = down
                target[f"lora_unet_{key}.lora_up.weight"] = up
    assert len(plain) > 10
    save_file(plain, tmp_path / "plain.safetensors")
    save_file(sgm, tmp_path / "sgm.safetensors")
    one, other = (
        read_lora(tmp_path / f"{name}.safetensors", model.networks, "xl")["unet"]
        for name in ("plain", "sgm")
    )
    assert one.pairs.keys() == other.pairs.keys()
    assert all(torch.equal(one.pairs[path][0], other.pairs[path][0]) for path in one.pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_unet_mid_block_nothing.lora_down.weight": torch.ones(3, 16)}, "nothing"),
        ({"lora_unet_conv_in.hada_w1_a": torch.ones(3, 16)}, "hada_w1_a"),
        ({"lora_te2_encoder_layers_0.lora_down.weight": torch.ones(3, 16),
          "lora_te2_encoder_layers_0.lora_up.weight": torch.ones(3, 3)}, "text_encoder_2"),
        ({"lora_unet_conv_in.lora_down.weight": torch.ones(3, 4, 3, 3)}, "holds only A"),
        ({"lora_unet_conv_in.lora_down.weight": torch.ones(3, 4, 1, 1),
          "lora_unet_conv_in.lora_up.weight": torch.ones(16, 3, 1, 1)}, "conv_in"),
    ],
)  # fmt: skip
def test_files_that_are_refused(model, tmp_path, change, message) -> None:
    save_file(kohya(model, text=False) | change, tmp_path / "lora.safetensors")
    with pytest.raises(BadFile, match=message):
        ours(model, tmp_path / "lora.safetensors")


def test_a_pickle_is_refused_with_the_line_that_converts(tmp_path) -> None:
    (tmp_path / "style.bin").write_bytes(b"pickle")
    with pytest.raises(BadFile, match="save_file"):
        lora_file(tmp_path / "style.bin")


def test_values_that_are_no_numbers(model, tmp_path) -> None:
    state = kohya(model, text=False)
    next(iter(state.values()))[0, 0] = float("nan")
    save_file(state, tmp_path / "lora.safetensors")
    with pytest.raises(Damaged, match="not numbers"):
        ours(model, tmp_path / "lora.safetensors")


def test_a_scale_of_dora_is_that_of_peft(model, text_pipeline, tmp_path) -> None:
    write_peft(text_pipeline, tmp_path / "lora", use_dora=True)
    tuned = PeftModel.from_pretrained(unet_of(text_pipeline), tmp_path / "lora")
    for module in tuned.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(0.5)
    [adapter] = read_lora(tmp_path / "lora", model.networks, "x").values()
    steer = make_low_rank(model.unet, settle(adapter, model.unet, 0.5))
    found = run_unet(steer.apply(model.unet))
    assert (found - run_unet(tuned.base_model.model)).abs().max() < NEAR


def test_files_are_read_alone(tmp_path, model) -> None:
    """What is written is what is read: nothing of the file is left over."""
    save_file(kohya(model), tmp_path / "lora.safetensors")
    found = read_lora(tmp_path / "lora.safetensors", model.networks, "x")
    pairs = sum(len(adapter.pairs) for adapter in found.values())
    assert 3 * pairs == len(load_file(tmp_path / "lora.safetensors"))
