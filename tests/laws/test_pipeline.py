"""The zero law asked of the public API: `gw.Pipeline` and everything that can be put on it."""

import pytest
import torch
from PIL import Image
from tests import networks, pipelines

import graftwerk as gw
from graftwerk.adapters.lora import Rank, install
from graftwerk.adapters.manifest import Adapter
from graftwerk.controlnet.branch import Shape, weights_of
from graftwerk.controlnet.checkpoint import write_controlnet
from graftwerk.controlnet.transformer import new_branch
from graftwerk.errors import BadInput, UnknownName, WrongBase

LOOK = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
KINDS = ("lora", "control", "guide", "guide of latents", "guide of images", "autoguide")


WRITERS = {"U-Net": pipelines.write_text_pipeline, "SD3": pipelines.write_sd3_pipeline}
FORMS = {
    "unet": (pipelines.tiny_unet, WRITERS["U-Net"]),
    "transformer": (pipelines.tiny_sd3, WRITERS["SD3"]),
}


@pytest.fixture(scope="module", params=WRITERS)
def folder(tmp_path_factory, request):
    return WRITERS[request.param](tmp_path_factory.mktemp("law") / "pipeline")


@pytest.fixture(scope="module")
def make(folder, tmp_path_factory):
    """Makes an adapter of a kind at a scale."""
    model = gw.Pipeline(folder, device="cpu").steered.frozen
    locations = tmp_path_factory.mktemp("adapters")
    generator = torch.Generator().manual_seed(4)
    lora = install(model.unet, Rank(2), generator, model.fingerprint)
    with torch.no_grad():
        for weight in lora.parameters().values():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    lora.save(locations / "lora", model.name, {}, part=model.trunk)
    lora.remove()
    branch = new_branch(model, Shape(model.factor), generator)
    with torch.no_grad():
        for weight in weights_of(branch).values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    (locations / "branch").mkdir()
    write_controlnet(locations / "branch", branch, model.unet)

    tiny, write = FORMS[model.trunk]
    weak = pipelines.random_network(tiny, seed=3)
    write(locations / "weak", **{model.trunk: weak})

    def adapter(kind, scale):
        if kind == "autoguide":
            return gw.Autoguide(locations / "weak", scale)
        if kind == "lora":
            return gw.Lora(locations / "lora", scale)
        if kind == "control":
            return gw.ControlNet(locations / "branch", condition="depth")(LOOK, weight=scale)
        if kind == "guide of images":
            return gw.Guide(lambda images: -images.mean(dim=(1, 2, 3)), 5 * scale, reads="images")
        reads = "latents" if kind == "guide of latents" else "noisy"
        return gw.Guide(lambda x, sigma: x.mean(dim=(1, 2, 3)), 0.2 * scale, reads=reads)

    return adapter


def latents(pipe):
    return pipe.generate("a red cube", n=2, steps=3, seed=5, cfg=3.0, check=False).latents


