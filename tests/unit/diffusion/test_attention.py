"""Keys and values that are kept: the same result, computed once."""

import pytest
import torch
from tests.pipelines import noise_of, tiny_unet

from graftwerk.diffusion.prompts import TextStates
from graftwerk.diffusion.unet import NetworkDenoiser, keep_prompts

pytestmark = pytest.mark.usefixtures("one_thread")


def count_calls(unet):
    """How often each cross-attention computes keys."""
    calls = []
    for name, layer in unet.named_modules():
        if name.endswith("attn2.to_k"):
            layer.register_forward_hook(lambda *_: calls.append(1))
    return calls


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_same_values_as_diffusers_computed_once() -> None:
    unet = tiny_unet()
    texts = TextStates(random(2, 5, 32))
    plain = NetworkDenoiser(unet, noise_of(), texts)
    x = random(4, 4, 8, 8)
    with torch.inference_mode():
        expected = [plain(x, sigma) for sigma in (9.0, 3.0, 0.5)]
        assert keep_prompts(unet)
        keeping = NetworkDenoiser(unet, noise_of(), texts, keeps_prompts=True)
        calls = count_calls(unet)
        layers = sum(name.endswith("attn2") for name, _ in unet.named_modules())
        for sigma, other in zip((9.0, 3.0, 0.5), expected, strict=True):
            assert torch.allclose(keeping(x, sigma), other, atol=2e-5)
        assert len(calls) == layers
        keeping(x[:2], 3.0)  # another batch has keys of its own
        assert len(calls) == 2 * layers


def test_another_prompt_has_keys_of_its_own() -> None:
    unet = tiny_unet()
    assert keep_prompts(unet)
    x = random(1, 4, 8, 8)
    with torch.inference_mode():
        found = []
        for seed in (1, 2):
            texts = TextStates(random(1, 5, 32, seed=seed))
            found.append(NetworkDenoiser(unet, noise_of(), texts, keeps_prompts=True)(x, 3.0))
            plain = NetworkDenoiser(unet, noise_of(), texts)(x, 3.0)
            assert torch.allclose(found[-1], plain, atol=2e-5)
    assert not torch.allclose(*found, atol=1e-3)


def test_nothing_is_kept_while_gradients_are_recorded() -> None:
    unet = tiny_unet().requires_grad_(False)
    assert keep_prompts(unet)
    denoise = NetworkDenoiser(unet, noise_of(), TextStates(random(1, 5, 32)), keeps_prompts=True)
    with torch.inference_mode():
        before = denoise(random(1, 4, 8, 8), 3.0)
    x = random(1, 4, 8, 8).requires_grad_()
    denoise(x, 3.0).sum().backward()
    assert bool(x.grad.abs().sum() > 0)
    for name, layer in unet.named_modules():
        if name.endswith("attn2.to_v"):
            layer.weight.data *= 2
    with torch.enable_grad():
        assert not torch.allclose(denoise(random(1, 4, 8, 8), 3.0), before, atol=1e-4)


def test_attention_of_another_kind_is_left_alone() -> None:
    from diffusers.models.attention_processor import AttnProcessor

    unet = tiny_unet()
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.set_processor(AttnProcessor())
    before = dict(unet.attn_processors)
    assert not keep_prompts(unet)
    assert unet.attn_processors == before


def test_attention_with_norms_of_its_own_is_left_alone() -> None:
    unet = tiny_unet()
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    layer.norm_cross = torch.nn.LayerNorm(32)
    assert not keep_prompts(unet)
