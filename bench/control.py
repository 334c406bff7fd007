"""Controlled drawing and training beside diffusers: the same weights, noise, prompts and machine.

Drawing: `StableDiffusionControlNetPipeline` gets our branch as a whole ControlNetModel. First with
the same steps, so that latents must agree; then the fastest setting of ours that keeps fidelity and
judge score within 2 % of the pipeline's 20 UniPC steps. Training: a step of the loop of diffusers'
example script (`examples/controlnet/train_controlnet.py`) at the same batch. Times are CPU time, so
that other work on the machine does not count.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from bench.control_drawing import Stage, curves, identical, open_stage, sampled_figures
from bench.control_settings import OURS, THEIRS, Sampled, fastest, retained_within
from graftwerk.diffusion.pipeline import load_diffusion


def table(rows: list[Sampled], bound: Sampled) -> None:
    print("| drawn by | fidelity | judge | CPU s an image | of the pipeline's 20 steps |")
    print("|---|---|---|---|---|")
    for row in rows:
        mark = " (within 2 %)" if retained_within(row, bound) else ""
        print(
            f"| {row.name}{mark} | {row.fidelity:.3f} | {row.judge:.3f} | {row.seconds:.3f} | "
            f"{row.seconds / bound.seconds:.2f} |",
            flush=True,
        )


def draw_all(stage: Stage, options: argparse.Namespace) -> None:
    """The table, our fastest setting that holds up, and the curve."""
    difference, ratio = identical(stage, options.repeats)
    print(f"same DDIM steps: largest difference of latents {difference:.1e}, ", end="")
    print(f"time ours over theirs {ratio:.2f}\n", flush=True)
    theirs = [sampled_figures(stage, setting) for setting in THEIRS]
    bound = theirs[-1]
    ours = [sampled_figures(stage, setting) for setting in OURS]
    table([*theirs, *ours], bound)
    best = fastest(ours, bound)
    if best is None:
        print("\nno setting of ours keeps within 2 % of it")
    else:
        print(f"\nfastest within 2 %: {best.name}, {best.seconds / bound.seconds:.2f} of its time")
    if options.plot is not None:
        curves(options.plot, theirs, ours)
        print(f"curve of fidelity over time: {options.plot}")


def large(options: argparse.Namespace) -> None:
    """Times on a U-Net of Stable Diffusion's size with random weights."""
    from tests.pipelines import tiny_unet, tiny_vae, write_text_pipeline

    from bench.generate import SIZES

    size = next(size for name, size in SIZES.items() if "SD 1.5" in name)
    with tempfile.TemporaryDirectory() as name:
        unet = tiny_unet(**(size.unet or {}))
        folder = write_text_pipeline(
            Path(name) / "base", unet=unet, vae=tiny_vae(4, size.vae), length=77
        )
        del unet
        stage = open_stage(folder, None, "depth", 1, Path(name))
        difference, ratio = identical(stage, options.repeats, steps=4)
        print(f"\n860M (SD 1.5), random: difference {difference:.1e}, time {ratio:.2f}", flush=True)
        few = OURS[0]
        ratio = stage.ratio(few, THEIRS[-1], range(1), options.repeats)
        print(f"{few.name}: {ratio:.2f} of the time of {THEIRS[-1].name}")


def train_both(options: argparse.Namespace) -> None:
    """Each in a process of its own, so that its peak memory is its own."""
    print("\n| a training step | CPU s | peak memory, MiB | before the first step, CPU s |")
    print("|---|---|---|---|")
    found = {}
    for precision in ("float32", "bfloat16"):
        for side in ("theirs", "ours"):
            command = [sys.executable, "-m", "bench.control_training", side]
            command += ["--batch", str(options.batch), "--steps", str(options.train_steps)]
            command += ["--precision", precision]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr)
                return
            step, memory, before = map(float, done.stdout.split())
            found[side] = step, memory
            print(f"| {side}, {precision} | {step:.3f} | {memory:.0f} | {before:.1f} |", flush=True)
        time, room = (a / b for a, b in zip(found["ours"], found["theirs"], strict=True))
        print(f"| ours over theirs | {time:.2f} | {room:.2f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: scenes are rendered")
    parser.add_argument("--condition", default="depth", help="of the built-in branch")
    parser.add_argument("--count", type=int, default=128, help="held-out scenes that are drawn")
    parser.add_argument("--repeats", type=int, default=5, help="of timed drawings; the best counts")
    parser.add_argument("--batch", type=int, default=16, help="of the training step")
    parser.add_argument("--train-steps", type=int, default=12, help="that are timed")
    parser.add_argument("--plot", type=Path, help="file of the curve of fidelity over time")
    parser.add_argument("--large", action="store_true", help="also a U-Net of SD 1.5's size")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; builtin/blocks\n")
    with tempfile.TemporaryDirectory() as name:
        model = load_diffusion("builtin/blocks", "cpu")
        stage = open_stage(None, model, options.condition, options.count, Path(name))
        draw_all(stage, options)
    train_both(options)
    if options.large:
        large(options)


if __name__ == "__main__":
    main()
