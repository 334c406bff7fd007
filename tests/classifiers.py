"""Tiny random image classifiers of every type that the library knows, as folders."""

import json
from pathlib import Path
from typing import Any

import torch

CLASSES = ("cat, house cat", "chocolate sauce, chocolate syrup", "crane")
_TOKENS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
_STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_WINDOWS = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 2,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "beit": _TOKENS | {"use_mean_pooling": True},
    "bit": {"embedding_size": 8, "hidden_sizes": [32, 32], "depths": [1, 1], "num_groups": 4},
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "deit": _TOKENS,
    "dinov2": _TOKENS,
    "dinov2_with_registers": _TOKENS,
    "efficientnet": {
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "image_size": 32,
        "hidden_dim": 1280,
        "in_channels": [32, 8],
        "out_channels": [8, 16],
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "depthwise_padding": [],
    },
    "focalnet": {
        "image_size": 32,
        "embed_dim": 8,
        "depths": [1, 1],
        "hidden_sizes": [8, 16],
        "focal_levels": [1, 1],
        "focal_windows": [3, 3],
    },
    "hiera": {
        "image_size": [32, 32],
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 1],
        "patch_stride": [4, 4],
        "masked_unit_size": [2, 2],
        "query_stride": [2, 2],
        "num_query_pool": 1,
    },
    "ijepa": _TOKENS,
    "levit": {
        "image_size": 64,
        "hidden_sizes": [16, 16, 16],
        "num_attention_heads": [1, 1, 1],
        "depths": [1, 1, 1],
        "key_dim": [4, 4, 4],
    },
    "mobilenet_v1": {"depth_multiplier": 0.1, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.1, "image_size": 32},
    "mobilevit": {
        "image_size": 32,
        "hidden_sizes": [16, 16, 16],
        "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
        "num_attention_heads": 2,
    },
    "poolformer": _STAGES,
    "pvt_v2": _STAGES | {"image_size": 32, "num_attention_heads": [1, 1, 1, 1]},
    "regnet": _STAGES | {"embedding_size": 8, "groups_width": 8},
    "resnet": {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
    "swiftformer": {"image_size": 32, "depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "vit": _TOKENS,
    "vit_msn": _TOKENS,
}


def write_classifier(
    folder: Path, kind: str, head: bool = True, seed: int = 0, side: int | None = None
) -> Path:
    """A folder of that type, as transformers writes it; without a head it is a bare backbone."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from graftwerk.models.image_encoder import IMAGE_MODELS

    names = dict(enumerate(CLASSES))
    config = CONFIG_MAPPING[kind](**CONFIGS[kind])
    config.id2label, config.label2id = names, {name: number for number, name in names.items()}
    known = IMAGE_MODELS[kind]
    torch.manual_seed(seed)
    network = getattr(transformers, known.classifier if head else known.network)(config)
    for module in network.modules():  # as the library draws them, deep ones answer nothing but 0
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    network.save_pretrained(folder)
    side = side or (64 if kind == "levit" else 32)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
