"""Tiny networks with random weights, one for each family that a low-rank steer must know."""

from collections.abc import Callable
from typing import Any

import torch
from tests import pipelines

_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_PICTURE = {key: _TEXT[key] for key in list(_TEXT)[:4]} | {"image_size": 16, "patch_size": 8}


def vit() -> Any:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(**_PICTURE))


def clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=_PICTURE, projection_dim=8))


def bert() -> Any:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**_TEXT))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_TEXT))


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_embd=16,
        n_layer=2,
        n_head=2,
        vocab_size=50,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPT2LMHeadModel(config)


def patchtst() -> Any:
    from transformers import PatchTSTConfig, PatchTSTModel

    config = PatchTSTConfig(
        num_input_channels=2,
        context_length=32,
        patch_length=8,
        patch_stride=8,
        d_model=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return PatchTSTModel(config)


def segformer() -> Any:
    from transformers import SegformerConfig, SegformerModel

    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], num_attention_heads=[1, 1, 1, 1]
    )
    return SegformerModel(config)


def resnet() -> Any:
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(
        ResNetConfig(depths=[1, 2], embedding_size=8, hidden_sizes=[8, 16], layer_type="basic")
    )


def _tokens() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.arange(3, 15).view(2, 6)}


def _image() -> dict[str, torch.Tensor]:
    return {"pixel_values": _noise(2, 3, 16, 16)}


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# For each family: what makes the network, and what goes into it.
FAMILIES: dict[str, tuple[Callable[[], Any], Callable[[], dict[str, Any]]]] = {
    "vit": (vit, _image),
    "clip": (clip, lambda: _tokens() | _image()),
    "bert": (bert, _tokens),
    "llama": (llama, _tokens),
    "gpt2": (gpt2, _tokens),
    "unet": (
        pipelines.tiny_unet,
        lambda: {
            "sample": _noise(2, 4, 8, 8),
            "timestep": 10,
            "encoder_hidden_states": _noise(2, 16, 32),
        },
    ),
    "patchtst": (patchtst, lambda: {"past_values": _noise(2, 32, 2)}),
    "segformer": (segformer, lambda: {"pixel_values": _noise(2, 3, 32, 32)}),
    "resnet": (resnet, _image),
}


def make(family: str) -> Any:
    """A network of the family, frozen."""
    return pipelines.random_network(FAMILIES[family][0]).requires_grad_(False)


def run(family: str, network: Any) -> torch.Tensor:
    """Everything that the network gives for the family's inputs, in one row."""
    like = getattr(network, "dtype", torch.float32)
    given = FAMILIES[family][1]().items()
    inputs = {
        k: v.to(like) if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for k, v in given
    }
    with torch.no_grad():
        output = network(**inputs)
    tensors = [v for v in output.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]
    return torch.cat([tensor.flatten() for tensor in tensors])


def hash_of(network: Any) -> str:
    """SHA-256 of every weight and buffer with its name."""
    import hashlib

    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


WORDS = ["[UNK]", "<end>", *"abcdefghijklmnop"]


def write_language_model(folder: Any, context: int = 64) -> Any:
    """A causal language model that knows `WORDS`; returns its folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="<end>")
    fast.save_pretrained(folder)
    sizes = _TEXT | {"vocab_size": len(WORDS), "max_position_embeddings": context}
    pipelines.random_network(lambda: LlamaForCausalLM(LlamaConfig(**sizes))).save_pretrained(folder)
    return folder
