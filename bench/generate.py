"""Seconds of drawing with graftwerk and with diffusers' own StableDiffusionPipeline.

Same weights, same latents, same scheduler and steps; text, U-Net and decoder included, loading
not. The best of several runs that take turns. Latents must agree to 1e-3. For the built-in
pipeline the judge says what guidance in an interval of noise levels costs or gains.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tests.pipelines import tiny_unet, tiny_vae, write_text_pipeline

from graftwerk.diffusion.guidance import Guidance
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.models.hub import builtin_folder

PROMPT = "a red cube and a blue cone on grass"
SEED, WEIGHT = 3, 5.0
INTERVAL = (0.3, float("inf"))  # noise levels in which guidance acts in the last column
CROSS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")


@dataclass(frozen=True)
class Size:
    """One model to time: how it is built, how many images, steps and runs.

    Without a U-Net it is the built-in pipeline, and not random.
    """

    unet: dict[str, Any] | None
    vae: tuple[int, ...]
    pictures: int
    steps: int
    runs: int


SIZES = {
    "tiny, 16 px": Size({}, (16, 16), 4, 20, 15),
    "builtin/blocks, 128 px": Size(None, (), 4, 20, 11),
    "860M (SD 1.5), 64 px": Size(
        {
            "sample_size": 8,
            "layers_per_block": 2,
            "block_out_channels": (320, 640, 1280, 1280),
            "down_block_types": (CROSS[0], CROSS[0], CROSS[0], "DownBlock2D"),
            "up_block_types": ("UpBlock2D", CROSS[1], CROSS[1], CROSS[1]),
            "cross_attention_dim": 768,
            "norm_num_groups": 32,
        },
        (16, 32, 64, 96),
        1,
        5,
        3,
    ),
}


def peer(folder: Path, size: Size, noise: torch.Tensor) -> Callable[[], torch.Tensor]:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    side = noise.shape[-1] * pipeline.vae_scale_factor
    retained: list[torch.Tensor] = []

    def keep(_pipeline: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        if step == size.steps - 1:
            retained.append(values["latents"])
        return values

    def draw() -> torch.Tensor:
        pipeline(
            PROMPT,
            num_inference_steps=size.steps,
            guidance_scale=WEIGHT,
            num_images_per_prompt=size.pictures,
            latents=noise,
            width=side,
            height=side,
            callback_on_step_end=keep,
        )
        return retained.pop()

    return draw


def ours(
    folder: Path, size: Size, noise: torch.Tensor, interval: tuple[float, float]
) -> Callable[[], torch.Tensor]:
    from graftwerk.diffusion.guidance import compose
    from graftwerk.diffusion.noise_schedule import final, initial, noise_levels
    from graftwerk.diffusion.prompts import join
    from graftwerk.diffusion.samplers import sample_ddim
    from graftwerk.diffusion.sampling import decode

    model = load_diffusion(str(folder), "cpu")
    sigmas = noise_levels(model.noise, size.steps, "model")

    def draw() -> torch.Tensor:
        assert model.reader is not None
        with torch.inference_mode():
            texts = model.reader.read([PROMPT])
            both = model.denoiser(join(texts, model.reader.read_nothing(texts)))
            denoise = compose(model.denoiser(texts), both, Guidance(WEIGHT, *interval))
            sampled = final(sample_ddim(denoise, initial(noise, sigmas[0]), sigmas), sigmas[-1])
        decode(model, sampled)
        return sampled

    return draw


def seconds(draw: Callable[[], torch.Tensor]) -> float:
    begin = time.perf_counter()
    draw()
    return time.perf_counter() - begin


def folder_of(size: Size, location: Path) -> Path:
    """The pipeline to time; a random one is written into `location`."""
    if size.unet is None:
        return builtin_folder("builtin/blocks")
    unet = tiny_unet(**size.unet)
    vae = tiny_vae(unet.config.in_channels, size.vae)
    return write_text_pipeline(location, unet=unet, vae=vae, length=77)


def measure(size: Size) -> list[str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = folder_of(size, Path(name))
        config = json.loads((folder / "unet" / "config.json").read_text())
        channels, side = config["in_channels"], config["sample_size"]
        noise = torch.randn(
            size.pictures, channels, side, side, generator=torch.Generator().manual_seed(SEED)
        )
        draws = {
            "peer": peer(folder, size, noise),
            "ours": ours(folder, size, noise, (0.0, float("inf"))),
            "interval": ours(folder, size, noise, INTERVAL),
        }
    difference = (draws["ours"]() - draws["peer"]()).abs().max().item()
    draws["interval"]()
    times: dict[str, list[float]] = {key: [] for key in draws}
    for _ in range(size.runs):
        for key, draw in draws.items():
            times[key].append(seconds(draw))
    peers, own, interval = (min(times[key]) for key in ("peer", "ours", "interval"))
    rate = size.pictures * size.steps / own
    return [
        f"{peers:.3f} s",
        f"{own:.3f} s",
        f"{peers / own:.2f}",
        f"{difference:.1e}",
        f"{rate:.0f}",
        f"{peers / interval:.2f}",
    ]


def judge_interval(count: int) -> list[str]:
    """What the judge sees in images of two objects, guided everywhere and in the interval."""
    from graftwerk.blocks.networks import load_judge
    from graftwerk.recipes.diffusion import share_of_right
    from graftwerk.recipes.registry import Setting
    from graftwerk.types import Silent

    setting = Setting(SEED, "cpu", {}, Silent())
    judge = load_judge(builtin_folder("builtin/blocks-judge"), "cpu")
    model = load_diffusion("builtin/blocks", "cpu")
    lines = []
    for name, guidance in (
        ("everywhere", Guidance(WEIGHT)),
        (f"in {INTERVAL[0]}:{INTERVAL[1]}", Guidance(WEIGHT, *INTERVAL)),
    ):
        begin = time.perf_counter()
        right, _ = share_of_right(model, judge, 2, count, guidance, setting)
        took = time.perf_counter() - begin
        lines.append(f"guided {name:12} all right {right:.3f} of {count}, {took:.1f} s")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the weights are random")
    parser.add_argument(
        "--large", action="store_true", help="also a U-Net of Stable Diffusion's size"
    )
    parser.add_argument("--count", type=int, default=400, help="images that the judge sees")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    threads = torch.get_num_threads()
    print(f"DDIM, guidance {WEIGHT}, PyTorch {torch.__version__}, {threads} threads\n")
    header = ["diffusers", "graftwerk", "ratio", "latents", "steps/s", "with interval"]
    print(f"{'':22}" + "".join(f"{title:>14}" for title in header))
    for name, size in SIZES.items():
        if size.runs < 5 and not options.large:
            continue
        row = measure(size)
        print(f"{name:22}" + "".join(f"{cell:>14}" for cell in row), flush=True)
    print("\nbuiltin/blocks, two objects, DPM-Solver++(2M), 25 steps, named by the judge")
    print("\n".join(judge_interval(options.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