def hash_of(pipe):
    model = pipe.steered.frozen
    return [networks.hash_of(model.unet), networks.hash_of(model.decoder)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_zero_law(folder, make, kind):
    pipe = gw.Pipeline(folder, device="cpu")
    weights, modules = hash_of(pipe), dict(pipe.steered.frozen.unet.named_modules())
    frozen = latents(pipe)
    zero, work = make(kind, 0.0), make(kind, 1.0)
    assert isinstance(work, Adapter) and zero.is_zero and not work.is_zero
    assert torch.equal(latents(pipe.with_(zero)), frozen)
    steered = pipe.with_(work)
    assert not torch.equal(latents(steered), frozen)
    assert torch.equal(latents(pipe), frozen)
    assert torch.equal(latents(work.remove(steered)), frozen)
    assert torch.equal(latents(steered.without()), frozen)
    assert torch.equal(latents(steered), latents(pipe.with_(work)))
    assert hash_of(pipe) == weights
    now = dict(pipe.steered.frozen.unet.named_modules())
    assert now.keys() == modules.keys() and all(now[name] is modules[name] for name in now)


def test_at_zero_the_images_are_the_frozen_model_s_too(folder, make):
    pipe = gw.Pipeline(folder, device="cpu")
    zeros = [make(kind, 0.0) for kind in KINDS]
    plain, steered = (
        one.generate("a red cube", n=2, steps=3) for one in (pipe, pipe.with_(*zeros))
    )
    assert [i.tobytes() for i in plain.images] == [i.tobytes() for i in steered.images]


def test_all_together_and_one_taken_off(folder, make):
    pipe = gw.Pipeline(folder, device="cpu")
    adapters = [make(kind, 0.1) for kind in KINDS]
    everything = pipe.with_(*adapters)
    for number, adapter in enumerate(adapters):
        rest = adapters[:number] + adapters[number + 1 :]
        assert torch.equal(latents(everything.without(adapter)), latents(pipe.with_(*rest)))


def test_weights_of_a_control_s_connections(folder, make):
    pipe = gw.Pipeline(folder, device="cpu")
    plain, even = latents(pipe), latents(pipe.with_(make("control", 1.0)))
    count = len(pipe.with_(make("control", 1.0)).steered.controls[0].branch.branch.joins)
    zero = make("control", (0.0,) * count)
    assert zero.is_zero and torch.equal(latents(pipe.with_(zero)), plain)
    assert torch.equal(latents(pipe.with_(make("control", (1.0,) * count))), even)
    single = [(*(0.0,) * n, 1.0, *(0.0,) * (count - 1 - n)) for n in range(count)]
    different = [latents(pipe.with_(make("control", weights))) for weights in single]
    for number, found in enumerate(different):
        assert not any(torch.equal(found, other) for other in [plain, even, *different[:number]])
    falling = tuple(0.825 ** (count - 1 - number) for number in range(count))
    soft = latents(pipe.with_(make("control", "soft")))
    assert torch.equal(soft, latents(pipe.with_(make("control", falling))))
    of_all = pipe.with_(make("control", 1.0)).generate(
        "a red cube", n=2, steps=3, seed=5, cfg=3.0, check=False, control_mode="prompt"
    )
    assert torch.equal(soft, of_all.latents)
    with pytest.raises(BadInput, match=f"has {count + 1} weights; its branch has {count}"):
        latents(pipe.with_(make("control", (1.0,) * (count + 1))))


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_options_of_guidance_at_zero(folder, cfg):
    pipe = gw.Pipeline(folder, device="cpu")

    def latents(**options):
        return pipe.generate("a red cube", n=2, steps=3, cfg=cfg, **options).latents

    assert torch.equal(latents(), latents(pag=0.0, cfg_rescale=0.0, pag_layers=["down"]))
    if cfg == 1:
        with pytest.raises(BadInput, match="acts only with `cfg` other than 1"):
            latents(cfg_rescale=0.7)
    else:
        assert not torch.equal(latents(cfg_rescale=0.7), latents())
    assert not torch.equal(latents(pag=2.0), latents())
    with pytest.raises(UnknownName, match="layer of self-attention"):
        latents(pag=2.0, pag_layers=[""])  # would be a part of every name
    assert not torch.equal(latents(pag=2.0, cfg_rescale=0.7), latents(pag=2.0))
    narrow = latents() if cfg == 1 else latents(cfg_interval=":1e-9")
    assert torch.equal(latents(pag=2.0, cfg_interval=":1e-9"), narrow)


def test_frozen_weights_are_shared(folder, make):
    pipe = gw.Pipeline(folder, device="cpu")
    steered = pipe.with_(make("lora", 1.0)).steered.model.unet
    own = {id(weight) for weight in pipe.steered.frozen.unet.parameters()}
    assert own < {id(weight) for weight in steered.parameters()}
    assert not any(weight.requires_grad for weight in steered.parameters())


@pytest.mark.parametrize("kind", ["lora"])
def test_another_base_is_refused_by_name(folder, tmp_path, make, kind):
    trunk = gw.Pipeline(folder, device="cpu").steered.frozen.trunk
    tiny, write = FORMS[trunk]
    network = tiny()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.01)
    other = gw.Pipeline(write(tmp_path / "other", **{trunk: network}), device="cpu")
    with pytest.raises(WrongBase) as caught:
        other.with_(make(kind, 0.0))
    assert other.fingerprint[:12] in str(caught.value)
