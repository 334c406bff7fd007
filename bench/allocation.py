"""What it costs that the C library hands freed memory back, on a convolutional network.

    python -m bench.allocation

CPU seconds of 32 images forward, and of one training step with 32, of an EfficientNet-B0 with
random weights and images of 224 pixels in one thread: as PyTorch does it, and with freed memory
kept in the process as graftwerk does it. The best of several alternating runs.
"""

import argparse
import resource
from contextlib import nullcontext
from typing import Any

import torch
from transformers import EfficientNetConfig, EfficientNetModel

from graftwerk.allocation import reused_memory


def seconds(network: Any, images: torch.Tensor, trains: bool) -> tuple[float, float]:
    """CPU seconds, and those of them in the kernel."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with torch.enable_grad() if trains else torch.inference_mode():
        found = network(pixel_values=images).pooler_output
        if trains:
            found.sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF)
    kernel = after.ru_stime - before.ru_stime
    return after.ru_utime - before.ru_utime + kernel, kernel


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
    network = EfficientNetModel(config).eval()
    images = torch.randn(32, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    print(f"{'':10}{'handed back':>24}{'kept':>24}{'ratio':>8}")
    for name, trains in (("forward", False), ("training", True)):
        runs: tuple[list[tuple[float, float]], ...] = ([], [])
        for _ in range(options.rounds):
            for found, way in zip(runs, (nullcontext, reused_memory), strict=True):
                with way():
                    seconds(network, images, trains)  # the first pass fetches the memory
                    found.append(seconds(network, images, trains))
        best = [min(found) for found in runs]
        cells = "".join(f"{total:12.2f} s, {kernel:4.2f} s sys" for total, kernel in best)
        print(f"{name:10}{cells}{best[0][0] / best[1][0]:8.2f}")


if __name__ == "__main__":
    main()
