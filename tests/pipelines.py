"""Tiny pipelines with random weights, in the layout of diffusers."""

import json
import string
from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "red", "blue", "green", "cube", "sphere", "cone", "and", "on", "grass", "snow"]
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def write_scheduler(folder: Path, **changes: Any) -> None:
    """Write the scheduler's configuration of a pipeline."""
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER | changes))


def random_network(make: Any, seed: int = 7) -> Any:
    """A network with random weights, biases and norms too, so that a mistake in any shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make().eval()
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def tiny_unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    return random_network(lambda: UNet2DConditionModel(**(settings | changes)))


def tiny_vae(channels: int = 4, widths: tuple[int, ...] = (16, 16)) -> Any:
    from diffusers import AutoencoderKL

    return random_network(
        lambda: AutoencoderKL(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            latent_channels=channels,
            norm_num_groups=8,
            sample_size=8 * 2 ** (len(widths) - 1),
        )
    )


def tiny_tokenizer(length: int = 16) -> Any:
    """A CLIP tokenizer that knows `WORDS` and, beyond them, single letters."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        symbols = [*word[:-1], f"{word[-1]}</w>"]
        while len(symbols) > 1:
            pair, symbols = symbols[:2], ["".join(symbols[:2]), *symbols[2:]]
            if tuple(pair) not in merges:
                merges.append(tuple(pair))
            if symbols[0] not in pieces:
                pieces.append(symbols[0])
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def tiny_text_encoder(
    vocabulary: int, width: int = 32, projected: int | None = None, length: int = 16
) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=length,
        projection_dim=projected or width,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
    )
    kind = CLIPTextModel if projected is None else CLIPTextModelWithProjection
    return random_network(lambda: kind(config))


def write_text_pipeline(
    folder: Path, *, unet: Any = None, vae: Any = None, length: int = 16
) -> Path:
    """A `StableDiffusionPipeline` that draws 16 x 16 images; returns its folder."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = tiny_tokenizer(length)
    unet = unet or tiny_unet()
    StableDiffusionPipeline(
        vae=vae or tiny_vae(unet.config.in_channels),
        text_encoder=tiny_text_encoder(
            len(tokenizer), unet.config.cross_attention_dim, length=length
        ),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler.from_config(SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def control_request(images: Path, pipeline: Path, out: Path, **changes: Any) -> Any:
    """A short `control train` on captioned images."""
    from graftwerk.requests.control import ControlTrain

    settings: dict[str, Any] = {
        "data": images,
        "model": str(pipeline),
        "condition": "canny",
        "out": out,
        "steps": 4,
        "batch": 2,
        "held_out": 4,
        "measurements": 2,
        "device": "cpu",
        "precision": "float32",
    }
    return ControlTrain(**(settings | changes))


def write_xl_pipeline(folder: Path) -> Path:
    """A `StableDiffusionXLPipeline` that draws 16 x 16 images; returns its folder."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    tokenizer = tiny_tokenizer()
    unet = tiny_unet(
        cross_attention_dim=56,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
    )
    StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(len(tokenizer), 32),
        text_encoder_2=tiny_text_encoder(len(tokenizer), 24, projected=20),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            timestep_spacing="leading",
        ),
    ).save_pretrained(folder)
    return folder


def write_pixel_pipeline(folder: Path) -> Path:
    """A `DDPMPipeline` that draws 8 x 8 images; returns its folder."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    def make() -> Any:
        return UNet2DModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
        )

    DDPMPipeline(unet=random_network(make), scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


def noise_of(**changes: Any) -> Any:
    """The noise of `SCHEDULER` with other options."""
    from graftwerk.diffusion.noise_schedule import read_noise

    return read_noise(SCHEDULER | changes, Path("scheduler_config.json"))


def tiny_t5_tokenizer() -> Any:
    """A T5 tokenizer that knows `WORDS` and single letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import T5TokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS)]
    pieces += list(string.ascii_lowercase)
    scored = [(piece, -float(len(pieces) - number)) for number, piece in enumerate(pieces)]
    made = Tokenizer(models.Unigram(scored, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(tokenizer_object=made, extra_ids=0)


def tiny_t5(vocabulary: int, width: int = 32) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return random_network(lambda: T5EncoderModel(config))


def flow_scheduler(**options: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**({"shift": 3.0} | options))


def shifted_vae(channels: int = 4) -> Any:
    """An autoencoder with the scale and shift of its latents, as SD3 and Flux have."""
    vae = tiny_vae(channels)
    vae.register_to_config(scaling_factor=1.5, shift_factor=0.06)
    return vae


def tiny_sd3(**changes: Any) -> Any:
    from diffusers import SD3Transformer2DModel

    settings = {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 4,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 48,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 36,
        "pos_embed_max_size": 16,
        "dual_attention_layers": (0,),
        "qk_norm": "rms_norm",
    }
    return random_network(lambda: SD3Transformer2DModel(**(settings | changes)))


def write_sd3_pipeline(
    folder: Path, *, t5: bool = True, transformer: Any = None, vae: Any = None, **options: Any
) -> Path:
    """A `StableDiffusion3Pipeline` that draws 16 x 16 images; returns its folder."""
    from diffusers import StableDiffusion3Pipeline

    tokenizer, t5_tokenizer = tiny_tokenizer(), tiny_t5_tokenizer()
    StableDiffusion3Pipeline(
        transformer=transformer or tiny_sd3(),
        scheduler=flow_scheduler(**options),
        vae=vae or shifted_vae(),
        text_encoder=tiny_text_encoder(len(tokenizer), 20, projected=20),
        tokenizer=tokenizer,
        text_encoder_2=tiny_text_encoder(len(tokenizer), 24, projected=16),
        tokenizer_2=tokenizer,
        text_encoder_3=tiny_t5(len(t5_tokenizer), 48) if t5 else None,
        tokenizer_3=t5_tokenizer if t5 else None,
    ).save_pretrained(folder)
    return folder


def write_flux_pipeline(
    folder: Path, *, distilled: bool = True, layers: tuple[int, int] = (1, 1), **options: Any
) -> Path:
    """A `FluxPipeline` with tiny parts; returns its folder."""
    from diffusers import FluxPipeline, FluxTransformer2DModel

    tokenizer, t5_tokenizer = tiny_tokenizer(), tiny_t5_tokenizer()

    def make() -> Any:
        return FluxTransformer2DModel(
            in_channels=16,
            num_layers=layers[0],
            num_single_layers=layers[1],
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=24,
            guidance_embeds=distilled,
            axes_dims_rope=(4, 4, 8),
        )

    FluxPipeline(
        transformer=random_network(make),
        scheduler=flow_scheduler(**({"use_dynamic_shifting": True} | options)),
        vae=shifted_vae(),
        text_encoder=tiny_text_encoder(len(tokenizer), 24),
        tokenizer=tokenizer,
        text_encoder_2=tiny_t5(len(t5_tokenizer)),
        tokenizer_2=t5_tokenizer,
    ).save_pretrained(folder)
    return folder


CLASSES = {0: "cube, block", 1: "sphere"}


def write_dit_pipeline(folder: Path, scheduler: Any = None) -> Path:
    """A `DiTPipeline` of 1,000 classes that draws 16 x 16 images; returns its folder."""
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    def make() -> Any:
        return DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            norm_num_groups=4,
            sample_size=8,
        )

    DiTPipeline(
        transformer=random_network(make),
        vae=tiny_vae(),
        scheduler=scheduler or DDIMScheduler(clip_sample=False),
    ).save_pretrained(folder)
    index = folder / "model_index.json"  # where the published folders name their classes
    index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": CLASSES}))
    return folder
