"""Peak memory and time of one image of a pipeline of Stable Diffusion 1.5's size, beside diffusers.

The weights are random and written to a temporary folder in bfloat16 (2 GB). Each run is a process
of its own; its peak is the largest resident size that the system counted, mapped files included.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS, PROMPT = 1, "a red cube on grass"
_OURS = """
import graftwerk as gw
pipe = gw.Pipeline({folder!r}, device="cpu", precision={precision!r})
loaded()
pipe.generate({prompt!r}, n=1, steps={steps}, cfg=7.5, sampler="model", width={side}, height={side})
"""
_THEIRS = """
import torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained({folder!r}, dtype=torch.{precision})
loaded()
with torch.inference_mode():
    pipe({prompt!r}, num_inference_steps={steps}, width={side}, height={side})
"""
_MEASURED = """
import resource, time
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
def loaded():
    print(f"{{peak():.2f}}")
{body}
print(f"{{peak():.2f}}\\n{{time.process_time():.0f}}")
"""


def filled(make: Callable[[], Any]) -> Any:
    """A network in bfloat16 with small random weights, never in float32."""
    import torch

    with torch.device("meta"):
        network = make()
    network = network.to(torch.bfloat16).to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        if tensor.dtype == torch.bfloat16:
            tensor.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.02)
    for module in network.modules():
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(module.position_ids.shape[-1]).expand((1, -1))
    return network


def write(folder: Path) -> None:
    """Write the pipeline; its tokenizer knows few words, which changes no size."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from tests.pipelines import SCHEDULER, tiny_tokenizer
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = tiny_tokenizer(77)
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, bos_token_id=len(tokenizer) - 2, eos_token_id=len(tokenizer) - 1,
    )  # fmt: skip
    widths = (128, 256, 512, 512)
    StableDiffusionPipeline(
        unet=filled(
            lambda: UNet2DConditionModel(
                sample_size=64, cross_attention_dim=768, attention_head_dim=8
            )
        ),
        vae=filled(
            lambda: AutoencoderKL(
                block_out_channels=widths, layers_per_block=2, sample_size=512,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            )
        ),
        text_encoder=filled(lambda: CLIPTextModel(text)),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler.from_config(SCHEDULER),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def measured(template: str, **values: object) -> list[float]:
    """GB after loading, GB at the peak, CPU seconds."""
    code = _MEASURED.format(body=template.format(**values))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return [float(line) for line in done.stdout.split()[-3:]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--data", type=Path, help="not used")
    parser.add_argument("--side", type=int, default=512, help="of the image, in pixels")
    parser.add_argument("--precision", default="bfloat16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pipeline"
        subprocess.run(  # so that what writing takes is not counted, and is given back
            [sys.executable, "-c", f"from pathlib import Path; from bench.memory import write; "
             f"write(Path({str(folder)!r}))"], check=True
        )  # fmt: skip
        given = {"folder": str(folder), "precision": arguments.precision, "prompt": PROMPT}
        given |= {"steps": STEPS, "side": arguments.side}
        print(f"one image of {arguments.side} pixels, {arguments.precision}, {STEPS} step")
        print("| | GB after loading | GB at the peak | CPU s |\n|---|---|---|---|", flush=True)
        peaks = []
        for label, template in (("graftwerk", _OURS), ("diffusers", _THEIRS)):
            loaded, peak, seconds = measured(template, **given)
            peaks.append(peak)
            print(f"| {label} | {loaded:.2f} | {peak:.2f} | {seconds:.0f} |", flush=True)
        print(f"ratio of the peaks: {peaks[0] / peaks[1]:.2f}")


if __name__ == "__main__":
    main()
