"""Every form of a LoRA beside peft and diffusers: the largest difference of what the networks give.

The data folder holds `pipe`, a pipeline of diffusers, and LoRAs of it: folders and files.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from graftwerk.adapters.lora import make_low_rank
from graftwerk.adapters.lora_files import read_lora
from graftwerk.adapters.lora_location import CONFIG
from graftwerk.adapters.peft_format import settle
from graftwerk.diffusion.pipeline import DiffusionModel, load_diffusion
from graftwerk.errors import GraftError

TOKENS = [[1, 2, 3, 4, 5]]


def outputs(unet: Any, encoder: Any) -> list[torch.Tensor]:
    """What a U-Net and a text encoder give for the same inputs."""
    generator = torch.Generator().manual_seed(3)
    config = unet.config
    side = config.sample_size if isinstance(config.sample_size, int) else config.sample_size[0]
    x = torch.randn(2, config.in_channels, side, side, generator=generator)
    states = torch.randn(2, 7, config.cross_attention_dim, generator=generator)
    with torch.inference_mode():
        noise = unet(x, torch.tensor([20.0, 700.0]), encoder_hidden_states=states).sample
        return [noise, encoder(torch.tensor(TOKENS)).last_hidden_state]


def ours(model: DiffusionModel, lora: Path) -> list[torch.Tensor]:
    networks = dict(model.networks)
    for part, adapter in read_lora(lora, networks, model.name).items():
        network = networks[part]
        networks[part] = make_low_rank(network, settle(adapter, network)).apply(network)
    return outputs(networks["unet"], networks["text_encoder"])


def theirs(pipeline: Path, lora: Path) -> list[torch.Tensor]:
    from diffusers import StableDiffusionPipeline
    from peft import PeftModel

    pipe = StableDiffusionPipeline.from_pretrained(pipeline)
    if not (lora / CONFIG).is_file():
        pipe.load_lora_weights(lora)
        return outputs(pipe.unet, pipe.text_encoder)
    found: Any = PeftModel.from_pretrained(pipe.unet, lora)
    return outputs(found.base_model.model, pipe.text_encoder)


def difference(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def row(pipeline: Path, model: DiffusionModel, lora: Path) -> tuple[str, str, str]:
    """What the LoRA changes, and the difference; or why it is refused."""
    try:
        found = ours(model, lora)
    except GraftError as error:
        return "-", "-", f"refused: {error}"
    changed = difference(found, outputs(model.unet, model.networks["text_encoder"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"{changed:.2g}", f"{difference(found, theirs(pipeline, lora)):.1e}", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with `pipe` and LoRAs of it")
    options = parser.parse_args()
    if options.data is None or not (options.data / "pipe").is_dir():
        print("no --data with a folder `pipe` and LoRAs beside it: nothing to compare")
        return 0
    pipeline = options.data / "pipe"
    model = load_diffusion(str(pipeline), "cpu")
    print(f"{'LoRA':24}{'it changes':>12}{'difference':>12}")
    for lora in sorted(options.data.iterdir()):
        if lora.name != "pipe" and (lora.is_dir() or lora.suffix == ".safetensors"):
            changed, difference_, note = row(pipeline, model, lora)
            print(f"{lora.name:24}{changed:>12}{difference_:>12}  {note}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
