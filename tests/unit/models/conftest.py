"""Tiny random models on disk, and a cache of their own for the tests that fill it."""

import json
import string

import pytest
import torch

from graftwerk.settings import settings

WORDS = ["cat", "dog", "red", "cube", "sits", "on", "the", "mat", "runs", "blue", "cone"]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFTWERK_CACHE", str(tmp_path / "cache"))
    settings.cache_clear()
    yield tmp_path / "cache"
    monkeypatch.undo()
    settings.cache_clear()


def write_tokenizer(folder, max_length):
    """A word-piece tokenizer that knows `WORDS` and single letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.ascii_lowercase, *WORDS]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return len(vocabulary)


def random_network(make):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = make().eval()
        # Fresh layer norms and biases are all ones and zeros, which hides mistakes.
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return network


@pytest.fixture
def write_bert(tmp_path):
    """A BERT with 2 layers of width 16 that takes 20 tokens."""

    def write(name="bert", pooling=None, prompts=None, dense=False, **settings_of_pooling):
        from transformers import BertConfig, BertModel

        folder = tmp_path / name
        folder.mkdir()
        size = write_tokenizer(folder, 20)
        config = BertConfig(
            vocab_size=size,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=32,
            max_position_embeddings=24,
        )
        random_network(lambda: BertModel(config)).save_pretrained(folder)
        if pooling is None:
            return folder
        modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
        write_json(folder / "1_Pooling" / "config.json", {
            "word_embedding_dimension": 16, "pooling_mode": pooling, **settings_of_pooling
        })  # fmt: skip
        if dense:
            width = 16 if isinstance(pooling, str) else 16 * len(pooling)
            write_dense(folder / "2_Dense", width)
            modules += [("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
        write_json(folder / "modules.json", [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ])  # fmt: skip
        write_json(folder / "config_sentence_transformers.json", {"prompts": prompts or {}})
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12})
        return folder

    return write


def write_dense(folder, width):
    from safetensors.torch import save_file

    write_json(folder / "config.json", {
        "in_features": width, "out_features": 8, "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    })  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    weights = {
        "linear.weight": torch.randn(8, width, generator=generator),
        "linear.bias": torch.randn(8, generator=generator),
    }
    save_file(weights, folder / "model.safetensors")


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 10,
}


@pytest.fixture
def write_vision(tmp_path):
    """A tiny random image or joint model of a type of `images.IMAGE_MODELS`."""

    def write(kind):
        import transformers as library

        folder = tmp_path / kind
        folder.mkdir()
        side = {"height": 16, "width": 16}
        text = TEXT
        if kind in {"clip", "siglip"}:
            size = write_tokenizer(folder, 10)
            text = {
                **TEXT,
                "vocab_size": size,
                "eos_token_id": 3,
                "bos_token_id": 2,
                "pad_token_id": 0,
            }
        processor, make = {
            "clip": (
                library.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=side),
                lambda: library.CLIPModel(
                    library.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)
                ),
            ),
            "siglip": (
                library.SiglipImageProcessorPil(size=side),
                lambda: library.SiglipModel(
                    library.SiglipConfig(text_config=text, vision_config=VISION)
                ),
            ),
            "dinov2": (
                library.BitImageProcessorPil(size={"shortest_edge": 16}, crop_size=side),
                lambda: library.Dinov2Model(library.Dinov2Config(**VISION)),
            ),
            "vit": (
                library.ViTImageProcessorPil(size=side),
                lambda: library.ViTModel(library.ViTConfig(**VISION), add_pooling_layer=False),
            ),
            "resnet": (
                library.ConvNextImageProcessorPil(size={"shortest_edge": 16}, crop_pct=1.0),
                lambda: library.ResNetModel(
                    library.ResNetConfig(
                        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
                    )
                ),
            ),
        }[kind]
        random_network(make).save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return write
